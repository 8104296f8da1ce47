"""Rows of whole contigs in memory, within a budget.

Belongs here: what is held, and the refusal of what does not fit. Does not: the other residences
(`loaders.residence.open`).
"""

import threading
from collections.abc import Sequence
from typing import Protocol

from catalog import FeatureSet
from catalog.value_type import Values
from featurestore import RowRequest, RowSource, read_rows
from featurestore.objects.objects import Objects
from loaders.stats import Tally


class MemoryBudgetExceeded(ValueError):
    """Rows that are to be held in memory, and do not fit into what may be held."""


class ReadsRows(Protocol):
    """What a residence asks of a reader, be it of a grid or of an anchored array."""

    @property
    def objects(self) -> Objects:
        """The store's objects."""
        ...

    @property
    def source(self) -> RowSource:
        """Where its rows come from."""
        ...

    @property
    def name(self) -> str:
        """Name of the array's log of commits."""
        ...

    @property
    def feature_set(self) -> FeatureSet:
        """The features, and how they are stored."""
        ...

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        ...

    def n_rows(self, contig: str, phase: int) -> int:
        """Count the rows of one phase of a contig."""
        ...


class HeldRows:
    """Rows of whole contigs: each phase of a contig is read once, on first use.

    Several threads may ask at once.

    Parameters
    ----------
    reader
        Reader of the store that they come from.
    max_bytes
        Most that is held (bytes).
    tally
        Counts hits and misses.
    """

    def __init__(self, reader: ReadsRows, max_bytes: int, tally: Tally | None = None) -> None:
        self._reader = reader
        self._source = reader.source
        self._max_bytes = max_bytes
        self._tally = tally or Tally()
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int], Values] = {}

    @property
    def nbytes(self) -> int:
        """Memory held (bytes)."""
        return sum(rows.nbytes for rows in self._held.values())

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        """Fill the outputs from what is held.

        Raises
        ------
        MemoryBudgetExceeded
            If a contig would have to be read that does not fit; nothing is read then.
        """
        self._require({(request.contig, request.phase) for request in requests})
        for (contig, phase, first, end), output in zip(requests, outputs, strict=True):
            output[...] = self._held[contig, phase][first:end]

    def held(self, contig: str, phase: int) -> Values:
        """Give all rows of one phase of a contig; the errors of `read_into`."""
        self._require({(contig, phase)})
        return self._held[contig, phase]

    def _require(self, places: set[tuple[str, int]]) -> None:
        absent = places - self._held.keys()
        if absent:
            with self._lock:
                absent -= self._held.keys()  # another thread may have read them meanwhile
                self._hold(sorted(absent))
        self._tally.add(hits=len(places) - len(absent), misses=len(absent))

    def _hold(self, places: list[tuple[str, int]]) -> None:
        whole = [RowRequest(contig, phase, 0, self._reader.n_rows(contig, phase)) for contig, phase in places]
        n_channels = len(self._reader.channel_names)
        row_bytes = n_channels * self._reader.feature_set.value_type.item_bytes
        held, needed = self.nbytes, row_bytes * sum(request.end for request in whole)
        if held + needed > self._max_bytes:
            raise MemoryBudgetExceeded(
                f"these windows of {self._reader.name} need {needed:,} bytes more in memory ({len(places)} phases of "
                f"contigs, {places[0][0]} first), and {held:,} of memory_bytes={self._max_bytes:,} are taken; give at "
                f"least memory_bytes={held + needed}, or keep rows on the local disk (residence='cache') or nowhere "
                "(residence='stream')"
            )
        rows = read_rows(self._source, whole, n_channels, self._reader.feature_set.dtype)
        self._held.update(zip(places, rows, strict=True))
