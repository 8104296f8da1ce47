"""Reading rows of a feature set: the engines below the window reader.

Belongs here: `RowSource` and one class an engine. Does not: which rows a window needs (`featurestore.reader`).
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorstore as ts
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store as ZarrStore

from featurestore.layout import values_path
from featurestore.retry import explained, is_outage


class RowRequest(NamedTuple):
    """Rows `[first, end)` of one phase of one contig; all of them inside the array."""

    contig: str
    phase: int
    first: int
    end: int


class RowSource(Protocol):
    """Something that gives rows of one feature set."""

    def read(self, requests: Sequence[RowRequest]) -> list[NDArray[np.float16]]:
        """Read many stretches at once, each `(end - first, channels)` float16, in the order asked."""
        ...


class DamagedChunk(OSError):
    """Stored bytes fail their checksum or cannot be decoded."""


class TensorStoreRows:
    """Rows through tensorstore: parallel, coalesced, checksummed, decoded outside the interpreter lock.

    Parameters
    ----------
    kvstore
        Tensorstore's specification of the store's root.
    cache_bytes
        Decoded chunks kept in memory (bytes); 0 keeps none.
    """

    def __init__(self, kvstore: dict[str, Any], feature_set: str, *, cache_bytes: int = 0) -> None:
        self._kvstore = kvstore
        self._feature_set = feature_set
        self._cache_bytes = cache_bytes
        self._context: Any = None
        self._arrays: dict[str, Any] = {}
        self._process = os.getpid()

    def read(self, requests: Sequence[RowRequest]) -> list[NDArray[np.float16]]:
        """Read many stretches in one batch."""
        if os.getpid() != self._process:
            raise RuntimeError(
                "this store was opened before the process forked, and tensorstore does not survive a fork; "
                "start workers with multiprocessing_context='spawn' or 'forkserver', or use num_workers=0"
            )
        try:
            with ts.Batch() as batch:
                reads = [
                    self._array(request.contig)[request.phase, request.first : request.end].read(batch=batch)
                    for request in requests
                ]
            rows = [np.asarray(read.result()) for read in reads]
        except ValueError as error:
            if is_outage(error):
                place = self._kvstore.get("base_url") or f"{self._kvstore['bucket']}/{self._kvstore['path']}"
                raise explained(error, f"read {self._feature_set} at {place}") from error
            raise DamagedChunk(
                f"a chunk of {self._feature_set} cannot be read: {error}; `featurestore verify --crc` finds the shard, "
                "and building again after its record and object are removed mends it"
            ) from error
        return _whole(rows, requests, self._feature_set)

    def _array(self, contig: str) -> Any:
        array = self._arrays.get(contig)
        if array is None:
            if self._context is None:
                self._context = ts.Context({"cache_pool": {"total_bytes_limit": self._cache_bytes}})
            spec = {
                "driver": "zarr3",
                "kvstore": self._kvstore | self._place(contig),
                "recheck_cached_data": False,
            }
            array = ts.open(spec, read=True, open=True, context=self._context).result()
            self._arrays[contig] = array
        return array

    def _place(self, contig: str) -> dict[str, str]:
        path = f"{values_path(self._feature_set, contig)}/"
        if self._kvstore["driver"] == "http":
            return {"path": path}
        return {"path": f"{self._kvstore['path']}{path}"}


class ZarrRows:
    """Rows through zarr: slower, but over any store that zarr opens. Also the oracle of the others."""

    def __init__(self, store: ZarrStore, feature_set: str) -> None:
        self._store = store
        self._feature_set = feature_set
        self._arrays: dict[str, zarr.Array[Any]] = {}

    def read(self, requests: Sequence[RowRequest]) -> list[NDArray[np.float16]]:
        """Read one stretch after the other."""
        try:
            rows = [
                np.asarray(self._array(request.contig)[request.phase, request.first : request.end])
                for request in requests
            ]
        except (ValueError, RuntimeError) as error:
            raise DamagedChunk(
                f"a chunk of {self._feature_set} cannot be read: {error}; `featurestore verify --crc` finds the shard"
            ) from error
        return _whole(rows, requests, self._feature_set)

    def _array(self, contig: str) -> "zarr.Array[Any]":
        array = self._arrays.get(contig)
        if array is None:
            array = zarr.open_array(self._store, path=values_path(self._feature_set, contig), mode="r", zarr_format=3)
            self._arrays[contig] = array
        return array


def _whole(
    rows: list[NDArray[np.float16]], requests: Sequence[RowRequest], feature_set: str
) -> list[NDArray[np.float16]]:
    """Refuse rows that were filled in: an object that is absent reads as NaN, in every channel."""
    for request, found in zip(requests, rows, strict=True):
        if np.isnan(found[:, 0]).any():
            raise DamagedChunk(
                f"rows {request.first}-{request.end - 1} of {feature_set} {request.contig} phase {request.phase} are "
                "committed, but their object is not there or not whole; `featurestore verify` names it and the mend"
            )
    return rows


class MemoryRows:
    """Rows of whole contigs held in memory: each contig is read once, on first use.

    A genome of 40 channels at 4,096 bp is 60 MB a phase.
    """

    def __init__(self, source: RowSource, n_rows: "RowCounts") -> None:
        self._source = source
        self._n_rows = n_rows
        self._held: dict[tuple[str, int], NDArray[np.float16]] = {}

    @property
    def nbytes(self) -> int:
        """Memory held (bytes)."""
        return sum(rows.nbytes for rows in self._held.values())

    def read(self, requests: Sequence[RowRequest]) -> list[NDArray[np.float16]]:
        """Give views of what is held."""
        return [self._rows(request.contig, request.phase)[request.first : request.end] for request in requests]

    def _rows(self, contig: str, phase: int) -> NDArray[np.float16]:
        rows = self._held.get((contig, phase))
        if rows is None:
            rows = self._source.read([RowRequest(contig, phase, 0, self._n_rows(contig, phase))])[0]
            self._held[contig, phase] = rows
        return rows


class RowCounts(Protocol):
    """Tells how many rows one phase of a contig has."""

    def __call__(self, contig: str, phase: int) -> int:
        """Give the number of rows."""
        ...
