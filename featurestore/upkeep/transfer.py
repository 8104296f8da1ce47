"""Copying a store, or part of it, to another location.

Belongs here: planning which shards to copy, and the order of object and record. Does not: computing features
(`builders`), comparing them (`featurestore.upkeep.diff`).

A shard is written as by a build: its bytes, checked against the source's record, then that record. So an interrupted
copy leaves a store whose committed part can be read, and running the copy again resumes it.
"""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

import google_crc32c

from catalog import FeatureSet
from catalog.registry import UNKNOWN
from featurestore.anchored.declare import anchored_layout, anchored_names, declare_anchored
from featurestore.anchored.reader import read_table
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.commits import Commit, CommitConflict, CommitLog, DamagedRecord, NotBuilt
from featurestore.objects.objects import StorageOptions
from featurestore.rows.overlays.declare import declare_overlay
from featurestore.rows.overlays.describe import read_whole
from featurestore.store import Store, create, open_store
from featurestore.upkeep.seal import seal

_MOST_WORKERS = 16
_MEMORY_BYTES = 2 << 30


class DamagedShard(ValueError):
    """A shard whose bytes differ from those committed."""


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


@dataclass(frozen=True, slots=True)
class _Shard:
    """One committed shard of the source, and its state at the destination."""

    name: str
    """For messages."""
    log: CommitLog
    """Of the source."""
    key: str
    size: int
    """As the source lists it (bytes); 0 if the object is missing."""
    record: str
    record_size: int
    phase_there: int
    """Phase at the destination, which may have the same phases in another order."""
    log_there: CommitLog
    key_there: str
    size_there: int | None
    record_there: str
    record_size_there: int | None


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
    copier = _Copier(source, destination)
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


def _workers_for(shards: Sequence[_Shard]) -> int:
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
    futures: dict[Future[int], _Shard],
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


class _Copier:
    """Copies single shards from one store to another."""

    def __init__(self, source: Store, destination: Store) -> None:
        self._source = source
        self._destination = destination
        self._is_unsealed = False
        self._lock = Lock()

    def plan(self, feature_set: FeatureSet, there: FeatureSet, contigs: Sequence[str]) -> list[_Shard]:
        """List the source's committed shards of a set on some contigs, and their state at the destination."""
        phases = {phase: there.offsets.index(offset) for phase, offset in enumerate(feature_set.offsets)}
        return self._plan(ArrayKey(feature_set.name), layout.set_path(feature_set.name), contigs, phases)

    def plan_anchored(self, feature_set: FeatureSet) -> list[_Shard]:
        """Declare the anchored arrays of a set, and list their committed shards."""
        shards = []
        for anchors in anchored_names(self._source, feature_set.name):
            array = anchored_layout(self._source, feature_set, anchors)
            there = declare_anchored(self._destination, array, read_table(self._source, array))
            if there.anchored != array.anchored:
                raise ValueError(
                    f"{self._destination.url} has anchors {anchors!r} of {feature_set.name!r} in other shards than the "
                    "source; shards are copied as they are: copy into another store, or build there"
                )
            shards += self._plan(array.key, array.path, [layout.ANCHORS], {0: 0})
        return shards

    def plan_overlays(self, feature_set: FeatureSet) -> list[_Shard]:
        """Declare the overlays of a set, and list their committed shards."""
        shards = []
        for name in self._source.overlays(feature_set.name):
            folder = layout.overlay_folder(name)
            whole = read_whole(self._source.objects, self._source.assembly, feature_set, folder)
            if whole is None:  # deleted meanwhile
                continue
            there = self._destination.feature_set(feature_set.name)
            if there.offsets != feature_set.offsets:
                raise ValueError(
                    f"{self._destination.url} has {feature_set.name!r} with other phases than the source, and the "
                    f"overlay {name!r} is of those of the source: copy into another store, or delete it there first"
                )
            declare_overlay(self._destination.objects, feature_set, whole.overlay, whole.touched)
            path = layout.overlay_path(feature_set.name, folder)
            phases = {phase: phase for phase in range(len(feature_set.offsets))}
            array = ArrayKey(feature_set.name, overlay=folder)
            shards += self._plan(array, path, list(whole.arrays), phases)
        return shards

    def _plan(self, array: ArrayKey, path: str, contigs: Sequence[str], phases: Mapping[int, int]) -> list[_Shard]:
        """List the shards in one commit log, and their state at the destination (two listings each)."""
        log, log_there = self._source.commits(array), self._destination.commits(array)
        sizes = dict(self._source.objects.walk(path))
        sizes_there = dict(self._destination.objects.walk(path))
        records, records_there = log.keys(), dict(log_there.keys())
        names = {layout.contig_key(contig): contig for contig in contigs}
        shards = []
        for record, record_size in records:
            folder, phase, number = layout.parse_commit_key(record) or ("", -1, -1)
            if folder not in names or phase not in phases:
                continue
            contig, phase_there = names[folder], phases[phase]
            key, key_there = (layout.shard_key(array, contig, at, number) for at in (phase, phase_there))
            record_there = layout.commit_key(array, contig, phase_there, number)
            shards.append(
                _Shard(
                    name=f"{array} {contig} phase {phase} shard {number}",
                    log=log,
                    key=key,
                    size=sizes.get(key, 0),
                    record=record,
                    record_size=record_size,
                    phase_there=phase_there,
                    log_there=log_there,
                    key_there=key_there,
                    size_there=sizes_there.get(key_there),
                    record_there=record_there,
                    record_size_there=records_there.get(record_there),
                )
            )
        return shards

    def carry(self, shard: _Shard) -> int:
        """Copy a shard unless the destination has it; return the number of bytes copied."""
        try:
            commit = shard.log.load(shard.record, shard.record_size)
        except DamagedRecord as error:
            raise DamagedShard(f"{self._source.url}: {error} there, then copy again") from error
        if self._agrees(shard, commit) and shard.size_there == commit.size:
            return 0
        data = self._read(shard, commit)
        self._unseal_once()
        objects = self._destination.objects
        if shard.record_size_there is not None:
            # Before the object: a record must never exist for an incomplete shard.
            objects.delete(shard.record_there)
        if not objects.create(shard.key_there, data) and objects.get(shard.key_there) != data:
            # Left without a record by a killed run, or damaged since: no reader uses it.
            objects.delete(shard.key_there)
            objects.put(shard.key_there, data)
        shard.log_there.add(commit.model_copy(update={"phase": shard.phase_there}))
        return len(data)

    def _unseal_once(self) -> None:
        """Unseal the destination before the first shard is written; a copy with nothing to do leaves it sealed."""
        with self._lock:
            if not self._is_unsealed:
                self._destination.unseal()
                self._is_unsealed = True

    def _agrees(self, shard: _Shard, commit: Commit) -> bool:
        """Tell whether the destination has an equal record; refuse one of other bytes."""
        if shard.record_size_there is None:
            return False
        try:
            there = shard.log_there.load(shard.record_there, shard.record_size_there)
        except DamagedRecord:
            return False  # to be rewritten
        if there.sha256 != commit.sha256:
            raise CommitConflict(
                f"{self._destination.url} has {there.key} by run {there.run} with other bytes than those of run "
                f"{commit.run} in {self._source.url}; `featurestore diff` tells how they differ: copy into another "
                "store, or remove that record and its shard first"
            )
        return True

    def _read(self, shard: _Shard, commit: Commit) -> bytes:
        mend = (
            f"copy again, and if it stays so, `featurestore repair {self._source.url}` and build the shard again there"
        )
        try:
            data = self._source.objects.get(shard.key)
        except FileNotFoundError as error:
            raise DamagedShard(f"{self._source.url}/{shard.key} is committed but not there; {mend}") from error
        if f"{google_crc32c.value(data):08x}" != commit.crc32c or hashlib.sha256(data).hexdigest() != commit.sha256:
            raise DamagedShard(
                f"{self._source.url}/{shard.key} has {len(data)} bytes that are not the {commit.size} that were "
                f"committed; nothing was written: {mend}"
            )
        return data
