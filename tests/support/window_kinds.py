"""One store of a grid set, a narrower one and anchors, and every kind of window source that genes read from it."""

from pathlib import Path
from typing import Any

import polars as pl

import featurestore
from catalog import Anchor, Grid
from catalog.genes.table import GENE_SCHEMA
from featurestore.testing import assembly_of, build_anchored, build_set, random_sequences
from loaders import GeneDataset, JoinedDataset, WindowDataset, WindowSource, gene_dataset

LENGTHS = {"chr1": 1000, "chr2": 300}
WIDE, NARROW = Grid(bin_size=16, offsets=(0, 8)), Grid(bin_size=4)
N_BINS = 9
GENES = pl.DataFrame(
    [
        ("G1", "AAA", "chr1", "+", 104, None),
        ("G2", "BBB", "chr2", "-", 40, None),  # the middle of a bin
        ("G3", "CCC", "chr1", "-", 8, None),  # the middle of the first bin
        ("G4", "DDD", "chr1", "+", 700, None),
        ("G5", "EEE", "chr2", "-", 299, None),
    ],
    schema=GENE_SCHEMA,
    orient="row",
)
ON_GRID = ["G1", "G2", "G3"]
"""Genes whose start is the middle of a bin of one of the two phases."""


SOURCES = ("grid", "anchored", "stacked", "joined")


def built(path: Path) -> str:
    """Build the store, and give its path."""
    store = featurestore.create(path, assembly_of(random_sequences(LENGTHS)))
    for name, grid in {"classes": WIDE, "tracks": NARROW}.items():
        build_set(store, grid, name=name, n_channels=len(name) - 4)
    anchors = [Anchor(gene, contig, tss, strand) for gene, _, contig, strand, tss, _ in GENES.iter_rows()]
    build_anchored(store, "classes", anchors, name="tss", n_bins=N_BINS)
    return str(path)


def of_genes(url: str, **changes: Any) -> GeneDataset:
    """Make the dataset of the genes, with settings of windows changed."""
    return gene_dataset(url, changes.pop("feature_set", "classes"), GENES, **{"n_bins": N_BINS} | changes)


def source(url: str, kind: str, **changes: Any) -> WindowSource:
    """Make a source of one kind."""
    if kind == "joined":
        return joined_in_two(url, **changes)
    own: dict[str, Any] = {"anchored": {"anchors": "tss"}, "stacked": {"feature_set": ["classes", "tracks"]}}
    return of_genes(url, **own.get(kind, {}), **changes).windows


def sources(url: str, **changes: Any) -> dict[str, WindowSource]:
    """Make one source of each kind."""
    return {kind: source(url, kind, **changes) for kind in SOURCES}


def joined_in_two(url: str, **changes: Any) -> JoinedDataset:
    """Join the genes from two datasets."""
    parts = [of_genes(url, **changes).windows.subset(part) for part in ([0, 1], [2, 3, 4])]
    return JoinedDataset([part for part in parts if isinstance(part, WindowDataset)])
