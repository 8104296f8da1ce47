"""Metadata objects of a store, as pure functions of assembly and feature sets.

Belongs here: the bytes of every `zarr.json` and of the coordinates, and the digests in them. Does not: writing them
(`featurestore.store`), comparing them with what is there (`featurestore.upkeep.verify`).

zarr itself makes them, in memory: it defines the format, and no event loop is involved in writing them.
"""

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from pydantic import JsonValue
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from catalog import Assembly, FeatureSet
from catalog.runtime.documents import DamagedDocument, parse_object
from featurestore.format import layout
from featurestore.format.layout import ArrayLayout, ContigLayout

GROUP = "zarr.json"
"""Name of the object that describes a group or an array, in its folder."""
ZSTD_LEVEL = 3
"""Of all values (`featurestore.format.writer`)."""
DIGEST = "digest"
"""Field of a description that holds the digest of the rest."""

MAX_CONSOLIDATED_BYTES = 1 << 28
"""Largest document of a group (bytes): those of a sealed store embed all documents below them."""
_CONSOLIDATED = "consolidated_metadata"


def digest_of(document: JsonValue | Mapping[str, Any]) -> str:
    """Digest a JSON document: sha256 of its canonical form (keys sorted, no white space), in hexadecimal digits."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def signed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Add its own digest to a JSON document."""
    return {**document, DIGEST: digest_of(document)}


def is_whole(document: Mapping[str, Any]) -> bool:
    """Tell whether a document matches its own digest; one without digest passes."""
    rest = {name: value for name, value in document.items() if name != DIGEST}
    return len(rest) == len(document) or digest_of(rest) == document[DIGEST]


def root_documents(assembly: Assembly, *, number: int = layout.FORMATS[0]) -> dict[str, bytes]:
    """Encode the objects of a store without feature sets, in format `number`."""
    kept: dict[str, Buffer] = {}
    description = {"format": number, "assembly": assembly.model_dump(mode="json")}
    root = zarr.create_group(MemoryStore(kept), attributes={"featurestore": signed(description)})
    root.create_group(layout.FEATURES)
    return _as_bytes(kept)


def set_description(assembly: Assembly, feature_set: FeatureSet) -> dict[str, Any]:
    """Describe a feature set and its assembly as JSON."""
    # Readers of format 1 know no dtype: they assume float16.
    unsaid = {"dtype"} if layout.format_of(feature_set) == 1 else None
    return signed({"feature_set": feature_set.model_dump(mode="json", exclude=unsaid), "assembly": assembly.digest})


def set_documents(assembly: Assembly, feature_set: FeatureSet, contigs: Iterable[str]) -> dict[str, bytes]:
    """Encode every metadata object of a feature set on some contigs: groups, arrays and coordinates."""
    kept: dict[str, Buffer] = {}
    # Named as a coordinate for xarray, to which `offset` would otherwise be a data variable.
    attributes = set_description(assembly, feature_set) | {"coordinates": "offset"}
    group = zarr.create_group(MemoryStore(kept), attributes=attributes)
    add_coordinate(group, "channel", "channel", list(feature_set.channel_names), "string")
    add_coordinate(group, "offset", "phase", list(feature_set.offsets), "int64")
    for contig in dict.fromkeys(contigs):
        expected = ContigLayout(feature_set, assembly.lengths[contig])
        inside = group.create_group(layout.contig_key(contig), attributes={"contig": contig, "length": expected.length})
        inside.create_array("values", **array_settings(expected))
    path = layout.set_path(feature_set.name)
    return {f"{path}/{key}": data for key, data in _as_bytes(kept).items()}


def array_settings(array: ArrayLayout) -> dict[str, Any]:
    """Keyword arguments of `zarr.create_array` for an array of features."""
    stored = array.feature_set.value_type
    # xarray's attribute for a fill value; NaN needs none.
    masked = {"attributes": {"_FillValue": int(stored.fill)}} if stored.dtype.kind != "f" else {}
    return masked | {
        "shape": array.shape,
        "shards": array.shard_shape,
        "chunks": array.chunk_shape,
        "dtype": stored.name,
        "fill_value": stored.dtype.type(stored.fill),
        # The checksum is the last codec, so it covers the bytes as stored: by default zarr checks only a shard's index.
        "compressors": [ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
        "dimension_names": array.dimensions,
        "config": {"write_empty_chunks": True},
    }


def consolidated(documents: Mapping[str, bytes], groups: Sequence[str] | None = None) -> dict[str, bytes]:
    """Consolidate: embed in the documents of some groups, by default all, those of all arrays and groups below.

    Readers then open a store without listing, or a request for each array: xarray reads the root's document, or that of
    a folder further down which is opened as a store of its own.
    """
    if groups is None:
        groups = [key for key, data in documents.items() if is_group(key, data)]
    kept = {key: _buffer(data) for key, data in documents.items() if key.rpartition("/")[2] == GROUP}
    with warnings.catch_warnings():
        # zarr warns that other implementations may not know consolidated metadata: they can ignore it.
        warnings.simplefilter("ignore", ZarrUserWarning)
        for key in groups:
            zarr.consolidate_metadata(MemoryStore(kept), path=key.removesuffix(GROUP).rstrip("/"), zarr_format=3)
    return {key: kept[key].to_bytes() for key in groups}


def is_group(key: str, data: bytes) -> bool:
    """Tell whether an object describes a Zarr group."""
    return key.rpartition("/")[2] == GROUP and _document(data).get("node_type") == "group"


def is_consolidated(data: bytes) -> bool:
    """Tell whether a group's document has consolidated metadata."""
    return _CONSOLIDATED in _document(data)


def without_consolidated(data: bytes) -> bytes:
    """Remove the consolidated metadata from a group's document."""
    document = _document(data)
    document.pop(_CONSOLIDATED, None)
    return json.dumps(document, indent=2).encode()  # as zarr writes it


def _document(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; anything else, such as a damaged one, is empty."""
    try:
        return parse_object(data, where=GROUP, mend="", max_bytes=MAX_CONSOLIDATED_BYTES)
    except DamagedDocument:
        return {}


def add_coordinate(group: "zarr.Group", name: str, dimension: str, values: list[Any], dtype: str) -> None:
    """Add a coordinate along one dimension to a group."""
    # Not compressed, so that the bytes do not depend on the compressor's version.
    checked: list[BytesBytesCodec] = [Crc32cCodec()]
    # An offset of 0 is the fill value, and by default zarr omits a chunk of fill values.
    config: Any = {"write_empty_chunks": True}
    array = group.create_array(
        name,
        shape=(len(values),),
        chunks=(len(values),),
        dtype=dtype,
        compressors=checked,
        dimension_names=[dimension],
        config=config,
    )
    array[...] = np.asarray(values, dtype=object if dtype == "string" else dtype)


def _buffer(data: bytes) -> Buffer:
    return default_buffer_prototype().buffer.from_bytes(data)


def _as_bytes(kept: Mapping[str, Buffer]) -> dict[str, bytes]:
    return {key: bytes(data.to_bytes()) for key, data in kept.items()}
