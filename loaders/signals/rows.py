"""Rows of one feature set that the windows of genes need: exact to the base, whatever the bin size.

Belongs here: which rows cover a window, and reading them, of the grid or of an anchored array. Does not: rows kept in
memory (`loaders.signals.held`), what is made of them (`loaders.signals.batch`).

A window is placed by its TSS alone, and not moved to an edge of a bin: enough bins are read to cover it, and the bases
of the first one that lie before the window are its shift.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from catalog.value_type import Values
from featurestore import RowRequest
from featurestore.rows.window_plan import WindowPlan, plan_rows
from loaders.windows.anchored import AnchoredWindows
from loaders.windows.grid import WindowDataset

_READ_BYTES = 32 << 20
"""Of rows that are read at one time for a table: what that takes in memory beyond the table."""


class Spans(NamedTuple):
    """Rows that cover some windows."""

    n_rows: int
    """Of every window; the last one may lie past it."""
    firsts: NDArray[np.int64]
    """First row of each window, shape `(windows,)`; before row 0 for one that begins before its contig."""
    shifts: NDArray[np.int64]
    """Bases of that row before the window, shape `(windows,)`, in [0, bin_size) (bp)."""


class SetRows(Protocol):
    """Rows of one feature set around genes, which are counted from 0."""

    name: str
    bin_size: int
    """(bp)"""
    columns: list[int]
    """Channels that are read, by number in the set."""
    slack: int
    """Rows that a shorter window may need beyond those that cover a longer one."""

    pad: tuple[float, ...]
    """Of these channels: what a bin outside the contig has."""

    @property
    def windows(self) -> WindowDataset | AnchoredWindows:
        """A window around each gene, which opens the reader."""
        ...

    def spans(self, genes: NDArray[np.int64], length: int) -> Spans:
        """Plan windows of so many bases; nothing is read.

        Raises
        ------
        ValueError
            If the set does not reach that far.
        """
        ...

    def read(self, genes: NDArray[np.int64], spans: Spans) -> Values:
        """Read windows, shape `(windows, n_rows, channels)`, in the type of the store; past a contig the pad row."""
        ...

    def table_rows(self, genes: NDArray[np.int64], spans: Spans) -> tuple[int, NDArray[np.int64]]:
        """Count the rows of a table of all these windows, and say where in it each begins, shape `(windows,)`."""
        ...

    def fill(self, table: Values, genes: NDArray[np.int64], spans: Spans) -> None:
        """Read such a table, shape `(rows, channels)`, in the type of the store."""
        ...


class GridRows:
    """Rows of the grid; of a set with several phases those of the first.

    Parameters
    ----------
    windows
        One window a gene, forward and without jitter, around its TSS.
    columns
        Channels to read.
    """

    def __init__(self, windows: WindowDataset, columns: Sequence[int]) -> None:
        self.windows = windows
        self.name = windows.name
        self.bin_size = windows.bin_size
        self.columns = list(columns)
        self.pad = _pad(windows, columns)
        # Windows of one length are all given as many rows; one that begins late in a bin needs the last of them.
        self.slack = int(self.bin_size > 1)
        lengths = windows.assembly.lengths
        self._lengths = np.asarray([lengths[contig] for contig in windows.contigs], dtype=np.int64)
        number = {contig: number for number, contig in enumerate(sorted(set(windows.contigs)))}
        self._contig_numbers = np.asarray([number[contig] for contig in windows.contigs], dtype=np.int64)
        self._contigs = list(number)
        self._offset = windows.reader.feature_set.offsets[0]

    def spans(self, genes: NDArray[np.int64], length: int) -> Spans:
        """Plan windows `[TSS - length // 2, TSS - length // 2 + length)`."""
        behind_row_0 = self.windows.centres[genes] - length // 2 + self._offset
        firsts = behind_row_0 // self.bin_size
        n_rows = (length + self.bin_size - 2) // self.bin_size + 1
        return Spans(n_rows, firsts, behind_row_0 - firsts * self.bin_size)

    def read(self, genes: NDArray[np.int64], spans: Spans) -> Values:
        """Read windows in one request."""
        return self._shown(self.windows.reader.planned(self._plan(genes, spans)))

    def table_rows(self, genes: NDArray[np.int64], spans: Spans) -> tuple[int, NDArray[np.int64]]:
        """Count the rows of the union of all windows, so that genes that lie together share them."""
        runs, places = merged_runs(self._contig_numbers[genes], spans.firsts, spans.n_rows)
        return int((runs[:, 2] - runs[:, 1]).sum()), places

    def fill(self, table: Values, genes: NDArray[np.int64], spans: Spans) -> None:
        """Read the union of all windows, each row once."""
        reader, phase = self.windows.reader, 0
        reader.require_rows(self._plan(genes, spans))
        table[...] = np.asarray(self.pad, dtype=table.dtype)
        runs, _ = merged_runs(self._contig_numbers[genes], spans.firsts, spans.n_rows)
        requests: list[RowRequest] = []
        places: list[int] = []
        at_once = max(1, _READ_BYTES // (len(reader.channel_names) * table.itemsize))
        base = 0
        for contig_number, first, end in runs.tolist():
            contig = self._contigs[contig_number]
            inside = max(first, 0), min(end, reader.n_rows(contig, phase))
            for start in range(inside[0], inside[1], at_once):
                requests.append(RowRequest(contig, phase, start, min(start + at_once, inside[1])))
                places.append(base + start - first)
            base += end - first
        for group in _groups(requests, at_once):
            for place, rows in zip(places[group], reader.rows(requests[group]), strict=True):
                table[place : place + len(rows)] = self._shown(rows)

    def _plan(self, genes: NDArray[np.int64], spans: Spans) -> WindowPlan:
        contigs = [self._contigs[number] for number in self._contig_numbers[genes].tolist()]
        zeros = np.zeros(len(genes), dtype=np.int64)
        grid = self.windows.reader.feature_set.grid
        return plan_rows(grid, self._lengths[genes], contigs, zeros, spans.firsts, zeros, spans.n_rows)

    def _shown(self, values: Values) -> Values:
        n_channels = values.shape[-1]
        return values if self.columns == list(range(n_channels)) else values[..., self.columns]


class AnchoredRows:
    """Rows of an anchored array: windows of the same length around each gene, built to the base.

    Parameters
    ----------
    windows
        One window a gene, forward.
    columns
        Channels to read.
    """

    def __init__(self, windows: AnchoredWindows, columns: Sequence[int]) -> None:
        self.windows = windows
        self.name = f"{windows.name}@{windows.anchors}"
        self.bin_size = windows.bin_size
        self.columns = list(columns)
        self.pad = _pad(windows, columns)
        self.slack = 0
        self._numbers = np.asarray(windows.reader.numbers_of(windows.names), dtype=np.int64)
        self._n_bins = windows.reader.n_bins

    def spans(self, genes: NDArray[np.int64], length: int) -> Spans:
        """Plan windows, which begin at one base of every anchor's array."""
        before = self._before(length)
        if before < 0 or before + length > self._n_bins * self.bin_size:
            raise ValueError(
                f"{self.name} holds {self._n_bins:,} bins of {self.bin_size:,} bp around each gene, and a window of "
                f"`length={length}` bp reaches further; ask for {self._longest():,} bp at the most, build anchors of "
                "more bins, or leave that set out of `signals=`"
            )
        first, shift = divmod(before, self.bin_size)
        n_rows = (shift + length - 1) // self.bin_size + 1
        ones = np.ones(len(genes), dtype=np.int64)
        return Spans(n_rows, first * ones, shift * ones)

    def read(self, genes: NDArray[np.int64], spans: Spans) -> Values:
        """Read windows in one request, of the bins in the middle of the array that hold them."""
        if not len(genes):
            return np.empty((0, spans.n_rows, len(self.columns)), dtype=self.windows.reader.feature_set.dtype)
        first = int(spans.firsts[0])
        outside = min(first, self._n_bins - first - spans.n_rows)
        values = self.windows.reader.numbered(self._numbers[genes].tolist(), self._n_bins - 2 * outside)
        return values[:, first - outside : first - outside + spans.n_rows, self.columns]

    def table_rows(self, genes: NDArray[np.int64], spans: Spans) -> tuple[int, NDArray[np.int64]]:
        """Count the rows of all windows, one below the other."""
        return len(genes) * spans.n_rows, np.arange(len(genes), dtype=np.int64) * spans.n_rows

    def fill(self, table: Values, genes: NDArray[np.int64], spans: Spans) -> None:
        """Read all windows, some at a time."""
        row_bytes = len(self.windows.reader.feature_set.channels) * table.itemsize
        at_once = max(1, _READ_BYTES // (self._n_bins * row_bytes))
        for start in range(0, len(genes), at_once):
            chosen = slice(start, start + at_once)
            values = self.read(genes[chosen], Spans(spans.n_rows, spans.firsts[chosen], spans.shifts[chosen]))
            place = start * spans.n_rows
            table[place : place + len(values) * spans.n_rows] = values.reshape(-1, len(self.columns))

    def _before(self, length: int) -> int:
        """Bases of an anchor's array before a window (bp); negative for one that begins earlier."""
        return self._n_bins // 2 * self.bin_size + self.bin_size // 2 - length // 2

    def _longest(self) -> int:
        total = self._n_bins * self.bin_size
        return next(length for length in range(total, 0, -1) if 0 <= self._before(length) <= total - length)


def merged_runs(
    contigs: NDArray[np.int64], firsts: NDArray[np.int64], n_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Merge windows that overlap or touch.

    Parameters
    ----------
    contigs, firsts
        Number of each window's contig, and its first row, shape `(windows,)`.
    n_rows
        Of every window.

    Returns
    -------
    The runs, shape `(runs, 3)`: contig, first row, end row; and where each window begins among the rows of all runs,
    one below the other, shape `(windows,)`.
    """
    order = np.lexsort((firsts, contigs))
    contig, first = contigs[order], firsts[order]
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (contig[1:] != contig[:-1]) | (first[1:] > first[:-1] + n_rows)
    begins = np.flatnonzero(is_new)
    lasts = np.append(begins[1:], len(order)) - 1
    runs = np.stack([contig[begins], first[begins], first[lasts] + n_rows], axis=1)
    bases = np.cumsum(runs[:, 2] - runs[:, 1]) - (runs[:, 2] - runs[:, 1])
    run = np.cumsum(is_new) - 1
    places = np.empty(len(order), dtype=np.int64)
    places[order] = bases[run] + first - runs[run, 1]
    return runs, places


def _pad(windows: WindowDataset | AnchoredWindows, columns: Sequence[int]) -> tuple[float, ...]:
    pad = windows.reader.feature_set.pad
    return tuple(pad[column] for column in columns)


def _groups(requests: Sequence[RowRequest], most_rows: int) -> list[slice]:
    """Cut requests into consecutive groups of about so many rows."""
    if not requests:
        return []
    ends = np.cumsum([request.end - request.first for request in requests])
    numbers = (ends - 1) // most_rows
    cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(requests)]
    return [slice(first, end) for first, end in pairwise(cuts)]
