"""Windows as they are read: values, and where their bins lie.

Belongs here: the two results of `featurestore.reader`. Does not: reading them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from catalog.value_type import Values
from featurestore.display import Display, Displayed


@dataclass(frozen=True, slots=True, repr=False)
class Window(Displayed):
    """Features of `n_bins` neighbouring bins."""

    contig: str
    centre: int
    """The requested position (bp)."""
    values: Values
    """Features, shape `(n_bins, channels)`, of the set's dtype; bins outside the contig hold the set's `pad` row."""
    starts: NDArray[np.int64]
    """First base of every bin, shape `(n_bins,)`, those outside the contig included (bp)."""
    phase: int
    residual: int
    """Centre of the window as read minus the requested centre (bp, signed)."""

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return _as_array(self.values, dtype, copy)

    def _display(self) -> Display:
        bins, channels = self.values.shape
        first, last = int(self.starts[0]), int(self.starts[-1])
        return Display(
            f"Window {self.contig}:{self.centre:,}",
            (
                ("values", f"{bins:,} bins x {channels:,} channels, {self.values.dtype}"),
                ("bins start at", f"{first:,} to {last:,} bp" if bins > 1 else f"{first:,} bp"),
                ("residual", f"{self.residual:+,} bp, phase {self.phase}"),
            ),
        )


@dataclass(frozen=True, slots=True, repr=False)
class Windows(Displayed):
    """Features of many windows: the fields of `Window`, one row a window."""

    values: Values
    """Features, shape `(windows, n_bins, channels)`, of the set's dtype."""
    first_starts: NDArray[np.int64]
    """First base of each window's first bin, shape `(windows,)` (bp)."""
    phases: NDArray[np.int64]
    """Shape `(windows,)`."""
    residuals: NDArray[np.int64]
    """Shape `(windows,)` (bp, signed)."""
    bin_size: int
    """Of every bin (bp)."""

    @property
    def starts(self) -> NDArray[np.int64]:
        """First base of every bin, shape `(windows, n_bins)` (bp)."""
        return self.first_starts[:, None] + np.arange(self.values.shape[1], dtype=np.int64) * self.bin_size

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return _as_array(self.values, dtype, copy)

    def _display(self) -> Display:
        windows, bins, channels = self.values.shape
        furthest = int(np.abs(self.residuals).max(initial=0))
        return Display(
            "Windows",
            (
                ("values", f"{windows:,} windows x {bins:,} bins x {channels:,} channels, {self.values.dtype}"),
                ("span", f"{bins * self.bin_size:,} bp each, bins of {self.bin_size:,} bp"),
                ("residuals", f"at most {furthest:,} bp either way"),
            ),
        )


def _as_array(values: NDArray[Any], dtype: DTypeLike | None, copy: bool | None) -> NDArray[Any]:
    """Implement numpy's `__array__`; `copy=False` is an error where a copy is needed."""
    if copy is None:
        return np.asarray(values, dtype=dtype)
    return np.array(values, dtype=dtype, copy=copy)
