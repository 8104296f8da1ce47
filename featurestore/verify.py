"""Check that everything that was committed is there, and whole.

Belongs here: reading a store against its commit records, and removing what is at fault. Does not: building it again.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import google_crc32c
import zarr
from zarr.storage import MemoryStore

from featurestore import layout
from featurestore.commits import Commit, DamagedRecord, NotBuilt
from featurestore.layout import ContigLayout
from featurestore.store import NotAStore, Store
from featurestore.writer import array_settings


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in a store that is not as it should be."""

    where: str
    what: str
    mend: str
    remove: tuple[str, ...] = ()
    """Keys without which the next build makes the shard again, record before object; none where that is no mend."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.mend}"


@dataclass(slots=True)
class Verification:
    """What was looked at, and what was found."""

    depth: str
    shards: int = 0
    bytes: int = 0
    """Size of the shards looked at (bytes)."""
    missing: int = 0
    """Shards of declared contigs that were never committed; not a fault."""
    orphans: list[str] = field(default_factory=list)
    """Objects without a record: left by a build that was stopped, and written again by the next one."""
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether everything committed is as its record says."""
        return not self.faults


def verify(store: Store, *, crc: bool = False, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Check every feature set of a store.

    Parameters
    ----------
    crc
        Also read every shard and compare its checksums; otherwise only presence and size are compared.
    progress
        Called with the shards of the feature set at hand that were looked at, and how many it has.
    """
    found = Verification(depth="crc" if crc else "quick")
    for name in _set_names(store, found):
        sizes = dict(store.objects.walk(layout.set_path(name)))
        planned = _check_arrays(store, name, found)
        committed: set[str] = set()
        log = store.commits(name)
        keys = log.keys()
        for number, (record, size) in enumerate(keys, start=1):
            try:
                commit = log.load(record, size)
            except DamagedRecord as error:
                found.faults.append(Fault(record, str(error), "`featurestore repair`, then build again", (record,)))
                continue
            key = layout.shard_key(name, commit.contig, commit.phase, commit.shard)
            committed.add(key)
            _check_shard(store, commit, key, sizes.get(key), crc=crc, found=found)
            if progress is not None:
                progress(number, len(keys))
        found.missing += len(planned - committed)
        found.orphans += sorted(key for key in sizes if "/values/c/" in key and key not in committed)
    return found


def repair(store: Store, found: Verification) -> list[str]:
    """Remove the shards that a verification found at fault, so that the next build makes them again.

    A shard's record goes first: at no time does one stand for a shard that is not whole.

    Returns
    -------
    The keys removed. Faults of metadata are not among them; their own `mend` says what helps.
    """
    removed = [key for fault in found.faults for key in fault.remove]
    for key in removed:
        store.objects.delete(key)
    return removed


def _set_names(store: Store, found: Verification) -> list[str]:
    """List the feature sets; one whose description cannot be read is a fault, and the others are still looked at."""
    names = []
    for name in store.objects.folders(layout.FEATURES):
        try:
            store.feature_set(name)
        except NotBuilt:
            continue  # a build that was stopped before it had declared the set
        except NotAStore as error:
            where = f"{layout.set_path(name)}/zarr.json"
            found.faults.append(Fault(where, str(error), "take it from a copy, or build into a new store"))
            continue
        names.append(name)
    return names


def _check_shard(store: Store, commit: Commit, key: str, size: int | None, *, crc: bool, found: Verification) -> None:
    found.shards += 1
    mend = f"`featurestore repair` removes it and {commit.key}, then build again"
    remove = (commit.key, key)
    if size is None:
        found.faults.append(Fault(key, "is committed but not there", mend, remove))
        return
    found.bytes += size
    if size != commit.size:
        found.faults.append(Fault(key, f"has {size} bytes, its record says {commit.size}", mend, remove))
        return
    if not crc:
        return
    data = store.objects.get(key)
    if f"{google_crc32c.value(data):08x}" != commit.crc32c or hashlib.sha256(data).hexdigest() != commit.sha256:
        found.faults.append(Fault(key, "its bytes are not those that were committed", mend, remove))


def _check_arrays(store: Store, name: str, found: Verification) -> set[str]:
    """Compare every array's metadata with what the layout says; give the keys of all shards that may be there."""
    feature_set = store.feature_set(name)
    planned: set[str] = set()
    for contig in store.contigs(name):
        expected = ContigLayout(feature_set, store.assembly.lengths[contig])
        path = layout.values_path(name, contig)
        mend = "take its zarr.json from a copy, or build into a new store"
        try:
            array = zarr.open_array(store.objects.zarr(read_only=True), path=path, mode="r")
        except (OSError, ValueError, KeyError) as error:
            found.faults.append(Fault(f"{path}/zarr.json", f"cannot be read: {error}", mend))
            continue
        model = zarr.create_array(MemoryStore(), **array_settings(expected))
        if array.metadata.to_dict() != model.metadata.to_dict():
            found.faults.append(
                Fault(f"{path}/zarr.json", "does not describe the array that the feature set has", mend)
            )
        planned |= {
            layout.shard_key(name, contig, phase, shard)
            for phase in range(len(feature_set.offsets))
            for shard in range(expected.n_shards(phase))
        }
    return planned
