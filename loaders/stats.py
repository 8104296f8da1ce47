"""Counters of reading: windows, requests, bytes, cache hits, waiting time.

Belongs here: the counters, and those that tensorstore keeps. Does not: prefetch
(`loaders.batching.prefetcher`), taking times for a report (`loaders.bench`).
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import tensorstore as ts

_OF_THE_PROCESS = ("requests", "bytes_read")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counters of one process; none of them ever falls. `later.since(earlier)` gives what came between."""

    windows: int = 0
    """Windows that were read."""
    requests: int | None = 0
    """Requests to the store, as the wire saw them. Counted by tensorstore for the whole process: two readers that are
    at work at one time see each other's. None where tensorstore does not do the reading."""
    bytes_read: int | None = 0
    """Bytes that those requests brought, as the store holds them (compressed)."""
    cache_hits: int = 0
    """Pieces that were found: contigs in memory, pages of the mirror; for `stream`, chunks and shard indexes in
    tensorstore's cache, again for the whole process."""
    cache_misses: int = 0
    """Pieces that were not."""
    read_s: float = 0.0
    """Time spent reading windows, in whatever thread (s)."""
    wait_s: float = 0.0
    """Time that the consumer waited for its next batch (s); 0 without `prefetch`."""
    busy_s: float = 0.0
    """Time that the consumer spent on its batches (s)."""

    @property
    def stall_share(self) -> float:
        """Share of the consumer's time that went into waiting, in [0, 1]."""
        total = self.wait_s + self.busy_s
        return self.wait_s / total if total else 0.0

    def since(self, earlier: "Stats") -> "Stats":
        """Give what came after an earlier look at the same counters."""
        changes = {field.name: _less(getattr(self, field.name), getattr(earlier, field.name)) for field in fields(self)}
        return Stats(**changes)

    @classmethod
    def total(cls, several: Iterable["Stats"]) -> "Stats":
        """Add the counters of several readers of one process.

        What tensorstore counts for the whole process is not added: the reader that has been open longest saw it all.
        """
        every = list(several)
        columns = {field.name: [getattr(stats, field.name) for stats in every] for field in fields(cls)}
        totals: dict[str, Any] = {
            name: (_largest if name in _OF_THE_PROCESS else sum)(column) for name, column in columns.items()
        }
        return cls(**totals)


def _less(later: Any, earlier: Any) -> Any:
    return None if later is None or earlier is None else later - earlier


def _largest(counts: list[int | None]) -> int | None:
    return max((count for count in counts if count is not None), default=None)


class Tally:
    """Counts that several threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stats = Stats()

    def add(self, *, windows: int = 0, hits: int = 0, misses: int = 0, read_s: float = 0.0) -> None:
        """Add to the counts."""
        with self._lock:
            now = self._stats
            self._stats = replace(
                now,
                windows=now.windows + windows,
                cache_hits=now.cache_hits + hits,
                cache_misses=now.cache_misses + misses,
                read_s=now.read_s + read_s,
            )

    def stats(self) -> Stats:
        """Give the counts as they are now."""
        return self._stats


def wire_stats(driver: str) -> Stats:
    """Give what tensorstore has read with a driver, such as `s3`, in this process so far (some 0.1 ms)."""
    # `batch_read` counts after neighbouring ranges were joined: what a server sees. `read` counts before.
    return Stats(
        requests=_metric(f"/tensorstore/kvstore/{driver}/batch_read"),
        bytes_read=_metric(f"/tensorstore/kvstore/{driver}/bytes_read"),
        cache_hits=_metric("/tensorstore/cache/hit_count"),
        cache_misses=_metric("/tensorstore/cache/miss_count"),
    )


def _metric(name: str) -> int:
    """Give a counter of tensorstore's; 0 for one that has not begun to count."""
    found = ts.experimental_collect_matching_metrics(name)
    return sum(int(value["value"]) for metric in found if metric["name"] == name for value in metric["values"])
