"""The plug-in proves itself with the kits that genomic-featurestore ships, and with hand-worked cases."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import ExtractorOptions, load_extractor
from builders.source import SourceOptions
from builders.testing import ExtractorTests, SourceTests
from catalog import Assembly, Contig, read_gene_table
from example_plugin.coverage import CoverageSettings, CoverageSource
from model import build_predictor
from model.testing.conformance import Build, PredictorTests
from model.training.config import TrainConfig

BED = "track name=peaks\nchr1\t10\t20\nchr1\t15\t30\nchr1\t200\t260\tname\nshort\t0\t5\n"


class TestCpg(ExtractorTests):
    factory = "cpg"
    settings = {"pseudocount": "0.5"}
    other_settings = {"pseudocount": "2"}


def test_cpg_counted_by_hand() -> None:
    extractor = load_extractor("cpg", ExtractorOptions(bin_size=8, device="cpu"), {"also_tpg": "true"})
    (row,) = extractor(np.frombuffer(b"ACGTcgTG", dtype=np.uint8)[None])["cpg"]
    # 2 CpG of 2 C and 3 G, 1 TpG of 2 T, in 8 bases; 1 is added to each number of bases.
    np.testing.assert_allclose(row, [5 / 8, 2 * 9 / (3 * 4), 1 * 9 / (3 * 4)], rtol=1e-6)


class TestCoverage(SourceTests):
    factory = "coverage"

    @pytest.fixture
    def chosen(self, tmp_path: Path) -> dict[str, Any]:
        (tmp_path / "peaks.bed").write_text(BED)
        return {"bed": tmp_path / "peaks.bed"}


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 30)), min_size=1, max_size=8),
    st.integers(1, 17),
    st.integers(-40, 120),
)
def test_coverage_is_the_share_of_bases_that_lie_in_an_interval(
    tmp_path_factory: pytest.TempPathFactory, intervals: list[tuple[int, int]], bin_size: int, start: int
) -> None:
    bed = tmp_path_factory.mktemp("bed") / "peaks.bed"
    bed.write_text("".join(f"chr1\t{first}\t{first + length}\n" for first, length in intervals))
    assembly = Assembly.of("tiny", (Contig(name="chr1", length=100, digest="0" * 32),))
    source = CoverageSource(SourceOptions(bin_size=bin_size, assembly=assembly), CoverageSettings(bed=bed))
    covered = {base for first, length in intervals for base in range(first, min(first + length, 100))}
    expected = [
        len(covered.intersection(range(start + k * bin_size, start + (k + 1) * bin_size))) / bin_size for k in range(5)
    ]
    np.testing.assert_allclose(source.read("chr1", start, 5)["coverage"][:, 0], expected, rtol=1e-6)


def test_a_line_that_is_no_interval_is_named(tmp_path: Path) -> None:
    bed = tmp_path / "peaks.bed"
    bed.write_text("chr1\t10\t20\nchr1\t30\t30\n")
    assembly = Assembly.of("tiny", (Contig(name="chr1", length=100, digest="0" * 32),))
    source = CoverageSource(SourceOptions(bin_size=10, assembly=assembly), CoverageSettings(bed=bed))
    with pytest.raises(ValueError, match=r"peaks.bed, line 2: expected contig, start and end"):
        source.read("chr1", 0, 1)


def test_refflat_rows_are_genes(tmp_path: Path) -> None:
    path = tmp_path / "refFlat.txt"
    path.write_text(
        "ALPHA\tNM_1\tchr1\t+\t100\t900\t200\t800\t1\t100,\t900,\n"
        "BETA\tNM_2\tchr1\t-\t100\t900\t200\t800\t2\t100,500,\t300,900,\n"
        "BETA\tNM_3\tchr1\t-\t100\t950\t200\t800\t1\t100,\t950,\n"
    )
    table = read_gene_table(path)
    assert table.report.format == "refflat"
    assert table.genes.select("gene_id", "strand", "tss").rows() == [("ALPHA", "+", 100), ("BETA", "-", 899)]
    assert table.report.dropped["repeated gene ids"].count == 1


class TestGatedPooling(PredictorTests):
    @pytest.fixture(scope="class")
    @classmethod
    def build(cls) -> Build:
        recipe = TrainConfig(epochs=2, batch_size=8, device="cpu")
        return lambda genes: build_predictor(
            "gated-pooling", n_bins=genes.n_bins, channel_names=genes.channel_names, training=recipe
        )
