"""Xpresso as an extractor: at an anchored TSS it gives the prediction of the gene that begins there."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from checkout import SHARED
from keras_files import LENGTH, write_keras

from builders import build_anchors
from builders.extractors.base import ExtractorOptions
from builders.extractors.networks.onehot import encode
from builders.extractors.source import ExtractorSource
from builders.extractors.xpresso.extractor import XpressoExtractor
from builders.extractors.xpresso.network import load_xpresso
from builders.extractors.xpresso.promoters import predict_expression, promoter
from builders.source import Span
from builders.testing import ExtractorTests
from catalog import Fasta
from featurestore import open as open_store
from featurestore.anchored.reader import open_anchored
from featurestore.testing import random_sequences, write_fasta

DATA = SHARED / "data"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keras(tmp_path_factory.mktemp("xpresso") / "xpresso.h5")


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "genome.fa", random_sequences({"chr1": 900, "chr2": 400}))


@pytest.mark.parametrize("bin_size", [8, 128])
def test_a_bin_has_the_promoter_around_its_centre_on_either_strand(bin_size: int, weights: Path, genome: Path) -> None:
    exact = load_xpresso(weights).double()
    with Fasta(str(genome)) as fasta:
        source = ExtractorSource(XpressoExtractor(weights, device="cpu"), fasta, bin_size=bin_size)
        found = source.read("chr1", -bin_size, 900 // bin_size + 2)["xpresso"]
        for number, row in enumerate(found):
            centre = (number - 1) * bin_size + bin_size // 2
            sequences = [promoter(fasta, "chr1", centre, strand, length=LENGTH) for strand in "+-"]
            expected = exact.from_onehot(encode(torch.from_numpy(np.stack(sequences))).double()).detach().numpy()
            # float32 rounds sums of the size of the largest predictions; what they leave may be far smaller
            np.testing.assert_allclose(row, expected, rtol=0, atol=1e-6 * np.abs(found).max())


@pytest.mark.slow
def test_anchored_at_each_gene_it_is_the_table_of_predictions(weights: Path, genome: Path, tmp_path: Path) -> None:
    genes = pl.DataFrame(
        {
            "gene_id": ["A", "B", "C"],
            "symbol": ["A", "B", "C"],
            "contig": ["chr1", "chr1", "chr2"],
            "strand": ["+", "-", "-"],
            "tss": [450, 451, 37],
            "biotype": ["protein_coding"] * 3,
        }
    )
    genes.write_csv(tmp_path / "genes.tsv", separator="\t")
    build_anchors(
        str(tmp_path / "genome.store"),
        anchors=tmp_path / "genes.tsv",
        name="tss",
        n_bins=1,
        fasta=genome,
        extractor="xpresso",
        options=ExtractorOptions(device="cpu"),
        settings={"weights": str(weights)},
        dtype="float32",
        workers=1,
    )
    anchored = open_anchored(open_store(str(tmp_path / "genome.store")), "xpresso", "tss")
    table = predict_expression(weights, genome, genes, device="cpu")
    found = anchored.windows(table["gene_id"].to_list())[:, 0]
    of_its_strand = found[np.arange(3), [0, 1, 1]]
    np.testing.assert_allclose(of_its_strand, table["xpresso"], rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real inputs at {SHARED}; set FEATURESTORE_SHARED")
def test_the_published_weights_give_the_published_predictions_at_each_start_site() -> None:
    published = pl.read_csv(DATA / "xpresso_predictions" / "predictions.tsv.gz", separator="\t")
    published = published.rename({name: name.rpartition("/")[2] for name in published.columns})
    inside = published.filter((pl.col("chr") == "chr2") & (pl.col("end") <= 2_333_275))
    extractor = XpressoExtractor(DATA / "real_weights" / "xpresso_human.h5", device="cpu")
    with Fasta(str(DATA / "grch38_regions" / "genome.chr1_chr2_chrM.fa.gz")) as fasta:
        source = ExtractorSource(extractor, fasta, bin_size=128)
        for row in inside.iter_rows(named=True):
            tss = row["start"] + 7000 if row["strand"] == "+" else row["end"] - 7000
            (batch,) = source.compute(source.fetch([Span("chr2", tss - 64, 1)]), {})
            assert batch["xpresso"][0, "+-".index(row["strand"])] == pytest.approx(row["expression_pred"], abs=1e-5)
    assert inside.height > 5


class TestXpresso(ExtractorTests):
    factory = "xpresso"
    options = ExtractorOptions(bin_size=64, device="cpu")

    @pytest.fixture
    def chosen(self, weights: Path) -> dict[str, Any]:
        return {"weights": str(weights)}
