"""Copying a store, or part of it, to another location.

Belongs here: choosing sets and contigs, copying their shards at once, and sealing. Does not: one shard
(`featurestore.upkeep.shard_copies`), computing features (`builders`), comparing them (`featurestore.upkeep.diff`).

A shard is written as by a build: its bytes, checked against the source's record, then that record. So an interrupted
copy leaves a store whose committed part can be read, and running the copy again resumes it.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field

from catalog import FeatureSet
from catalog.registry import UNKNOWN
from featurestore.format.commits import CommitConflict, NotBuilt
from featurestore.objects.objects import StorageOptions
from featurestore.store import Store, create, open_store
from featurestore.upkeep.seal import seal
from featurestore.upkeep.shard_copies import CopiedShard, DamagedShard, ShardCopier

_MOST_WORKERS = 16
_MEMORY_BYTES = 2 << 30


@dataclass(slots=True)
class CopyReport:
    """Result of a copy."""

    source: str
    destination: str
    feature_sets: list[str]
    shards: int = 0
    """Committed shards of the source that were selected."""
    was_there: int = 0
    """Shards that the destination already had."""
    copied: int = 0
    bytes: int = 0
    """Size of the shards that were copied (bytes)."""
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    """Errors of shards that could not be copied, by shard."""
    licences: dict[str, str] = field(default_factory=dict)
    """Of each feature set, as the source states it."""
    top_hash: str | None = None
    """Of the destination, if this copy sealed it or found it sealed."""

    @property
    def is_complete(self) -> bool:
        """Whether the destination has all selected shards."""
        return self.was_there + self.copied == self.shards

    def to_json(self) -> dict[str, object]:
        """Return the report as plain JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"is_complete": self.is_complete}


def copy(
    source_url: str | os.PathLike[str],
    destination_url: str | os.PathLike[str],
    *,
    feature_sets: Sequence[str] | None = None,
    contigs: Sequence[str] | None = None,
    source_options: StorageOptions | None = None,
    destination_options: StorageOptions | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CopyReport:
    """Copy committed shards from one store into another; idempotent: a second run copies only what is missing.

    A shard that the destination has committed is recognised by its record and the size of its object, and is not read
    again; `verify --crc` of the destination reads them all. Every other is checked against the source's record before
    it is written. Failed shards are reported and do not stop the others.

    A full copy of a sealed store is sealed at the end, with the same top hash, unless the destination also has other
    sets. A sealed destination that lacks something is unsealed first.

    Parameters
    ----------
    source_url, destination_url
        Local paths or any fsspec URLs. The destination may be a store of the same assembly: feature sets, contigs and
        phases that it lacks are added.
    feature_sets, contigs
        Which to copy; None for all.
    source_options, destination_options
        As fsspec and s3fs name them; defaults come from the environment.
    workers
        Concurrent shards, each using up to four times its size of memory; None for 16, or as many as keep that below
        2 GiB.
    progress
        Called with the bytes copied so far and in total.

    Raises
    ------
    FileNotFoundError, NotBuilt, UnknownContig
        If the source lacks what was selected.
    AssemblyMismatch, FingerprintMismatch, ValueError
        If the destination holds something else; nothing is written then.
    OSError
        If a location can no longer be read or written; running the same copy again resumes it.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"a copy has at least 1 worker, got {workers}")
    started = time.perf_counter()
    source = open_store(source_url, storage_options=source_options)
    chosen = _choose(source, feature_sets, contigs)
    destination = create(destination_url, source.assembly, storage_options=destination_options)
    if (destination.url, destination_options) == (source.url, source_options):
        raise ValueError(f"{source.url} is both source and destination; name another place to copy to")
    for feature_set, _ in chosen:
        _require_same_shards(destination, feature_set)
    copier = ShardCopier(source, destination)
    shards = [
        shard
        for feature_set, names in chosen
        for shard in copier.plan(feature_set, destination.declare(feature_set, names), names)
    ]
    if contigs is None:
        shards += [shard for feature_set, _ in chosen for shard in copier.plan_anchored(feature_set)]
        shards += [shard for feature_set, _ in chosen for shard in copier.plan_overlays(feature_set)]
    report = CopyReport(source.url, destination.url, [item.name for item, _ in chosen], shards=len(shards))
    report.licences = {item.name: item.licence.strip() or UNKNOWN for item, _ in chosen}
    with _deferred_interrupt() as raise_interrupt, ThreadPoolExecutor(workers or _workers_for(shards)) as pool:
        futures = {pool.submit(copier.carry, shard): shard for shard in shards}
        try:
            _collect(futures, report, progress, raise_interrupt)
        except BaseException:
            # Also for Ctrl-C: transfers in flight are finished, the rest is left to the next run.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if feature_sets is None and contigs is None and report.is_complete:
        report.top_hash = _seal_like(source, destination)
    report.seconds = time.perf_counter() - started
    return report


@contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Defer Ctrl-C, and yield a function that raises it: raised elsewhere, it may leave a lock of the pool held."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # only the main thread receives signals
        return
    interrupted = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())

    def raise_interrupt() -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt

    try:
        yield raise_interrupt
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)


def _workers_for(shards: Sequence[CopiedShard]) -> int:
    largest = max((shard.size for shard in shards), default=1)
    return min(_MOST_WORKERS, max(1, _MEMORY_BYTES // (4 * max(largest, 1))))


def _choose(
    source: Store, feature_sets: Sequence[str] | None, contigs: Sequence[str] | None
) -> list[tuple[FeatureSet, list[str]]]:
    """Return the selected feature sets and the contigs of each, as the source has them."""
    names = source.feature_sets() if feature_sets is None else list(dict.fromkeys(feature_sets))
    if not names:
        raise NotBuilt(f"{source.url} has no feature sets yet; build one, then copy it")
    there = [(source.feature_set(name), source.contigs(name)) for name in names]
    if contigs is None:
        return there
    wanted = {source.assembly.resolve(contig) for contig in contigs}
    absent = sorted(wanted.difference(*(found for _, found in there)))
    if absent:
        raise NotBuilt(
            f"{source.url} has no {', '.join(names)} on {', '.join(absent)}; build those contigs first, or copy others"
        )
    return [(feature_set, [contig for contig in found if contig in wanted]) for feature_set, found in there]


def _seal_like(source: Store, destination: Store) -> str | None:
    """Seal a full copy of a sealed store; other copies stay as they are."""
    if source.manifest() is None or set(destination.feature_sets()) != set(source.feature_sets()):
        return None
    # Every shard was checked during the copy.
    return seal(destination, crc=False, partial=True).manifest.top_hash


def _require_same_shards(destination: Store, feature_set: FeatureSet) -> None:
    """Refuse a destination whose set of that name differs, or has shards of another size."""
    if feature_set.name not in destination.feature_sets():
        return
    there = destination.agreed(feature_set)
    if (there.shard_bins, there.chunk_bins) != (feature_set.shard_bins, feature_set.chunk_bins):
        raise ValueError(
            f"{destination.url} has {there.name!r} in shards of {there.shard_bins} and chunks of {there.chunk_bins} "
            f"bins, the source in shards of {feature_set.shard_bins} and chunks of {feature_set.chunk_bins}; shards "
            "are copied as they are: copy into another store, or build there"
        )


def _collect(
    futures: dict[Future[int], CopiedShard],
    report: CopyReport,
    progress: Callable[[int, int], None] | None,
    raise_interrupt: Callable[[], None],
) -> None:
    to_copy = sum(shard.size for shard in futures.values())
    for future in as_completed(futures):
        raise_interrupt()
        shard = futures[future]
        try:
            copied = future.result()
        except (DamagedShard, CommitConflict) as error:
            report.failed[shard.name] = str(error)
            copied = 0
        else:
            report.copied += copied > 0
            report.was_there += copied == 0
        report.bytes += copied
        to_copy -= shard.size - copied
        if progress is not None:
            progress(report.bytes, to_copy)
