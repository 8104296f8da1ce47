"""How much each gene is expressed: the targets that a model learns.

Belongs here: reading one value a gene from a table. Does not: transforms such as log1p, which are a choice of the
model's training, nor where genes lie (`catalog.genes`).
"""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from catalog import tables
from catalog.gene_formats import GENE_ID_NAMES
from catalog.tables import TableError, listed

TARGET_SCHEMA = pl.Schema({"gene_id": pl.String, "value": pl.Float64})
"""Columns of a target table, one row a gene; values are finite and not negative."""

_DESCRIPTORS = {
    *("symbol", "gene_symbol", "gene_name", "hgnc_symbol", "name", "description", "score"),
    *("ncbi_gene_id", "ncbi_geneid", "entrez_id", "entrezgene", "biotype", "gene_type", "gene_biotype", "type"),
    *("contig", "chrom", "chr", "chromosome", "seqnames", "strand", "start", "end", "chr_start", "chr_end"),
    *("tss", "tss_1based", "cage_representative_tss", "length", "gene_length"),
}
"""Plain names of columns that say what a gene is; a number there is no expression."""

_NAMELESS = re.compile(r"(column|unnamed:) ?[0-9]+$", re.IGNORECASE)
"""What a column without a name is called, by `catalog.tables` and by pandas: mostly a row number."""

_log = logging.getLogger(__name__)


def read_targets(path: str | os.PathLike[str], *, column: str | None = None) -> pl.DataFrame:
    """Read one expression value a gene.

    Parameters
    ----------
    path
        Tab- or comma-separated text with a header, plain or gzipped, or Parquet.
    column
        Which column holds the values; not needed if only one holds numbers that are not coordinates or the like.

    Returns
    -------
    A frame with `TARGET_SCHEMA`, in the order of the file; Ensembl ids without version. Rows without gene id are
    dropped, and a row that repeats a gene with the same value.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it cannot be read, if the column is not there or not plain, if a value is missing, no number, negative or
        infinite (the first genes are named), or if a gene has two values.
    """
    path = Path(path)
    frame, key = _read_keyed(path)
    chosen = _value_column(frame, key, column, path)
    _refuse_bad_values(frame, key, chosen, path)
    return _one_a_gene(frame[key], _numbers(frame[chosen]), repr(chosen), path)


def median_over_samples(path: str | os.PathLike[str]) -> pl.DataFrame:
    """Read a matrix of genes and samples, and take each gene's median over the samples.

    Parameters
    ----------
    path
        A table such as the Geuvadis BED (`#chr start end gene length strand HG00096 ...`): each column that is numeric
        and does not describe the gene is a sample.

    Returns
    -------
    A frame with `TARGET_SCHEMA`, in the order of the file.

    Raises
    ------
    TableError
        As `read_targets` does.
    """
    path = Path(path)
    frame, key = _read_keyed(path)
    samples = _candidates(frame, key)
    if not samples:
        raise TableError(
            f"{path} has no column of numbers that could be a sample: it has {listed(frame.columns)}; "
            "expected one row a gene and one column a sample"
        )
    for sample in samples:
        _refuse_bad_values(frame, key, sample, path)
    matrix = np.stack([_numbers(frame[sample]).to_numpy() for sample in samples], axis=1)
    medians = pl.Series(np.median(matrix, axis=1), dtype=pl.Float64)
    return _one_a_gene(frame[key], medians, f"medians over {len(samples)} samples", path)


def _read_keyed(path: Path) -> tuple[pl.DataFrame, str]:
    """Read the rows that name a gene, Ensembl ids without version; give the column that does."""
    frame = _read(path)
    key = tables.find_column(frame.columns, GENE_ID_NAMES)
    if key is None:
        raise TableError(
            f"{path} has no column that names the genes: it has {listed(frame.columns)}; name one of them "
            f"{', '.join(GENE_ID_NAMES)}"
        )
    keyed = frame.filter((pl.col(key).str.len_bytes() > 0).fill_null(value=False)).with_columns(
        tables.without_version(key)
    )
    if keyed.is_empty():
        raise TableError(f"{path} names no gene in column {key!r}, of {frame.height} rows; fill that column")
    _log.info("%s: %d rows, %d of them without gene id dropped", path, frame.height, frame.height - keyed.height)
    return keyed, key


def _one_a_gene(gene_ids: pl.Series, values: pl.Series, what: str, path: Path) -> pl.DataFrame:
    rows = pl.DataFrame([gene_ids.alias("gene_id"), values.alias("value")])
    targets = rows.unique(maintain_order=True)
    twice = targets.filter(pl.col("gene_id").is_duplicated())["gene_id"].unique(maintain_order=True)
    if len(twice):
        raise TableError(
            f"{path} gives more than one value ({what}) for {len(twice)} genes: {listed(twice.to_list())}; "
            "keep one row a gene"
        )
    _log.info("%s: %s of %d genes; %d repeated rows dropped", path, what, targets.height, rows.height - targets.height)
    return targets


def _read(path: Path) -> pl.DataFrame:
    """Read all columns as text, so that one rule says what a number is."""
    if path.is_file():
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        if is_parquet:
            return _read_parquet(path)
    return tables.read_table(path)


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(f"{path} is a damaged or truncated Parquet file ({error}); write or fetch it again") from error
    plain = [name for name, dtype in frame.schema.items() if dtype.is_numeric() or dtype in (pl.String, pl.Categorical)]
    return frame.select(pl.col(plain).cast(pl.String))


def _value_column(frame: pl.DataFrame, key: str, column: str | None, path: Path) -> str:
    if column is not None:
        if column not in frame.columns:
            raise TableError(f"{path} has no column {column!r}; it has {listed(frame.columns)}")
        return column
    candidates = _candidates(frame, key)
    if len(candidates) != 1:
        raise TableError(
            f"{path} has {len(candidates) or 'no'} columns that could be expression: "
            f"{listed(candidates or frame.columns)}; name the one that is: column=..."
        )
    return candidates[0]


def _candidates(frame: pl.DataFrame, key: str) -> Sequence[str]:
    """Give the columns that hold mostly numbers and do not describe the gene; what is no number in them is an error."""
    others = [name for name in frame.columns if name != key and tables.plain_name(name) not in _DESCRIPTORS]
    named = [name for name in others if not _NAMELESS.match(name)]
    return [name for name in named if _numbers(frame[name]).count() * 2 > frame[name].count()]


def _numbers(text: pl.Series) -> pl.Series:
    return text.str.strip_chars().cast(pl.Float64, strict=False)


def _refuse_bad_values(frame: pl.DataFrame, key: str, column: str, path: Path) -> None:
    values = _numbers(frame[column])
    is_good = (values.is_finite() & (values >= 0)).fill_null(value=False)
    if is_good.all():
        return
    bad = frame.filter(~is_good)
    first = [f"{gene} ({'missing' if text is None else text})" for gene, text in bad.select(key, column).iter_rows()]
    hint = "; if it is on a log scale, undo that" if (values < 0).any() else ""
    raise TableError(
        f"{bad.height} of {frame.height} values in column {column!r} of {path} are not numbers from 0 up: "
        f"{listed(first)}; leave these genes out, or mend their values{hint}"
    )
