"""RAMPAGE and CAGE at start sites: as comparing every gene with every peak gives, and as the derived table has it."""

import gzip
from pathlib import Path

import polars as pl
import pytest
from checkout import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.expression.promoters import (
    PEAK_SCHEMA,
    QUANTIFICATION_SCHEMA,
    read_peaks,
    read_quantification,
    signal_at_tss,
)
from catalog.expression.targets import TARGET_SCHEMA
from catalog.genes.table import GENE_SCHEMA, read_genes
from catalog.runtime.tables import TableError

DATA = SHARED / "data"
RAMPAGE = DATA / "gm12878_rampage"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real inputs at {DATA}; set FEATURESTORE_SHARED")

places = st.tuples(st.sampled_from(["chr1", "chr2"]), st.sampled_from("+-"), st.integers(0, 40))


def genes_at(where: list[tuple[str, str, int]]) -> pl.DataFrame:
    rows = [(f"g{index}", "s", contig, strand, tss, None) for index, (contig, strand, tss) in enumerate(where)]
    return pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")


def peaks_at(where: list[tuple[str, str, int]]) -> pl.DataFrame:
    return pl.DataFrame([(f"p{i}", *place) for i, place in enumerate(where)], schema=PEAK_SCHEMA, orient="row")


def values_of(values: list[float]) -> pl.DataFrame:
    rows = [(f"p{index}", float(value)) for index, value in enumerate(values)]
    return pl.DataFrame(rows, schema=QUANTIFICATION_SCHEMA, orient="row")


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([*rows, ""]))
    return path


@settings(max_examples=50, deadline=None)
@given(st.lists(places, min_size=1, max_size=6), st.lists(places, max_size=12), st.integers(1, 15))
def test_the_signal_is_what_comparing_every_gene_with_every_peak_sums(
    genes: list[tuple[str, str, int]], others: list[tuple[str, str, int]], flank_bp: int
) -> None:
    peaks = [(*genes[0][:2], 7), *others]
    values = [2.0**number for number in range(len(peaks))]  # each set of peaks has a sum of its own
    found = signal_at_tss(genes_at(genes), peaks_at(peaks), values_of(values), flank_bp=flank_bp)
    assert found.schema == TARGET_SCHEMA
    assert found["gene_id"].to_list() == [f"g{index}" for index in range(len(genes))]
    assert found["value"].to_list() == [
        sum(
            value
            for (contig, strand, summit), value in zip(peaks, values, strict=True)
            if (contig, strand) == gene[:2] and summit in range(gene[2] + 1 - flank_bp, gene[2] + 1 + flank_bp)
        )
        for gene in genes
    ]


@pytest.mark.parametrize(
    ("row", "summit"),
    [
        pytest.param("chr1\t100\t200\tp\t0\t-", 150, id="BED6: the middle"),
        pytest.param("chr1\t100\t200\tp\t0\t+\t120\t121", 120, id="thick part of one base"),
        pytest.param("chr1\t100\t200\tp\t0\t+\t120\t121\t0", 120, id="colour 0"),
        pytest.param("chr1\t100\t200\tp\t0\t+\t120\t121\t255,0,0", 120, id="colour"),
        pytest.param("chr1\t100\t200\tp\t0\t+\t120\t140\t133", 133, id="summit in column 9"),
        pytest.param("chr1\t100\t200\tp\t0\t+\t0\t0\t0\t1\t100,\t0,", 150, id="no thick part"),
    ],
)
def test_the_summit_is_the_most_exact_that_a_peak_tells(tmp_path: Path, row: str, summit: int) -> None:
    path = write(tmp_path / "peaks.bed", "track name=x", row)
    assert read_peaks(path).rows() == [("p", "chr1", row.split("\t")[5], summit)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["chr1\t1\t2\tp\t0"],
            "has 5 tab-separated columns; peaks are a BED file of at least contig, start, end, name",
        ),
        (["chr1\t1\t2\tp\t0\t."], "without strand in column 6; write '\\+' or '-' there"),
        (["chr1\t1\t2\tp\t0\t+", "chr1\t5\t6\tp\t0\t+"], "names peaks twice: p; keep one row a peak"),
        (["chr1\tx\t2\tp\t0\t+"], "'start' .* whole numbers .*mend"),
    ],
)
def test_a_file_that_holds_no_peaks_says_what_it_lacks(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_peaks(write(tmp_path / "peaks.bed", *rows))


def test_one_column_of_a_quantification_is_read_by_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "q.txt", "p\t1.5\t3", "q\t0\t1.38274e+06")
    assert read_quantification(path, column=2).rows() == [("p", 1.5), ("q", 0.0)]
    assert read_quantification(path, column=3).rows() == [("p", 3.0), ("q", 1_382_740.0)]


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        (["p\t1"], 3, "has columns 1 to 2, the first the peak's name; there is no column 3"),
        (["p\t1"], 1, "there is no column 1"),
        (["peak\trpm", "p\t1"], 2, "1 of 2 values .* first that of peak: rpm; if there is a header, remove it"),
        (["p\t-1"], 2, "not numbers from 0 up, first that of p: -1; .*mend the values"),
        (["p\tnan"], 2, "not numbers from 0 up, first that of p: nan"),
        (["p\t1", "p\t2"], 2, "names peaks twice: p"),
    ],
)
def test_a_bad_quantification_is_named(tmp_path: Path, rows: list[str], column: int, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_quantification(write(tmp_path / "q.txt", *rows), column=column)


def test_truncated_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"chr1\t1\t2\tp\t0\t+\n")[:-9])
    for read in (lambda: read_peaks(path), lambda: read_quantification(path, column=2)):
        with pytest.raises(TableError, match=r"truncated or damaged gzip.*fetch it again"):
            read()


def test_peaks_and_genes_that_do_not_fit_are_errors_with_a_mend() -> None:
    genes, peaks, values = genes_at([("chr1", "+", 5)]), peaks_at([("chr1", "+", 5)]), values_of([1])
    with pytest.raises(ValueError, match=r"1 genes have no strand: g0; leave these out"):
        signal_at_tss(genes_at([("chr1", ".", 5)]), peaks, values)
    with pytest.raises(ValueError, match=r"1 peaks have no value: p0; take the quantification of these peaks"):
        signal_at_tss(genes, peaks, values_of([]))
    with pytest.raises(ValueError, match=r"genes lie on 1, peaks on chr1; name the contigs alike"):
        signal_at_tss(genes_at([("1", "+", 5)]), peaks, values)
    with pytest.raises(ValueError, match=r"flank_bp is a number of bases on either side, at least 1; got 0"):
        signal_at_tss(genes, peaks, values, flank_bp=0)


@needs_data
def test_the_derived_table_of_gm12878_follows_from_its_raw_files() -> None:
    genes = read_genes(DATA / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz")
    peaks = read_peaks(RAMPAGE / "hg38-rPeak-Summary.tsv.gz")
    rpm = read_quantification(RAMPAGE / "ENCSR000AEI.GM12878.txt.gz", column=5)
    assert peaks.height == rpm.height == 52_546
    found = signal_at_tss(genes, peaks, rpm)
    table = pl.read_csv(RAMPAGE / "gm12878_rampage_rpm_at_mane_tss.tsv", separator="\t")
    assert found["gene_id"].equals(table["ensembl_gene"])
    # The table has six decimals.
    assert ((found["value"] - table["rpm"]).abs() < 0.5000001e-6).sum() == 19_338
    assert (found["value"] > 0).sum() == 10_574
