"""Expression tables: the targets that a model learns.

Belongs here: reading one value a gene, or one a gene and sample, from a table. Does not: transforms such as log1p,
which are a choice of the model's training, nor where genes lie (`catalog.genes.table`), nor signal by position
(`catalog.expression.promoters`).
"""

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from catalog.expression.gene_rows import as_numbers, read_keyed, refuse_decimal_commas
from catalog.genes.identifiers import is_nameless
from catalog.runtime import tables
from catalog.runtime.tables import TableError, listed

BadValues = Literal["error", "drop", "zero"]
"""What to do about values that are missing, NaN, infinite or negative: raise, or drop the gene and log a warning.
`zero` takes negative ones, which expression that is corrected for covariates has, for 0, and raises for the others."""

TARGET_SCHEMA = pl.Schema({"gene_id": pl.String, "value": pl.Float64})
"""Columns of a target table, one row a gene; values are finite and not negative."""

_LENGTH_NAMES = ("length", "gene_length")
_SAMPLE_NAMES = (
    "sample",
    "sample_id",
    "individual",
    "individual_id",
    "donor",
    "donor_id",
    "subject",
    "cell_line",
    "run",
)
_DESCRIPTORS = {
    *("symbol", "gene_symbol", "gene_name", "hgnc_symbol", "name", "name2", "description", "score", "id"),
    *("ncbi_gene_id", "ncbi_geneid", "entrez_id", "entrezgene", "biotype", "gene_type", "gene_biotype", "type"),
    *("contig", "chrom", "chr", "chromosome", "chromosome_scaffold_name", "seqnames", "strand", "start", "end"),
    *("chr_start", "chr_end", "gene_start_bp", "gene_end_bp", "transcript_start_bp", "transcript_end_bp"),
    *("txstart", "txend", "chromstart", "chromend", "transcription_start_site_tss"),
    *("tss", "tss_1based", "cage_representative_tss", *_LENGTH_NAMES),
    *("targetid", "coord"),  # Geuvadis's matrices
}
"""Names of columns that describe a gene; a number there is not an expression value."""

_log = logging.getLogger(__name__)


def read_targets(
    path: str | os.PathLike[str], *, column: str | None = None, bad_values: BadValues = "error"
) -> pl.DataFrame:
    """Read one expression value a gene.

    Parameters
    ----------
    path
        Text with a header, plain or gzipped, in the forms of `catalog.runtime.headers` (tabs, commas, semicolons,
        blanks, GCT, R's row names), or Parquet.
    column
        Which column holds the values; not needed if only one holds numbers that are not coordinates or the like.
    bad_values
        Values that are missing, no number, negative or infinite are an error, or their genes are dropped with a warning
        that counts and names them; or negative ones are 0.

    Returns
    -------
    A frame with `TARGET_SCHEMA`, in the order of the file; Ensembl ids without version. Rows without gene id are
    dropped, and a row that repeats a gene with the same value.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it cannot be read, if the column is not there or not plain, if a value is bad (the first genes are named), or
        if a gene has two values.
    """
    path = Path(path)
    frame, key = read_keyed(path)
    chosen = _value_column(frame, key, column, path)
    frame = _with_good_values(frame, key, [chosen], path, bad_values)
    return _one_a_gene(frame[key], as_numbers(frame[chosen]), repr(chosen), path)


def read_samples(
    path: str | os.PathLike[str],
    *,
    column: str | None = None,
    counts_to_tpm: bool = False,
    bad_values: BadValues = "error",
    samples: Collection[str] | None = None,
) -> pl.DataFrame:
    """Read one expression value for each gene and sample.

    Parameters
    ----------
    path
        Text with a header or Parquet, in one of two forms. Wide: one row a gene, each column that is numeric and does
        not describe the gene is a sample, as in the Geuvadis BED (`#chr start end gene length strand HG00096 ...`).
        Long: one row a gene and sample, with a column `sample` (or `individual`, `donor`, ...) and one of numbers.
    column
        In the long form, which column holds the values; not needed if only one could.
    counts_to_tpm
        The values are read counts, to be converted to transcripts per million: counts over the column `length` (bp),
        scaled to a million in each sample over the genes of this table, which must hold all genes that were counted.
    bad_values
        As in `read_targets`; in the long form also a gene that some samples lack. Dropped genes do not
        count towards the million.
    samples
        Names of those to read; None for all.

    Returns
    -------
    `gene_id` (Ensembl ids without version) and one Float64 column a sample, one row a gene, in the order of the file.

    Raises
    ------
    TableError
        As `read_targets` does; also if several columns have the name of one sample, the table lacks a sample that is
        named, counts come without lengths, or a sample has no counts.
    """
    path = Path(path)
    frame, key = read_keyed(path)
    sample = tables.find_column([name for name in frame.columns if name != key], _SAMPLE_NAMES)
    if sample is not None:
        frame = _widened(frame, key, sample, column, path)
    there = _candidates(frame, key)
    if not there:
        refuse_decimal_commas(frame, [name for name in frame.columns if name != key], path)
        raise TableError(
            f"{path} has no column of numbers that could be a sample: it has {listed(frame.columns)}; expected one row "
            "a gene and one column a sample, or one row a gene and sample with a column named sample"
        )
    if sample is None:
        _refuse_repeated(frame.columns, there, path)
    chosen = _chosen(there, samples, path)
    frame = _with_good_values(frame, key, chosen, path, bad_values)
    numbers = [frame[key].alias("gene_id"), *(as_numbers(frame[name]) for name in chosen)]
    if counts_to_tpm:
        numbers.append(_lengths(frame, path).alias("length"))
    matrix = pl.DataFrame(numbers).unique(maintain_order=True)
    twice = matrix.filter(pl.col("gene_id").is_duplicated())["gene_id"].unique(maintain_order=True)
    if len(twice):
        raise TableError(f"{path} has {len(twice)} genes twice: {listed(twice.to_list())}; keep one row a gene")
    _log.info("%s: %d genes, %d samples", path, matrix.height, len(chosen))
    return _tpm(matrix, chosen, path) if counts_to_tpm else matrix


def median_over_samples(
    path: str | os.PathLike[str],
    *,
    column: str | None = None,
    counts_to_tpm: bool = False,
    bad_values: BadValues = "error",
    samples: Collection[str] | None = None,
) -> pl.DataFrame:
    """Take each gene's median over the samples that `read_samples` reads.

    Returns
    -------
    A frame with `TARGET_SCHEMA`, in the order of the file.

    Raises
    ------
    TableError
        As `read_samples` does.
    """
    matrix = read_samples(path, column=column, counts_to_tpm=counts_to_tpm, bad_values=bad_values, samples=samples)
    medians = np.median(matrix.drop("gene_id").to_numpy(), axis=1)
    return pl.DataFrame([matrix["gene_id"], pl.Series("value", medians, dtype=pl.Float64)])


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """How a table of expression becomes one value a gene."""

    medians: bool = False
    """A target is the median over the samples of its gene: of a matrix with a column a sample, as Geuvadis's, or of a
    table with a row a gene and sample."""
    samples: Path | None = None
    """With --medians: file with the names of the samples to take, one a line. [default: all]"""
    bad_values: BadValues = "error"
    """Values that are missing, no numbers, infinite or negative: error; drop leaves their genes out; zero takes
    negative ones, which corrected expression has, for 0."""

    def __post_init__(self) -> None:
        if self.samples is not None and not self.medians:
            raise ValueError("`samples=` names those that the median is taken over; it goes with `medians=True`")

    def read(self, path: str | os.PathLike[str], *, column: str | None = None) -> pl.DataFrame:
        """Read a table: `median_over_samples` if `medians` is set, else `read_targets`."""
        if not self.medians:
            return read_targets(path, column=column, bad_values=self.bad_values)
        samples = None if self.samples is None else _names_in(self.samples)
        return median_over_samples(path, column=column, bad_values=self.bad_values, samples=samples)


def _names_in(path: Path) -> list[str]:
    lines = [line.decoded(path).strip() for line in tables.read_lines(path) if not line.startswith(b"#")]
    if not lines:
        raise TableError(f"{path} names no sample; write one a line")
    return lines


def _refuse_repeated(columns: Sequence[str], samples: Sequence[str], path: Path) -> None:
    repeated = [name for name in tables.repeated(columns) if name in samples]
    if repeated:
        raise TableError(
            f"{path} has several columns for {len(repeated)} of its samples: {listed(repeated)}; keep one column a "
            "sample, or give each of them a name of its own"
        )


def _chosen(there: Sequence[str], wanted: Collection[str] | None, path: Path) -> Sequence[str]:
    if wanted is None:
        return there
    lacking = [name for name in wanted if name not in there]
    if lacking or not wanted:
        raise TableError(
            f"{path} lacks {len(lacking)} of the {len(wanted)} samples that are named: {listed(lacking)}; it has "
            f"{listed(there)}: name some of these"
        )
    return [name for name in there if name in set(wanted)]


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


def _value_column(frame: pl.DataFrame, key: str, column: str | None, path: Path) -> str:
    if column is not None:
        if column not in frame.columns:
            raise TableError(f"{path} has no column {column!r}; it has {listed(frame.columns)}")
        refuse_decimal_commas(frame, [column], path)
        return column
    candidates = _candidates(frame, key)
    if not candidates:
        refuse_decimal_commas(frame, [name for name in frame.columns if name != key], path)
    if len(candidates) != 1:
        raise TableError(
            f"{path} has {len(candidates) or 'no'} columns that could be expression: "
            f"{listed(candidates or frame.columns)}; name the one that is: column=..., or, if these are samples, take "
            "their median (`medians=True`)"
        )
    return candidates[0]


def _candidates(frame: pl.DataFrame, key: str) -> Sequence[str]:
    """Return the columns of mostly numbers that do not describe the gene; anything else in them is an error."""
    others = [name for name in frame.columns if name != key and tables.plain_name(name) not in _DESCRIPTORS]
    named = [name for name in others if not is_nameless(name)]
    return [name for name in named if as_numbers(frame[name]).count() * 2 > frame[name].count()]


def _with_good_values(
    frame: pl.DataFrame, key: str, columns: Sequence[str], path: Path, bad_values: BadValues
) -> pl.DataFrame:
    """Refuse or drop the rows in which a column holds anything but a finite number >= 0, or make negative ones 0."""
    if bad_values == "zero":
        frame = _without_negatives(frame, columns, path)
    for column in columns:
        values = as_numbers(frame[column])
        is_good = (values.is_finite() & (values >= 0)).fill_null(value=False)
        if is_good.all():
            continue
        bad = frame.filter(~is_good)
        shown = [
            f"{gene} ({'missing' if text is None else text})" for gene, text in bad.select(key, column).iter_rows()
        ]
        what = f"{bad.height} of {frame.height} values in column {column!r} of {path} are not numbers from 0 up"
        if bad_values != "drop":
            log_scale = "; if it is on a log scale, undo that, and if it is corrected for covariates, take "
            hint = f"{log_scale}negative values for 0 (`bad_values='zero'`)" if (values < 0).any() else ""
            raise TableError(
                f"{what}: {listed(shown)}; leave these genes out (`bad_values='drop'`), or mend their values{hint}"
            )
        _log.warning("%s; these genes are dropped: %s", what, listed(shown))
        frame = frame.filter(is_good)
    if frame.is_empty():
        raise TableError(f"{path} has no gene whose values are all numbers from 0 up; check that it is expression")
    return frame


def _without_negatives(frame: pl.DataFrame, columns: Sequence[str], path: Path) -> pl.DataFrame:
    negative = [as_numbers(frame[name]).is_finite() & (as_numbers(frame[name]) < 0) for name in columns]
    count = sum(int(where.sum()) for where in negative)
    if not count:
        return frame
    _log.warning("%s: %d of %d values are negative, and are taken for 0", path, count, frame.height * len(columns))
    return frame.with_columns(
        frame[name].scatter(where.fill_null(value=False).arg_true(), "0").alias(name)
        for name, where in zip(columns, negative, strict=True)
    )


def _widened(frame: pl.DataFrame, key: str, sample: str, column: str | None, path: Path) -> pl.DataFrame:
    """Pivot from long to wide: one row a gene, one column a sample."""
    value = _value_column(frame.drop(sample), key, column, path)
    length = tables.find_column(frame.columns, _LENGTH_NAMES)
    index = [key] if length is None else [key, length]
    unnamed = frame[sample].null_count()
    if unnamed:
        raise TableError(f"{unnamed} rows of {path} have no {sample}; fill that column, or remove the rows")
    rows = frame.select(*index, sample, value).unique(maintain_order=True)
    twice = rows.filter(pl.struct(key, sample).is_duplicated()).select(key, sample).unique(maintain_order=True)
    if twice.height:
        shown = [f"{gene} in {where}" for gene, where in twice.iter_rows()]
        raise TableError(
            f"{path} gives more than one value or length for {listed(shown)}; keep one row a gene and sample"
        )
    return rows.pivot(on=sample, index=index, values=value, maintain_order=True)


def _lengths(frame: pl.DataFrame, path: Path) -> pl.Series:
    column = tables.find_column(frame.columns, _LENGTH_NAMES)
    if column is None:
        raise TableError(
            f"{path} has no gene lengths, without which counts are no TPM: it has {listed(frame.columns)}; add a "
            "column length (exonic bp of each gene), or give a table of TPM"
        )
    lengths = as_numbers(frame[column])
    is_good = (lengths.is_finite() & (lengths > 0)).fill_null(value=False)
    if not is_good.all():
        raise TableError(
            f"{(~is_good).sum()} of {frame.height} lengths in column {column!r} of {path} are not numbers above 0, "
            f"first {frame[column].filter(~is_good)[0]!r}; mend them, or leave these genes out"
        )
    return lengths


def _tpm(counts: pl.DataFrame, samples: Sequence[str], path: Path) -> pl.DataFrame:
    rates = counts.select("gene_id", pl.col(samples) / pl.col("length"))
    nothing = [name for name in samples if rates[name].sum() == 0]
    if nothing:
        raise TableError(f"{path} counts no read in {listed(nothing)}; leave these samples out")
    return rates.with_columns(pl.col(samples) / pl.col(samples).sum() * 1e6)
