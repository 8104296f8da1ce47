"""Reading rows through tensorstore, with one limit on concurrent requests for the process.

Belongs here: `TensorStoreRows`. Does not: other engines (`featurestore.rows.source`), URLs and credentials
(`featurestore.objects.objects`).
"""

import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import tensorstore as ts

from catalog.value_type import Values
from featurestore.format.array_key import ArrayKey
from featurestore.format.layout import values_path
from featurestore.objects.errors import explained, is_outage
from featurestore.rows.row_requests import Block, MergedRange, RowRequest, merged, scatter
from featurestore.rows.source import damaged

CONCURRENCY_VARIABLE = "FEATURESTORE_REQUESTS_AT_ONCE"

_DEFAULT_REQUESTS_AT_ONCE = 32
_LARGE_WINDOW_BYTES = 1 << 20
_WORTH_MERGING = 0.25
"""Fraction of a batch's rows that must be shared by windows for `_copy` to be faster than `_fill`."""
_SHARD = re.compile(r"(?:features|anchored|overlays)/[^\"]+/values/c/\d+/\d+/\d+")


def requests_at_once() -> int:
    """Most requests to servers in flight, for all readers of this process.

    The environment's `FEATURESTORE_REQUESTS_AT_ONCE` at the first read, or 32.

    Raises
    ------
    ValueError
        If the variable is not a number of requests.
    """
    text = os.environ.get(CONCURRENCY_VARIABLE, "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise ValueError(
            f"{CONCURRENCY_VARIABLE} is {text!r}; set it to a number of requests, at least 1, such as 32, or unset it"
        )
    return int(text or _DEFAULT_REQUESTS_AT_ONCE)


class TensorStoreRows:
    """Rows through tensorstore: parallel, coalesced, checksummed, decoded outside the GIL.

    Parameters
    ----------
    kvstore
        Tensorstore's specification of the store's root.
    array
        Which features to read.
    cache_bytes
        Budget of the cache of decoded chunks (bytes); 0 for none.
    renewed
        Returns a new specification, for when its credentials have expired.
    """

    def __init__(
        self,
        kvstore: dict[str, Any],
        array: ArrayKey | str,
        *,
        cache_bytes: int = 0,
        renewed: Callable[[], dict[str, Any] | None] | None = None,
    ) -> None:
        self._kvstore = kvstore
        self._key = ArrayKey.of(array)
        self._cache_bytes = cache_bytes
        self._renewed = renewed
        self._context: Any = None
        self._arrays: dict[str, Any] = {}
        self._process = os.getpid()

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        """Fill the outputs in one batch; damaged chunks are fetched once more."""
        if os.getpid() != self._process:
            raise _forked()
        try:
            self._read_batch(requests, outputs)
        except ValueError as error:
            if not self._is_worth_retrying(error):
                raise self._explained(error) from error
            self._arrays, self._context = {}, None  # drops their cached bytes
            try:
                self._read_batch(requests, outputs)
            except ValueError as again:
                raise self._explained(again) from again

    def _read_batch(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        ranges = merged(requests)
        if isinstance(outputs, Block) and not _is_worth_merging(ranges, outputs):
            self._fill(outputs.rows, requests)
        else:
            self._copy(ranges, requests, outputs)

    def _copy(self, ranges: Sequence[MergedRange], requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        """Read each merged range, and copy its rows to the requests' outputs."""
        with ts.Batch() as batch:
            readings = [
                self._array(contig)[phase, first:end].read(batch=batch) for (contig, phase, first, end), _ in ranges
            ]
        for read, reading in zip(ranges, readings, strict=True):
            scatter(reading.result(), read, requests, outputs)

    def _fill(self, rows: Values, requests: Sequence[RowRequest]) -> None:
        """Have tensorstore write the rows of all requests, concatenated, directly into the outputs.

        Local, 64 windows of 251 x 40: 9 % faster than `_copy` where windows share 1 % of their rows, 4 % where they
        share 17 %, and 5 % slower where they share 37 %: tensorstore decodes a chunk once a batch either way, but
        handles each window. 12 windows of 251 x 21,907: always faster (20 % if they lie apart, 1.5x where they share
        4 % to 70 %), in half the memory. A separate destination for each window is slower than either if windows are
        small.
        """
        wanted = [self._array(contig)[phase, first:end] for contig, phase, first, end in requests]
        with ts.Batch() as batch:
            writing = ts.array(rows).write(ts.concat(wanted, axis=0).translate_to[0, 0], batch=batch)
        writing.result()

    def _is_worth_retrying(self, error: ValueError) -> bool:
        """Tell whether a second read may succeed: after damage, or with new credentials."""
        if not is_outage(error):
            return True  # damage: perhaps in transit, not in the store
        if self._renewed is None or not isinstance(self._explained(error), PermissionError):
            return False  # tensorstore has already retried, by the policy of `catalog.runtime.retry`
        before, self._kvstore = self._kvstore, self._renewed() or self._kvstore
        return self._kvstore != before

    def _explained(self, error: ValueError) -> OSError:
        place = _location(self._kvstore)
        if is_outage(error):
            return explained(error, f"read {self._key} at {place}")
        shard = _SHARD.search(str(error))
        return damaged(shard[0] if shard else f"a chunk of {self._key}", place, str(error))

    def _array(self, contig: str) -> Any:
        array = self._arrays.get(contig)
        if array is None:
            if self._context is None:
                cache = {"cache_pool": {"total_bytes_limit": self._cache_bytes}}
                self._context = ts.Context(cache, parent=_shared_context())
            spec = {
                "driver": "zarr3",
                "kvstore": self._kvstore | self._place(contig),
                "recheck_cached_data": False,
                # A committed row whose object is missing is an error, rather than NaN.
                "fill_missing_data_reads": False,
            }
            array = ts.open(spec, read=True, open=True, context=self._context).result()
            self._arrays[contig] = array
        return array

    def _place(self, contig: str) -> dict[str, str]:
        path = f"{values_path(self._key, contig)}/"
        if self._kvstore["driver"] == "http":
            return {"path": path}
        return {"path": f"{self._kvstore['path']}{path}"}


def _is_worth_merging(ranges: Sequence[MergedRange], windows: Block) -> bool:
    """Tell whether windows share so many rows that `_copy` is faster than `_fill`."""
    rows = sum(merged_range.end - merged_range.first for merged_range, _ in ranges)
    return windows.window_bytes < _LARGE_WINDOW_BYTES and rows < (1 - _WORTH_MERGING) * len(windows.rows)


def _shared_context() -> Any:
    """Context that all readers of a process share: limits on requests in flight, and on decoding threads."""
    process, context = _make_shared_context()
    if process != os.getpid():
        raise _forked()
    return context


@lru_cache(maxsize=1)
def _make_shared_context() -> tuple[int, Any]:
    limit = {"limit": requests_at_once()}
    # Files keep tensorstore's own limit, the number of cores, which is also for the whole process: 32 took 5 % longer.
    pools = ("s3_request_concurrency", "gcs_request_concurrency", "http_request_concurrency")
    return os.getpid(), ts.Context(dict.fromkeys(pools, limit))


def _forked() -> RuntimeError:
    return RuntimeError(
        "this store was opened before the process forked, and tensorstore does not survive a fork; "
        "start workers with multiprocessing_context='spawn' or 'forkserver', or use num_workers=0"
    )


def _location(kvstore: dict[str, Any]) -> str:
    if "base_url" in kvstore:
        return str(kvstore["base_url"]).rstrip("/")
    path = str(kvstore["path"]).rstrip("/")
    return f"{kvstore['driver'].replace('gcs', 'gs')}://{kvstore['bucket']}/{path}" if "bucket" in kvstore else path
