"""Planning the rows that windows need, as pure functions.

Belongs here: the rows of each window, and which of its bins lie outside the contig. Does not: merging overlaps
(`featurestore.rows.row_requests`), reading (`featurestore.reader`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalog import Assembly, Grid
from catalog.runtime.whole_numbers import whole_numbers
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


def checked_plan(
    assembly: Assembly, grid: Grid, contigs: Sequence[str] | str, centres: ArrayLike, n_bins: int
) -> WindowPlan:
    """Check a batch of windows by a user's own words, and plan its rows.

    Parameters
    ----------
    contigs
        One name a window, or one for all, in any spelling that the assembly knows.
    centres
        Positions, shape `(windows,)`, integer (0-based bp).

    Raises
    ------
    UnknownContig, ValueError
        If there is no such contig, a centre lies outside it, `n_bins` is below 1, or there are no centres.
    """
    positions = _positions(centres)
    if positions.size == 0 or positions.ndim != 1:
        raise ValueError(
            f"centres are integer positions (0-based bp), one a window; got an array of shape {positions.shape}"
        )
    if not isinstance(contigs, str) and len(contigs) != len(positions):
        raise ValueError(f"one contig a centre: got {len(contigs)} contigs and {len(positions)} centres")
    if isinstance(contigs, str):
        names = [assembly.resolve(contigs)] * len(positions)
        lengths = np.array(assembly.lengths[names[0]])
    else:
        own = {name: assembly.resolve(name) for name in set(contigs)}
        names = [own[name] for name in contigs]
        lengths = np.array([assembly.lengths[name] for name in names])
    is_outside = (positions < 0) | (positions >= lengths)
    if is_outside.any():
        window = int(is_outside.argmax())
        raise ValueError(
            f"centre {positions[window]} lies outside {names[window]}, whose bases are 0 to "
            f"{assembly.lengths[names[window]] - 1} on {assembly.name}; {is_outside.sum()} of "
            f"{len(positions)} centres do: are they positions on another assembly?"
        )
    return plan_windows(grid, lengths, names, positions, grid.checked_n_bins(n_bins))


def plan_from_edges(
    grid: Grid, lengths: Mapping[str, int], contigs: Sequence[str], starts: NDArray[np.int64], n_bins: int
) -> WindowPlan:
    """Plan windows whose first bins begin at exactly these bases, where a phase has an edge."""
    phase_of = {offset: phase for phase, offset in enumerate(grid.offsets)}
    offsets = -starts % grid.bin_size
    phases = np.asarray([phase_of[offset] for offset in offsets.tolist()], dtype=np.int64)
    ends = np.asarray([lengths[contig] for contig in contigs], dtype=np.int64)
    first_bins = (starts + offsets) // grid.bin_size
    return plan_rows(grid, ends, contigs, phases, first_bins, np.zeros_like(starts), n_bins)


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


def _positions(centres: ArrayLike) -> NDArray[np.int64]:
    """Convert centres; those that are int64 already, as datasets keep them, cost nothing."""
    if isinstance(centres, np.ndarray) and centres.dtype == np.int64:
        return centres
    try:
        return whole_numbers(centres, name="centres")
    except (TypeError, ValueError) as error:
        raise ValueError(f"centres are integer positions (0-based bp), one a window: {error}") from error
