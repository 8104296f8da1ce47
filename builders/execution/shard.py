"""The work on one shard: fetch what it needs, compute its features, write and commit it.

Belongs here: the three stages, and how those of neighbouring shards overlap. Does not: which shards (`builders.plan`),
handing them out (`builders.execution.worker`).
"""

import importlib.metadata
import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from builders.execution.source_spec import SourceSpec
from builders.execution.tasks import Task
from builders.source import Rows, Source, calls_made, compute, fetch
from catalog import FeatureSet
from catalog.value_type import Values
from featurestore import FingerprintMismatch, Origin, Store, open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Configuration of one build, sent once to each worker."""

    run: str
    store_url: str
    storage_options: dict[str, Any]
    source: SourceSpec
    fingerprint: str
    """Of the source as the client made it; a worker that makes another one refuses to work."""
    feature_sets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Figures of one shard, never arrays. Times are those of the worker's own clock."""

    task: Task
    worker: str = ""
    was_there: bool = False
    """Another build had committed the shard since this one was planned; nothing was computed."""
    extractor_calls: int = 0
    """Batches that the source computed."""
    bytes: int = 0
    """Size of the shard's objects (bytes)."""
    started: float = 0.0
    """When it began to be fetched (s since 1970)."""
    finished: float = 0.0
    """When it was committed (s since 1970)."""
    busy: float = 0.0
    """Spent computing (s)."""


def collect(pieces: Iterable[Rows], feature_sets: Sequence[FeatureSet], n_bins: int) -> dict[str, Values]:
    """Concatenate pieces of neighbouring bins in the type of the store, `(n_bins, channels)` a set.

    A piece is freed as soon as it is copied, so a shard is in memory once.

    Raises
    ------
    ValueError
        If there are other than `n_bins` of them, or the set's type cannot hold a value.
    """
    values = {item.name: np.empty((n_bins, len(item.channels)), dtype=item.dtype) for item in feature_sets}
    end = 0
    for piece in pieces:
        first, end = end, end + len(piece[feature_sets[0].name])
        if end > n_bins:
            break
        for item in feature_sets:
            # Here, and not only when the shard is written, so that an error shows the value as the source gave it.
            item.value_type.encode_into(
                values[item.name][first:end],
                piece[item.name],
                where=f"{item.name}, from bin {first} of the shard",
                channels=item.channel_names,
            )
    if end != n_bins:
        raise ValueError(f"the source gave {end} bins or more where it was to give {n_bins}")
    return values


class _Opened(NamedTuple):
    store: Store
    feature_sets: tuple[FeatureSet, ...]
    pad: dict[str, Values]
    """Of each set `(channels,)`, as the store keeps it."""


class ShardBuilder:
    """Builds the shards of one job with one source: a three-stage pipeline.

    The stages of a shard are to fetch what computing needs, to compute, and to write. Each stage holds one shard at a
    time, so while the device computes one, the next is fetched and the last is written, and no more than three shards
    are in memory, however slow the disk is.

    Parameters
    ----------
    device, worker
        Names of its device and of itself, for the records.
    """

    def __init__(self, source: Source, job: Job, *, device: str = "cpu", worker: str = "") -> None:
        self.source = source
        self._job = job
        self._device = device
        self._worker = worker
        self._opening = threading.Lock()
        self._computing = threading.Lock()
        self._writing = threading.Semaphore()
        self._held: _Opened | None = None

    def build(self, task: Task, *, admit_next: Callable[[], None] = lambda: None) -> Receipt:
        """Build one shard of every feature set of the job, unless another build has committed it.

        Parameters
        ----------
        admit_next
            Called when the shard is fetched and about to be computed: another thread may then prefetch the next one.

        Raises
        ------
        SourceChanged
            If what the source reads is no longer what the build began with.
        FingerprintMismatch
            If this worker's source is not the client's.
        CommitConflict
            If another build committed other bytes.
        """
        started = time.time()
        store, feature_sets, pad = self._opened()
        commits = [store.commits(task.array_of(item.name)).read(*task.place) for item in feature_sets]
        found = [commit for commit in commits if commit is not None]
        if len(found) == len(commits):
            return Receipt(
                task=task,
                worker=self._worker,
                # Of this run it is where a worker died between its commit and its receipt.
                was_there=any(commit.run != self._job.run for commit in found),
                bytes=sum(commit.size for commit in found),
                started=started,
                finished=time.time(),
            )
        spans = task.spans(feature_sets[0])
        fetched = fetch(self.source, spans) if spans else None
        with self._computing:
            admit_next()
            began, calls = time.perf_counter(), calls_made()
            pieces = compute(self.source, fetched, pad) if spans else iter(())
            del fetched
            values = collect(pieces, feature_sets, sum(span.n_bins for span in spans))
            busy, calls = time.perf_counter() - began, calls_made() - calls
            self._writing.acquire()  # before the next may compute: a slow disk holds the device, not the memory
        try:
            size = task.write(store, feature_sets, values, self._origin(busy))
        finally:
            self._writing.release()
        return Receipt(
            task=task,
            worker=self._worker,
            extractor_calls=calls,
            bytes=size,
            started=started,
            finished=time.time(),
            busy=busy,
        )

    def _origin(self, busy: float) -> Origin:
        return Origin(run=self._job.run, worker=self._worker, device=self._device, seconds=busy, versions=versions())

    def _opened(self) -> _Opened:
        """Open what every shard reads, once: a set of 21,907 channels is described in more than a megabyte."""
        with self._opening:
            if self._held is None:
                job = self._job
                store = open_store(job.store_url, storage_options=job.storage_options)
                feature_sets = tuple(store.feature_set(name) for name in job.feature_sets)
                self.require_fingerprint()
                pad = {item.name: np.array(item.pad, dtype=item.dtype) for item in feature_sets}
                self._held = _Opened(store, feature_sets, pad)
        return self._held

    def require_fingerprint(self) -> None:
        """Refuse to work with a source that is not the client's.

        Raises
        ------
        FingerprintMismatch
            If this worker has other weights, code or settings.
        """
        ours = self.source.fingerprint
        if ours != self._job.fingerprint:
            raise FingerprintMismatch(
                f"worker {self._worker} has a source {self.source.name} with fingerprint {ours}, and the "
                f"client's is {self._job.fingerprint}: their files of weights, code or settings differ; give every "
                "worker the same files and the same version"
            )


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Give the versions of Python and of the libraries that decide values and bytes, for records."""
    found = {"python": platform.python_version()}
    for name in ("genomic-featurestore", "numpy", "zarr", "numcodecs", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
