"""Anchors: positions that windows are centred on to the base, such as the transcription start sites of genes.

Belongs here: the table of anchors, its order, reading it. Does not: where genes start (`catalog.genes.table`), the
features around anchors (`featurestore.anchored.layout`).
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from catalog.assembly import Assembly
from catalog.genes.table import GENE_SCHEMA, match_contigs, read_genes
from catalog.runtime import tables
from catalog.runtime.headers import header_of
from catalog.runtime.tables import TableError, listed

_COLUMNS = {
    "name": ("name", "anchor"),
    "contig": ("contig", "chrom", "chr", "chromosome"),
    "position": ("position",),
}

_log = logging.getLogger(__name__)


class Anchor(NamedTuple):
    """A position with a name."""

    name: str
    contig: str
    centre: int
    """0-based (bp)."""
    strand: str = "."
    """`+`, `-`, or `.` for unknown."""


def read_anchors(
    path: str | os.PathLike[str], assembly: Assembly, *, contigs: Sequence[str] | None = None
) -> list[Anchor]:
    """Read anchors, in the order of the assembly; those that do not lie on it are left out (logged at INFO).

    Parameters
    ----------
    path
        A table with a header of `name`, `contig`, `position` (0-based bp) and perhaps `strand`; or genes, in any file
        that `read_genes` reads: an anchor is then the start site of a gene, and has the gene's id for a name.
    contigs
        Contigs to keep; None for all.

    Raises
    ------
    TableError
        If the table cannot be read, or has a name twice.
    UnknownContig, AssemblyMismatch
        If a contig to keep is unknown, or no anchor lies on the assembly.
    ValueError
        If none lies on the contigs to keep.
    """
    path = Path(path)
    named = _named(path) if _has_positions(path) else read_genes(path)
    placed = match_contigs(named, assembly)
    columns = (placed[name] for name in ("gene_id", "contig", "tss", "strand"))
    anchors = [Anchor(*row) for row in zip(*columns, strict=True)]
    if contigs is not None:
        kept = {assembly.resolve(contig) for contig in contigs}
        anchors = [anchor for anchor in anchors if anchor.contig in kept]
    if not anchors:
        raise ValueError(f"{path} has no anchor on {', '.join(contigs or ())}; name other contigs, or none for all")
    _log.info("%s: %d of %d anchors are kept", path, len(anchors), named.height)
    return in_order(anchors, assembly)


def in_order(anchors: Iterable[Anchor], assembly: Assembly) -> list[Anchor]:
    """Sort anchors as they are stored: by contig as in the assembly, position, and name."""
    order = {contig: number for number, contig in enumerate(assembly.lengths)}
    return sorted(anchors, key=lambda anchor: (order[anchor.contig], anchor.centre, anchor.name))


def _has_positions(path: Path) -> bool:
    return tables.find_column(header_of(path).names, _COLUMNS["position"]) is not None


def _named(path: Path) -> pl.DataFrame:
    """Read a plain table of anchors as if they were genes."""
    frame = tables.read_table(path)
    found = {role: tables.find_column(frame.columns, names) for role, names in _COLUMNS.items()}
    for role, column in found.items():
        if column is None:
            raise TableError(
                f"{path} has no column {role}: it has {listed(frame.columns)}; a table of anchors has name, contig and "
                "position (0-based bp), and may have strand"
            )
    name, contig, position = (frame[str(column)] for column in found.values())
    strand = tables.find_column(frame.columns, ("strand",))
    anchors = pl.DataFrame(
        {
            "gene_id": name,
            "symbol": name,
            "contig": contig,
            "strand": tables.strands(frame[strand]) if strand is not None else ["."] * frame.height,
            "tss": tables.whole_numbers(frame, position.name, path=path),
            "biotype": [None] * frame.height,
        },
        schema=GENE_SCHEMA,
    )
    _check(anchors, path)
    return anchors


def _check(anchors: pl.DataFrame, path: Path) -> None:
    if anchors.is_empty():
        raise TableError(f"{path} has a header and no rows; put an anchor on each line")
    incomplete = anchors.select(pl.any_horizontal(pl.col("gene_id", "contig", "tss").is_null())).to_series()
    if incomplete.any():
        number = incomplete.arg_max() or 0
        raise TableError(f"row {number + 1} of {path} lacks name, contig or position; fill it in, or remove the row")
    strands = anchors["strand"].unique(maintain_order=True)
    wrong = strands.filter(~strands.is_in(["+", "-", "."])).to_list()
    if wrong:
        raise TableError(f"{path} has strands {listed(wrong)}; write them as '+', '-', or '.' if unknown")
    repeated = [name for name, count in Counter(anchors["gene_id"]).items() if count > 1]
    if repeated:
        raise TableError(
            f"{path} names several anchors {listed(repeated)}; anchors are read by name, so give each one its own, as "
            f"in {listed(repeated[:1])}-1 and {listed(repeated[:1])}-2"
        )
