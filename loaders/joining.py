"""Joining genes to their targets, and how many of both met.

Belongs here: the join, the counts both ways, and how they are said. Does not: which ids are the same
(`catalog.genes.identifiers`), windows and prompts (`loaders.genes`).
"""

import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import polars as pl

from catalog import Assembly
from catalog.genes.frames import Table, as_polars
from catalog.genes.identifiers import plain_ids
from catalog.genes.table import match_contigs
from catalog.runtime.tables import listed

_N_EXAMPLES = 3


class Met(NamedTuple):
    """How many ids of one table another one has."""

    total: int
    found: int
    without: tuple[str, ...]
    """The first that the other table lacks."""

    @classmethod
    def of(cls, ids: pl.Series, others: pl.Series) -> "Met":
        """Look the ids of one table up in another."""
        alone = ids.filter(~ids.is_in(others.to_list()))
        return cls(len(ids), len(ids) - len(alone), tuple(alone.head(_N_EXAMPLES)))

    def said(self, what: str) -> str:
        """Say it in words: `100 of 2,000 genes have a target (without: A, B, C, ...)`."""
        more = ", ..." if self.total - self.found > len(self.without) else ""
        without = f" (without: {', '.join(name[:60] for name in self.without)}{more})" if self.without else ""
        return f"{self.found:,} of {self.total:,} {what}{without}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinReport:
    """How many genes, targets and annotations met; `str()` gives a line of each that was given."""

    genes: int
    """Of the gene table."""
    on_assembly: int
    """Of these, on contigs of the store."""
    kept: int
    """Of these, with a target if there are targets: the genes of the dataset."""
    genes_with_target: Met | None = None
    """Of the whole gene table; None without targets."""
    targets_with_gene: Met | None = None
    annotated: int | None = None
    """Of the genes kept; None without annotations."""
    left_out: str = ""
    """Rows of the gene file that are no genes of the table, by reason; known where a file was read."""

    @property
    def is_poor(self) -> bool:
        """Whether less than half of the smaller of both tables, genes or targets, has met the other."""
        genes, targets = self.genes_with_target, self.targets_with_gene
        return genes is not None and targets is not None and 2 * targets.found < min(genes.total, targets.total)

    @property
    def is_poorly_annotated(self) -> bool:
        """Whether less than half of the genes has an annotation."""
        return self.annotated is not None and 2 * self.annotated < self.kept

    def __str__(self) -> str:
        lines = [f"genes: {self.on_assembly:,} of {self.genes:,} lie on the store's assembly, {self.kept:,} are taken"]
        if self.left_out:
            lines.append(f"left out of the gene table: {self.left_out}")
        if self.genes_with_target is not None and self.targets_with_gene is not None:
            genes, targets = (
                self.genes_with_target.said("genes have a target"),
                self.targets_with_gene.said("targets have a gene"),
            )
            lines.append(f"targets: {genes}; {targets}")
        if self.annotated is not None:
            lines.append(f"annotations: {self.annotated:,} of {self.kept:,} genes have one")
        return "\n".join(lines)

    def warn(self, *, stacklevel: int) -> None:
        """Warn where most of what could meet does not."""
        if self.is_poor and self.genes_with_target is not None and self.targets_with_gene is not None:
            warnings.warn(
                f"most genes and targets do not meet: {self.genes_with_target.said('genes have a target')}; "
                f"{self.targets_with_gene.said('targets have a gene')}; give both the same kind of ids",
                stacklevel=stacklevel,
            )
        if self.is_poorly_annotated:
            warnings.warn(
                f"only {self.annotated:,} of {self.kept:,} genes have an annotation; prompts of the others name their "
                "symbol alone; give annotations of the same organism, by Ensembl ids or the same symbols",
                stacklevel=stacklevel,
            )

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON, as `run.json` keeps it."""
        sides = {
            name: met and {"total": met.total, "found": met.found, "without": list(met.without)}
            for name, met in (
                ("genes_with_target", self.genes_with_target),
                ("targets_with_gene", self.targets_with_gene),
            )
        }
        return asdict(self) | sides


class JoinedTargets(NamedTuple):
    """Genes with their targets, and how the two tables met."""

    genes: pl.DataFrame
    """Those of the placed genes that have a target."""
    values: list[Any]
    """Their targets: a number each, or a list of several tasks; NaN where one is null."""
    of_genes: Met
    of_targets: Met


class JoinedGenes(NamedTuple):
    """Genes on an assembly, with their targets if there are any."""

    genes: pl.DataFrame
    targets: list[Any]
    """Of each gene a number, or a list of several tasks; NaN where it is not known."""
    report: JoinReport


def join_genes(genes: pl.DataFrame, targets: "Table | None", assembly: Assembly) -> JoinedGenes:
    """Keep the genes that lie on an assembly, and of these, if there are targets, those that have one.

    Raises
    ------
    AssemblyMismatch, ValueError
        If no gene lies on it, and as `join_targets` does.
    """
    placed = match_contigs(genes, assembly)
    report = JoinReport(genes=len(genes), on_assembly=len(placed), kept=len(placed))
    if targets is None:
        return JoinedGenes(placed, [float("nan")] * len(placed), report)
    placed, values, of_genes, of_targets = join_targets(genes, placed, as_polars(targets, needs=("gene_id",)))
    report = replace(report, kept=len(placed), genes_with_target=of_genes, targets_with_gene=of_targets)
    return JoinedGenes(placed, values, report)


def join_targets(genes: pl.DataFrame, placed: pl.DataFrame, targets: pl.DataFrame) -> JoinedTargets:
    """Keep the genes that have a target.

    Parameters
    ----------
    genes
        The whole gene table, for the counts.
    placed
        Its genes on the assembly.
    targets
        `gene_id` and a column a task; ids in any spelling of `catalog.genes.identifiers`.

    Raises
    ------
    ValueError
        If no gene has a target, or one has two, which would make it two genes.
    """
    spelled = targets.with_columns(plain_ids("gene_id")).drop_nulls("gene_id")
    twice = spelled.filter(pl.col("gene_id").is_duplicated())["gene_id"].unique(maintain_order=True)
    if len(twice):
        raise ValueError(f"the targets have {len(twice)} genes twice: {listed(twice.to_list())}; keep one row a gene")
    # Named by number, since the gene table may have columns of these names.
    tasks = [name for name in spelled.columns if name != "gene_id"]
    numbered = spelled.select(
        pl.col("gene_id").alias("key"), *(pl.col(name).alias(f"target {n}") for n, name in enumerate(tasks))
    )
    joined = placed.with_columns(plain_ids("gene_id").alias("key")).join(
        numbered, on="key", how="inner", maintain_order="left"
    )
    if joined.is_empty():
        raise ValueError(
            f"no gene has a target: genes are named like {placed['gene_id'][0]}, targets like "
            f"{targets['gene_id'][0] if len(targets) else 'nothing'}; give both the same identifiers"
        )
    measured = joined.select(numbered.columns[1:]).fill_null(float("nan")).to_numpy()
    values = (measured[:, 0] if measured.shape[1] == 1 else measured).tolist()
    ids, others = genes.select(plain_ids("gene_id"))["gene_id"], spelled["gene_id"]
    return JoinedTargets(joined.select(placed.columns), values, Met.of(ids, others), Met.of(others, ids))
