"""Gene models: where the exons and the coding sequence of each gene lie.

Belongs here: the exon and CDS rows of GTF and GFF3 files, merged over the transcripts of a gene. Does not: what makes a
row that of a gene (`catalog.genes.annotation`), which genes are kept and on which contigs (`catalog.genes.table`).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from catalog.genes.annotation import is_gene, parsed_attributes
from catalog.genes.attributes import gff3_attributes, gtf_attributes
from catalog.genes.format_plugins import format_of
from catalog.genes.identifiers import plain_ids
from catalog.runtime.lines import Line, TableError, read_lines

MODEL_SCHEMA = pl.Schema(
    {
        "gene_id": pl.String(),  # in the spelling of `catalog.genes.identifiers`
        "part": pl.Enum(["gene", "exon", "CDS"]),
        "start": pl.Int64(),  # 0-based bp
        "end": pl.Int64(),  # half-open
    }
)
"""Columns of gene models: one row a gene, and one for each stretch of its exons and of its coding sequence."""

_PARTS = {b"exon": "exon", b"CDS": "CDS"}
_DEEPEST = 8
"""Levels from an exon up to its gene; annotations have one or two."""
_LAST = 1 << 62
"""Beyond any contig (bp)."""
_Row = tuple[str, str, int, int]


class _Part(NamedTuple):
    """A gene, exon or CDS row of a GFF3."""

    names: list[str]
    """Its gene's id if it is that of a gene; else its parents."""
    part: str
    start: int
    end: int


def has_gene_models(path: str | os.PathLike[str]) -> bool:
    """Tell whether a gene table is of a format that says where exons lie."""
    return format_of(Path(path)) in ("gtf", "gff3")


def read_gene_models(path: str | os.PathLike[str]) -> pl.DataFrame:
    """Read the extent, exons and coding sequence of each gene of an annotation, of all its transcripts together.

    Stretches that overlap or adjoin are merged; those outside the extent of their gene are left out. About 30 µs an
    exon or CDS row.

    Returns
    -------
    A frame with `MODEL_SCHEMA`, by gene: its own row, its exons, its coding sequence, each ascending.

    Raises
    ------
    TableError
        If it is neither GTF nor GFF3, or is damaged.
    """
    path = Path(path)
    kind = format_of(path)
    if kind not in ("gtf", "gff3"):
        raise TableError(f"{path} is a table of format {kind}, which has no exons; take a GTF or GFF3")
    rows = _gtf_rows(path) if kind == "gtf" else _gff3_rows(path)
    distinct = list(dict.fromkeys(rows))  # transcripts of a gene share most exons
    found = pl.DataFrame(distinct, schema=MODEL_SCHEMA, orient="row").with_columns(plain_ids("gene_id"))
    genes = found.filter(pl.col("part") == "gene").unique("gene_id", keep="first", maintain_order=True)
    extent = genes.select("gene_id", first="start", last="end")
    inside = (
        found.filter(pl.col("part") != "gene")
        .join(extent, on="gene_id")
        .filter((pl.col("start") >= pl.col("first")) & (pl.col("end") <= pl.col("last")))
    )
    return pl.concat([genes, _merged(inside)]).sort("gene_id", "part", "start")


def _merged(parts: pl.DataFrame) -> pl.DataFrame:
    """Merge the stretches of each gene and part that overlap or adjoin."""
    of_part = ["gene_id", "part"]
    reached = pl.col("end").cum_max().shift(1).over(of_part)
    return (
        parts.sort([*of_part, "start"])
        .with_columns(run=(pl.col("start") > reached).fill_null(value=True).cum_sum())
        .group_by([*of_part, "run"])
        .agg(pl.col("start").min(), pl.col("end").max())
        .select(MODEL_SCHEMA.names())
    )


def _gtf_rows(path: Path) -> Iterator[_Row]:
    for line, kind, start, end in _rows(path):
        if kind in _PARTS or is_gene(kind):
            named = parsed_attributes(line, gtf_attributes, path)
            yield named.get("gene_id", ""), _PARTS.get(kind, "gene"), start, end


def _gff3_rows(path: Path) -> Iterator[_Row]:
    """Find the gene of each part through its parents, which may stand behind it."""
    genes: dict[str, str] = {}
    parents: dict[str, list[str]] = {}
    parts: list[_Part] = []
    for line, kind, start, end in _rows(path):
        named = parsed_attributes(line, gff3_attributes, path)
        own, above = named.get("ID", ""), named.get("Parent", "").split(",")
        if is_gene(kind):
            genes[own] = named.get("gene_id") or own.removeprefix("gene:").removeprefix("gene-")
            yield genes[own], "gene", start, end
        elif kind in _PARTS:
            parts.append(_Part(above, _PARTS[kind], start, end))
        else:
            parents[own] = above
    for names, part, start, end in parts:
        for gene in _genes_above(names, genes, parents):
            yield gene, part, start, end


def _genes_above(names: list[str], genes: dict[str, str], parents: dict[str, list[str]]) -> set[str]:
    for _ in range(_DEEPEST):
        if found := {genes[name] for name in names if name in genes}:
            return found
        names = [above for name in names for above in parents.get(name, ())]
    return set()


def _rows(path: Path) -> Iterator[tuple[Line, bytes, int, int]]:
    """Read the rows of an annotation with their type and positions (0-based, half-open)."""
    for line in read_lines(path):
        if line.startswith((b"##FASTA", b">")):
            return
        if line.startswith(b"#"):
            continue
        fields = line.split(b"\t", 5)
        try:
            start, end = int(fields[3]) - 1, int(fields[4])
        except (ValueError, IndexError):
            start = end = 0
        if not 0 <= start < end <= _LAST:
            raise TableError(
                f"line {line.number} of {path} has no start and end in its fourth and fifth column: {line.shown()}; "
                "take the annotation as it was published"
            )
        yield line, fields[2], start, end
