"""Tiny stores, extractors and hypothesis strategies, for tests here and in other distributions.

Belongs here: what several packages' tests need. Does not: anything that a program needs. Needs hypothesis.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from catalog import Assembly, Channel, Contig, FeatureSet, Grid
from catalog.assembly import sha512t24u
from catalog.genes.anchors import Anchor, in_order
from catalog.value_type import Dtype, Values
from featurestore.anchored.declare import declare_anchored
from featurestore.anchored.layout import describe_anchored
from featurestore.format.layout import ANCHORS, ContigLayout
from featurestore.format.writer import Origin, write_shard
from featurestore.store import Store, create

ORIGIN = Origin(run="test", device="cpu", seconds=0.0, versions={})


@st.composite
def grids(draw: st.DrawFn, max_bin_size: int = 64) -> Grid:
    """Draw grids of small bins with one to four phases."""
    bin_size = draw(st.integers(1, max_bin_size))
    offsets = draw(st.lists(st.integers(0, bin_size - 1), min_size=1, max_size=min(4, bin_size), unique=True))
    return Grid(bin_size=bin_size, offsets=tuple(offsets))


def assembly_of(sequences: Mapping[str, str], *, name: str = "tiny") -> Assembly:
    """Make the assembly of sequences in memory."""
    contigs = tuple(
        Contig(name=contig, length=len(bases), digest="SQ." + sha512t24u(bases.upper().encode()))
        for contig, bases in sequences.items()
    )
    return Assembly.of(name, contigs)


def random_sequences(lengths: Mapping[str, int], *, seed: int = 0) -> dict[str, str]:
    """Make random A, C, G, T sequences of the given lengths (bp)."""
    rng = np.random.default_rng(seed)
    return {contig: "".join(rng.choice(list("ACGT"), size=length)) for contig, length in lengths.items()}


def write_fasta(path: Path, sequences: Mapping[str, str], *, width: int = 60) -> Path:
    """Write a plain FASTA file."""
    with path.open("w") as file:
        for contig, bases in sequences.items():
            file.write(f">{contig}\n")
            file.writelines(f"{bases[start : start + width]}\n" for start in range(0, len(bases), width))
    return path


def feature_set_of(
    grid: Grid,
    *,
    name: str = "demo",
    n_channels: int = 3,
    chunk_bins: int = 2,
    shard_bins: int = 4,
    fingerprint: str = "f0",
    dtype: Dtype = "float16",
) -> FeatureSet:
    """Describe a feature set of small chunks and shards, so that few bins make many of them."""
    return FeatureSet(
        name=name,
        extractor=name,
        fingerprint=fingerprint,
        channels=tuple(Channel(name=f"channel{index}") for index in range(n_channels)),
        bin_size=grid.bin_size,
        offsets=grid.offsets,
        pad=tuple(-float(index) - 1 if dtype != "uint8" else index + 1.0 for index in range(n_channels)),
        chunk_bins=chunk_bins,
        shard_bins=shard_bins,
        dtype=dtype,
    )


def values_of(feature_set: FeatureSet, length: int, phase: int, *, seed: int = 0) -> Values:
    """Make the values of one phase of a contig: random, equal for equal arguments; shape `(bins, channels)`.

    Some float32 values are out of the range and precision of float16; those of uint8 are whole numbers from 0 to 254.
    """
    rng = np.random.default_rng([seed, length, phase])
    shape = (feature_set.grid.n_bins(length, phase), len(feature_set.channels))
    if feature_set.dtype == "uint8":
        return rng.integers(0, 255, size=shape, dtype=np.uint8)
    spread = 1 if feature_set.dtype == "float16" else 1e5
    return (spread * rng.normal(size=shape)).astype(feature_set.dtype)


def built_store(
    url: str | Path,
    lengths: Mapping[str, int],
    grid: Grid,
    *,
    contigs: Sequence[str] | None = None,
    **settings: Any,
) -> Store:
    """Build a whole store of `values_of` every contig; `settings` are those of `feature_set_of`."""
    store = create(url, assembly_of(random_sequences(lengths)))
    build_set(store, grid, contigs=contigs, **settings)
    return store


def build_set(store: Store, grid: Grid, *, contigs: Sequence[str] | None = None, **settings: Any) -> None:
    """Add a whole feature set of `values_of` to a store; `settings` are those of `feature_set_of`."""
    lengths = store.assembly.lengths
    chosen = list(lengths) if contigs is None else list(contigs)
    feature_set = store.declare(feature_set_of(grid, **settings), chosen)
    for contig in chosen:
        layout = ContigLayout(feature_set, lengths[contig])
        for phase in range(len(feature_set.offsets)):
            values = values_of(feature_set, lengths[contig], phase)
            for shard in range(layout.n_shards(phase)):
                first, end = layout.shard_span(phase, shard)
                write_shard(
                    store.objects, layout, values[first:end], contig=contig, phase=phase, shard=shard, origin=ORIGIN
                )


def build_anchored(store: Store, feature_set: str, anchors: Sequence[Anchor], *, name: str, n_bins: int) -> None:
    """Build an anchored array: rows of the grid where a phase has a window in its place, else random ones.

    Parameters
    ----------
    anchors
        In any order.
    name
        Name of the table in the store.
    """
    reader, table = store[feature_set], in_order(anchors, store.assembly)
    (wanted,) = describe_anchored(
        [reader.feature_set], table, name=name, n_bins=n_bins, assembly=store.assembly.digest, shard_anchors=2
    )
    array = declare_anchored(store, wanted, table)
    on_grid = reader.windows([one.contig for one in table], [one.centre for one in table], n_bins)
    values = np.random.default_rng(n_bins).normal(size=array.shape).astype(np.float16)
    values[on_grid.residuals == 0] = on_grid.values[on_grid.residuals == 0]
    for shard in range(array.n_shards):
        first, end = array.anchor_span(shard)
        rows = values[first:end].reshape(-1, values.shape[2])
        write_shard(store.objects, array, rows, contig=ANCHORS, phase=0, shard=shard, origin=ORIGIN)
