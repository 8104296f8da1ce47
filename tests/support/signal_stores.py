"""A tiny store of sequence and signals in bins of several sizes, and what stands at each base of it."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from catalog import Channel, FeatureSet, Grid
from catalog.genes.table import GENE_SCHEMA
from catalog.value_type import Dtype, Values
from featurestore import Store
from featurestore.format.layout import ContigLayout
from featurestore.format.writer import write_shard
from featurestore.store import create
from featurestore.testing import ORIGIN, assembly_of, random_sequences

LENGTHS = {"chr1": 1500, "chr2": 333}
GENES = pl.DataFrame(
    [
        ("ENSG1", "AAA", "chr1", "+", 0, None),
        ("ENSG2", "BBB", "chr1", "-", 1499, None),
        ("ENSG3", "CCC", "chr2", "-", 100, None),
        ("ENSG4", "DDD", "chr1", "+", 700, None),
        ("ENSG5", "EEE", "1", "-", 701, None),
        ("ENSG6", "FFF", "chr2", "+", 332, None),
        ("ENSG7", "GGG", "chr1", ".", 1203, None),
    ],
    schema=GENE_SCHEMA,
    orient="row",
)
SETS: Mapping[str, tuple[Grid, Dtype, tuple[str, ...]]] = {
    "sequence": (Grid(bin_size=1), "uint8", ("sequence",)),
    "base": (Grid(bin_size=1), "float16", ("mark", "plus", "minus")),
    "fine": (Grid(bin_size=7, offsets=(3,)), "float32", ("dnase",)),
    "signed": (Grid(bin_size=1), "float32", ("fwd", "rev")),
    "wide": (Grid(bin_size=32, offsets=(0, 16)), "float16", ("cage", "mark")),
}
"""Grid, type and channels by feature set; `mark` is in two of them."""
PADS = {"sequence": (4.0,), "base": (0.0, 0.0, 0.0), "fine": (-1.0,), "signed": (0.0, 0.0), "wide": (0.0, 2.0)}


@cache
def values_of(name: str, contig: str) -> Values:
    """Make the values of the first phase of a contig, shape `(bins, channels)`; some are negative."""
    grid, dtype, channels = SETS[name]
    rng = np.random.default_rng([len(name), LENGTHS[contig]])
    shape = (grid.n_bins(LENGTHS[contig]), len(channels))
    if dtype == "uint8":
        return rng.integers(0, 5, size=shape, dtype=np.uint8)
    values = rng.normal(size=shape)
    if name == "base":
        values = np.abs(values)
    if name == "signed":
        values = np.abs(values) * [1, -1]
    return values.astype(dtype)


def signal_store(url: str | Path) -> Store:
    """Build the store of all these sets."""
    store = create(url, assembly_of(random_sequences(LENGTHS)))
    for name, (grid, dtype, channels) in SETS.items():
        write_set(
            store, described(name, grid, dtype, channels, PADS[name]), lambda contig, name=name: values_of(name, contig)
        )
    return store


def described(
    name: str,
    grid: Grid,
    dtype: Dtype,
    channels: tuple[str, ...],
    pad: tuple[float, ...],
    *,
    chunk_bins: int = 16,
    shard_bins: int = 128,
) -> FeatureSet:
    """Describe a set of small chunks and shards."""
    return FeatureSet(
        name=name,
        extractor=name,
        fingerprint=f"f-{name}",
        channels=tuple(Channel(name=channel) for channel in channels),
        bin_size=grid.bin_size,
        offsets=grid.offsets,
        pad=pad,
        chunk_bins=chunk_bins,
        shard_bins=shard_bins,
        dtype=dtype,
    )


def write_set(store: Store, feature_set: FeatureSet, values: Callable[[str], Values]) -> None:
    """Add a set whose first phase has these values by contig; further ones have others."""
    lengths = store.assembly.lengths
    made = store.declare(feature_set, list(lengths))
    for contig, length in lengths.items():
        layout = ContigLayout(made, length)
        for phase in range(len(made.offsets)):
            n_bins = layout.n_bins(phase)
            rows = values(contig) if phase == 0 else np.full((n_bins, len(made.channels)), 99).astype(made.dtype)
            for shard in range(layout.n_shards(phase)):
                first, end = layout.shard_span(phase, shard)
                write_shard(
                    store.objects, layout, rows[first:end], contig=contig, phase=phase, shard=shard, origin=ORIGIN
                )


def at_base(name: str, contig: str, base: int) -> NDArray[np.float64]:
    """Look up what a set has at one base, slowly: the value of its bin, or the pad outside the contig."""
    grid = SETS[name][0]
    if not 0 <= base < LENGTHS[contig]:
        return np.asarray(PADS[name])
    return values_of(name, contig)[(base + grid.offsets[0]) // grid.bin_size].astype(np.float64)


def window_of(name: str, contig: str, tss: int, length: int) -> NDArray[np.float64]:
    """Look up a window base by base, shape `(length, channels)`."""
    return np.stack([at_base(name, contig, base) for base in range(tss - length // 2, tss - length // 2 + length)])
