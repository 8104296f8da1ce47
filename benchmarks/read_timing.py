"""Timing several ways of reading the same windows, in turns; and the rows of the table that come of it."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_BINS = 251
BATCH = 64

Read = Callable[[NDArray[np.int64]], Any]
"""Reads the windows whose first rows are given, shape `(windows,)`, and gives `(windows, n_bins, channels)` of them."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to read windows."""

    name: str
    read: Read
    batches: int
    """That it reads in a round: slow ways read fewer."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    what: str
    figure: float
    unit: str
    target: float | None = None
    at_most: bool = False
    """Whether the figure is to stay below the target; else above it."""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Whether the target is met; empty without one."""
        if self.target is None:
            return ""
        is_met = self.figure <= self.target if self.at_most else self.figure >= self.target
        return "met" if is_met else "MISSED"

    def line(self) -> str:
        """Write the row as a line of the table."""
        target = "" if self.target is None else f"{'<=' if self.at_most else '>='} {self.target:,g}"
        return f"{self.what:66} {shown(self.figure):>9} {self.unit:6} {target:>9}  {self.verdict}"

    def to_json(self) -> dict[str, Any]:
        """Give the row as it goes into the JSON."""
        return asdict(self) | {"verdict": self.verdict}


def shown(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


@dataclass(frozen=True, slots=True)
class Times:
    """What reading took, by the name of the way: one figure a round."""

    seconds: dict[str, list[float]]
    """A window, by the clock."""
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)
    """A window, of all threads of this process: what other processes on the machine hardly change."""

    def ratio(self, other: str, ours: str) -> float:
        """How many times faster `ours` is than `other`: the median over rounds, since a shared machine drifts."""
        pairs = zip(self.seconds[other], self.seconds[ours], strict=True)
        return statistics.median(theirs / own for theirs, own in pairs)

    def fastest(self, names: Sequence[str]) -> str:
        """Give the way with the shortest median."""
        return min(names, key=lambda name: statistics.median(self.seconds[name]))

    def windows_per_second(self) -> dict[str, float]:
        """Give the median rate of each way."""
        return {name: 1 / statistics.median(found) for name, found in self.seconds.items()}


def in_turns(ways: Sequence[Way], n_bins: int, rounds: int) -> Times:
    """Time every way in every round, on the same random windows, each round in another order.

    Every way reads a batch first, which warms it up; the batches must be equal.
    """
    rng = np.random.default_rng(1)

    def draw() -> NDArray[np.int64]:
        return rng.integers(0, n_bins - N_BINS + 1, size=BATCH)

    check_equal(ways, draw())
    times = Times({way.name: [] for way in ways}, {way.name: [] for way in ways})
    for _ in range(rounds):
        drawn = [draw() for _ in range(max(way.batches for way in ways))]
        # By chance, so that none always finds what another has just read in the caches of the processor.
        for way in [ways[place] for place in rng.permutation(len(ways))]:
            started, cpu_started = time.perf_counter(), time.process_time()
            for first in drawn[: way.batches]:
                way.read(first)
            times.seconds[way.name].append((time.perf_counter() - started) / way.batches / BATCH)
            times.cpu_seconds[way.name].append((time.process_time() - cpu_started) / way.batches / BATCH)
    return times


def check_equal(ways: Sequence[Way], first: NDArray[np.int64]) -> None:
    """Refuse to time ways that read different values."""
    expected = np.stack(list(ways[0].read(first)))
    for way in ways[1:]:
        if not np.array_equal(np.stack(list(way.read(first))), expected):
            raise RuntimeError(f"{way.name} and {ways[0].name} read different values of the same windows")


def rates(times: Times, where: str, notes: dict[str, Any] | None = None) -> Row:
    """Give the rate of ours, with those of all the others beside it."""
    found = times.windows_per_second()
    cpu = {name: 1e6 * statistics.median(seconds) for name, seconds in times.cpu_seconds.items()}
    details = {"windows_per_second": found, "cpu_us_per_window": cpu, **(notes or {})}
    return Row(f"{where}: windows a second", found["ours"], "", details=details)
