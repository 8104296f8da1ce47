"""Genes of a served store, found by symbol or id.

Belongs here: looking names up, and the two tables that genes come from. Does not: formats of gene tables
(`catalog.genes.table`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from catalog import Assembly
from catalog.assembly import AssemblyMismatch
from catalog.genes.table import place_genes, read_genes
from catalog.runtime.documents import parse_json
from featurestore.format.manifest import PAGE_GENES
from featurestore.objects.objects import Objects

_SHOWN = 8


class Gene(NamedTuple):
    """A gene on a store's assembly."""

    symbol: str
    gene_id: str
    contig: str
    tss: int
    """Transcription start site (0-based bp)."""
    strand: str
    """`+`, `-`, or `.` for unknown."""


class UnknownName(LookupError):
    """A store, feature set, gene, channel or overlay that is not served under that name."""


class GeneIndex:
    """Genes by symbol and id, and by what else they are called.

    Parameters
    ----------
    aliases
        Other names, by gene id; a symbol or id of another gene comes before them.
    """

    def __init__(self, genes: Iterable[Gene], aliases: Mapping[str, Sequence[str]] | None = None) -> None:
        self._genes = list(genes)
        self.aliases = dict(aliases or {})
        self._names = [
            tuple(name.casefold() for name in (gene.symbol, gene.gene_id, *self.aliases.get(gene.gene_id, ())))
            for gene in self._genes
        ]
        self._exact: dict[str, list[Gene]] = {}
        self._other: dict[str, list[Gene]] = {}
        for gene in self._genes:
            for name in {gene.symbol, gene.gene_id}:
                self._exact.setdefault(name, []).append(gene)
            for name in set(self.aliases.get(gene.gene_id, ())):
                self._other.setdefault(name, []).append(gene)

    def __len__(self) -> int:
        return len(self._genes)

    def __iter__(self) -> Iterator[Gene]:
        return iter(self._genes)

    def search(self, text: str, *, limit: int) -> list[Gene]:
        """Find genes of which a name is, begins with, or contains a text, in this order; case does not matter."""
        wanted = text.casefold()
        ranked: tuple[list[Gene], list[Gene], list[Gene]] = ([], [], [])
        for gene, names in zip(self._genes, self._names, strict=True):
            if any(wanted in name for name in names):
                rank = 0 if wanted in names else 1 if any(name.startswith(wanted) for name in names) else 2
                if len(ranked[rank]) < limit:
                    ranked[rank].append(gene)
        return [gene for genes in ranked for gene in genes][:limit]

    def get(self, name: str) -> Gene:
        """Return the gene of a symbol, an id, or else another name.

        Raises
        ------
        UnknownName
            If there is none; the message names some that are alike.
        ValueError
            If several genes have the symbol; the message has their ids.
        """
        found = self._exact.get(name) or self._other.get(name, [])
        if not found:
            alike = ", ".join(gene.symbol for gene in self.search(name, limit=_SHOWN))
            known = f"some that are alike: {alike}" if alike else f"{len(self):,} genes are known"
            raise UnknownName(f"no gene has the symbol or id {name!r}; {known}; or name a position with `at=`")
        if len(found) > 1:
            ids = ", ".join(gene.gene_id for gene in found[:_SHOWN])
            raise ValueError(f"{len(found)} genes are called {name!r}; ask by gene id: {ids}")
        return found[0]


def genes_of_table(path: Path, assemblies: Sequence[Assembly]) -> list[GeneIndex]:
    """Read a gene table for several assemblies; one that has none of the genes gets an empty index.

    Raises
    ------
    AssemblyMismatch
        If no gene lies on any of them.
    """
    table = read_genes(path)
    found, refused = [], None
    for assembly in assemblies:
        try:
            rows = place_genes(table, assembly).genes.select("symbol", "gene_id", "contig", "tss", "strand").rows()
        except AssemblyMismatch as error:
            rows, refused = [], error
        found.append(GeneIndex(map(Gene._make, rows)))
    if refused is not None and not any(map(len, found)):
        raise refused
    return found


def genes_of_explorer(objects: Objects, assembly: Assembly) -> GeneIndex:
    """Read the genes that `featurestore explorer --genes` put beside a store; none if there is no such file.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    try:
        data = objects.get(PAGE_GENES)
    except FileNotFoundError:
        return GeneIndex([])
    where = f"{objects.location}/{PAGE_GENES}"
    mend = "`featurestore explorer STORE --genes TABLE` writes it anew"
    rows = parse_json(data, where=where, mend=mend)
    if not isinstance(rows, list):
        raise ValueError(f"{where} is no list of genes; {mend}")
    genes = [_gene_of(row[:5], assembly) if isinstance(row, list) else None for row in rows]
    if None in genes:
        raise ValueError(f"{where} has a row that is no gene on {assembly.name}, number {genes.index(None)}; {mend}")
    aliases = {row[1]: _aliases_of(row) for row in rows if len(row) > 5}
    return GeneIndex([gene for gene in genes if gene is not None], aliases)


def _aliases_of(row: list[Any]) -> list[str]:
    return [name for name in row[5] if isinstance(name, str)] if isinstance(row[5], list) else []


def _gene_of(row: list[Any], assembly: Assembly) -> Gene | None:
    if [type(part) for part in row] != [str, str, str, int, str]:
        return None
    gene = Gene._make(row)
    return gene if 0 <= gene.tss < assembly.lengths.get(gene.contig, 0) else None
