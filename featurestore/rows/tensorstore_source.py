"""Reading rows through tensorstore, and the budget that all its readers in a process share.

Belongs here: `TensorStoreRows`. Does not: other engines (`featurestore.rows.source`), where a store lies and who may
read it (`featurestore.objects.objects`).
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
from featurestore.rows.row_requests import Block, RowRequest, merged
from featurestore.rows.source import damaged

CONCURRENCY_VARIABLE = "FEATURESTORE_REQUESTS_AT_ONCE"

_DEFAULT_REQUESTS_AT_ONCE = 32
_LARGE_WINDOW_BYTES = 1 << 20
_WORTH_MERGING = 0.25
"""Share of a batch's rows that windows must have in common before merging them costs less than reading all at once."""
_SHARD = re.compile(r"(?:features|anchored)/[^\"]+/values/c/\d+/\d+/\d+")


def requests_at_once() -> int:
    """Give how many requests to servers all readers of this process may have in flight together.

    The environment's `FEATURESTORE_REQUESTS_AT_ONCE`, or 32; what it says at the first read holds.

    Raises
    ------
    ValueError
        If the variable is no number of requests.
    """
    text = os.environ.get(CONCURRENCY_VARIABLE, "")
    if text and not (text.isdecimal() and int(text) > 0):
        raise ValueError(
            f"{CONCURRENCY_VARIABLE} is {text!r}; set it to a number of requests, at least 1, such as 32, or unset it"
        )
    return int(text or _DEFAULT_REQUESTS_AT_ONCE)


class TensorStoreRows:
    """Rows through tensorstore: parallel, coalesced, checksummed, decoded outside the interpreter lock.

    Parameters
    ----------
    kvstore
        Tensorstore's specification of the store's root.
    array
        Which features to read.
    cache_bytes
        Decoded chunks kept in memory (bytes); 0 keeps none.
    renewed
        Gives the specification anew, for when the credentials in it have run out.
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
        """Fill the outputs in one batch; what cannot be decoded is fetched once more."""
        if os.getpid() != self._process:
            raise _forked()
        try:
            self._read_batch(requests, outputs)
        except ValueError as error:
            if not self._may_be_otherwise(error):
                raise self._explained(error) from error
            self._arrays, self._context = {}, None  # with whatever they remember of the bytes that they got
            try:
                self._read_batch(requests, outputs)
            except ValueError as again:
                raise self._explained(again) from again

    def _read_batch(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        stretches = merged(requests)
        if isinstance(outputs, Block) and not _is_worth_merging(stretches, outputs):
            self._fill(outputs.rows, requests)
        else:
            self._copy(stretches, requests, outputs)

    def _copy(
        self,
        stretches: Sequence[tuple[RowRequest, list[int]]],
        requests: Sequence[RowRequest],
        outputs: Sequence[Values],
    ) -> None:
        """Read each stretch, and copy from it what each request wants."""
        with ts.Batch() as batch:
            readings = [
                self._array(contig)[phase, first:end].read(batch=batch) for (contig, phase, first, end), _ in stretches
            ]
        for (stretch, numbers), reading in zip(stretches, readings, strict=True):
            rows = reading.result()
            for number in numbers:
                first, end = requests[number].first - stretch.first, requests[number].end - stretch.first
                outputs[number][...] = rows[first:end]

    def _fill(self, rows: Values, requests: Sequence[RowRequest]) -> None:
        """Have tensorstore put the rows of all requests, one after the other, where they are to go.

        Local, 64 windows of 251 x 40: 9 % faster than `_copy` where windows share 1 % of their rows, 4 % where they
        share 17 %, and 5 % slower where they share 37 %: tensorstore decodes a chunk once a batch all the same, but
        handles each window. 12 windows of 251 x 21,907: always faster (20 % if they lie apart, 1.5x where they share
        4 % to 70 %), in half the memory. To make each window a destination of its own is slower than either if it is
        small.
        """
        wanted = [self._array(contig)[phase, first:end] for contig, phase, first, end in requests]
        with ts.Batch() as batch:
            writing = ts.array(rows).write(ts.concat(wanted, axis=0).translate_to[0, 0], batch=batch)
        writing.result()

    def _may_be_otherwise(self, error: ValueError) -> bool:
        """Tell whether a second reading may end differently from one that failed so."""
        if not is_outage(error):
            return True  # damage: perhaps of the copy that came, not of the one that is stored
        if self._renewed is None or not isinstance(self._explained(error), PermissionError):
            return False  # tensorstore has tried again already, for as long as `catalog.runtime.retry` says
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
                # A committed row whose object is gone is an error, and not the NaN that it would read as.
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


def _is_worth_merging(stretches: Sequence[tuple[RowRequest, list[int]]], windows: Block) -> bool:
    """Tell whether so many rows are shared that reading each once, and copying, takes less than `_fill`."""
    rows = sum(stretch.end - stretch.first for stretch, _ in stretches)
    return windows.window_bytes < _LARGE_WINDOW_BYTES and rows < (1 - _WORTH_MERGING) * len(windows.rows)


def _shared_context() -> Any:
    """Give what all readers of a process share: their budget of requests, and of threads that decode."""
    process, context = _make_shared_context()
    if process != os.getpid():
        raise _forked()
    return context


@lru_cache(maxsize=1)
def _make_shared_context() -> tuple[int, Any]:
    limit = {"limit": requests_at_once()}
    # Files keep tensorstore's own limit, which is as many as there are cores, and for the whole process as well: 32
    # took 5 % longer.
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
