"""Stretches of rows: what engines are asked for, and how to read no row twice.

Belongs here: requests, where their rows go, and pure functions of both. Does not: reading them
(`featurestore.rows.source`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from catalog.value_type import Values


class RowRequest(NamedTuple):
    """Rows `[first, end)` of one phase of one contig; all of them inside the array."""

    contig: str
    phase: int
    first: int
    end: int


class Block(list[Values]):
    """The windows of one array, `(windows, rows, channels)`, as outputs: an engine may fill all in one operation."""

    def __init__(self, windows: Values) -> None:
        super().__init__(windows)
        self.window_bytes = windows[0].nbytes
        self.rows = windows.view()
        """All their rows, shape `(windows * rows, channels)`."""
        self.rows.shape = (-1, windows.shape[2])  # unlike `reshape` never a copy


def merged(requests: Sequence[RowRequest]) -> list[tuple[RowRequest, list[int]]]:
    """Join requests that overlap, so that no row is read twice.

    Requests that only touch stay apart: their rows are different ones. What joining costs if none overlap is 1 % of a
    batch of 64 windows of 251 x 40 from a local disk; what it gains, `TensorStoreRows` says.

    Returns
    -------
    Rows to read, sorted, and the numbers of the requests that lie in them.
    """
    found: list[tuple[RowRequest, list[int]]] = []
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
