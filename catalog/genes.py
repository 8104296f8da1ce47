"""Genes and where they start: one table, whatever file it came from.

Belongs here: one schema for all gene tables, reading and writing it, fitting it to an assembly. Does not: the formats
that files come in (`catalog.gene_formats`), what a gene is called in prose (`catalog.ncbi`), how much it is expressed
(`catalog.expression`).

`read_genes` says at INFO what it dropped and why (`logging.getLogger("catalog.genes")`).
"""

import logging
import os
from pathlib import Path
from typing import get_args

import polars as pl

from catalog import tables
from catalog.assembly import Assembly, AssemblyMismatch, UnknownContig
from catalog.gene_formats import READERS, Dropped, GeneFormat, format_of
from catalog.tables import TableError, listed

GENE_SCHEMA = pl.Schema(
    {
        "gene_id": pl.String,  # Ensembl ids without version
        "symbol": pl.String,  # the gene_id where there is none
        "contig": pl.String,
        "strand": pl.String,  # "+", "-", or "." for unknown
        "tss": pl.Int64,  # transcription start site, 0-based bp
        "biotype": pl.String,  # null for unknown
    }
)
"""Columns of a gene table, one row a gene."""

_CHROMOSOMES = {f"NC_{number:06d}": f"chr{number}" for number in range(1, 23)} | {
    "NC_000023": "chrX",
    "NC_000024": "chrY",
    "NC_012920": "chrM",
}
"""RefSeq accessions of the human chromosomes, the same in GRCh37 and GRCh38 but for their versions."""

_log = logging.getLogger(__name__)


def read_genes(path: str | os.PathLike[str], *, format: GeneFormat | None = None) -> pl.DataFrame:  # noqa: A002  # the word users know from polars and pandas
    """Read a gene table, one row a gene, in the order of the file.

    Parameters
    ----------
    path
        A text file, plain or gzipped:

        - `mane`: the MANE summary; Plus Clinical transcripts are dropped, so that each gene has one TSS;
        - `gtf`, `gff3`: the gene rows of an annotation (GENCODE, Ensembl, RefSeq); TSS = first base of the gene on
          `+`, last on `-`;
        - `bed`: 0-based and half-open, TSS = start on `+` and `.`, end - 1 on `-`. Columns are found by a `#chr ...`
          header, else strand and name by what they hold. The selene gene files give 1-based starts in a BED: there
          the TSS on `+` comes out one base to the right.
        - `table`: tab- or comma-separated with a header. Positions are 0-based under `tss`, 1-based under
          `tss_1based` or `TSS`: that of ExPecto's geneanno.csv is, since it equals the 1-based start or end of the
          gene for 482 of the 516 genes that it shares with GENCODE v19 on chr22, and is never one less throughout.

        RefSeq accessions of human chromosomes become `chr1` ... `chrM`; other contig names stay (`match_contigs`).
    format
        One of these; by default told from the content.

    Returns
    -------
    A frame with `GENE_SCHEMA`. Of rows with the same gene id the first is kept; rows without id, contig or position
    are dropped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it is empty, truncated, not of that format, or lacks a column; the message lists what was found.
    """
    if format is not None and format not in get_args(GeneFormat):
        raise ValueError(f"format must be one of {', '.join(get_args(GeneFormat))} or None, got {format!r}")
    path = Path(path)
    kind = format or format_of(path)
    found, dropped = READERS[kind](path)
    genes = _settled(found, dropped, path)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
    _log.info("%s: %d genes (read as %s); dropped: %s", path, genes.height, kind, reasons or "nothing")
    if genes.is_empty():
        raise TableError(
            f"{path}, read as {kind}, leaves no gene (dropped: {reasons or 'nothing, it has no rows'}); "
            "check that it is the file you mean, or name its format"
        )
    return genes


def write_genes(genes: pl.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a gene table that `read_genes` reads back as it is; `.gz` is compressed.

    Raises
    ------
    ValueError
        If the frame does not have `GENE_SCHEMA`, or a text holds a tab or a line break.
    """
    if genes.schema != GENE_SCHEMA:
        raise ValueError(
            f"a gene table has the columns {dict(GENE_SCHEMA)}, got {dict(genes.schema)}; "
            "select and cast them: genes.select(GENE_SCHEMA.names()).cast(GENE_SCHEMA)"
        )
    tables.write_table(genes, path)


def match_contigs(genes: pl.DataFrame, assembly: Assembly) -> pl.DataFrame:
    """Name contigs as the assembly does; drop genes that do not lie on it, and log how many.

    `1` finds `chr1` and the reverse; `chr1` also finds `NC_000001.11`.

    Raises
    ------
    AssemblyMismatch
        If no gene is left; the message lists the contigs of both sides.
    """
    lengths = assembly.lengths
    accessions = {
        _CHROMOSOMES[accession]: name for name in lengths if (accession := name.split(".")[0]) in _CHROMOSOMES
    }
    names = {contig: _name_in(assembly, contig, accessions) for contig in genes["contig"].unique(maintain_order=True)}
    placed = genes.with_columns(
        pl.col("contig").replace_strict(names, return_dtype=pl.String),
    ).with_columns(
        pl.col("contig").replace_strict(lengths, default=None, return_dtype=pl.Int64).alias("length"),
    )
    missing = [contig for contig, name in names.items() if name is None]
    lacks_contig = placed["contig"].is_null()
    inside = (placed["tss"] >= 0) & (placed["tss"] < placed["length"])
    kept = placed.filter(inside.fill_null(value=False)).drop("length")
    _log.info(
        "%s: %d of %d genes lie on it; dropped: %d on contigs that it lacks (%s), %d past the end of their contig",
        assembly.name,
        kept.height,
        genes.height,
        lacks_contig.sum(),
        listed(missing) or "none",
        (~inside & ~lacks_contig).sum(),
    )
    if kept.is_empty():
        raise AssemblyMismatch(
            f"no gene lies on {assembly.name}: the genes are on {listed(list(names)) or 'no contig'}, "
            f"the assembly has {listed([f'{name} ({length:,} bp)' for name, length in lengths.items()])}; "
            "take a gene table of that assembly, or rename its contigs"
        )
    return kept


def _name_in(assembly: Assembly, contig: str, accessions: dict[str, str]) -> str | None:
    try:
        return assembly.resolve(contig)
    except UnknownContig:
        return accessions.get(contig)


def _settled(found: pl.DataFrame, dropped: Dropped, path: Path) -> pl.DataFrame:
    """Bring ids, contigs and strands to one spelling; drop what has none, and repeats."""
    accession = pl.col("contig").str.extract(r"^(NC_\d{6})\.\d+$")
    texts = ("gene_id", "symbol", "contig", "strand", "biotype")
    genes = found.with_columns(
        pl.when(pl.col(texts).str.len_bytes() > 0).then(pl.col(texts)).name.keep(),
    ).with_columns(
        tables.without_version("gene_id"),
        pl.coalesce(accession.replace_strict(_CHROMOSOMES, default=None, return_dtype=pl.String), "contig").alias(
            "contig"
        ),
        pl.col("strand").fill_null(".").replace({"1": "+", "-1": "-"}),
    )
    wrong = genes.filter(~pl.col("strand").is_in(["+", "-", "."]))["strand"].unique(maintain_order=True)
    if len(wrong):
        raise TableError(
            f"{path} has strands {', '.join(map(repr, wrong[:5]))}; write them as '+', '-', or '.' if unknown"
        )
    for name, reason in (("gene_id", "without gene id"), ("contig", "without contig"), ("tss", "without position")):
        dropped[reason] += genes[name].null_count()
        genes = genes.drop_nulls(name)
    repeated = genes.filter(~pl.col("gene_id").is_first_distinct())["gene_id"]
    dropped[f"repeated gene ids ({listed(repeated.unique(maintain_order=True).to_list())})"] += len(repeated)
    return (
        genes.unique("gene_id", keep="first", maintain_order=True)
        .with_columns(pl.coalesce("symbol", "gene_id").alias("symbol"))
        .select(GENE_SCHEMA.names())
    )
