"""Put the explorer's page, and the genes that it finds by name, into the folder of a sealed store.

Belongs here: writing both. Does not: `explorer.json`, which sealing writes (`featurestore.upkeep.explorer_file`).
"""

import json
import os
from importlib.resources import files
from typing import NamedTuple

from catalog.genes.table import place_genes, read_genes
from featurestore.format.manifest import EXPLORER, PAGE, PAGE_GENES
from featurestore.store import Store

_BUILT_FROM = b'<meta name="generator" content="featurestore explorer">'


class NotExplorable(ValueError):
    """A store that the explorer cannot read, or a folder with another page."""


class Published(NamedTuple):
    """Result of `publish_explorer`."""

    page: str
    """Where it lies."""
    genes: int
    """That it finds by name."""


def publish_explorer(store: Store, *, genes: str | os.PathLike[str] | None = None) -> Published:
    """Put the explorer's page beside a sealed store, or write it anew.

    Parameters
    ----------
    genes
        Gene table (`catalog.genes.table.read_gene_table`), for finding genes by symbol or id; those on other contigs
        are left out. Without it, those put there before stay.

    Raises
    ------
    NotExplorable
        If the store is not sealed, was sealed by a version that wrote no `explorer.json`, or has an `index.html` of
        another hand.
    """
    manifest = store.manifest()
    if manifest is None or EXPLORER not in manifest.objects:
        raise NotExplorable(
            f"{store.url} has no {EXPLORER}, which the page reads first; `featurestore seal {store.url}` writes it"
        )
    page = files("featurestore.web").joinpath("static", PAGE).read_bytes()
    try:
        found = store.objects.get(PAGE)
    except FileNotFoundError:
        found = page
    if _BUILT_FROM not in found[:2048]:
        raise NotExplorable(f"{store.url} has an {PAGE} that is not the explorer's; give that file another name")
    rows = _rows(store, genes) if genes is not None else []
    if genes is not None:
        store.objects.put(PAGE_GENES, json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode())
    store.objects.put(PAGE, page)
    return Published(f"{store.url}/{PAGE}", len(rows))


def _rows(store: Store, path: str | os.PathLike[str]) -> list[tuple[str, str, str, int, str]]:
    """Read symbol, id, contig, TSS (0-based bp) and strand of each gene on the store's contigs."""
    placed = place_genes(read_genes(path), store.assembly).genes
    return placed.select("symbol", "gene_id", "contig", "tss", "strand").rows()
