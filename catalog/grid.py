"""Bin arithmetic: from base pairs to bins and back.

Belongs here: `Grid`, and pure functions of a grid and integers.
Does not: reading arrays (`featurestore.reader`), contig lengths (`catalog.assembly`).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalog.runtime.whole_numbers import MOST, whole_number, whole_numbers


class Placement(NamedTuple):
    """Where one window lies on a grid."""

    phase: int
    """Index into `Grid.offsets`."""
    first_bin: int
    """Row of the window's first bin; negative where the window begins before base 0."""
    residual: int
    """Centre of the placed window minus the requested centre (bp, signed)."""


class Placements(NamedTuple):
    """Where many windows lie on a grid: `Placement`, one array a field, each `(windows,)` int64."""

    phases: NDArray[np.int64]
    first_bins: NDArray[np.int64]
    residuals: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Non-overlapping tilings of a contig into bins, one tiling a phase.

    Bin `j` of the phase with offset `o` covers `[j * bin_size - o, (j + 1) * bin_size - o)`,
    so row 0 of every phase covers base 0.
    """

    bin_size: int = 4096
    """Bases that one bin summarises (bp, >= 1)."""
    offsets: tuple[int, ...] = (0,)
    """How far each phase starts left of base 0 (bp, distinct, 0 <= offset < bin_size)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bin_size", whole_number(self.bin_size, name="bin_size"))
        object.__setattr__(self, "offsets", tuple(whole_number(offset, name="offsets") for offset in self.offsets))
        if self.bin_size < 1:
            raise ValueError(f"bin_size is a number of bases, at least 1; got {self.bin_size}")
        if not self.offsets:
            raise ValueError("a grid has at least one phase; use offsets=(0,)")
        for offset in self.offsets:
            if not 0 <= offset < self.bin_size:
                raise ValueError(
                    f"a phase offset must lie in [0, bin_size) = [0, {self.bin_size}), got {offset}; "
                    f"the same tiling has offset {offset % self.bin_size}"
                )
        if len(set(self.offsets)) != len(self.offsets):
            raise ValueError(f"phase offsets must be distinct, got {self.offsets}")

    def n_bins(self, length: int, phase: int = 0) -> int:
        """Count the rows of one phase that touch a contig of `length` bp."""
        return -(-(whole_number(length, name="length") + self.offsets[phase]) // self.bin_size)

    def max_bins(self, length: int) -> int:
        """Count the rows of the phase that has most of them on a contig of `length` bp."""
        return self.n_bins(length, self.offsets.index(max(self.offsets)))

    def span(self, phase: int, index: int) -> tuple[int, int]:
        """Give the bases `[start, end)` of one bin; they may reach past the contig."""
        start = whole_number(index, name="index") * self.bin_size - self.offsets[phase]
        return start, start + self.bin_size

    def place(self, centres: ArrayLike, n_bins: int) -> Placements:
        """Put windows of `n_bins` bins as near to their centres as the phases allow.

        For odd `n_bins` the middle of the middle bin is the centre (for an odd `bin_size` its base
        `bin_size // 2`); for even `n_bins` the centre is the boundary between the two middle bins.
        Of two equally near placements the phase named first wins, then the one further left.

        Parameters
        ----------
        centres
            Positions, shape `(windows,)`, integer, 0-based bp.
        n_bins
            Bins a window, >= 1.

        Raises
        ------
        TypeError, ValueError
            If a number is not whole, or beyond any genome.
        """
        return self.place_whole(whole_numbers(centres, name="centres"), self.checked_n_bins(n_bins))

    def checked_n_bins(self, n_bins: int) -> int:
        """Convert a number of bins a window; TypeError or ValueError if it is none, or beyond any genome."""
        number = whole_number(n_bins, name="n_bins")
        if number < 1:
            raise ValueError(f"a window has at least 1 bin, got n_bins={number}")
        if number * self.bin_size > MOST:
            raise ValueError(
                f"a window of `n_bins={number}` bins of {self.bin_size:,} bp is longer than any genome; ask for "
                f"{MOST // self.bin_size:,} bins at the most"
            )
        return number

    def place_whole(self, centres: NDArray[np.int64], n_bins: int) -> Placements:
        """Put windows as `place` does; the numbers were checked."""
        starts = centres - self._centre_from_start(n_bins)
        behind_row_0 = starts + np.asarray(self.offsets, dtype=np.int64)[:, None]
        # The nearest bin edge of each phase; of two equally near ones, that on the left.
        first = (behind_row_0 + (self.bin_size - 1) // 2) // self.bin_size
        residuals = first * self.bin_size - behind_row_0
        if len(self.offsets) == 1:
            return Placements(np.zeros_like(starts), first[0], residuals[0])
        phases = np.abs(residuals).argmin(axis=0)
        chosen = phases, np.arange(len(phases))
        return Placements(phases, first[chosen], residuals[chosen])

    def nearest(self, centre: int, n_bins: int) -> Placement:
        """Put one window as near to its centre as the phases allow; the rule is that of `place`."""
        phases, first_bins, residuals = self.place([centre], n_bins)
        return Placement(int(phases[0]), int(first_bins[0]), int(residuals[0]))

    def refined(self) -> "Grid":
        """Add the phases that halve the distance between neighbouring bin edges.

        From `(0,)` and 4,096 bp: 2048, then 1024 and 3072, then the four between, and so on.
        """
        parts = 2
        while self.bin_size % parts == 0:
            step = self.bin_size // parts
            missing = [o for o in range(0, self.bin_size, step) if o not in self.offsets]
            if missing:
                return replace(self, offsets=(*self.offsets, *missing))
            parts *= 2
        raise ValueError(
            f"bins of {self.bin_size} bp cannot be halved beyond the {len(self.offsets)} phases there are; "
            "name further offsets yourself"
        )

    def _centre_from_start(self, n_bins: int) -> int:
        """Bases between the start of a window and its centre."""
        return n_bins // 2 * self.bin_size + (self.bin_size // 2 if n_bins % 2 else 0)
