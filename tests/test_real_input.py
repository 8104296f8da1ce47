"""The way over real files: a piece of GRCh38, a bacterium, MANE, NCBI Gene, RAMPAGE."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyfaidx
import pytest
from checkout import SHARED

import featurestore
from builders.extractors.motif import MotifExtractor
from builders.run import build
from catalog import Assembly, match_contigs, read_annotations, read_genes
from featurestore import verify
from loaders import WindowDataset, gene_dataset
from model.runs.workflow import TrainRequest, evaluate, load_genes, make_split, open_run, predict, train

DATA = SHARED / "data"
GENOME = DATA / "grch38_regions/genome.chr1_chr2_chrM.fa.gz"
MANE = DATA / "mane_v1.4/MANE.GRCh38.v1.4.summary.txt.gz"
GENE_INFO = DATA / "ncbi_gene/Homo_sapiens.gene_info.2016.gz"
RAMPAGE = DATA / "gm12878_rampage/gm12878_rampage_rpm_at_mane_tss.tsv"
INSIDE = {
    *("OR4F5", "OR4F29", "OR4F16", "SAMD11", "NOC2L", "KLHL17", "PLEKHN1", "PERM1"),
    *("FAM110C", "SH3YL1", "ACP1", "ALKAL2", "TMEM18", "SNTG2", "TPO", "PXDN", "MYT1L"),
}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; FEATURESTORE_SHARED says where")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grch38") / "grch38.store"
    report = build(str(path), fasta=GENOME, extractor="motif", offsets=(0, 2048), workers=2)
    assert report.is_complete
    return path


@pytest.fixture(scope="module")
def genes(store: Path) -> pl.DataFrame:
    return match_contigs(read_genes(MANE), featurestore.open(store).assembly)


def features_by_hand(contig: str, starts: np.ndarray) -> np.ndarray:
    """Cut each bin out of the FASTA with pyfaidx alone, pad it with N, and run the extractor on it."""
    sequence = str(pyfaidx.Fasta(str(GENOME), rebuild=False)[contig])
    bins = [
        "".join(("N" * max(0, min(4096, -start)), sequence[max(start, 0) : max(start + 4096, 0)])).ljust(4096, "N")
        for start in starts.tolist()
    ]
    return MotifExtractor()(np.frombuffer("".join(bins).encode(), dtype=np.uint8).reshape(-1, 4096))["motif"]


def test_the_genes_of_the_piece_are_the_17_that_it_should_hold(genes: pl.DataFrame) -> None:
    assert set(genes["symbol"]) == INSIDE


def test_every_window_at_a_tss_is_the_extractor_on_that_sequence(store: Path, genes: pl.DataFrame) -> None:
    reader = featurestore.open(store)["motif"]
    lengths = reader.assembly.lengths
    over_an_end = set()
    for symbol, contig, tss in genes.select("symbol", "contig", "tss").iter_rows():
        window = reader.window(contig, tss, n_bins=251)
        np.testing.assert_array_equal(window.values, features_by_hand(contig, window.starts).astype(np.float16))
        assert window.starts[0] + 514_048 - tss == window.residual
        assert abs(window.residual) <= 1024
        if window.starts[0] < 0 or window.starts[-1] + 4096 > lengths[contig]:
            over_an_end.add(symbol)
    assert {"FAM110C", "OR4F5", "MYT1L", "PERM1"} <= over_an_end


def test_the_dataset_gives_the_same_windows_in_every_residence(
    store: Path, genes: pl.DataFrame, tmp_path: Path
) -> None:
    reader = featurestore.open(store)["motif"]
    expected = reader.windows(genes["contig"].to_list(), genes["tss"].to_numpy(), 251).values
    for residence in ("memory", "cache", "stream"):
        dataset = WindowDataset(
            str(store),
            "motif",
            contigs=genes["contig"].to_list(),
            centres=genes["tss"].to_numpy(),
            residence=residence,
            cache_dir=tmp_path,
        )
        np.testing.assert_array_equal(dataset[list(range(17))].numpy(), expected.astype(np.float32))


def test_a_build_that_lost_shards_makes_them_again_byte_for_byte(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.store"
    shutil.copytree(store, copy)
    lost = copy / "commits/motif/chr2/1-0.json"
    lost.unlink()
    (copy / "features/motif/chr2/values/c/1/0/0").unlink()
    report = build(str(copy), fasta=GENOME, extractor="motif", offsets=(0, 2048), workers=1)
    assert (report.built, report.is_complete) == (1, True)
    for path in (store / "features").rglob("c/*/*/0"):
        assert (copy / path.relative_to(store)).read_bytes() == path.read_bytes()


def test_a_bacterium_with_a_contig_shorter_than_a_bin_is_built(tmp_path: Path) -> None:
    (fasta,) = (DATA / "ecoli_o157_sakai").glob("*.fna.gz")
    report = build(str(tmp_path / "ecoli.store"), fasta=fasta, extractor="motif", workers=1)
    assert report.is_complete
    store = featurestore.open(tmp_path / "ecoli.store")
    assert verify(store, crc=True).is_sound
    window = store["motif"].window("NC_002127.1", 1000, n_bins=5)
    unknown = window.values[:, store["motif"].channel_names.index("N")]
    np.testing.assert_allclose(unknown, [1, 1, 1 - 3306 / 4096, 1, 1], atol=1e-3)
    assert report.bins == sum(-(-length // 4096) for length in Assembly.from_fasta(fasta).lengths.values())


def test_prompts_carry_what_ncbi_knows(store: Path, genes: pl.DataFrame) -> None:
    dataset = gene_dataset(str(store), "motif", genes, annotations=read_annotations(GENE_INFO), n_bins=51)
    prompts = dict(zip(dataset.genes["symbol"], dataset.prompts, strict=True))
    assert "thyroid peroxidase" in prompts["TPO"]
    assert all(prompt.splitlines()[-1] == "# Data:" for prompt in prompts.values())
    assert all(line.startswith("# ") for prompt in prompts.values() for line in prompt.splitlines())
    assert sum("Full name" in prompt for prompt in prompts.values()) >= 15


def test_gta_trains_an_epoch_and_predicts_on_real_genes(store: Path, tmp_path: Path) -> None:
    tables = {"genes": MANE, "targets": RAMPAGE, "target_column": "rpm", "annotations": GENE_INFO}
    dataset = load_genes(str(store), None, n_bins=251, **tables)
    assert len(dataset) == 17
    split = make_split(dataset, seed=0)
    request = TrainRequest(model="gta-best", epochs=1, device="cpu")
    summary = train(dataset, split, request, out=tmp_path / "run")
    assert summary["n_train"] + summary["n_validation"] + summary["n_test"] == 17
    run = open_run(tmp_path / "run", device="cpu")
    predictions = predict(run, dataset)
    assert predictions["prediction"].is_finite().all()
    assert predictions.filter(symbol="NOC2L")["target"].item() > 0
    assert -1 <= evaluate(run, dataset, subset="all", draws=100)["spearman"] <= 1
