"""Report on a gene table: how many genes are kept, which were dropped, and why.

Belongs here: `GeneReport`, `GeneTable`. Does not: the rules by which genes are dropped (`catalog.genes.formats`,
`catalog.genes.table`, `catalog.genes.lifting`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import polars as pl

N_EXAMPLES = 8


@dataclass(frozen=True, slots=True)
class Group:
    """Genes that were dropped or noted for one reason."""

    count: int
    examples: tuple[str, ...] = ()
    """The first few, as the file names them."""

    @classmethod
    def of(cls, names: Iterable[object]) -> "Group":
        """Count rows by their names, null for one without."""
        rows = list(names)
        known = dict.fromkeys(str(name) for name in rows if name is not None)
        return cls(len(rows), tuple(islice(known, N_EXAMPLES)))


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneReport:
    """How many genes are kept, and which are not; `str()` gives one line."""

    origin: str
    """The file that was read, the assembly that was fitted to, or the chain file."""
    format: str | None = None
    """How the file was read; None if the genes came as a table."""
    kept: int
    dropped: Mapping[str, Group] = field(default_factory=dict)
    """Rows left out, by reason; only reasons that occurred."""
    noted: Mapping[str, Group] = field(default_factory=dict)
    """Genes that are kept although unusual, by what is unusual about them."""

    def __post_init__(self) -> None:
        for name in ("dropped", "noted"):
            occurred = {reason: group for reason, group in getattr(self, name).items() if group.count}
            object.__setattr__(self, name, occurred)

    def __str__(self) -> str:
        how = f" (read as {self.format})" if self.format else ""
        noted = f"; kept, but note: {_spelled(self.noted)}" if self.noted else ""
        return f"{self.origin}: {self.kept:,} genes{how}; dropped: {_spelled(self.dropped)}{noted}"

    @property
    def left_out(self) -> str:
        """Rows that were dropped, by reason with the first examples; empty if none was."""
        return _spelled(self.dropped) if self.dropped else ""


class GeneTable(NamedTuple):
    """Genes, and the report on those that were dropped."""

    genes: pl.DataFrame
    """A gene table, with `catalog.genes.table.GENE_SCHEMA`."""
    report: GeneReport


def _spelled(groups: Mapping[str, Group]) -> str:
    return ", ".join(_one(reason, group) for reason, group in groups.items()) or "nothing"


def _one(reason: str, group: Group) -> str:
    examples = [*group.examples, *(["..."] if len(group.examples) == N_EXAMPLES < group.count else [])]
    return f"{group.count:,} {reason}" + (f" ({', '.join(examples)})" if examples else "")
