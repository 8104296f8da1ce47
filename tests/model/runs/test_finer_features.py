"""A model on a finer feature set of the same store is a baseline for one on a coarser set."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from catalog import Grid
from featurestore.cli.main import main
from featurestore.testing import build_set, built_store
from model.runs.workflow import load_genes_as_trained, open_run

N_GENES = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("finer")
    store = built_store(place / "s", {"chr1": 60_000, "chr2": 60_000}, Grid(bin_size=400), name="coarse")
    build_set(store, Grid(bin_size=200), name="fine", contigs=["chr1", "chr2"])
    built_store(place / "finer", {"chr1": 60_000, "chr2": 60_000}, Grid(bin_size=100), name="coarse")
    rng = np.random.default_rng(0)
    genes = pl.DataFrame(
        {
            "gene_id": [f"G{place}" for place in range(N_GENES)],
            "contig": ["chr1", "chr2"] * (N_GENES // 2),
            "strand": ["+", "-", "-"] * (N_GENES // 3),
            "tss": rng.integers(0, 60_000, N_GENES),
        }
    )
    genes.write_csv(place / "genes.tsv", separator="\t")
    genes.select("gene_id", value=pl.Series(rng.exponential(size=N_GENES))).write_csv(place / "t.tsv", separator="\t")
    return place


def tables(place: Path, store: str = "s") -> list[str]:
    return ["--store", f"{place}/{store}", "--genes", f"{place}/genes.tsv", "--targets", f"{place}/t.tsv"]


def train(place: Path, model: str, feature_set: str, *options: str, store: str = "s") -> int:
    out = f"{place}/{model}-{feature_set}" + ("" if store == "s" else f"-{store}")
    words = ["--model", model, "--feature-set", feature_set, "--n-bins", "9", "--out", out]
    return main(["train", *tables(place, store), *words, *options])


def test_expecto_is_a_baseline_where_bins_are_short_and_compared_where_they_are_long(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(place, "ridge-expecto", "coarse") == 2
    error = capsys.readouterr().err
    assert "ridge-expecto reads bins of at most 200 bp, and those of coarse are of 400 bp; name a finer" in error
    assert not (place / "ridge-expecto-coarse").exists()

    for feature_set, fitted in (("coarse", False), ("fine", True)):
        assert train(place, "mlp", feature_set, "--epochs", "1", "--batch-size", "8") == 0
        assert ((place / f"mlp-{feature_set}" / "baselines" / "ridge-expecto").is_dir()) == fitted

    assert train(place, "ridge-expecto", "fine") == 0
    capsys.readouterr()
    beside = str(place / "ridge-expecto-fine")
    argv = ["evaluate", str(place / "mlp-coarse"), *tables(place), "--no-baselines", "--draws", "20", "--json"]
    assert main([*argv, "--beside", beside]) == 0
    (compared,) = json.loads(capsys.readouterr().out)["beside"]
    files = {"genes": place / "genes.tsv", "targets": place / "t.tsv"}
    run = open_run(beside, device="cpu")
    dataset = load_genes_as_trained(run, str(place / "s"), **files)
    test = dataset.subset(open_run(place / "mlp-coarse").split.test)
    predicted, observed = run.predictor.predict(test), np.log1p(test.targets.numpy())
    assert compared["pearson"] == pytest.approx(np.corrcoef(predicted, observed)[0, 1], abs=1e-6)


def test_a_run_beside_may_read_finer_bins_of_the_same_name_in_another_store(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(place, "ridge-centre", "coarse") == 0
    assert train(place, "ridge-expecto", "coarse", store="finer") == 0
    capsys.readouterr()
    argv = ["evaluate", str(place / "ridge-centre-coarse"), *tables(place), "--draws", "20", "--json"]
    argv += ["--beside", str(place / "ridge-expecto-coarse-finer")]
    assert main(argv) == 2
    assert "bins of" in capsys.readouterr().err
    assert main([*argv, "--beside-store", str(place / "finer")]) == 0
    (compared,) = json.loads(capsys.readouterr().out)["beside"]
    alone = ["evaluate", str(place / "ridge-expecto-coarse-finer"), *tables(place, "finer"), "--draws", "20", "--json"]
    assert main(alone) == 0
    assert compared["spearman"] == pytest.approx(json.loads(capsys.readouterr().out)["spearman"])
