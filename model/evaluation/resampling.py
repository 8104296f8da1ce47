"""What a bootstrap draws: genes one by one, or whole gene families or contigs (a cluster bootstrap).

Belongs here: the cluster of each gene. Does not: drawing (`model.evaluation.metrics`), families
(`catalog.genes.families`).

Genes of a family, and neighbours on a contig whose windows share bases, err alike. Drawn one by one they count as
independent, and the spread of a score comes out too small; drawn together they do not.
"""

from typing import Literal

import polars as pl

from catalog.genes.families import families
from catalog.genes.frames import Table, as_polars
from catalog.runtime.tables import listed
from model.evaluation.cautions import warn_of_few_clusters

Resample = Literal["gene", "family", "contig"]
UNITS: dict[Resample, str] = {"gene": "genes", "family": "gene families", "contig": "contigs"}
"""What is drawn, in words."""


def drawn(draws: int, resample: Resample, n_resampled: int) -> str:
    """Say in words what a spread is over: `5000 draws`, or `5000 draws of 4 contigs`."""
    return f"{draws} draws" + ("" if resample == "gene" else f" of {n_resampled} {UNITS[resample]}")


def clusters_of(genes: Table, resample: Resample) -> list[str] | None:
    """Give the gene family or the contig of each gene; None where genes are drawn one by one.

    Parameters
    ----------
    genes
        A gene table, of the genes that are scored and in their order: columns gene_id, symbol and contig.

    Raises
    ------
    ValueError
        If `resample` is none of `UNITS`, or all genes are of one cluster: there is nothing to draw from.
    """
    if resample not in UNITS:
        raise ValueError(f"`resample=` is one of {', '.join(UNITS)}; got {resample!r}")
    if resample == "gene":
        return None
    table = as_polars(genes)
    clusters = families(table["symbol"]) if resample == "family" else table["contig"].to_list()
    found = sorted(set(clusters))
    if len(found) < 2:
        raise ValueError(
            f"all {table.height} genes are of one {resample}, {listed(found)}, so that every draw is the same: draw "
            '`resample="gene"`, or score more genes'
        )
    warn_of_few_clusters(UNITS[resample], len(found))
    return clusters


def clusters_of_ids(gene_ids: list[str], genes: "Table | None", resample: Resample) -> list[str] | None:
    """Do as `clusters_of` for genes that a table of genes is asked for.

    Raises
    ------
    ValueError
        As `clusters_of`; or if the table is missing or lacks some of the genes.
    """
    if resample == "gene":
        return None
    if genes is None:
        raise ValueError(
            f'`resample="{resample}"` takes the {UNITS[resample]} from a gene table; give one with `genes=`'
        )
    wanted = pl.DataFrame({"gene_id": gene_ids}, schema={"gene_id": pl.String})
    table = wanted.join(as_polars(genes), on="gene_id", how="left", maintain_order="left")
    lacking = table.filter(pl.col("contig").is_null())["gene_id"].to_list()
    if lacking:
        raise ValueError(
            f"{len(lacking)} of the {len(gene_ids)} scored genes are not in the gene table: {listed(lacking)}; give a "
            'table that has them, or draw `resample="gene"`'
        )
    return clusters_of(table, resample)
