"""Planning the rows that windows need, as pure functions.

Belongs here: the rows of each window, and which of its bins lie outside the contig. Does not: merging overlaps
(`featurestore.rows.row_requests`), reading (`featurestore.reader`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog import Grid
from featurestore.rows.row_requests import RowRequest

MAX_WINDOWS_BYTES = 4 << 30
"""Largest batch of windows (bytes)."""


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """The rows of a batch of windows. Made by `plan_windows`; every array has one item a window, int64."""

    n_bins: int
    """Of every window."""
    bin_size: int
    """Of every bin (bp)."""
    contigs: Sequence[str]
    """One a window."""
    places: frozenset[tuple[str, int]]
    """Contigs and phases of the windows."""
    phases: NDArray[np.int64]
    residuals: NDArray[np.int64]
    """Centre of the placed window minus the requested centre (bp)."""
    first_starts: NDArray[np.int64]
    """First base of the first bin (bp)."""
    first_bins: NDArray[np.int64]
    """Row of the first bin; negative where the window begins before its contig."""
    first_rows: NDArray[np.int64]
    """First row inside the array."""
    end_rows: NDArray[np.int64]
    """End of those rows; `first_rows` for a window wholly outside its contig."""

    @property
    def is_cut(self) -> NDArray[np.bool_]:
        """Whether some bins of each window lie outside its contig, shape `(windows,)`."""
        is_cut: NDArray[np.bool_] = self.end_rows - self.first_rows != self.n_bins
        return is_cut

    @property
    def windows(self) -> list[int]:
        """Numbers of the windows that have rows."""
        return np.flatnonzero(self.end_rows > self.first_rows).tolist()

    @property
    def requests(self) -> list[RowRequest]:
        """The rows of each of those windows."""
        columns = zip(self.contigs, self.phases.tolist(), self.first_rows.tolist(), self.end_rows.tolist(), strict=True)
        return [RowRequest._make(rows) for rows in columns if rows[2] < rows[3]]

    @property
    def starts(self) -> NDArray[np.int64]:
        """First base of every bin, shape `(windows, n_bins)` (bp)."""
        return self.first_starts[:, None] + np.arange(self.n_bins, dtype=np.int64) * self.bin_size


def refuse_huge(n_windows: int, n_bins: int, row_bytes: int) -> None:
    """Refuse, with a ValueError, windows that would take more than `MAX_WINDOWS_BYTES` of memory."""
    needed = n_windows * n_bins * row_bytes
    if needed > MAX_WINDOWS_BYTES:
        raise ValueError(
            f"{n_windows:,} windows of {n_bins:,} bins take {needed:,} bytes, more than {MAX_WINDOWS_BYTES:,}; read "
            "fewer at a time, or with fewer bins: `n_bins=`"
        )


def plan_windows(
    grid: Grid, lengths: NDArray[np.int64], contigs: Sequence[str], centres: NDArray[np.int64], n_bins: int
) -> WindowPlan:
    """Plan the rows of a batch of windows.

    Parameters
    ----------
    lengths, contigs
        Length (bp) and name of each window's contig; one length may stand for all.
    centres
        Positions, shape `(windows,)`, int64, each inside its contig.
    n_bins
        As `grid.checked_n_bins` gives it.
    """
    phases, first_bins, residuals = grid.place_whole(centres, n_bins)
    return plan_rows(grid, lengths, contigs, phases, first_bins, residuals, n_bins)


def plan_rows(
    grid: Grid,
    lengths: NDArray[np.int64],
    contigs: Sequence[str],
    phases: NDArray[np.int64],
    first_bins: NDArray[np.int64],
    residuals: NDArray[np.int64],
    n_bins: int,
) -> WindowPlan:
    """Plan the rows of windows whose first bins are known; the arguments are those of `plan_windows` and its fields."""
    offsets = np.asarray(grid.offsets, dtype=np.int64)[phases]
    rows = -(-(lengths + offsets) // grid.bin_size)
    # `clip` takes four times as long, and this runs for every batch.
    first_rows = np.minimum(np.maximum(first_bins, 0), rows)
    end_rows = np.maximum(np.minimum(first_bins + n_bins, rows), first_rows)
    return WindowPlan(
        n_bins,
        grid.bin_size,
        contigs,
        frozenset(zip(contigs, phases.tolist(), strict=True)),
        phases,
        residuals,
        first_starts=first_bins * grid.bin_size - offsets,
        first_bins=first_bins,
        first_rows=first_rows,
        end_rows=end_rows,
    )
