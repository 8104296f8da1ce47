"""Targets: one finite value a gene, or an error that names the genes."""

import gzip
import logging
import math
import random
import statistics
from pathlib import Path

import polars as pl
import pytest
from checkout import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.expression.targets import (
    TARGET_SCHEMA,
    TargetSettings,
    median_over_samples,
    read_samples,
    read_targets,
)
from catalog.runtime.tables import TableError

DATA = SHARED / "data"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real inputs at {DATA}; set FEATURESTORE_SHARED")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("expression")


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


values = st.floats(0, 1e300)  # the mean of two of them does not overflow


@settings(max_examples=50, deadline=None)
@given(st.lists(values, min_size=1, max_size=20))
def test_text_gzip_and_parquet_give_every_value_to_the_bit(folder: Path, wanted: list[float]) -> None:
    ids = [f"ENSG{number:011d}" for number in range(len(wanted))]
    targets = pl.DataFrame({"gene_id": ids, "value": wanted}, schema=TARGET_SCHEMA)
    written = targets.select(
        ensembl_gene=pl.col("gene_id") + ".3", strand=pl.lit("+"), tss_1based=pl.lit(5), rpm="value", note=pl.lit("x")
    )
    written.write_csv(folder / "t.tsv", separator="\t")
    written.write_csv(folder / "t.csv")
    written.write_parquet(folder / "t.parquet")
    (folder / "t.csv.gz").write_bytes(gzip.compress((folder / "t.csv").read_bytes()))
    for name in ("t.tsv", "t.csv", "t.csv.gz", "t.parquet"):
        assert read_targets(folder / name).equals(targets)
        assert read_targets(folder / name, column="rpm").equals(targets)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        pytest.param("gene,value", "A,1.5", id="gene"),
        pytest.param("Gene stable ID\tTPM", "A\t1.5", id="BioMart"),
        pytest.param(",gene_id,tpm", "7,A,1.5", id="row numbers of pandas"),
        pytest.param("#id\tsymbol\tchr\tstart\tend\trpkm", "A\tX\t1\t2\t3\t1.5", id="coordinates"),
        pytest.param("symbol,tpm", "A,15e-1", id="symbol alone"),
    ],
)
def test_the_one_column_of_numbers_that_does_not_describe_the_gene_is_the_value(
    tmp_path: Path, header: str, row: str
) -> None:
    assert read_targets(write(tmp_path / "t", f"{header}\r\n{row}\r\n")).rows() == [("A", 1.5)]


def test_several_candidates_are_listed_and_one_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "gene,Xpresso,Enformer\na,1,2\n")
    with pytest.raises(
        TableError, match=r"2 columns that could be expression: Xpresso, Enformer; name the one.*column="
    ):
        read_targets(path)
    assert read_targets(path, column="Enformer").rows() == [("a", 2.0)]
    with pytest.raises(TableError, match="no column 'Basenji'; it has gene, Xpresso, Enformer"):
        read_targets(path, column="Basenji")


def test_rows_without_gene_and_rows_said_twice_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "gene_id\ttpm\nENSG01.1\t1\n\t5\nENSG01.1\t1\nENSG02.1\t2\n")
    assert read_targets(path).rows() == [("ENSG01", 1.0), ("ENSG02", 2.0)]


@pytest.mark.parametrize(
    ("bad", "shown", "mend"),
    [
        ("-0.5", r"B \(-0.5\)", "if it is on a log scale, undo that"),
        ("nan", r"B \(nan\)", "leave these genes out"),
        ("inf", r"B \(inf\)", "leave these genes out"),
        ("NA", r"B \(NA\)", "leave these genes out"),
        ("", r"B \(missing\)", "leave these genes out"),
        ("1;5", r"B \(1;5\)", "mend their values"),
    ],
)
def test_a_value_that_is_no_amount_is_an_error_that_names_the_gene(
    tmp_path: Path, bad: str, shown: str, mend: str
) -> None:
    path = write(tmp_path / "t.tsv", f"gene_id\ttpm\nA\t1\nB\t{bad}\nC\t2\n")
    with pytest.raises(TableError, match=f"1 of 3 values in column 'tpm' .* not numbers from 0 up: {shown}; .*{mend}"):
        read_targets(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "gene_id,tpm\nA,1\nA,2\n", "more than one value .* 1 genes: A; keep one row a gene", id="two values"
        ),
        pytest.param(
            "a,b\n1,2\n", "no column that names the genes: it has a, b; name one of them gene_id", id="no key"
        ),
        pytest.param("gene_id,note\nA,x\n", "no columns that could be expression: gene_id, note; name", id="no number"),
        pytest.param("gene_id,tpm\n,1\n", "names no gene in column 'gene_id', of 1 rows; fill", id="no gene named"),
        pytest.param("", "is empty", id="empty"),
    ],
)
def test_a_table_without_targets_says_what_it_has(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_targets(write(tmp_path / "t.csv", text))


def test_a_damaged_parquet_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"truncated Parquet.*write or fetch it again"):
        read_targets(write(tmp_path / "t.parquet", "PAR1 and no more"))
    with pytest.raises(FileNotFoundError, match="no table at"):
        read_targets(tmp_path / "none.csv")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(values, min_size=n, max_size=n), min_size=1, max_size=5)))
def test_the_median_over_samples_is_that_of_the_statistics_module(folder: Path, matrix: list[list[float]]) -> None:
    header = "\t".join(["#chr", "start", "end", "gene", "length", "strand", *(f"HG{s}" for s in range(len(matrix[0])))])
    rows = ["\t".join(["chr1", "5", "6", f"g{i}", "99", "+", *map(repr, row)]) for i, row in enumerate(matrix)]
    medians = median_over_samples(write(folder / "m.bed", "\n".join([header, *rows])))
    assert medians["gene_id"].to_list() == [f"g{index}" for index in range(len(matrix))]
    assert medians["value"].to_list() == pytest.approx([statistics.median(row) for row in matrix])


def test_a_matrix_of_geuvadis_is_read_without_its_coordinates(tmp_path: Path) -> None:
    text = "TargetID\tGene_Symbol\tChr\tCoord\tHG00096\tHG00097\nENSG01.6\tENSG01.6\t5\t59783540\t0.5\t1.5\n"
    assert read_samples(write(tmp_path / "m", text)).to_dicts() == [
        {"gene_id": "ENSG01", "HG00096": 0.5, "HG00097": 1.5}
    ]


def test_a_sample_with_several_columns_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m", "gene\tHG0\tHG1\tHG0\tHG1\tHG2\nA\t1\t2\t3\t4\t5\n")
    for read in (read_samples, median_over_samples):
        with pytest.raises(
            TableError, match="several columns for 2 of its samples: HG0, HG1; keep one column a sample"
        ):
            read(path)
    # Columns that are no samples may be repeated, and a sample may be called by a number.
    text = "gene\tnote\tnote\tHG0\tHG0 5\nA\tx\ty\t1\t3\n"
    with pytest.raises(TableError, match="several columns for 1 of its samples: HG0"):
        read_samples(write(tmp_path / "m", text))
    assert median_over_samples(write(tmp_path / "m", text.replace("HG0 5", "HG0 6"))).rows() == [("A", 2.0)]
    # In the long form each name is one sample.
    long = "gene\tsample\ttpm\nA\tHG0\t1\nA\tHG0 3\t4\n"
    assert read_samples(write(tmp_path / "m", long)).rows() == [("A", 1.0, 4.0)]


def test_the_median_is_taken_over_the_samples_that_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "m", "gene\tHG0\tHG1\tHG2\nA\t1\t2\t30\n")
    names = write(tmp_path / "names", "# of the paper\nHG2\nHG1\n")
    assert TargetSettings(medians=True, samples=names).read(path).rows() == [("A", 16.0)]
    assert TargetSettings(medians=True).read(path).rows() == [("A", 2.0)]
    assert TargetSettings().read(path, column="HG2").rows() == [("A", 30.0)]
    with pytest.raises(TableError, match="lacks 1 of the 2 samples that are named: HG9; it has HG0, HG1, HG2"):
        median_over_samples(path, samples=["HG1", "HG9"])
    with pytest.raises(ValueError, match="goes with `medians=True`"):
        TargetSettings(samples=names)
    with pytest.raises(
        TableError, match=r"HG0, HG1, HG2; name the one that is: .*take their median \(`medians=True`\)"
    ):
        TargetSettings().read(path)


def test_negative_values_of_corrected_expression_are_zero_on_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "m", "gene\tHG0\tHG1\tHG2\nA\t-1\t2\t-0.5\nB\t1\t-3\t4\n")
    with pytest.raises(
        TableError, match=r"corrected for covariates, take negative values for 0 \(`bad_values='zero'`\)"
    ):
        median_over_samples(path)
    with caplog.at_level(logging.WARNING, logger="catalog.expression"):
        assert median_over_samples(path, bad_values="zero").rows() == [("A", 0.0), ("B", 1.0)]
    assert "3 of 6 values are negative, and are taken for 0" in caplog.text
    with pytest.raises(TableError, match=r"column 'HG1' .*: A \(-inf\)"):
        median_over_samples(write(tmp_path / "m", "gene\tHG0\tHG1\nA\t1\t-inf\n"), bad_values="zero")


def test_a_bad_sample_is_named_and_so_is_a_matrix_without_samples(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"column 'HG1' .*: B \(-2\); leave"):
        median_over_samples(write(tmp_path / "m", "gene\tHG0\tHG1\nA\t1\t2\nB\t1\t-2\n"))
    with pytest.raises(TableError, match="could be a sample: it has gene, length; expected one row a gene"):
        median_over_samples(write(tmp_path / "m", "gene\tlength\nA\t1\n"))


def test_genes_with_bad_values_are_dropped_on_request_with_a_warning_that_names_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "t.tsv", "gene_id\ttpm\nA\t1\nB\t-2\nC\tnan\nD\t\nE\t5\n")
    with caplog.at_level(logging.WARNING, logger="catalog.expression"):
        assert read_targets(path, bad_values="drop").rows() == [("A", 1.0), ("E", 5.0)]
    assert "3 of 5 values in column 'tpm'" in caplog.text
    assert "these genes are dropped: B (-2), C (nan), D (missing)" in caplog.text
    with pytest.raises(TableError, match=r"leave these genes out \(`bad_values='drop'`\)"):
        read_targets(path)


def test_a_table_of_nothing_but_bad_values_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "gene_id\ttpm\nA\t-1\nB\t-2\n")
    with pytest.raises(TableError, match="no gene whose values are all numbers from 0 up; check that it is expression"):
        read_targets(path, bad_values="drop")


matrices = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.floats(0, 1e6), min_size=n, max_size=n), min_size=1, max_size=5)
)


@settings(max_examples=30, deadline=None)
@given(matrices, st.randoms(use_true_random=False))
def test_the_long_form_tells_the_same_as_the_wide_one_in_any_order(
    folder: Path, matrix: list[list[float]], shuffler: random.Random
) -> None:
    samples = [f"S{number}" for number in range(len(matrix[0]))]
    wide = ["\t".join(["gene_id", *samples]), *("\t".join([f"g{i}", *map(repr, row)]) for i, row in enumerate(matrix))]
    cells = [
        f"g{i}\t{sample}\t{value!r}" for i, row in enumerate(matrix) for sample, value in zip(samples, row, strict=True)
    ]
    shuffler.shuffle(cells)
    write(folder / "wide.tsv", "\n".join(wide))
    write(folder / "long.tsv", "\n".join(["gene_id\tsample\ttpm", *cells]))
    expected = read_samples(folder / "wide.tsv")
    assert expected.rows() == [(f"g{index}", *row) for index, row in enumerate(matrix)]
    assert read_samples(folder / "long.tsv").select(expected.columns).sort("gene_id").equals(expected.sort("gene_id"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A\ts1\t1\nA\ts2\t2\nB\ts1\t3", r"column 's2' .*: B \(missing\); leave these genes out"),
        ("A\ts1\t1\nA\ts1\t2", "more than one value or length for A in s1; keep one row a gene and sample"),
        ("A\ts1\t1\nA\t\t2", "1 rows of .* have no sample_id; fill that column"),
        ("A\ts1\t1\nB\ts1\t-3", r"column 's1' .*: B \(-3\); leave these genes out"),
    ],
)
def test_a_long_table_with_gaps_or_repeats_is_an_error(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_samples(write(tmp_path / "t.tsv", f"gene_id\tsample_id\ttpm\n{rows}\n"))


def test_of_several_values_in_the_long_form_one_must_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "gene_id\tsample\tcount\ttpm\nA\ts1\t7\t1\n")
    with pytest.raises(TableError, match="2 columns that could be expression: count, tpm; name the one that is"):
        read_samples(path)
    assert read_samples(path, column="tpm").rows() == [("A", 1.0)]
    assert median_over_samples(path, column="count").rows() == [("A", 7.0)]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 10**5), st.integers(1, 10**4), st.integers(0, 10**4)), min_size=1, max_size=6),
    st.booleans(),
)
def test_tpm_of_counts_is_reads_per_base_in_parts_per_million_of_each_sample(
    folder: Path, genes: list[tuple[int, int, int]], is_long: bool
) -> None:
    rows = [f"g{i}\t{length}\t{one}\t{other + 1}" for i, (length, one, other) in enumerate(genes)]
    header = "gene_id\tlength\tS0\tS1"
    if is_long:
        header = "gene_id\tlength\tsample\tcount"
        cells = [row.split("\t") for row in rows]
        rows = [f"{g}\t{length}\tS{s}\t{value}" for g, length, *values in cells for s, value in enumerate(values)]
    # A row that says the same twice must not count twice.
    tpm = read_samples(write(folder / "c.tsv", "\n".join([header, *rows, rows[0]])), counts_to_tpm=True)
    for sample, counts in (("S0", [one for _, one, _ in genes]), ("S1", [other + 1 for _, _, other in genes])):
        rates = [count / length for count, (length, _, _) in zip(counts, genes, strict=True)]
        assert tpm[sample].to_list() == pytest.approx([rate / sum(rates) * 1e6 for rate in rates])
        assert math.isclose(tpm[sample].sum(), 1e6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene,S0\nA,5\n", "no gene lengths, without which counts are no TPM: it has gene, S0; add a column length"),
        ("gene,length,S0\nA,0,5\n", "1 of 1 lengths in column 'length' .* not numbers above 0, first '0'; mend them"),
        ("gene,length,S0\nA,,5\n", "1 of 1 lengths in column 'length' .* first None; mend them"),
        ("gene,length,S0,S1\nA,9,5,0\n", "counts no read in S1; leave these samples out"),
        ("gene,length,S0\nA,9,5\nA,9,6\n", "has 1 genes twice: A; keep one row a gene"),
    ],
)
def test_counts_that_cannot_become_tpm_are_errors_with_a_mend(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_samples(write(tmp_path / "c.csv", text), counts_to_tpm=True)


def test_a_truncated_table_is_named_and_line_ends_of_windows_do_not_matter(tmp_path: Path) -> None:
    text = "gene\tS0\tS1\nA\t1\t2\n"
    (tmp_path / "t.gz").write_bytes(gzip.compress(text.encode())[:-9])
    with pytest.raises(TableError, match=r"truncated or damaged gzip.*fetch it again"):
        read_samples(tmp_path / "t.gz")
    assert read_samples(write(tmp_path / "t.tsv", text.replace("\n", "\r\n"))).rows() == [("A", 1.0, 2.0)]


@needs_data
def test_geuvadis_has_358_samples_of_608_genes() -> None:
    matrix = read_samples(DATA / "geuvadis_chr22" / "genes.50percent.chr22.bed.gz")
    assert matrix.shape == (608, 359)
    assert matrix.row(0)[:2] == ("ENSG00000215270", 0.7878783927)


@needs_data
def test_rampage_has_a_value_for_each_mane_gene() -> None:
    targets = read_targets(DATA / "gm12878_rampage" / "gm12878_rampage_rpm_at_mane_tss.tsv")
    assert targets.height == 19_338
    assert (targets["value"] > 0).sum() == 10_574
    assert dict(targets.rows())["ENSG00000171428"] == 3.28776


@needs_data
def test_geuvadis_medians_rank_huang_as_published_beside_them() -> None:
    medians = median_over_samples(DATA / "geuvadis_chr22" / "genes.50percent.chr22.bed.gz")
    assert medians.height == 608
    enformer = read_targets(DATA / "huang2023_benchmark" / "all_models_ref_preds.with_ensembl.csv", column="Enformer")
    assert enformer.height == 3_213
    both = medians.join(enformer, on="gene_id")
    assert both.height == 91
    spearman = both.select(pl.corr("value", "value_right", method="spearman")).item()
    assert round(spearman, 3) == 0.610  # huang2023_benchmark/README.md
