"""Rows of a table by gene: the column of ids, and numbers in the others.

Belongs here: what tables of targets and of covariates are read with. Does not: what the numbers are
(`catalog.expression.targets`, `catalog.expression.covariates`).
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from catalog.genes.identifiers import GENE_ID_NAMES, find_gene_ids, is_no_gene, plain_ids
from catalog.runtime import tables
from catalog.runtime.tables import TableError, listed

_log = logging.getLogger(__name__)


def read_keyed(path: Path) -> tuple[pl.DataFrame, str]:
    """Read the rows that name a gene, Ensembl ids without version; return the column of ids with them."""
    frame = tables.read_text_or_parquet(path)
    key = find_gene_ids(frame)
    if key is None:
        raise TableError(
            f"{path} has no column that names the genes: it has {listed(frame.columns)}; name one of them "
            f"{', '.join(GENE_ID_NAMES)}; if these are values, put a header line above the first row, such as gene_id "
            "and tpm"
        )
    keyed = frame.filter((pl.col(key).str.len_bytes() > 0).fill_null(value=False) & ~is_no_gene(key))
    keyed = keyed.with_columns(plain_ids(key))
    if keyed.is_empty():
        raise TableError(f"{path} names no gene in column {key!r}, of {frame.height} rows; fill that column")
    _log.info("%s: %d rows, %d of them without gene id dropped", path, frame.height, frame.height - keyed.height)
    return keyed, key


def as_numbers(text: pl.Series) -> pl.Series:
    """Read a text column as Float64; null for what is no number."""
    return text.str.strip_chars().cast(pl.Float64, strict=False)


def refuse_decimal_commas(frame: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Refuse, with a TableError, columns of numbers such as 1,5."""
    for name in columns:
        written = frame[name].drop_nulls().str.strip_chars()
        commas = written.filter(written.str.contains(r"^-?[0-9]+,[0-9]+$"))
        if len(commas):
            raise TableError(
                f"column {name!r} of {path} has decimal commas, as in {commas[0]}; write {commas[0].replace(',', '.')}"
            )
