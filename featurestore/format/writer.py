"""Writing one shard: encode, put, commit.

Belongs here: the bytes of a shard and the order of the steps. Does not: which shards to write (`builders.plan`).

One shard is one object, written by one request and never in part: concurrent writers of inner chunks would overwrite
each other's. The record follows the object, so that a record means a complete shard.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.core.indexing import morton_order_iter

from catalog.value_type import Values
from featurestore.format.commits import Commit, CommitConflict, CommitLog
from featurestore.format.layout import ArrayLayout, shard_key
from featurestore.format.metadata import ZSTD_LEVEL
from featurestore.objects.objects import Objects

_CRC_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Provenance of the values of a shard, for its record."""

    run: str
    device: str
    seconds: float
    """Spent by the extractor."""
    versions: dict[str, str]
    worker: str = ""
    """Host and worker."""


def encode_shard(values: NDArray[Any], layout: ArrayLayout, *, where: str) -> bytes:
    """Encode the rows of one shard as a Zarr shard.

    Parameters
    ----------
    values
        Features, shape `(bins, channels)`, at most `layout.shard_bins` rows.
    where
        Name of the shard in errors.

    Raises
    ------
    ValueError
        If the set's type cannot hold a value (`catalog.value_type`), as NaN, or 70,000 in float16.
    """
    n_channels = layout.shape[2]
    if values.ndim != 2 or values.shape[1] != n_channels or not 1 <= len(values) <= layout.shard_bins:
        raise ValueError(
            f"{where}: expected (bins, channels) with 1 to {layout.shard_bins} bins and {n_channels} channels, "
            f"got shape {values.shape}"
        )
    kind = layout.feature_set.value_type
    stored = kind.encode(values, where=where, channels=layout.feature_set.channel_names)
    rows, columns = layout.block(len(stored))
    padded = stored.reshape(rows, columns, n_channels)
    if padded.shape != layout.shard_shape:
        padded = np.full(layout.shard_shape, kind.fill, dtype=kind.dtype)
        padded[:rows, :columns] = stored.reshape(rows, columns, n_channels)
    return _packed(padded, layout.chunk_shape)


def _packed(shard: Values, chunk_shape: tuple[int, int, int]) -> bytes:
    """Pack a shard as zarr's sharding codec does, to the byte; it takes eight times as long, in its event loop.

    The inner chunks, each as zstd with its checksum, in Morton order; then the offset and size of each, and a checksum
    of those.
    """
    counts = tuple(whole // part for whole, part in zip(shard.shape, chunk_shape, strict=True))
    index = np.empty((*counts, 2), dtype="<u8")
    compressor = Zstd(level=ZSTD_LEVEL)
    parts, end = [], 0
    for place in morton_order_iter(counts):
        chunk = shard[tuple(slice(n * size, (n + 1) * size) for n, size in zip(place, chunk_shape, strict=True))]
        data = compressor.encode(np.ascontiguousarray(chunk))
        parts += [data, _crc(data)]
        index[place] = end, len(data) + _CRC_BYTES
        end += len(data) + _CRC_BYTES
    table = index.tobytes()
    return b"".join([*parts, table, _crc(table)])


def _crc(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(_CRC_BYTES, "little")


def write_shard(
    objects: Objects,
    layout: ArrayLayout,
    values: NDArray[Any],
    *,
    contig: str,
    phase: int,
    shard: int,
    origin: Origin,
) -> Commit:
    """Write and commit one shard; idempotent: the record of an equal shard that exists is returned.

    Parameters
    ----------
    values
        Features of every row of the shard, shape `(bins, channels)`.

    Raises
    ------
    ValueError
        If the values do not fit the shard, or the set's type cannot hold one; nothing is written then.
    CommitConflict
        If another writer committed other bytes.
    """
    array = layout.key
    first, end = layout.shard_span(phase, shard)
    where = f"{array} {contig} phase {phase} shard {shard}"
    if len(values) != end - first:
        raise ValueError(f"{where} holds {end - first} bins, got {len(values)}")
    data = encode_shard(values, layout, where=where)
    commit = Commit(
        feature_set=str(array),
        contig=contig,
        phase=phase,
        shard=shard,
        first_bin=first,
        n_bins=end - first,
        size=len(data),
        crc32c=f"{google_crc32c.value(data):08x}",
        sha256=hashlib.sha256(data).hexdigest(),
        fingerprint=layout.feature_set.fingerprint,
        run=origin.run,
        worker=origin.worker,
        device=origin.device,
        seconds=round(origin.seconds, 3),
        versions=origin.versions,
    )
    log = CommitLog(objects, array)
    committed = log.read(contig, phase, shard)
    if committed is not None:
        return log.add(commit)
    key = shard_key(array, contig, phase, shard)
    if objects.create(key, data) or (found := objects.get(key)) == data:
        return log.add(commit)
    # Left without a record by a killed run, or damaged since: no reader uses it.
    objects.delete(key)
    objects.put(key, data)
    try:
        return log.add(commit)
    except CommitConflict:
        # Not a leftover: its writer committed it just now.
        objects.put(key, found)
        raise
