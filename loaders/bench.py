"""Benchmark of reading random windows: throughput, requests, cache hits, stalls.

Belongs here: drawing windows over what is committed, and the report. Does not: comparisons with other libraries
(`benchmarks/`).
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from catalog.runtime.whole_numbers import whole_number
from featurestore import NotBuilt, Windows
from featurestore.format.layout import contig_key
from loaders.batching.prefetcher import Prefetcher
from loaders.residence.open import CountingReader
from loaders.stats import Stats

_MOST_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What reading some batches of random windows took."""

    n_bins: int
    batch_size: int
    seconds: float
    """From the first request to the last batch."""
    feature_bytes: int
    """Of the windows as they were handed over (float16)."""
    stats: Stats

    @property
    def windows_per_s(self) -> float:
        """Windows a second."""
        return self.stats.windows / self.seconds

    @property
    def mb_per_s(self) -> float:
        """Features a second, as handed over (10^6 bytes)."""
        return self.feature_bytes / self.seconds / 1e6

    @property
    def requests_per_window(self) -> float | None:
        """Requests to the store a window; None where they are not counted."""
        return None if self.stats.requests is None else self.stats.requests / self.stats.windows

    def to_dict(self) -> dict[str, object]:
        """Give all of it as plain JSON values."""
        derived = {
            "windows_per_s": self.windows_per_s,
            "mb_per_s": self.mb_per_s,
            "requests_per_window": self.requests_per_window,
            "stall_share": self.stats.stall_share,
        }
        return asdict(self) | derived

    def summary(self) -> str:
        """Give the report as a few lines."""
        stats = self.stats
        wire = (
            "the store's requests are not counted for this kind of URL"
            if stats.requests is None or stats.bytes_read is None
            else f"{self.requests_per_window:.3f} requests a window, {stats.bytes_read / 1e6:,.1f} MB from the store"
        )
        return (
            f"{stats.windows:,} windows of {self.n_bins} bins in {self.seconds:.2f} s: "
            f"{self.windows_per_s:,.0f} windows/s, {self.mb_per_s:,.1f} MB/s\n"
            f"{wire}\n"
            f"{stats.cache_hits:,} cache hits, {stats.cache_misses:,} misses\n"
            f"stalled {stats.stall_share:.1%} of the time ({stats.wait_s:.2f} s waiting, {stats.busy_s:.2f} s at work)"
        )


def measure_reading(
    reader: CountingReader,
    *,
    n_bins: int = 251,
    batch_size: int = 64,
    n_batches: int = 200,
    compute_s: float = 0.0,
    seed: int = 0,
) -> ReadReport:
    """Prefetch batches of random windows for a consumer that takes `compute_s` over each.

    Raises
    ------
    NotBuilt
        If hardly a window of so many bins lies on what is built.
    """
    n_bins, batch_size = whole_number(n_bins, name="n_bins"), whole_number(batch_size, name="batch_size", least=1)
    n_batches = whole_number(n_batches, name="n_batches", least=1)
    contigs, centres = random_places(reader, batch_size * n_batches, n_bins=n_bins, seed=seed)

    def batches() -> Iterator[Windows]:
        for first in range(0, len(centres), batch_size):
            chosen = slice(first, first + batch_size)
            yield reader.windows(contigs[chosen], centres[chosen], n_bins)

    before = reader.stats
    prefetcher = Prefetcher(batches())
    feature_bytes = 0
    start = time.perf_counter()
    for batch in prefetcher:
        feature_bytes += batch.values.nbytes
        if compute_s:
            time.sleep(compute_s)
    seconds = time.perf_counter() - start
    waited = prefetcher.stats
    spent = reader.stats.since(before)
    return ReadReport(
        n_bins, batch_size, seconds, feature_bytes, replace(spent, wait_s=waited.wait_s, busy_s=waited.busy_s)
    )


def random_places(
    reader: CountingReader, n_windows: int, *, n_bins: int, seed: int = 0
) -> tuple[list[str], NDArray[np.int64]]:
    """Draw centres, each base alike, of windows that lie on what is built.

    Returns
    -------
    Contig and centre (0-based bp) of each window.

    Raises
    ------
    NotBuilt
        If hardly a window of so many bins lies on what is built.
    """
    built = reader.commits.shards()
    lengths = {name: length for name, length in reader.assembly.lengths.items() if contig_key(name) in built}
    if not lengths:
        raise NotBuilt(f"nothing of {reader.name} in {reader.url} is built yet; `featurestore build` does that")
    names = list(lengths)
    ends = np.cumsum(list(lengths.values()))
    rng = np.random.default_rng(seed)
    contigs: list[str] = []
    centres: list[int] = []
    for _ in range(_MOST_ATTEMPTS):
        places = rng.integers(0, ends[-1], size=n_windows)
        numbers = np.searchsorted(ends, places, side="right")
        drawn = [names[number] for number in numbers]
        within = places - np.concatenate([[0], ends])[numbers]
        plan = reader.plan(drawn, within, n_bins)
        for window, (contig, phase, first, end) in zip(plan.windows, plan.requests, strict=True):
            size = reader.layout(contig).shard_bins
            shards = range(first // size, (end - 1) // size + 1)
            if built[contig_key(contig)].issuperset((phase, shard) for shard in shards):
                contigs.append(contig)
                centres.append(int(within[window]))
        if len(centres) >= n_windows:
            return contigs[:n_windows], np.asarray(centres[:n_windows])
    raise NotBuilt(
        f"too little of {reader.name} in {reader.url} is built for random windows of {n_bins} bins; ask for fewer bins "
        "with `n_bins=`, or build more of it"
    )
