"""Coordinates of a sealed store: what xarray, without this package, selects by.

Belongs here: which contigs have them, their objects, and a group's document without them. Does not: writing them
(`featurestore.upkeep.seal`), the coordinates of `to_xarray` (`featurestore.xarray_view`).

    features/<set>/<contig>/phase      offset of each phase (bp)
    features/<set>/<contig>/bin        j * bin_size for row j (bp); in the phase of offset o it begins at bin - o
    features/<set>/<contig>/channel    names of the channels

They follow from the description of the set and repeat it for other readers, so the hash of the contents leaves them
out: stores of equal values have an equal hash, with or without them.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from catalog import FeatureSet
from catalog.runtime.documents import DamagedDocument, parse_object
from featurestore.format import layout
from featurestore.format.layout import ContigLayout
from featurestore.format.metadata import GROUP, MAX_CONSOLIDATED_BYTES, ZSTD_LEVEL

_KEY = re.compile(rf"{layout.FEATURES}/[^/]+/[^/]+/(?:{'|'.join(layout.DIMENSIONS)})/(?:{re.escape(GROUP)}|c/0)")
_MOST_BINS = 1 << 20
"""Of a contig with coordinates: xarray reads those of a dimension whole, to make an index."""
_MOST_CONTIGS = 1024
"""Of a set: each has six objects more."""
_MAX_BYTES = 64 << 20
"""Of the coordinates of a set, before compression."""


def is_coordinate(key: str) -> bool:
    """Tell whether a key is that of an object of a coordinate."""
    return _KEY.fullmatch(key) is not None


def contigs_with_coordinates(feature_set: FeatureSet, lengths: Mapping[str, int]) -> list[str]:
    """Choose the contigs of a set that have coordinates: the longest, within 1,024 contigs and 64 MiB.

    A contig of more than 1,048,576 bins has none: opening it would read them all.

    Parameters
    ----------
    lengths
        Of the contigs of the set (bp), by name.
    """
    names_bytes = sum(len(name.encode()) + 4 for name in feature_set.channel_names)
    chosen: list[str] = []
    left = _MAX_BYTES
    for contig in sorted(lengths, key=lambda name: (-lengths[name], name)):
        phases, bins, _ = ContigLayout(feature_set, lengths[contig]).shape
        size = 8 * (phases + bins) + names_bytes
        if bins <= _MOST_BINS and size <= left and len(chosen) < _MOST_CONTIGS:
            chosen.append(contig)
            left -= size
    return chosen


def coordinate_keys(feature_set: FeatureSet, lengths: Mapping[str, int]) -> set[str]:
    """List the keys of the coordinates of a set, as `coordinate_objects` makes them."""
    return {
        f"{layout.contig_path(feature_set.name, contig)}/{name}/{item}"
        for contig in contigs_with_coordinates(feature_set, lengths)
        for name in layout.DIMENSIONS
        for item in (GROUP, "c/0")
    }


def coordinate_objects(feature_set: FeatureSet, lengths: Mapping[str, int]) -> dict[str, bytes]:
    """Encode the coordinates of a set, by key.

    Parameters
    ----------
    lengths
        Of the contigs of the set (bp), by name.
    """
    objects: dict[str, bytes] = {}
    for contig in contigs_with_coordinates(feature_set, lengths):
        kept: dict[str, Buffer] = {}
        group = zarr.create_group(MemoryStore(kept))
        _, bins, _ = ContigLayout(feature_set, lengths[contig]).shape
        of_phase = {"units": "bp", "long_name": "how far the phase begins left of base 0"}
        of_bin = {"units": "bp", "long_name": "first base of the bin plus the offset of its phase"}
        _add(group, "phase", np.array(feature_set.offsets, dtype=np.int64), of_phase)
        _add(group, "bin", np.arange(bins, dtype=np.int64) * feature_set.bin_size, of_bin)
        _add(group, "channel", np.array(feature_set.channel_names, dtype=object), {})
        path = layout.contig_path(feature_set.name, contig)
        objects |= {f"{path}/{key}": bytes(data.to_bytes()) for key, data in kept.items() if key != GROUP}
    return objects


def without_coordinates(key: str, data: bytes) -> bytes:
    """Remove the coordinates from the consolidated metadata of a group; any other object stays as it is.

    Parameters
    ----------
    key
        Of the group's document, in the store.
    """
    try:
        document = parse_object(data, where=key, mend="", max_bytes=MAX_CONSOLIDATED_BYTES)
    except DamagedDocument:
        return data
    consolidated = document.get("consolidated_metadata")
    embedded = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    if not isinstance(embedded, dict):
        return data
    folder = key.removesuffix(GROUP)
    extra = [name for name in embedded if is_coordinate(f"{folder}{name}/{GROUP}")]
    for name in extra:
        del embedded[name]
    return json.dumps(document, indent=2).encode() if extra else data  # as zarr writes it


def _add(group: "zarr.Group", name: str, values: "np.typing.NDArray[np.generic]", attributes: dict[str, Any]) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype="string" if values.dtype == object else values.dtype,
        compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
        dimension_names=[name],
        attributes=attributes,
        # By default zarr omits a chunk of zeros, and one phase has offset 0.
        config={"write_empty_chunks": True},
    )
    array[...] = values
