"""A shard has the bytes that zarr itself would write."""

from typing import Any

import numpy as np
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from catalog import Channel, FeatureSet
from catalog.genes.anchors import Anchor
from catalog.value_type import value_type
from featurestore import ContigLayout
from featurestore.anchored.layout import describe_anchored
from featurestore.format.layout import ArrayLayout
from featurestore.format.metadata import array_settings
from featurestore.format.writer import encode_shard


@st.composite
def layouts(draw: st.DrawFn) -> ArrayLayout:
    """The grid of a contig, or an anchored array."""
    channels = tuple(Channel(name=str(number)) for number in range(draw(st.integers(1, 4))))
    chunk, chunks = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    described = FeatureSet(
        name="demo",
        extractor="demo",
        fingerprint="f",
        channels=channels,
        bin_size=4,
        offsets=(0,),
        pad=(0.0,) * len(channels),
        chunk_bins=chunk,
        shard_bins=chunk * chunks,
        dtype=draw(st.sampled_from(["float16", "float32", "uint8"])),
    )
    if draw(st.booleans()):
        return ContigLayout(described, draw(st.integers(1, 400)))
    anchors = [Anchor(str(number), "chr1", number) for number in range(draw(st.integers(1, 6)))]
    n_bins = draw(st.sampled_from([1, 5, 33]))
    (array,) = describe_anchored(
        [described], anchors, name="tss", n_bins=n_bins, assembly="a", shard_anchors=draw(st.integers(1, 6))
    )
    parts = array.anchored.model_copy(update={"chunk_bins": draw(st.integers(1, n_bins))})
    return type(array)(described, parts)


def by_zarr(values: np.ndarray, layout: ArrayLayout) -> bytes:
    """Have zarr write the shard."""
    kind = layout.feature_set.value_type
    padded = np.full(layout.shard_shape, kind.fill, dtype=kind.dtype)
    rows, columns = layout.block(len(values))
    padded[:rows, :columns] = values.reshape(rows, columns, -1)
    kept: dict[str, Any] = {}
    chosen = array_settings(layout) | {"shape": padded.shape}
    zarr.create_array(MemoryStore(kept), **chosen)[...] = padded
    return kept["c/0/0/0"].to_bytes()


@given(layouts(), st.integers(0, 2**32))
@settings(max_examples=60)
def test_a_shard_has_the_bytes_that_zarr_writes(layout: ArrayLayout, seed: int) -> None:
    first, end = layout.shard_span(0, 0)
    numbers = np.random.default_rng(seed).integers(0, 200, (end - first, layout.shape[2]))
    values = numbers.astype(value_type(layout.feature_set.dtype).dtype)
    assert encode_shard(values, layout, where="here") == by_zarr(values, layout)
