"""Engines that read rows of a feature set: the protocol, and rows through zarr.

Belongs here: `RowSource`, rows through zarr. Does not: tensorstore (`featurestore.rows.tensorstore_source`), which rows
a window needs (`featurestore.reader`), deduplication (`featurestore.rows.row_requests`).
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.abc.store import Store as ZarrStore

from catalog.value_type import Values, value_type
from featurestore.format.array_key import ArrayKey
from featurestore.format.layout import values_path
from featurestore.rows.row_requests import RowRequest, merged, scatter


class RowSource(Protocol):
    """An engine that reads rows of one feature set."""

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        """Fill `outputs[i]`, shape `(end - first, channels)`, with the rows of `requests[i]`; all in one batch.

        The outputs have the dtype of the stored set.

        Raises
        ------
        DamagedChunk
            If stored bytes fail their checksum twice; the outputs are then undefined.
        """
        ...


@runtime_checkable
class HeldRowSource(RowSource, Protocol):
    """A source that holds its rows in memory."""

    def held(self, contig: str, phase: int) -> Values:
        """All rows of one phase of a contig, `(rows, channels)`, contiguous, read-only."""
        ...


class DamagedChunk(OSError):
    """Stored bytes fail their checksum, cannot be decoded, or are missing."""


def damaged(what: str, place: str, reason: str) -> DamagedChunk:
    """Make the error for a shard that is damaged after a second fetch."""
    return DamagedChunk(
        f"{what} of {place} was read twice and is not whole: {reason}; `featurestore verify --crc` tells more, and "
        f"`featurestore repair {place}`, then the same build again, mends it"
    )


def read_rows(
    source: RowSource, requests: Sequence[RowRequest], n_channels: int, dtype: DTypeLike = np.float16
) -> list[Values]:
    """Read many ranges of rows into new arrays, each `(end - first, channels)`, of the set's dtype."""
    rows = [np.empty((request.end - request.first, n_channels), dtype=dtype) for request in requests]
    source.read_into(requests, rows)
    return rows


def gather(rows: Values, first: NDArray[np.int64], n_bins: int) -> Values:
    """Gather windows of `n_bins` rows that begin at rows `first`, shape `(windows, n_bins, channels)`."""
    # Fancy indexing of a sliding-window view: numpy copies each window as one block. 64 windows of 251 x 40 take
    # 77 us, against 99 us in a loop over slices, and 190 us by an index of every row. (`as_strided` takes 7 us more.)
    shape = (len(rows) - n_bins + 1, n_bins, rows.shape[1])
    windows = np.ndarray(shape, rows.dtype, rows, strides=(rows.strides[0], *rows.strides))
    return windows[first]


class ZarrRows:
    """Rows through zarr: slower, but over any store that zarr opens; also the test oracle of other engines."""

    def __init__(self, store: ZarrStore, array: ArrayKey | str) -> None:
        self._store = store
        self._key = ArrayKey.of(array)
        self._arrays: dict[str, zarr.Array[Any]] = {}

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        """Read one merged range after the other."""
        for read in merged(requests):
            scatter(self._read(read[0]), read, requests, outputs)

    def _read(self, rows: RowRequest) -> Values:
        try:
            return self._read_once(rows)
        except (ValueError, RuntimeError):
            return self._read_shard_by_shard(rows)

    def _read_once(self, rows: RowRequest) -> Values:
        found = np.asarray(self._array(rows.contig)[rows.phase, rows.first : rows.end])
        # A missing object reads as fill in all channels, so one channel is enough to check.
        if value_type(found.dtype).is_never_built(found[:, 0]).any():
            raise ValueError("committed rows are absent")
        return found

    def _read_shard_by_shard(self, rows: RowRequest) -> Values:
        """Fetch damaged rows again shard by shard, since zarr's error does not name the shard."""
        array = self._array(rows.contig)
        n_phases, n_bins, _ = array.shards or array.chunks
        pieces = []
        for shard in range(rows.first // n_bins, -(-rows.end // n_bins)):
            first, end = max(rows.first, shard * n_bins), min(rows.end, (shard + 1) * n_bins)
            try:
                pieces.append(self._read_once(rows._replace(first=first, end=end)))
            except (ValueError, RuntimeError) as error:
                key = f"{values_path(self._key, rows.contig)}/c/{rows.phase // n_phases}/{shard}/0"
                raise damaged(key, str(self._store), str(error)) from error
        return np.concatenate(pieces)

    def _array(self, contig: str) -> "zarr.Array[Any]":
        array = self._arrays.get(contig)
        if array is None:
            array = zarr.open_array(self._store, path=values_path(self._key, contig), mode="r", zarr_format=3)
            self._arrays[contig] = array
        return array
