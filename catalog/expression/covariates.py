"""Covariates: numbers a gene that a model reads beside its windows, such as lengths and GC content of its transcript.

Belongs here: reading a table of them, fitting it to some genes. Does not: what a model makes of them; targets
(`catalog.expression.targets`).

A covariate is any finite number; none is scaled here. Nothing is filled in: a gene without a number is an error.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from catalog.expression.gene_rows import as_numbers, read_keyed, refuse_decimal_commas
from catalog.genes.frames import Table, as_polars
from catalog.genes.identifiers import plain_ids
from catalog.runtime import tables
from catalog.runtime.tables import TableError, listed


def read_covariates(path: str | os.PathLike[str], *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read some numbers a gene.

    Parameters
    ----------
    path
        Text with a header, plain or gzipped, in the forms of `catalog.runtime.headers` (tabs, commas, semicolons,
        blanks), or Parquet.
    columns
        Those to read, in this order; None for all but that of the gene ids.

    Returns
    -------
    `gene_id` (Ensembl ids without version) and one Float64 column a covariate, one row a gene, in the order of the
    file. A row that repeats a gene with the same numbers is dropped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it cannot be read, lacks a column, has a column twice or one of texts, if a number is missing or not finite
        (the first genes are named), or if a gene has two rows that differ.
    """
    path = Path(path)
    frame, key = read_keyed(path)
    chosen = _chosen([name for name in frame.columns if name != key], columns, where=str(path))
    doubled = [name for name in tables.repeated(frame.columns) if name in chosen]
    if doubled:
        raise TableError(f"{path} has several columns named {listed(doubled)}; name each differently")
    refuse_decimal_commas(frame, chosen, path)
    numbers = pl.DataFrame([frame[key].alias("gene_id"), *(as_numbers(frame[name]) for name in chosen)])
    texts = frame.select(pl.col(key).alias("gene_id"), *chosen)
    return _one_a_gene(_finite(numbers, chosen, shown=texts, where=str(path)), where=str(path))


def covariates_of(gene_ids: Sequence[str], covariates: Table, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Give the covariates of some genes, in their order.

    Parameters
    ----------
    gene_ids
        In any spelling of `catalog.genes.identifiers`, as in the table.
    covariates
        Table of `read_covariates`, or one of pandas or another library with `gene_id` and columns of numbers.
    columns
        Those to give, in this order; None for all.

    Returns
    -------
    One Float64 column a covariate, one row a gene.

    Raises
    ------
    TableError
        If the table lacks a gene or a column (they are named), or has what `read_covariates` refuses.
    """
    where = "the table of covariates"
    table = as_polars(covariates, needs=("gene_id",))
    chosen = _chosen([name for name in table.columns if name != "gene_id"], columns, where=where)
    texts = [name for name in chosen if not table[name].dtype.is_numeric()]
    if texts:
        raise TableError(
            f"{where} has columns that are no numbers: {listed(texts)}; convert them, or name the others: `columns=`"
        )
    known = table.select(plain_ids("gene_id"), pl.col(chosen).cast(pl.Float64)).drop_nulls("gene_id")
    known = _one_a_gene(known, where=where)
    wanted = pl.DataFrame({"gene_id": list(gene_ids)}, schema={"gene_id": pl.String})
    asked = wanted.select(plain_ids("gene_id"))
    lacking = wanted.filter(~asked["gene_id"].is_in(known["gene_id"].to_list()))["gene_id"]
    if len(lacking):
        raise TableError(
            f"{len(lacking)} of {len(wanted)} genes have no covariates: {listed(lacking.to_list())}; the table has "
            f"{listed(known['gene_id'].to_list())}: add their rows, give both the same kind of ids, or leave these "
            "genes out of the gene table"
        )
    found = asked.join(known, on="gene_id", how="left", maintain_order="left")
    return _finite(found, chosen, shown=found, where=where).select(chosen)


def _chosen(there: Sequence[str], columns: Sequence[str] | None, *, where: str) -> list[str]:
    wanted = list(there if columns is None else columns)
    lacking = [name for name in wanted if name not in there]
    if lacking:
        raise TableError(f"{where} has no column {listed(lacking)}; it has {listed(there) or 'gene ids alone'}")
    if len(set(wanted)) < len(wanted):
        raise TableError(f"`columns=` names a column of {where} twice: {listed(wanted)}; name each once")
    if not wanted:
        raise TableError(f"{where} has no covariates: it has gene ids alone; add columns of numbers")
    return wanted


def _finite(numbers: pl.DataFrame, columns: Sequence[str], *, shown: pl.DataFrame, where: str) -> pl.DataFrame:
    """Refuse what is missing, no number or infinite; `shown` has the same rows as they are written."""
    for name in columns:
        is_bad = ~numbers[name].is_finite().fill_null(value=False)
        if is_bad.any():
            bad = shown.filter(is_bad).select("gene_id", name).head(9)
            genes = [f"{gene} ({'missing' if value is None else value})" for gene, value in bad.iter_rows()]
            raise TableError(
                f"{int(is_bad.sum())} of {len(numbers)} values in column {name!r} of {where} are no finite numbers: "
                f"{listed(genes)}; mend them, leave these genes out, or name the columns to read: `columns=`"
            )
    return numbers


def _one_a_gene(rows: pl.DataFrame, *, where: str) -> pl.DataFrame:
    distinct = rows.unique(maintain_order=True)
    twice = distinct.filter(pl.col("gene_id").is_duplicated())["gene_id"].unique(maintain_order=True)
    if len(twice):
        raise TableError(
            f"{where} gives more than one row of covariates for {len(twice)} genes: {listed(twice.to_list())}; keep "
            "one row a gene"
        )
    return distinct
