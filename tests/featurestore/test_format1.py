"""A sealed store of format 1, and runs that were trained on it, made before format 2: they serve as before."""

import tarfile
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import polars as pl
import pytest
import xarray as xr
from checkout import ROOT
from numpy.typing import NDArray

import featurestore
from catalog import Assembly
from catalog.simulation.genome import SimulationConfig, simulate
from featurestore.cli.main import main
from featurestore.format.coordinates import without_coordinates

PLACES = [("sim1", 300_000), ("sim2", 5_000), ("sim3", 699_000), ("sim1", 123_456)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("format1")
    with tarfile.open(ROOT / "tests" / "data" / "format1.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected(made: Path) -> dict[str, NDArray[np.generic]]:
    with np.load(made / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SimulationConfig(n_contigs=3, contig_length=700_000, n_genes=60)
    return simulate(tmp_path_factory.mktemp("genome"), config).genome


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return copytree(made / "genome.store", tmp_path / "genome.store")


@pytest.mark.parametrize("n_bins", [1, 4, 11, 51])
def test_its_windows_are_read_as_they_were(made: Path, expected: dict[str, NDArray[np.generic]], n_bins: int) -> None:
    reader = featurestore.open(made / "genome.store")["motif"]
    windows = reader.windows([contig for contig, _ in PLACES], [centre for _, centre in PLACES], n_bins)
    assert windows.values.dtype == np.float16
    np.testing.assert_array_equal(windows.values, expected[f"values_{n_bins}"])
    np.testing.assert_array_equal(windows.residuals, expected[f"residuals_{n_bins}"])


@pytest.mark.parametrize("n_bins", [11, 5])
def test_its_anchored_windows_are_read_as_they_were(
    made: Path, expected: dict[str, NDArray[np.generic]], n_bins: int
) -> None:
    reader = featurestore.open_anchored(featurestore.open(made / "genome.store"), "motif", "tss")
    np.testing.assert_array_equal(reader.windows(reader.names[:5], n_bins), expected[f"anchored_{n_bins}"])


def test_it_is_sound_and_sealing_again_adds_what_the_explorer_and_xarray_read_and_changes_no_content(
    store: Path,
) -> None:
    opened = featurestore.open(store)
    found = featurestore.verify(opened, crc=True)
    assert (found.faults, found.strangers, found.orphans, found.missing) == ([], [], [], 0)
    manifest = opened.manifest()
    assert manifest is not None
    assert manifest.format == 1
    sealed = featurestore.seal(opened)
    assert sealed.manifest.top_hash == manifest.top_hash
    assert (store / "explorer.json").exists()
    assert xr.open_zarr(store, group="features/motif/sim1")["bin"].to_numpy()[:3].tolist() == [0, 4096, 8192]
    assert featurestore.seal(featurestore.open(store)).was_sealed


def test_a_damaged_shard_is_repaired_and_built_again_to_the_same_bytes(store: Path, genome: Path) -> None:
    assert Assembly.from_fasta(genome).digest == featurestore.open(store).assembly.digest
    shard = store / "features" / "motif" / "sim2" / "values" / "c" / "1" / "0" / "0"
    root, before = (store / "zarr.json").read_bytes(), shard.read_bytes()
    shard.unlink()
    opened = featurestore.open(store)
    featurestore.repair(opened, featurestore.verify(opened))
    build = ["build", str(store), "--fasta", str(genome), "--extractor", "motif", "--workers", "1"]
    assert main([*build, "--offsets", "0,2048", "--shard-bins", "64"]) == 0
    assert shard.read_bytes() == before
    assert featurestore.verify(opened, crc=True).is_sound
    featurestore.seal(opened)
    again = without_coordinates("zarr.json", (store / "zarr.json").read_bytes())
    assert again == root, "the root says format 1, as before"


def test_other_features_below_its_name_are_refused(store: Path) -> None:
    opened = featurestore.open(store)
    described = opened.feature_set("motif")
    assert opened.agreed(described) == described
    with pytest.raises(featurestore.FingerprintMismatch, match=r"already has 'motif' with fingerprint .*, not other"):
        opened.declare(described.model_copy(update={"fingerprint": "other"}), ["sim1"])
    wider = replace(described.grid, bin_size=8192)
    with pytest.raises(featurestore.FingerprintMismatch, match="bins of 4096 bp, not 8192 bp"):
        opened.declare(described.model_copy(update={"bin_size": wider.bin_size}), ["sim1"])


@pytest.mark.parametrize("run", ["cnn", "ridge", "paper", "best", "mlp"])
def test_its_runs_predict_as_they_did(
    made: Path, expected: dict[str, NDArray[np.generic]], tmp_path: Path, run: str
) -> None:
    tables = ["--genes", str(made / "genes.tsv"), "--annotations", str(made / "annotations.tsv")]
    where = ["--store", str(made / "genome.store"), "--out", str(tmp_path / "predictions.parquet"), "--device", "cpu"]
    assert main(["predict", str(made / "runs" / run), *where, *tables]) == 0
    predicted = pl.read_parquet(tmp_path / "predictions.parquet")
    assert predicted["gene_id"].to_list() == pl.read_csv(made / "genes.tsv", separator="\t")["gene_id"].to_list()
    np.testing.assert_allclose(predicted["prediction"].to_numpy(), expected[f"pred_{run}"], atol=1e-5)
