"""Requests for ranges of rows, deduplicated so that no row is read twice.

Belongs here: requests, their output arrays, and pure functions of both. Does not: reading them
(`featurestore.rows.source`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from catalog.value_type import Values


class RowRequest(NamedTuple):
    """Rows `[first, end)` of one phase of one contig, all inside the array."""

    contig: str
    phase: int
    first: int
    end: int


MergedRange = tuple[RowRequest, list[int]]
"""Rows to read once, and the numbers of the requests that they serve."""


class Block(list[Values]):
    """Outputs that are windows of one array, `(windows, rows, channels)`: an engine may fill all in one operation."""

    def __init__(self, windows: Values) -> None:
        super().__init__(windows)
        self.window_bytes = windows[0].nbytes
        self.rows = windows.reshape(-1, windows.shape[2])
        """All their rows, shape `(windows * rows, channels)`."""
        assert not windows.size or np.may_share_memory(self.rows, windows), "what is written to rows must reach windows"


def merged(requests: Sequence[RowRequest]) -> list[MergedRange]:
    """Merge overlapping requests, so that no row is read twice.

    Adjacent requests are not merged: they share no rows. Without overlap, merging costs 1 % of a batch of 64 windows of
    251 x 40 from a local disk; for its gain see `TensorStoreRows`.

    Returns
    -------
    Ranges to read, sorted, each with the numbers of its requests.
    """
    found: list[MergedRange] = []
    last = RowRequest("", -1, 0, 0)
    for request, number in sorted(zip(requests, range(len(requests)), strict=True)):
        contig, phase, first, end = request
        if first < last.end and phase == last.phase and contig == last.contig:
            if end > last.end:
                last = last._replace(end=end)
            found[-1][1].append(number)
            found[-1] = (last, found[-1][1])
        else:
            last = request
            found.append((last, [number]))
    return found


def scatter(rows: Values, read: MergedRange, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
    """Copy the rows of a merged range, `(end - first, channels)`, to the outputs of its requests."""
    merged_range, numbers = read
    for number in numbers:
        first, end = requests[number].first - merged_range.first, requests[number].end - merged_range.first
        outputs[number][...] = rows[first:end]
