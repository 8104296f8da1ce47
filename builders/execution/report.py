"""Report of a build, summed up from receipts.

Belongs here: the figures of a run. Does not: the run (`builders.run`).
"""

import time
from dataclasses import dataclass, field

from builders.execution.shard import Receipt


@dataclass(slots=True)
class BuildReport:
    """What a build did."""

    run: str
    planned: int = 0
    """Shards of the whole plan."""
    was_there: int = 0
    """Shards that were committed before, or by another build meanwhile."""
    built: int = 0
    """Shards computed and committed by this run."""
    bins: int = 0
    """Bins computed by this run."""
    bins_done: int = 0
    """Bins of the plan that were missing and are now committed, by whichever build."""
    bytes: int = 0
    """Size of the objects that this run wrote (bytes)."""
    extractor_calls: int = 0
    """Batches that sources computed."""
    seconds: float = 0.0
    """The whole run, workers' start included."""
    work_seconds: float = 0.0
    """From the first shard handed out to the last one back."""
    busy_seconds: float = 0.0
    """Spent computing, sum over workers."""
    workers: dict[str, list[float]] = field(default_factory=dict)
    """For each worker, when its first shard began and its last one ended (s since 1970, its own clock)."""
    failed: dict[str, str] = field(default_factory=dict)
    """Shards that could not be built, tried twice, and why."""
    notes: tuple[str, ...] = ()
    """Sentences on letters of the genome that are read as others."""
    source_notes: tuple[str, ...] = ()
    """Sentences of the source on what it lacks, and its licence."""
    _began: float = field(default_factory=time.perf_counter)

    @property
    def is_complete(self) -> bool:
        """Whether every planned shard is committed."""
        return self.was_there + self.built == self.planned

    @property
    def bins_per_second(self) -> float:
        """Speed of this run once its workers are up."""
        return self.bins / self.work_seconds if self.work_seconds else 0.0

    @property
    def busy_share(self) -> float:
        """Share of the workers' time in which they were computing, in [0, 1]."""
        there = sum(ended - began for began, ended in self.workers.values())
        return min(1.0, self.busy_seconds / there) if there else 0.0

    def add(self, receipt: Receipt) -> None:
        """Count one shard."""
        self.bins_done += receipt.task.n_bins
        if receipt.was_there:
            self.was_there += 1
            return
        self.built += 1
        self.bins += receipt.task.n_bins
        self.bytes += receipt.bytes
        self.extractor_calls += receipt.extractor_calls
        self.busy_seconds += receipt.busy
        span = self.workers.setdefault(receipt.worker, [receipt.started, receipt.finished])
        span[0] = min(span[0], receipt.started)
        span[1] = max(span[1], receipt.finished)

    def begin(self) -> None:
        """Note that the first shard is about to be handed out."""
        self._began = time.perf_counter()

    def end(self) -> None:
        """Note that the last shard is back."""
        self.work_seconds = time.perf_counter() - self._began

    def to_json(self) -> dict[str, object]:
        """Give the report as plain JSON."""
        return {
            "run": self.run,
            "is_complete": self.is_complete,
            "planned": self.planned,
            "was_there": self.was_there,
            "built": self.built,
            "bins": self.bins,
            "bytes": self.bytes,
            "extractor_calls": self.extractor_calls,
            "seconds": self.seconds,
            "work_seconds": self.work_seconds,
            "bins_per_second": self.bins_per_second,
            "busy_share": self.busy_share,
            "workers": len(self.workers),
            "failed": self.failed,
            "notes": list(self.notes),
            "source_notes": list(self.source_notes),
        }
