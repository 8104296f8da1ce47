"""Lists of genes in files, and the genes that are in all of several lists.

Belongs here: reading a list, the intersection, how lists and genes met. Does not: what genes are held out for
(`model.runs.held_out`).
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from catalog.genes.identifiers import GENE_ID_NAMES, find_gene_ids, plain_ids
from catalog.runtime import tables
from catalog.runtime.headers import header_of
from catalog.runtime.lines import TableError, read_lines
from catalog.runtime.tables import listed
from loaders.joining import Met

_ENSEMBL_GENE = re.compile(r"ENS[A-Z]*G[0-9]+")


class ListedGenes(NamedTuple):
    """Genes that are in all of several lists."""

    ids: list[str]
    """In the order of the genes, spelled as they are there."""
    lines: list[str]
    """How many of each list and of the genes met, both ways, and the outcome, for people."""


def genes_in_all(gene_ids: Sequence[str], paths: Sequence[str | os.PathLike[str]]) -> ListedGenes:
    """Find the genes that every list has; ids may be spelled as `catalog.genes.identifiers` has it.

    Raises
    ------
    TableError
        As `read_gene_list`.
    ValueError
        If no gene is in all lists; it says how each list met the genes.
    """
    genes = plainly_spelled(gene_ids)
    lines = []
    is_kept = pl.repeat(value=True, n=len(genes), eager=True)
    for path in paths:
        there = plainly_spelled(read_gene_list(path)).unique(maintain_order=True)
        is_kept &= genes.is_in(there.to_list())
        of_list, of_genes = Met.of(there, genes), Met.of(genes, there)
        lines.append(f"{path}: {of_list.said('ids are among the genes')}; {of_genes.said('genes are listed')}")
    ids = [gene for gene, keep in zip(gene_ids, is_kept, strict=True) if keep]
    if not ids:
        raise ValueError(
            f"no gene is in all lists of `genes_in=`: {'; '.join(lines)}; leave one out, or give lists with ids as in "
            f"the gene table ({listed(list(gene_ids)[:3])})"
        )
    return ListedGenes(ids, [*lines, f"{len(ids):,} of {len(genes):,} genes are in all of {len(paths)} lists"])


def plainly_spelled(ids: Sequence[str]) -> pl.Series:
    """Spell ids as `catalog.genes.identifiers` has it."""
    return pl.DataFrame({"gene_id": list(ids)}, schema={"gene_id": pl.String}).select(plain_ids("gene_id"))["gene_id"]


def read_gene_list(path: str | os.PathLike[str]) -> list[str]:
    """Read a file with a gene a line, or the gene column of a table; without a header, that of Ensembl ids.

    Raises
    ------
    TableError
        If it names no gene, or is a table without a column of genes.
    """
    path = Path(path)
    if len(header_of(path).names) > 1:
        lines = _gene_column(path)
    else:
        lines = [line.decoded(path).strip() for line in read_lines(path) if not line.startswith(b"#")]
        lines = lines[tables.plain_name(lines[0]) in GENE_ID_NAMES :]
    if not lines:
        raise TableError(f"{path} names no gene; write one gene a line")
    return lines


def _gene_column(path: Path) -> list[str]:
    table = tables.read_table(path)
    column = find_gene_ids(table)
    if column is not None:
        return table[column].drop_nulls().to_list()
    # Huang's gene_list.csv begins with its first gene.
    column = next((name for name in table.columns if _ENSEMBL_GENE.match(name)), None)
    if column is None:
        raise TableError(
            f"{path} has no column of genes: it has {listed(table.columns)}; name one of them gene_id, or write one "
            "gene a line"
        )
    return [column, *table[column].drop_nulls()]
