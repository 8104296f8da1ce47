"""Anchored arrays: features of windows that are centred on chosen positions to the base.

Belongs here: what an anchored array is, its layout and its metadata objects, pure. Does not: writing those
(`featurestore.anchored.declare`), reading windows (`featurestore.anchored.reader`), the table of anchors
(`catalog.genes.anchors`).

The middle of the middle bin of each window is its anchor, so the number of bins is odd, and any smaller odd number is
cropped from the middle. An array is made for one table and one number of bins, and neither changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from catalog import FeatureSet
from catalog.feature_set import Name
from catalog.genes.anchors import Anchor
from catalog.runtime.whole_numbers import whole_number
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.metadata import GROUP, add_coordinate, array_settings, digest_of, signed

_MAX_CHUNK_BYTES = 512 << 10
_MAX_SHARD_BYTES = 256 << 20
_MOST_ANCHORS = 1 << 22
"""More than there are transcripts in any genome."""
_MOST_BINS = 1 << 20
DESCRIPTION = "anchored"
"""Attribute with the description, on the group and on the values."""


class Anchored(BaseModel):
    """Description of an anchored array."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feature_set: str
    fingerprint: str
    """Of the extractor that computes the values."""
    assembly: str
    """Digest of the assembly."""
    anchors: Name
    """Name of the table of anchors in the store."""
    table: str
    """Digest of the table of anchors."""
    n_anchors: int = Field(ge=1, le=_MOST_ANCHORS)
    n_bins: int = Field(ge=1, le=_MOST_BINS)
    """Bins a window; odd."""
    bin_size: int
    """Bases a bin (bp)."""
    chunk_bins: int = Field(ge=1, le=_MOST_BINS)
    """Bins of one window in an inner chunk."""
    shard_anchors: int = Field(ge=1, le=_MOST_ANCHORS)
    """Anchors a shard: one object, one task, one commit."""


@dataclass(frozen=True, slots=True)
class AnchorLayout:
    """The anchored array of one feature set. Its bins are numbered window after window."""

    feature_set: FeatureSet
    anchored: Anchored

    @property
    def key(self) -> ArrayKey:
        """Address."""
        return ArrayKey(self.feature_set.name, self.anchored.anchors)

    @property
    def path(self) -> str:
        """Path of the group."""
        return layout.anchored_path(self.feature_set.name, self.anchored.anchors)

    @property
    def dimensions(self) -> tuple[str, str, str]:
        """Names of the axes."""
        return "anchor", "bin", "channel"

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(anchor, bin, channel)`."""
        return self.anchored.n_anchors, self.anchored.n_bins, len(self.feature_set.channels)

    @property
    def shard_shape(self) -> tuple[int, int, int]:
        """`(anchor, bin, channel)` of one object: whole windows, rounded up to whole chunks."""
        chunk = self.anchored.chunk_bins
        return self.anchored.shard_anchors, -(-self.anchored.n_bins // chunk) * chunk, len(self.feature_set.channels)

    @property
    def chunk_shape(self) -> tuple[int, int, int]:
        """`(anchor, bin, channel)` of one inner chunk."""
        return 1, self.anchored.chunk_bins, len(self.feature_set.channels)

    @property
    def shard_bins(self) -> int:
        """Bins a shard at the most."""
        return self.anchored.shard_anchors * self.anchored.n_bins

    @property
    def n_shards(self) -> int:
        """Shards of the array."""
        return -(-self.anchored.n_anchors // self.anchored.shard_anchors)

    def anchor_span(self, shard: int) -> tuple[int, int]:
        """Anchors `[first, end)` that one shard holds."""
        first = shard * self.anchored.shard_anchors
        return first, min(first + self.anchored.shard_anchors, self.anchored.n_anchors)

    def shard_span(self, phase: int, shard: int) -> tuple[int, int]:
        """Bins `[first, end)` that one shard holds; there is one phase."""
        first, end = self.anchor_span(shard)
        return first * self.anchored.n_bins, end * self.anchored.n_bins

    def block(self, n_bins: int) -> tuple[int, int]:
        """Shape `(anchor, bin)` of the first `n_bins` bins of a shard."""
        return n_bins // self.anchored.n_bins, self.anchored.n_bins


def describe_anchored(
    feature_sets: Sequence[FeatureSet],
    anchors: Sequence[Anchor],
    *,
    name: str,
    n_bins: int,
    assembly: str,
    shard_anchors: int,
) -> list[AnchorLayout]:
    """Lay out the anchored arrays of feature sets that one pass writes; they share their shards.

    Parameters
    ----------
    anchors
        The table, in the order of the assembly.
    assembly
        Digest of the assembly.
    shard_anchors
        Most anchors a shard; fewer where a shard of any of the sets would exceed 256 MB, but at least one.

    Raises
    ------
    ValueError
        If the name is not that of a folder, or the number of bins is not odd.
    """
    n_bins, shard_anchors = whole_number(n_bins, name="n_bins"), whole_number(shard_anchors, name="shard_anchors")
    if n_bins < 1 or n_bins % 2 == 0:
        raise ValueError(
            f"an anchored window has an odd number of bins: the middle of an even number is a boundary, and no bin is "
            f"centred on the anchor; got {n_bins}, take {max(n_bins, 0) + 1}"
        )
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise ValueError(
            f"{name!r} cannot name anchors: it becomes a folder, so take letters, digits, '.', '_' and '-', and begin "
            "with a letter or digit"
        ) from error
    row_bytes = [len(item.channels) * item.value_type.item_bytes for item in feature_sets]
    chunks = [_chunk_bins(row, n_bins) for row in row_bytes]
    for row, chunk in zip(row_bytes, chunks, strict=True):
        window_bytes = -(-n_bins // chunk) * chunk * row
        shard_anchors = max(1, min(shard_anchors, _MAX_SHARD_BYTES // window_bytes, len(anchors)))
    return [
        AnchorLayout(
            item,
            Anchored(
                feature_set=item.name,
                fingerprint=item.fingerprint,
                assembly=assembly,
                anchors=name,
                table=table_digest(anchors),
                n_anchors=len(anchors),
                n_bins=n_bins,
                bin_size=item.bin_size,
                chunk_bins=chunk,
                shard_anchors=shard_anchors,
            ),
        )
        for item, chunk in zip(feature_sets, chunks, strict=True)
    ]


def bin_offsets(n_bins: int, bin_size: int) -> NDArray[np.int64]:
    """First base of each bin of a window relative to its anchor, shape `(n_bins,)` (bp)."""
    return (np.arange(n_bins, dtype=np.int64) - n_bins // 2) * bin_size - bin_size // 2


def table_digest(anchors: Iterable[Anchor]) -> str:
    """Digest a table of anchors."""
    return digest_of([list(anchor) for anchor in anchors])


def anchored_documents(array: AnchorLayout, anchors: Sequence[Anchor]) -> dict[str, bytes]:
    """Encode every metadata object of an anchored array: groups, coordinates and the array itself."""
    description: dict[str, Any] = {DESCRIPTION: signed(array.anchored.model_dump(mode="json"))}
    kept: dict[str, Buffer] = {}
    # The coordinates are named for xarray, which would otherwise take those without a dimension of their own for data.
    group = zarr.create_group(MemoryStore(kept), attributes=description | {"coordinates": "contig centre strand"})
    add_coordinate(group, "anchor", "anchor", [anchor.name for anchor in anchors], "string")
    add_coordinate(group, "contig", "anchor", [anchor.contig for anchor in anchors], "string")
    add_coordinate(group, "centre", "anchor", [anchor.centre for anchor in anchors], "int64")
    add_coordinate(group, "strand", "anchor", [anchor.strand for anchor in anchors], "string")
    add_coordinate(group, "bin", "bin", bin_offsets(array.anchored.n_bins, array.anchored.bin_size).tolist(), "int64")
    add_coordinate(group, "channel", "channel", list(array.feature_set.channel_names), "string")
    settings = array_settings(array)
    group.create_array("values", **settings | {"attributes": description | settings.get("attributes", {})})
    above: dict[str, Buffer] = {}
    zarr.create_group(MemoryStore(above))
    folders = (layout.ANCHORED, array.path.rpartition("/")[0])
    documents = {f"{folder}/{GROUP}": above[GROUP] for folder in folders}
    documents |= {f"{array.path}/{key}": data for key, data in kept.items()}
    return {key: bytes(data.to_bytes()) for key, data in documents.items()}


def _chunk_bins(row_bytes: int, n_bins: int) -> int:
    """Divide a window into the fewest chunks of at most 512 KiB, of about equal size."""
    most = max(1, _MAX_CHUNK_BYTES // row_bytes)
    n_chunks = -(-n_bins // most)
    return -(-n_bins // n_chunks)
