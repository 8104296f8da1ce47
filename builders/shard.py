"""The work on one shard: read its sequence, compute its features, write and commit it.

Belongs here: the three steps, and how those of neighbouring shards overlap. Does not: which shards (`builders.plan`),
who is told to build them (`builders.worker`).
"""

import importlib.metadata
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from builders.extractors.base import Extractor, ExtractorOptions
from builders.sequence import UNKNOWN, is_unknown
from builders.tasks import Task
from catalog import Assembly, Fasta, FastaChanged, FastaIndex, FeatureSet
from catalog.value_type import Values
from featurestore import FingerprintMismatch, Origin, Store
from featurestore import open as open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the workers of one build share; each is told once."""

    run: str
    store_url: str
    storage_options: dict[str, Any]
    fasta: str
    fasta_options: dict[str, Any]
    fasta_index: FastaIndex
    """Where the sequences lie in the file, and the version of the file that the build began with."""
    assembly_digest: str
    extractor: str
    options: ExtractorOptions
    fingerprint: str
    """Of the extractor as the client made it; a worker that makes another one refuses to work."""
    feature_sets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What is reported of a shard: figures, never arrays. Times are those of the worker's own clock."""

    task: Task
    worker: str = ""
    was_there: bool = False
    """Another build had committed the shard since this one was planned; nothing was computed."""
    extractor_calls: int = 0
    bytes: int = 0
    """Size of the shard's objects (bytes)."""
    started: float = 0.0
    """When its sequence was asked for (s since 1970)."""
    finished: float = 0.0
    """When it was committed (s since 1970)."""
    busy: float = 0.0
    """Spent by the extractor (s)."""


_calls = 0


def calls_made() -> int:
    """Count the calls of any extractor that this process has made."""
    return _calls


def compute(extractor: Extractor, sequences: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
    """Call an extractor and check that it keeps its promises.

    Raises
    ------
    ValueError
        If a set is missing, has another shape than its channels say, or holds NaN or infinity.
    """
    global _calls
    _calls += 1
    features = extractor(sequences)
    for name, channels in extractor.channels.items():
        expected = (len(sequences), len(channels))
        if name not in features or features[name].shape != expected:
            got = features[name].shape if name in features else "nothing"
            raise ValueError(f"extractor {extractor.name} gave {got} for {name!r}, expected shape {expected}")
        if not np.isfinite(features[name]).all():
            raise ValueError(
                f"extractor {extractor.name} gave NaN or infinity in {name!r}; NaN means never built, so it is no "
                "value: check its weights and its input"
            )
    return features


def pad_rows(extractor: Extractor) -> dict[str, list[float]]:
    """Compute the row that stands for sequence that is all N, for each feature set."""
    unknown = np.full((1, extractor.input_length), UNKNOWN, dtype=np.uint8)
    return {name: rows[0].tolist() for name, rows in compute(extractor, unknown).items()}


class Computed(NamedTuple):
    """Features of neighbouring bins."""

    values: dict[str, Values]
    """For each feature set `(bins, channels)`, of its dtype."""
    calls: int


def features_of(extractor: Extractor, sequences: NDArray[np.uint8], feature_sets: tuple[FeatureSet, ...]) -> Computed:
    """Compute the features of many bins, in batches that suit the extractor.

    Bins that are N throughout take the set's pad row: the extractor has seen that sequence once already.

    Parameters
    ----------
    sequences
        ASCII, shape `(bins, input_length)`, uint8.
    """
    values = {item.name: np.empty((len(sequences), len(item.channels)), dtype=item.dtype) for item in feature_sets}
    calls = 0
    for first in range(0, len(sequences), extractor.batch_size):
        batch = sequences[first : first + extractor.batch_size]
        rows = np.arange(first, first + len(batch))
        unknown = is_unknown(batch)
        known = rows[~unknown]
        if known.size:
            features = compute(extractor, np.ascontiguousarray(batch[~unknown]))
            calls += 1
        for item in feature_sets:
            values[item.name][rows[unknown]] = item.pad
            if known.size:
                # What the type cannot hold becomes a value that the writer refuses.
                values[item.name][known] = item.value_type.cast(features[item.name])
    return Computed(values, calls)


class _Opened(NamedTuple):
    fasta: Fasta
    store: Store
    feature_sets: tuple[FeatureSet, ...]


class ShardBuilder:
    """Builds the shards of one job with one extractor.

    A shard goes through three stations: its sequence is read, its features are computed, and it is written. Each
    station holds one shard at a time, so while the device computes one, the next is read and the last is written, and
    no more than three shards are in memory, however slow the disk is.

    Parameters
    ----------
    device, worker
        What it computes on and who it is, for the records.
    """

    def __init__(self, extractor: Extractor, job: Job, *, device: str = "cpu", worker: str = "") -> None:
        self.extractor = extractor
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
            Called when the shard's sequence is read and its turn to compute has come: the moment for another thread to
            begin with the next shard.

        Raises
        ------
        FastaChanged
            If the genome is no longer the one that the build began with.
        FingerprintMismatch
            If this worker's extractor is not the client's.
        CommitConflict
            If another build committed other bytes.
        """
        started = time.time()
        fasta, store, feature_sets = self._opened()
        commits = [store.commits(task.log_of(item.name)).read(*task.place) for item in feature_sets]
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
        sequences = task.sequences(fasta, feature_sets[0], self.extractor.input_length)
        # What was read before a check that passes is of the version that the index describes.
        fasta.check_unchanged()
        with self._computing:
            admit_next()
            began = time.perf_counter()
            values, calls = features_of(self.extractor, sequences, feature_sets)
            busy = time.perf_counter() - began
            del sequences
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
        return Origin(run=self._job.run, worker=self._worker, device=self._device, seconds=busy, versions=_versions())

    def _opened(self) -> _Opened:
        """Open what every shard reads, once: a set of 21,907 channels is described in more than a megabyte."""
        with self._opening:
            if self._held is None:
                job = self._job
                store = open_store(job.store_url, storage_options=job.storage_options)
                feature_sets = tuple(store.feature_set(name) for name in job.feature_sets)
                self.require_fingerprint()
                self._held = _Opened(_open_fasta(job), store, feature_sets)
        return self._held

    def require_fingerprint(self) -> None:
        """Refuse to work with an extractor that is not the client's.

        Raises
        ------
        FingerprintMismatch
            If this worker has other weights, code or settings.
        """
        ours = self.extractor.fingerprint
        if ours != self._job.fingerprint:
            raise FingerprintMismatch(
                f"worker {self._worker} has an extractor {self.extractor.name} with fingerprint {ours}, and the "
                f"client's is {self._job.fingerprint}: their files of weights, code or settings differ; give every "
                "worker the same files and the same version"
            )


def _open_fasta(job: Job) -> Fasta:
    try:
        return Fasta(job.fasta, storage_options=job.fasta_options, index=job.fasta_index)
    except FastaChanged:
        # A copy on a node's own disk has times of its own: its sequence decides.
        fasta = Fasta(job.fasta, storage_options=job.fasta_options)
        if Assembly.from_fasta(fasta).digest != job.assembly_digest:
            raise
        return fasta


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("genomic-featurestore", "numpy", "zarr", "numcodecs", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
