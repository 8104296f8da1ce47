"""Rows read from the store each time, with next to nothing kept.

Belongs here: the memory that streaming takes, and how it is kept down. Does not: reading (`featurestore`), the other
residences (`loaders.residence.open`).
"""

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import cache

from catalog.value_type import Values
from featurestore import RowRequest, RowSource, TensorStoreRows
from loaders.residence.memory import ReadsRows

_SHARE_OF_CACHE = 2 / 3
_BATCH_BYTES = 4 << 20
"""Chunks of a batch of 64 windows of 251 x 40 on their way, stored and decoded."""
_LEAST_BETWEEN_TRIMS = 4 << 20


class StreamedRows:
    """Rows from the store, through a small cache of chunks and shard indexes.

    The cache takes 2/3 of the budget, less 4 MiB; the rest is for chunks on their way, and for what is freed and not
    yet handed back. That is done regularly: glibc keeps what each of tensorstore's threads has freed for that thread.
    Over 200,000 windows (755,000 x 40 float16, a cache of 32 MiB) that came to 124 MiB; handing it back costs 2 % of
    the time.

    Parameters
    ----------
    reader
        Reader of the store.
    max_bytes
        Memory for the cache and for what is on its way (bytes).
    """

    def __init__(self, reader: ReadsRows, max_bytes: int) -> None:
        kvstore = reader.objects.kvstore()
        self._source: RowSource = reader.source
        if kvstore is not None:
            self._source = TensorStoreRows(
                kvstore,
                reader.name,
                cache_bytes=max(0, int(max_bytes * _SHARE_OF_CACHE) - _BATCH_BYTES),
                renewed=reader.objects.kvstore,
            )
        self._between_trims = max(_LEAST_BETWEEN_TRIMS, max_bytes // 8)
        self._since_trim = 0
        self._lock = threading.Lock()

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        """Fill the outputs in one batch."""
        self._source.read_into(requests, outputs)
        with self._lock:
            self._since_trim += sum(output.nbytes for output in outputs)
            is_due = self._since_trim >= self._between_trims
            if is_due:
                self._since_trim = 0
        if is_due:
            _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    """Give glibc's function that hands freed memory back to the system; elsewhere one that does nothing."""
    trim: Callable[[int], object] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)
    return trim
