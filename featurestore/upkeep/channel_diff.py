"""Comparing values: statistics of each channel's difference, and the bins that changed most.

Belongs here: streaming sums over blocks of rows, in bounded memory. Does not: which rows are compared
(`featurestore.upkeep.diff`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catalog.value_type import Values

_BLOCK_VALUES = 1 << 20
"""Values of a block of rows: 8 MB an intermediate array, whatever the number of channels."""


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """Difference of one channel over the compared bins."""

    channel: str
    bins: int
    """Number of compared bins."""
    changed: int
    """Bins whose values are not equal."""
    max_abs: float
    """Largest absolute difference; this and the fields below are 0 if no bins were compared."""
    mean_abs: float
    rms: float
    """Root of the mean squared difference."""
    correlation: float | None
    """Pearson's r between the two; None where either is constant."""

    @property
    def changed_share(self) -> float:
        """Fraction of the compared bins that changed, in [0, 1]."""
        return self.changed / self.bins if self.bins else 0.0


class ChannelSums:
    """Streaming sums over the rows of two arrays, from which `ChannelChange` follows.

    Means and squares about them are merged block by block (Chan, Golub and LeVeque 1979): sums of squares about zero
    would cancel for a channel that varies little about a large mean.
    """

    def __init__(self, channels: Sequence[str]) -> None:
        self._channels = tuple(channels)
        self._bins = 0
        self._changed = np.zeros(len(channels), dtype=np.int64)
        self._max, self._abs, self._square = np.zeros((3, len(channels)))
        self._means = np.zeros((2, len(channels)))
        self._squares = np.zeros((3, len(channels)))
        """Sums of squares about the means: of one, of the other, and of their product."""

    def add(self, a: Values, b: Values) -> None:
        """Add rows of both, each `(bins, channels)`."""
        step = max(1, _BLOCK_VALUES // len(self._channels))
        for first in range(0, len(a), step):
            self._add(a[first : first + step].astype(np.float64), b[first : first + step].astype(np.float64))

    def _add(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
        change = np.abs(b - a)
        self._changed += (change > 0).sum(axis=0)
        self._max = np.maximum(self._max, change.max(axis=0))
        self._abs += change.sum(axis=0)
        self._square += (change * change).sum(axis=0)
        means = np.stack([a.mean(axis=0), b.mean(axis=0)])
        a -= means[0]
        b -= means[1]
        bins = self._bins + len(a)
        step = means - self._means
        weight = self._bins * len(a) / bins
        for row, (one, other, of_step) in enumerate(
            ((a, a, step[0] ** 2), (b, b, step[1] ** 2), (a, b, step[0] * step[1]))
        ):
            self._squares[row] += (one * other).sum(axis=0) + of_step * weight
        self._means += step * (len(a) / bins)
        self._bins = bins

    def changes(self) -> list[ChannelChange]:
        """Return the statistics of every channel."""
        bins = max(self._bins, 1)
        of_a, of_b, of_both = self._squares
        varies = (of_a > 0) & (of_b > 0)
        correlations = np.divide(of_both, np.sqrt(of_a) * np.sqrt(of_b), out=np.zeros_like(of_both), where=varies)
        return [
            ChannelChange(
                channel=channel,
                bins=self._bins,
                changed=int(self._changed[index]),
                max_abs=float(self._max[index]),
                mean_abs=float(self._abs[index]) / bins,
                rms=math.sqrt(self._square[index] / bins),
                correlation=float(np.clip(correlations[index], -1, 1)) if varies[index] else None,
            )
            for index, channel in enumerate(self._channels)
        ]


class Change(NamedTuple):
    """One value that changed."""

    contig: str
    start: int
    """First base of the bin (0-based bp), inside the contig."""
    end: int
    channel: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.b - self.a


class Largest:
    """The changes of the largest absolute difference; the first of equal ones."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: list[Change] = []
        self._least = 0.0
        """Absolute difference that a change must exceed to be kept."""

    def offer(
        self,
        a: Values,
        b: Values,
        *,
        contig: str,
        spans: Sequence[tuple[int, int]],
        channels: Sequence[str],
    ) -> None:
        """Update with rows of both, each `(bins, channels)`; `spans` are the bases of every bin."""
        step = max(1, _BLOCK_VALUES // len(channels))
        for first in range(0, len(a), step):
            one, other = (rows[first : first + step].astype(np.float64) for rows in (a, b))
            size = np.abs(other - one).ravel()
            candidates = np.flatnonzero(size > self._least)
            if len(candidates) > self._most:
                candidates = _largest(candidates, size, self._most)
            rows, columns = np.divmod(candidates, len(channels))
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
                start, end = spans[first + row]
                values = float(one[row, column]), float(other[row, column])
                self._found.append(Change(contig, start, end, channels[column], *values))
            if len(self._found) > self._most:
                self._found = self.changes()
                self._least = abs(self._found[-1].difference)

    def changes(self) -> list[Change]:
        """Return the largest changes, sorted."""
        # The sort is stable, so equal changes keep their order.
        return sorted(self._found, key=lambda change: -abs(change.difference))[: self._most]


def _largest(candidates: NDArray[np.intp], size: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """Return the candidates of the `most` largest sizes, the first of equal ones, in their order."""
    cut = np.partition(size[candidates], -most)[-most]
    above = candidates[size[candidates] > cut]
    level = candidates[size[candidates] == cut][: most - len(above)]
    return np.sort(np.concatenate([above, level]))
