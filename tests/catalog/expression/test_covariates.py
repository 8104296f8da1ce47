"""Covariates: what was written is read, for the genes that are asked for; nothing is filled in."""

from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import TableError, read_covariates
from catalog.expression.covariates import covariates_of

TABLE = pl.DataFrame({"gene_id": ["ENSG1", "ENSG2", "ENSG3"], "utr": [1.5, -2.0, 0.25], "gc": [0.5, 0.25, 1.0]})


def written(folder: Path, text: str) -> Path:
    path = folder / "covariates.tsv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("suffix", ["tsv", "csv", "parquet"])
def test_a_table_reads_back_from_any_kind_of_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"covariates.{suffix}"
    versioned = TABLE.with_columns(pl.col("gene_id") + ".7")
    if suffix == "parquet":
        versioned.write_parquet(path)
    else:
        versioned.write_csv(path, separator="\t" if suffix == "tsv" else ",")
    assert read_covariates(path).equals(TABLE)
    assert read_covariates(path, columns=["gc"]).equals(TABLE.select("gene_id", "gc"))


@given(st.lists(st.sampled_from(TABLE["gene_id"].to_list()), max_size=6))
def test_genes_get_their_own_rows_in_the_order_asked_for(ids: list[str]) -> None:
    rows = dict(zip(TABLE["gene_id"], TABLE.select("utr", "gc").rows(), strict=True))
    assert covariates_of(ids, TABLE).rows() == [rows[gene] for gene in ids]
    assert covariates_of([f"{gene}.2" for gene in ids], TABLE, columns=["gc"])["gc"].to_list() == [
        rows[gene][1] for gene in ids
    ]


def test_tables_of_pandas_work_where_those_of_polars_do() -> None:
    frame = pd.DataFrame({name: TABLE[name].to_list() for name in TABLE.columns})
    assert covariates_of(["ENSG3", "ENSG1"], frame).equals(covariates_of(["ENSG3", "ENSG1"], TABLE))


def test_a_repeated_row_is_one_and_two_that_differ_are_refused(tmp_path: Path) -> None:
    assert len(read_covariates(written(tmp_path, "gene_id\tgc\nENSG1\t1\nENSG1.2\t1\n"))) == 1
    with pytest.raises(TableError, match="more than one row of covariates for 1 genes: ENSG1; keep one row a gene"):
        read_covariates(written(tmp_path, "gene_id\tgc\nENSG1\t1\nENSG1.2\t2\n"))


@pytest.mark.parametrize(
    ("value", "shown"), [("", "missing"), ("NA", "NA"), ("inf", "inf"), ("nan", "nan"), ("long", "long")]
)
def test_what_is_no_finite_number_is_refused_with_its_gene(value: str, shown: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"gene_id\tgc\tutr\nENSG1\t1\t2\nENSG2\t{value}\t3\n")
    with pytest.raises(TableError, match=rf"1 of 2 values in column 'gc' .* no finite numbers: ENSG2 \({shown}\)"):
        read_covariates(path)
    assert read_covariates(path, columns=["utr"])["utr"].to_list() == [2, 3], "other columns can be read"


def test_decimal_commas_and_doubled_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"decimal commas, as in 0,5; write 0\.5"):
        read_covariates(written(tmp_path, "gene_id\tgc\nENSG1\t0,5\n"))
    with pytest.raises(TableError, match="several columns named gc; name each differently"):
        read_covariates(written(tmp_path, "gene_id\tgc\tgc\nENSG1\t1\t2\n"))


def test_missing_columns_and_genes_are_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "gene_id\tgc\nENSG1\t1\n")
    with pytest.raises(TableError, match="has no column utr; it has gc"):
        read_covariates(path, columns=["utr"])
    with pytest.raises(TableError, match=r"`columns=` names a column of .* twice: gc, gc"):
        read_covariates(path, columns=["gc", "gc"])
    with pytest.raises(TableError, match="has no column utr; it has gc"):
        covariates_of(["ENSG1"], TABLE.select("gene_id", "gc"), columns=["utr"])
    with pytest.raises(TableError, match="2 of 3 genes have no covariates: ENSG8, ENSG9; the table has ENSG1"):
        covariates_of(["ENSG1", "ENSG8", "ENSG9"], TABLE)
    with pytest.raises(TableError, match="no covariates: it has gene ids alone"):
        covariates_of(["ENSG1"], TABLE.select("gene_id"))


def test_a_column_of_texts_and_a_gap_in_a_frame_are_refused() -> None:
    with pytest.raises(TableError, match="columns that are no numbers: kind; convert them, or name the others"):
        covariates_of(["ENSG1"], TABLE.with_columns(kind=pl.lit("a")))
    gap = TABLE.with_columns(gc=pl.Series([None, 0.5, 0.5]))
    with pytest.raises(TableError, match=r"1 of 1 values in column 'gc' .* ENSG1 \(missing\)"):
        covariates_of(["ENSG1"], gap)
    assert covariates_of(["ENSG2"], gap)["gc"].to_list() == [0.5], "a gap of a gene that is not asked for is no matter"
