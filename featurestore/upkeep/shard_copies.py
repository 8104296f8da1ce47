"""Shards from one store to another.

Belongs here: which shards there are to copy, and the order of object and record. Does not: a whole copy, which sets are
chosen (`featurestore.upkeep.transfer`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from catalog import FeatureSet
from featurestore.anchored.declare import anchored_layout, anchored_names, declare_anchored
from featurestore.anchored.reader import read_table
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.commits import Commit, CommitConflict, CommitLog, DamagedRecord
from featurestore.rows.overlays.declare import declare_overlay
from featurestore.rows.overlays.describe import read_whole
from featurestore.store import Store


class DamagedShard(ValueError):
    """A shard whose bytes differ from those committed."""


@dataclass(frozen=True, slots=True)
class CopiedShard:
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


class ShardCopier:
    """Copies single shards from one store to another."""

    def __init__(self, source: Store, destination: Store) -> None:
        self._source = source
        self._destination = destination
        self._is_unsealed = False
        self._lock = Lock()

    def plan(self, feature_set: FeatureSet, there: FeatureSet, contigs: Sequence[str]) -> list[CopiedShard]:
        """List the source's committed shards of a set on some contigs, and their state at the destination."""
        phases = {phase: there.offsets.index(offset) for phase, offset in enumerate(feature_set.offsets)}
        return self._plan(ArrayKey(feature_set.name), layout.set_path(feature_set.name), contigs, phases)

    def plan_anchored(self, feature_set: FeatureSet) -> list[CopiedShard]:
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

    def plan_overlays(self, feature_set: FeatureSet) -> list[CopiedShard]:
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

    def _plan(self, array: ArrayKey, path: str, contigs: Sequence[str], phases: Mapping[int, int]) -> list[CopiedShard]:
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
                CopiedShard(
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

    def carry(self, shard: CopiedShard) -> int:
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

    def _agrees(self, shard: CopiedShard, commit: Commit) -> bool:
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

    def _read(self, shard: CopiedShard, commit: Commit) -> bytes:
        mend = (
            f"copy again, and if it stays so, `featurestore repair {self._source.url}` and build the shard again there"
        )
        try:
            data = self._source.objects.get(shard.key)
        except FileNotFoundError as error:
            raise DamagedShard(f"{self._source.url}/{shard.key} is committed but not there; {mend}") from error
        if not commit.is_of(data):
            raise DamagedShard(
                f"{self._source.url}/{shard.key} has {len(data)} bytes that are not the {commit.size} that were "
                f"committed; nothing was written: {mend}"
            )
        return data
