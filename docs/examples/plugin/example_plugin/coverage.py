"""A source that is not sequence: the share of each bin that the intervals of a BED file cover.

    featurestore build genome.store --source coverage --set bed=peaks.bed --bin-size 4096

How deeply a bin is covered does not count.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders import SourceOptions
from catalog import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageSettings:
    """Which intervals are counted."""

    bed: Path
    """BED file: contig, start, end (0-based, half-open); plain text."""
    name: str = "coverage"
    """What the feature set is called."""


class CoverageSource:
    """Tells what share of each bin is covered; intervals that overlap count once."""

    flops_per_bin = 0.0
    batch_bins = 16_384
    tolerance = 0.0
    licence = ""
    citation = ""

    def __init__(self, options: SourceOptions, settings: CoverageSettings) -> None:
        self.name = "coverage"
        self.bin_size = options.bin_size
        self._assembly = options.assembly
        self._settings = settings

    @property
    def options(self) -> dict[str, JsonValue]:
        """How it was set."""
        return {"bed": str(self._settings.bed), "name": self._settings.name}

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the file's content: what it is called changes no value."""
        return hashlib.sha256(b"coverage 1 " + self._settings.bed.read_bytes()).hexdigest()

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """One channel."""
        return {self._settings.name: (Channel(name="covered", description="share of the bin that intervals cover"),)}

    def pad(self) -> dict[str, NDArray[np.floating[Any]]]:
        """Nothing covers a bin outside its contig."""
        return {self._settings.name: np.zeros(1, dtype=np.float32)}

    def read(self, contig: str, start: int, n_bins: int) -> dict[str, NDArray[np.floating[Any]]]:
        """Give the share of each bin, shape `(n_bins, 1)`, float32."""
        bounds = start + np.arange(n_bins + 1, dtype=np.int64) * self.bin_size
        edges = np.clip(bounds, 0, self._assembly.lengths[contig])
        starts, ends = self._intervals.get(contig, (np.zeros(0, np.int64), np.zeros(0, np.int64)))
        # Covered bases before each edge: whole intervals that end by then, and the part of the one that goes on.
        whole = np.concatenate([[0], np.cumsum(ends - starts)])
        ended = np.searchsorted(ends, edges, side="right")
        begun = np.searchsorted(starts, edges, side="left")
        within = np.where(begun > ended, edges - np.append(starts, 0)[np.minimum(ended, len(starts))], 0)
        covered = np.diff(whole[ended] + within)
        return {self._settings.name: (covered / self.bin_size).astype(np.float32)[:, None]}

    def close(self) -> None:
        """Forget the intervals; they are read again when they are needed."""
        self.__dict__.pop("_intervals", None)

    @cached_property
    def _intervals(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Starts and ends by contig, ascending and disjoint."""
        found: dict[str, list[tuple[int, int]]] = {}
        for number, line in enumerate(self._settings.bed.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip() or line.startswith(("#", "track", "browser")):
                continue
            contig, start, end = (*line.split("\t")[:3], "", "")[:3]
            if not start.isdecimal() or not end.isdecimal() or int(start) >= int(end):
                raise ValueError(
                    f"{self._settings.bed}, line {number}: expected contig, start and end (0-based, start < end) "
                    f"between tabs, got {line[:80]!r}; write the file as BED"
                )
            found.setdefault(self._assembly.resolve(contig), []).append((int(start), int(end)))
        return {contig: _merged(intervals) for contig, intervals in found.items()}


def _merged(intervals: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    merged: list[list[int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    pairs = np.asarray(merged, dtype=np.int64)
    return pairs[:, 0], pairs[:, 1]
