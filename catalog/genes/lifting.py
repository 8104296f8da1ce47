"""Liftover: positions of one assembly on another, by a UCSC chain file.

Belongs here: chain files, lifting positions and genes, checks that the chain fits. Does not: gene tables
(`catalog.genes.table`). The lifting itself is done by the library `liftover` (extra `catalog`), from the given file
alone.

A chain file aligns blocks of the source assembly to the target; a position in several chains, or in none, has no unique
place there, and is dropped and reported.
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from catalog.assembly import Assembly, AssemblyMismatch, UnknownContig
from catalog.genes.frames import Table, as_polars
from catalog.genes.report import GeneReport, GeneTable, Group
from catalog.genes.table import GENE_SCHEMA, place_genes
from catalog.runtime import tables
from catalog.runtime.lines import Line, TableError, read_lines
from catalog.runtime.locations import local_path
from catalog.runtime.plugins import how_to_install
from catalog.runtime.tables import listed

if TYPE_CHECKING:
    from liftover import ChainFile

LIFTED_SCHEMA = pl.Schema({"contig": pl.String, "position": pl.Int64, "strand": pl.String, "n_chains": pl.Int64})
"""Columns of lifted positions; contig, position and strand are null unless `n_chains` is 1."""

_MITOCHONDRIAL = ("chrM", "chrMT", "MT", "M")
_FLIPPED = {"+": "-", "-": "+", ".": "."}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """An open chain file; `open_chain` makes one."""

    path: Path
    source: dict[str, int]
    """Contig lengths (bp) of the assembly that positions come from."""
    target: dict[str, int]
    """Contig lengths (bp) of the assembly that they go to."""
    lifter: "ChainFile"

    def source_name(self, contig: str) -> str | None:
        """Give the chain's own name of a contig: `1` finds `chr1` and the reverse; None for one it lacks."""
        other = contig.removeprefix("chr") if contig.startswith("chr") else f"chr{contig}"
        spellings = _MITOCHONDRIAL if contig in _MITOCHONDRIAL else (contig, other)
        return next((name for name in spellings if name in self.source), None)


def open_chain(path: str | os.PathLike[str]) -> Chain:
    """Read a chain file, plain or gzipped, such as `hg38ToHg19.over.chain.gz`. Nothing is downloaded.

    The format: https://genome.ucsc.edu/goldenPath/help/chain.html

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it is truncated, damaged, or no chain file.
    ModuleNotFoundError
        If the library `liftover` is not installed.
    """
    try:
        from liftover import ChainFile
    except ImportError as error:
        raise ModuleNotFoundError(f"lifting over needs the library liftover: {how_to_install('catalog')}") from error
    path = local_path(path) or Path(path)
    source: dict[str, int] = {}
    target: dict[str, int] = {}
    size = 0
    for line in read_lines(path):
        size += len(line)
        if size > tables.LARGEST_TABLE:
            raise TableError(f"{path} holds more than {tables.LARGEST_TABLE >> 30} GiB of chains; keep those you need")
        if line.startswith(b"chain"):
            for (name, length), side in zip(_sides(line, path), (source, target), strict=True):
                if side.setdefault(name, length) != length:
                    raise TableError(
                        f"{path} gives {name} two lengths, {side[name]:,} and {length:,} bp; fetch it again"
                    )
    if not source:
        raise TableError(f"{path} holds no chain; take a UCSC chain file, such as hg38ToHg19.over.chain.gz")
    try:
        return Chain(path=path, source=source, target=target, lifter=ChainFile(str(path)))
    except ValueError as error:
        raise TableError(f"{path} is a truncated or damaged chain file ({listed([error])}); fetch it again") from error


def lift_positions(
    contigs: Sequence[str], positions: Sequence[int], strands: Sequence[str], chain: Chain | str | os.PathLike[str]
) -> pl.DataFrame:
    """Find where single bases of the source assembly lie on the target.

    Parameters
    ----------
    contigs, positions, strands
        One each a base: contig name (`1` finds `chr1`), 0-based position (bp), and `+`, `-` or `.`.
    chain
        An open chain or the path of one.

    Returns
    -------
    One row a base, in order, with `LIFTED_SCHEMA`: its contig as the chain file names it, its 0-based position on the
    forward strand, the strand (flipped where the target runs the other way), and in how many chains it lies. Only a
    base in exactly one chain has a place; 0 is a base that the target lacks.

    Raises
    ------
    AssemblyMismatch
        If a position lies past the end of its contig: the chain is for another assembly.
    """
    chain = chain if isinstance(chain, Chain) else open_chain(chain)
    names = {contig: chain.source_name(contig) for contig in dict.fromkeys(contigs)}
    rows: list[tuple[str | None, int | None, str | None, int]] = []
    for contig, position, strand in zip(contigs, positions, strands, strict=True):
        name = names[contig]
        if name is None:
            rows.append((None, None, None, 0))
            continue
        if not 0 <= position < chain.source[name]:
            raise AssemblyMismatch(
                f"{contig} has no base {position:,} in {chain.path}, whose source has {name} of "
                f"{chain.source[name]:,} bp; take the chain file from the assembly of the positions to the one wanted"
            )
        places = chain.lifter[name][position]
        if len(places) == 1:
            lifted, at, direction = places[0]
            rows.append((lifted, at, strand if direction == "+" else _FLIPPED[strand], 1))
        else:
            rows.append((None, None, None, len(places)))
    return pl.DataFrame(rows, schema=LIFTED_SCHEMA, orient="row")


def lift_genes(
    genes: Table,
    chain: Chain | str | os.PathLike[str],
    *,
    source: Assembly | None = None,
    target: Assembly | None = None,
) -> GeneTable:
    """Move genes to another assembly by their transcription start sites; where the target is reversed, strands flip.

    Parameters
    ----------
    genes
        A gene table (`catalog.genes.table.GENE_SCHEMA`).
    chain
        An open chain or the path of one.
    source, target
        The assemblies, to check the chain against; contigs are then named as in `target`. Without them the chain is
        only checked against the positions, and contigs are named as in the chain file.

    Returns
    -------
    The genes that have one place on the target, in order, and a report of the others: those whose contig the chain
    lacks, that are in no chain or in several, and that `place_genes` drops. Genes that come to lie on the other strand
    or another contig are kept and noted.

    Raises
    ------
    AssemblyMismatch
        If the chain is for other assemblies (contig lengths differ, or a gene lies past the end of its contig), or no
        gene is left. Only the mitochondrial contig may differ, since UCSC's hg19 has another one than GRCh37: its
        genes are then dropped.
    """
    genes = as_polars(genes, GENE_SCHEMA)
    chain = chain if isinstance(chain, Chain) else open_chain(chain)
    unfit_source = _check_side(chain, source, is_source=True)
    unfit_target = _check_side(chain, target, is_source=False)
    names = {contig: chain.source_name(contig) for contig in genes["contig"].unique()}
    places = lift_positions(genes["contig"].to_list(), genes["tss"].to_list(), genes["strand"].to_list(), chain)
    place, n_chains = pl.col("place"), pl.col("n_chains")
    own_name = pl.col("contig").replace_strict(names, return_dtype=pl.String)
    found = genes.hstack(places.rename({"contig": "place", "strand": "turned"})).with_columns(
        why=pl.when(own_name.is_null())
        .then(pl.lit("on contigs that the chain file lacks"))
        .when(own_name.is_in(unfit_source) | place.is_in(unfit_target))
        .then(pl.lit("on a mitochondrial contig that is not the chain file's"))
        .when(n_chains == 0)
        .then(pl.lit("in no chain"))
        .when(n_chains > 1)
        .then(pl.lit("in several chains"))
    )
    dropped = {
        str(why): Group.of(part["gene_id"])
        for (why,), part in found.drop_nulls("why").group_by("why", maintain_order=True)
    }
    kept = found.filter(pl.col("why").is_null())
    genes = kept.with_columns(contig="place", tss="position", strand="turned").select(genes.columns)
    if genes.is_empty():
        report = GeneReport(origin=str(chain.path), kept=0, dropped=dropped)
        raise AssemblyMismatch(
            f"no gene can be lifted. {report}; take the chain file from the assembly of the genes to the one wanted"
        )
    if target is not None:
        genes, placed = place_genes(genes, target)
        dropped |= placed.dropped
    is_elsewhere = own_name.str.strip_prefix("chr") != place.str.strip_prefix("chr")
    kept = kept.join(genes, on="gene_id", how="semi", maintain_order="left")
    noted = {
        "on the other strand": Group.of(kept.filter(pl.col("strand") != pl.col("turned"))["gene_id"]),
        "on another contig": Group.of(kept.filter(is_elsewhere)["gene_id"]),
    }
    report = GeneReport(origin=str(chain.path), kept=genes.height, dropped=dropped, noted=noted)
    _log.info("%s", report)
    return GeneTable(genes, report)


def _sides(line: Line, path: Path) -> tuple[tuple[str, int], tuple[str, int]]:
    """Read names and lengths of the two contigs of a chain's header."""
    fields = line.decoded(path).split()
    if len(fields) not in (12, 13) or not all(re.fullmatch("[0-9]{1,18}", fields[place]) for place in (3, 8)):
        raise TableError(
            f"line {line.number} of {path} begins no chain as `chain score contig length strand start end contig "
            f"length strand start end id`: {line.shown()}; fetch it again"
        )
    return (fields[2], int(fields[3])), (fields[7], int(fields[8]))


def _check_side(chain: Chain, assembly: Assembly | None, *, is_source: bool) -> list[str]:
    """Compare contig lengths; return the mitochondrial contig if it differs."""
    if assembly is None:
        return []
    this, other = (chain.source, chain.target) if is_source else (chain.target, chain.source)
    shared = _shared(this, assembly)
    unfit = [name for name in shared if this[name] != shared[name]]
    fatal = [name for name in unfit if name not in _MITOCHONDRIAL]
    if shared and not fatal:
        return unfit
    side = "from" if is_source else "to"
    found = [f"{name} of {this[name]:,} bp where {assembly.name} has {shared[name]:,}" for name in fatal]
    backwards = _shared(other, assembly)
    hint = ""
    if backwards and all(other[name] == length for name, length in backwards.items()):
        hint = " (this one goes the other way)"
    raise AssemblyMismatch(
        f"{chain.path} does not lift {side} {assembly.name}: it has {listed(found or list(this))}; "
        f"take the chain file that lifts {side} {assembly.name}{hint}"
    )


def _shared(lengths: dict[str, int], assembly: Assembly) -> dict[str, int]:
    """Return the assembly's lengths of the contigs that both have, by the chain's names."""
    shared: dict[str, int] = {}
    for name in lengths:
        try:
            shared[name] = assembly.lengths[assembly.resolve(name)]
        except UnknownContig:
            continue
    return shared
