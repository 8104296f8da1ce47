"""Put the explorer's page, and the genes that it finds by name and draws, into the folder of a sealed store.

Belongs here: writing both. Does not: `explorer.json`, which sealing writes (`featurestore.upkeep.explorer_file`).
"""

import json
import os
from datetime import UTC, datetime
from importlib.resources import files
from operator import itemgetter
from typing import NamedTuple

import polars as pl

from catalog.genes.exons import has_gene_models, read_gene_models
from catalog.genes.table import place_genes, read_genes
from catalog.ncbi.annotations import annotate, read_annotations
from featurestore.format.layout import contig_key
from featurestore.format.manifest import EXPLORER, PAGE, PAGE_GENES, PAGE_MODELS, PAGE_STATUS
from featurestore.store import Store
from featurestore.upkeep.status import StoreStatus, status_of

_BUILT_FROM = b'<meta name="generator" content="featurestore explorer">'


class NotExplorable(ValueError):
    """A store that the explorer cannot read, or a folder with another page."""


class Published(NamedTuple):
    """Result of `publish_explorer`."""

    page: str
    """Where it lies."""
    genes: int
    """That it finds by name."""


def publish_explorer(
    store: Store,
    *,
    genes: str | os.PathLike[str] | None = None,
    annotations: str | os.PathLike[str] | None = None,
) -> Published:
    """Put the explorer's page beside a sealed store, or write it anew.

    Parameters
    ----------
    genes
        Gene table (`catalog.genes.table.read_gene_table`), for finding genes by symbol or id; those on other contigs
        are left out. Of a GTF or GFF3 the exons are drawn too. Without it, those put there before stay.
    annotations
        NCBI's `gene_info` (`catalog.ncbi.annotations.read_annotations`): genes are then found by their synonyms, too.

    Raises
    ------
    ValueError
        If there are annotations, but no genes.
    NotExplorable
        If the store is not sealed, was sealed by a version that wrote no `explorer.json`, or has an `index.html` of
        another hand.
    """
    if annotations is not None and genes is None:
        raise ValueError("`annotations=` say what else genes are called: give `genes=` with them")
    manifest = store.manifest()
    if manifest is None or EXPLORER not in manifest.objects:
        raise NotExplorable(
            f"{store.url} has no {EXPLORER}, which the page reads first; `featurestore seal {store.url}` writes it; "
            f"while it is being built, `featurestore explorer {store.url} --watch 10` shows how far it is"
        )
    page = _page_for(store)
    n_genes = _put_genes(store, genes, annotations) if genes is not None else 0
    store.objects.put(PAGE, page)
    return Published(f"{store.url}/{PAGE}", n_genes)


def publish_status(store: Store) -> StoreStatus:
    """Put the page beside a store that is being built, with the status of the build, which it then shows.

    Reads every commit record: one small object a shard.

    Raises
    ------
    NotExplorable
        If the store has an `index.html` of another hand.
    """
    page = _page_for(store)
    status = status_of(store)
    store.objects.put(PAGE_STATUS, _encoded(status.to_json() | {"when": datetime.now(UTC).isoformat()}))
    store.objects.put(PAGE, page)
    return status


def _page_for(store: Store) -> bytes:
    """Read the page of this distribution; refuse to replace one of another hand."""
    page = files("featurestore.web").joinpath("static", PAGE).read_bytes()
    try:
        found = store.objects.get(PAGE)
    except FileNotFoundError:
        found = page
    if _BUILT_FROM not in found[:2048]:
        raise NotExplorable(f"{store.url} has an {PAGE} that is not the explorer's; give that file another name")
    return page


def _put_genes(store: Store, path: str | os.PathLike[str], annotations: str | os.PathLike[str] | None) -> int:
    """Write the genes on the store's contigs, and their models if the table has any; give the number of genes."""
    placed = place_genes(read_genes(path), store.assembly).genes
    models = gene_models(placed, read_gene_models(path)) if has_gene_models(path) else {}
    wanted = {f"{PAGE_MODELS}/{contig_key(contig)}.json": rows for contig, rows in models.items()}
    for key in [key for key, _ in store.objects.walk(PAGE_MODELS) if key not in wanted]:
        store.objects.delete(key)
    for key, rows in wanted.items():
        store.objects.put(key, _encoded(rows))
    # Symbol, id, contig, TSS (0-based bp) and strand of each; then what else it is called, if anything.
    of_genes = placed.select("symbol", "gene_id", "contig", "tss", "strand").rows()
    if annotations is not None:
        known = annotate(placed, read_annotations(annotations))["aliases"].to_list()
        of_genes = [(*row, names.split("|")) if names else row for row, names in zip(of_genes, known, strict=True)]
    store.objects.put(PAGE_GENES, _encoded(of_genes))
    return placed.height


def gene_models(genes: pl.DataFrame, models: pl.DataFrame) -> dict[str, list[list[object]]]:
    """Arrange gene models for the page, by contig.

    Parameters
    ----------
    genes
        With `catalog.genes.table.GENE_SCHEMA`; others are left out.
    models
        With `catalog.genes.exons.MODEL_SCHEMA`.

    Returns
    -------
    Of each contig `[symbol, strand, start, end, exons, coding]` of each gene, by start. Exons and coding stretches are
    `start, end, start, end, ...`, counted from the start of the gene (bp).
    """
    drawn = models.join(genes.select("gene_id", "symbol", "contig", "strand"), on="gene_id", maintain_order="left")
    found: dict[str, list[list[object]]] = {}
    for _, of_gene in drawn.group_by("gene_id", maintain_order=True):
        gene = of_gene.row(0, named=True)
        parts: dict[str, list[int]] = {"exon": [], "CDS": []}
        for part, start, end in of_gene.select("part", "start", "end").rows()[1:]:
            parts[part] += start - gene["start"], end - gene["start"]
        row = [gene["symbol"], gene["strand"], gene["start"], gene["end"], *parts.values()]
        found.setdefault(gene["contig"], []).append(row)
    return {contig: sorted(rows, key=itemgetter(2, 3)) for contig, rows in found.items()}


def _encoded(rows: object) -> bytes:
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
