"""TSS signal (RAMPAGE, CAGE) at the start of each gene.

Belongs here: peaks with a summit, their quantification, and its sum around each TSS. Does not: targets from tables of
genes (`catalog.expression.targets`).

This measures promoter output, a proxy for expression where there is no RNA-seq: not the abundance of mRNA.
"""

import os
from contextlib import closing
from pathlib import Path

import polars as pl

from catalog.expression.targets import TARGET_SCHEMA
from catalog.genes.frames import Table, as_polars
from catalog.genes.table import GENE_SCHEMA
from catalog.runtime import headers, tables
from catalog.runtime.lines import TableError, read_lines
from catalog.runtime.tables import listed

PEAK_SCHEMA = pl.Schema({"peak_id": pl.String, "contig": pl.String, "strand": pl.String, "summit": pl.Int64})
"""Columns of a peak table; the summit is one base, 0-based."""
QUANTIFICATION_SCHEMA = pl.Schema({"peak_id": pl.String, "value": pl.Float64})
"""Columns of quantified peaks, one row a peak; values are finite and not negative."""


def read_peaks(path: str | os.PathLike[str]) -> pl.DataFrame:
    """Read stranded peaks of transcription start sites.

    Parameters
    ----------
    path
        BED with six columns or more and no header, plain or gzipped. The summit is column 9 if that is a base of the
        peak (the rPeak summary of ENCODE's RAMPAGE), else the middle of the thick part in columns 7 and 8 (FANTOM5's
        CAGE peaks, whose thick part is the one base of the summit), else the middle of the peak.

    Returns
    -------
    A frame with `PEAK_SCHEMA`, in the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it is truncated or not such a BED, a strand is missing, or a peak is named twice.
    """
    path = Path(path)
    _, first = headers.opening(path)
    n_columns = first.count("\t") + 1 if first else 0
    if n_columns < 6:
        raise TableError(
            f"{path} has {n_columns} tab-separated columns; peaks are a BED file of at least contig, start, end, name, "
            "score, strand"
        )
    names = ["contig", "start", "end", "peak_id", "score", "strand", "thick_start", "thick_end", "summit"]
    names = [names[index] if index < len(names) else f"column {index + 1}" for index in range(n_columns)]
    rows = (line for line in read_lines(path) if not line.startswith(headers.COMMENTS))
    frame = tables.frame_of(path, names, rows, "\t")
    start, end = (tables.whole_numbers(frame, name, path=path) for name in ("start", "end"))
    strand = tables.strands(frame["strand"])
    if not strand.is_in(["+", "-"]).all():
        raise TableError(f"{path} has peaks without strand in column 6; write '+' or '-' there")
    _refuse_repeats(frame["peak_id"], path)
    summit = (start + end) // 2
    if n_columns >= 8:
        thick = [tables.whole_numbers(frame, name, path=path) for name in ("thick_start", "thick_end")]
        summit = _inside((thick[0] + thick[1]) // 2, start, end, otherwise=summit)
    if n_columns >= 9:  # there is also BED's colour, as in 64,131,255 or 0
        summit = _inside(frame["summit"].cast(pl.Int64, strict=False), start, end, otherwise=summit)
    return pl.DataFrame([frame["peak_id"], frame["contig"], strand, summit.alias("summit")])


def read_quantification(path: str | os.PathLike[str], *, column: int) -> pl.DataFrame:
    """Read one value a peak.

    Parameters
    ----------
    path
        Tab-separated rows without header, plain or gzipped; column 1 names the peak.
    column
        Which column holds the values, counted from 1. ENCODE's RAMPAGE quantifications have RPKM in 2, reads in 3,
        reads per million in 5.

    Returns
    -------
    A frame with `QUANTIFICATION_SCHEMA`, in the order of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it is truncated, has no such column, a value is no number from 0 up, or a peak is there twice.
    """
    path = Path(path)
    with closing(read_lines(path)) as lines:
        n_columns = next(lines).count(b"\t") + 1
    if not 2 <= column <= n_columns:
        raise TableError(f"{path} has columns 1 to {n_columns}, the first the peak's name; there is no column {column}")
    names = ["peak_id", *(f"column {number}" for number in range(2, n_columns + 1))]
    frame = tables.frame_of(path, names, read_lines(path), "\t")
    values = frame[names[column - 1]].cast(pl.Float64, strict=False)
    bad = frame.filter(~(values.is_finite() & (values >= 0)).fill_null(value=False))
    if bad.height:
        peak, value = (listed([bad[name][0]]) for name in ("peak_id", names[column - 1]))
        raise TableError(
            f"{bad.height} of {frame.height} values in column {column} of {path} are not numbers from 0 up, first that "
            f"of {peak}: {value}; if there is a header, remove it, or mend the values"
        )
    _refuse_repeats(frame["peak_id"], path)
    return pl.DataFrame([frame["peak_id"], values.alias("value")])


def signal_at_tss(genes: Table, peaks: Table, quantification: Table, *, flank_bp: int = 500) -> pl.DataFrame:
    """Sum the signal of the peaks on a gene's strand whose summit lies near its TSS.

    Parameters
    ----------
    genes
        A gene table; each gene has a strand.
    peaks
        As `read_peaks` gives them, on the assembly of the genes.
    quantification
        As `read_quantification` gives it, with a value for each of the peaks.
    flank_bp
        A summit counts within the `2 * flank_bp` bases around the end of the TSS base, `[tss + 1 - flank_bp,
        tss + 1 + flank_bp)`. An even number of bases has no middle one; this is the choice of a 1-based TSS
        with 0-based summits.

    Returns
    -------
    A frame with `TARGET_SCHEMA`, one row a gene in the order of `genes`; 0 for a gene without a peak.

    Raises
    ------
    ValueError
        If a gene has no strand, a peak no value, or genes and peaks share no contig; the first ones are named.
    """
    genes = as_polars(genes, GENE_SCHEMA)
    peaks = as_polars(peaks, PEAK_SCHEMA)
    quantification = as_polars(quantification, QUANTIFICATION_SCHEMA)
    if flank_bp < 1:
        raise ValueError(f"flank_bp is a number of bases on either side, at least 1; got {flank_bp}")
    valued = peaks.join(quantification, on="peak_id", how="left")
    _check_inputs(genes, valued)
    near = (
        genes.lazy()
        .select("gene_id", "contig", "strand", first=pl.col("tss") + 1 - flank_bp, end=pl.col("tss") + 1 + flank_bp)
        .join_where(
            valued.lazy().rename({"contig": "peak_contig", "strand": "peak_strand"}),
            pl.col("summit") >= pl.col("first"),
            pl.col("summit") < pl.col("end"),
            pl.col("contig") == pl.col("peak_contig"),
            pl.col("strand") == pl.col("peak_strand"),
        )
        .group_by("gene_id")
        .agg(pl.col("value").sum())
        .collect()
    )
    return (
        genes.select("gene_id")
        .join(near, on="gene_id", how="left", maintain_order="left")
        .with_columns(pl.col("value").fill_null(0.0))
        .select(TARGET_SCHEMA.names())
    )


def _check_inputs(genes: pl.DataFrame, valued: pl.DataFrame) -> None:
    unstranded = genes.filter(~pl.col("strand").is_in(["+", "-"]))["gene_id"].to_list()
    if unstranded:
        raise ValueError(
            f"{len(unstranded)} genes have no strand: {listed(unstranded)}; leave these out, or take a gene table with "
            "strands"
        )
    lacking = valued.filter(pl.col("value").is_null())["peak_id"].to_list()
    if lacking:
        raise ValueError(
            f"{len(lacking)} peaks have no value: {listed(lacking)}; take the quantification of these peaks, or leave "
            "out those that were not quantified"
        )
    contigs = genes["contig"].unique(maintain_order=True)
    if not contigs.is_in(valued["contig"].unique().to_list()).any():
        raise ValueError(
            f"genes lie on {listed(contigs.to_list())}, peaks on {listed(valued['contig'].unique().sort().to_list())}; "
            "name the contigs alike"
        )


def _inside(base: pl.Series, start: pl.Series, end: pl.Series, *, otherwise: pl.Series) -> pl.Series:
    is_inside = ((base >= start) & (base < end)).fill_null(value=False)
    return base.zip_with(is_inside, otherwise)


def _refuse_repeats(peak_ids: pl.Series, path: Path) -> None:
    repeated = peak_ids.filter(peak_ids.is_duplicated()).unique(maintain_order=True).to_list()
    if repeated:
        raise TableError(f"{path} names peaks twice: {listed(repeated)}; keep one row a peak")
