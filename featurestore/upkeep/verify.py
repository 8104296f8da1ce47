"""Verify a store: every committed object is present and intact.

Belongs here: comparing the objects of a store with their correct content, and repairs. Does not: one shard with its
record (`featurestore.upkeep.verification.shards`), rebuilding, sealing (`featurestore.upkeep.seal`).
"""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from catalog import AssemblyMismatch, FeatureSet
from featurestore.anchored.declare import anchored_layout
from featurestore.anchored.layout import anchored_documents
from featurestore.anchored.reader import read_table
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.commits import NotBuilt
from featurestore.format.coordinates import is_coordinate, without_coordinates
from featurestore.format.declarations import DECLARED, DeclarationLog, NotAStore, number_of
from featurestore.format.layout import ArrayLayout, ContigLayout
from featurestore.format.manifest import (
    CARDS,
    CATALOG,
    CROISSANT,
    MANIFEST,
    PAGE,
    PAGE_GENES,
    PAGE_MODELS,
    PAGE_STATUS,
    DamagedManifest,
    Manifest,
    SealedObject,
    sealed_as,
)
from featurestore.format.metadata import GROUP, consolidated, root_documents, set_documents
from featurestore.objects.errors import LinkInStore
from featurestore.rows.overlays.describe import OverlayMismatch, read_whole
from featurestore.rows.source import DamagedChunk
from featurestore.store import Store
from featurestore.upkeep.croissant import is_croissant_of
from featurestore.upkeep.verification.findings import Fault, Verification
from featurestore.upkeep.verification.ordered import REQUESTS_AT_ONCE, in_order, sha256_of
from featurestore.upkeep.verification.shards import ShardCheck

_MAX_HELD_BYTES = 1 << 30
"""Memory for shards, in total over all threads (bytes)."""
_WRITTEN_LAST = (MANIFEST, *CARDS)
_OF_OTHERS = (f"{layout.FAILURES}/", PAGE, PAGE_GENES, PAGE_STATUS, f"{PAGE_MODELS}/")
_WRITES = "`featurestore repair` writes it anew"
_UNSEALS = f"`featurestore repair` takes {MANIFEST} away; build what is missing, then `featurestore seal`"
_WRITES_CARD = f"`featurestore repair` takes it and {MANIFEST} away, then `featurestore seal` writes both anew"


def verify(store: Store, *, crc: bool = False, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Check a store against its records, its descriptions and, if it is sealed, its manifest.

    Every metadata object and every commit record is read. Memory: the listing, and at most 1 GiB of shards.

    Parameters
    ----------
    crc
        Also read every shard, and every object in the manifest, to compare checksums; otherwise only presence and size
        are compared.
    progress
        Called with the committed shards checked so far, and their total.
    """
    return _Verifier(store, crc=crc, progress=progress).found


class Repair(NamedTuple):
    """The keys that a repair changed."""

    removed: list[str]
    written: list[str]


def repair(store: Store, found: Verification) -> Repair:
    """Repair faults: damaged metadata is rewritten, damaged shards are removed for the next build to recompute.

    A shard's record is removed first: a record must never exist for an incomplete shard. A sealed store is unsealed.
    Faults that are not `is_mendable` stay; their `mend` says what helps.
    """
    mendable = [fault for fault in found.faults if fault.is_mendable]
    if mendable:
        store.unseal()
    changed = Repair([], [])
    for fault in mendable:
        for key in fault.remove:
            store.objects.delete(key)
            changed.removed.append(key)
        if fault.write is not None:
            store.objects.put(fault.where, fault.write)
            changed.written.append(fault.where)
    return changed


class _Verifier:
    """Verification of a whole store."""

    def __init__(self, store: Store, *, crc: bool, progress: Callable[[int, int], None] | None) -> None:
        self._store = store
        self._objects = store.objects
        self._crc = crc
        self.found = Verification(depth="crc" if crc else "quick")
        self._listing = dict(self._objects.walk(""))
        largest = max((size for key, size in self._listing.items() if "/values/c/" in key), default=1)
        # An object is held twice while it is copied from the library that fetched it.
        self._threads = max(1, min(REQUESTS_AT_ONCE, _MAX_HELD_BYTES // (2 * largest or 1)))
        self.found.manifest = self._manifest = self._read_manifest()
        self._name_a_lost_manifest()
        self._passed_over: list[str] = []
        self._planned: dict[ArrayKey, dict[str, ArrayLayout]] = {}
        self._links = self._objects.links("")
        self._check_documents(self._expected())
        self._check_shards(progress)
        if self._manifest is not None:
            self._compare_with_manifest(self._manifest)
        self._name_links()
        known = {*self.found.objects, *self.found.orphans, *self._passed_over, *_WRITTEN_LAST}
        # Sealed, a store has the coordinates that its manifest lists; else those of a sealing that was stopped.
        known |= self._manifest.objects.keys() if self._manifest else set(filter(is_coordinate, self._listing))
        unknown = self._listing.keys() - known - {fault.where for fault in self.found.faults}
        self.found.strangers = sorted(key for key in unknown if not key.startswith(_OF_OTHERS))

    def _fault(self, where: str, what: str, mend: str, *remove: str, write: bytes | None = None) -> None:
        self.found.faults.append(Fault(where, what, mend, remove, write))

    def _below(self, folder: str) -> list[str]:
        return [key for key in self._listing if key.startswith(f"{folder}/")]

    def _pass_over(self, *folders: str) -> None:
        for folder in folders:
            self._passed_over += self._below(folder)

    def _read_manifest(self) -> Manifest | None:
        try:
            return self._store.manifest()
        except LinkInStore:
            return None
        except DamagedManifest as error:
            self._fault(MANIFEST, str(error), "`featurestore repair`, then `featurestore seal`", MANIFEST)
            return None

    def _name_a_lost_manifest(self) -> None:
        """Note a store that has everything of a seal but its manifest, which is written last and removed first."""
        if MANIFEST not in self._listing and CROISSANT in self._listing:
            self.found.notes.append(
                f"{MANIFEST} is not there, but {CROISSANT} names it: it was lost, or sealing or unsealing was stopped; "
                "`featurestore seal` writes it anew"
            )

    def _name_links(self) -> None:
        """Report the links, in place of what is missing because of them: nothing is read or mended behind them."""
        behind = tuple(f"{link}/" for link in self._links)
        kept = [one for one in self.found.faults if one.where not in self._links and not one.where.startswith(behind)]
        mend = "put the file or folder itself there (`cp -RL` copies what links point to), then verify again"
        self.found.faults = [
            *(Fault(link, "is a link, and a store follows none", mend) for link in self._links),
            *kept,
        ]

    def _set_names(self) -> list[str]:
        """List the feature sets, also those without a readable group."""
        parts = (key.split("/") for key in self._listing)
        names = {folders[1] for folders in parts if folders[0] in (layout.FEATURES, DECLARED) and len(folders) > 2}
        return sorted(names)

    def _contigs_of(self, feature_set: str) -> list[str]:
        start = layout.set_path(feature_set).count("/") + 1
        folders = {key.split("/")[start] for key in self._below(layout.set_path(feature_set))}
        return [name for name in self._store.assembly.lengths if layout.contig_key(name) in folders]

    def _described(self, name: str) -> FeatureSet | None:
        """Read the declaration of a set, or None if it is lost; its group only repeats it for readers.

        A set without group and commits is not one yet: its build was interrupted before the declaration.
        """
        group, declared = f"{layout.set_path(name)}/{GROUP}", self._below(f"{DECLARED}/{name}")
        if group not in self._listing and not self._below(f"{layout.COMMITS}/{name}"):
            self._pass_over(layout.set_path(name), f"{DECLARED}/{name}")
            return None
        log = DeclarationLog(self._objects, self._store.assembly, name)
        readings = {number: self._declared(log, number) for key in declared if (number := number_of(key)) is not None}
        self.found.objects |= dict.fromkeys(log.key(number) for number in readings)
        newest = max(readings, default=-1)
        try:
            described = readings.get(newest) or self._store.feature_set(name)
        except (NotBuilt, NotAStore, AssemblyMismatch, LinkInStore) as error:
            mend = "put it and its newest declaration back from a copy, or build into a new store"
            self._fault(group, f"{error}, but its declaration cannot be read either", mend)
            self._pass_over(layout.set_path(name), f"{layout.COMMITS}/{name}", f"{DECLARED}/{name}")
            return None
        for number in [number for number, reading in readings.items() if reading is None]:
            what = "is not as it was written"
            if number == newest:
                self._fault(log.key(number), what, _WRITES, write=log.to_json(described))
            else:
                self._fault(log.key(number), what, "`featurestore repair` removes it", log.key(number))
        return described

    def _declared(self, log: DeclarationLog, number: int) -> FeatureSet | None:
        try:
            described = log.load(number)
        except (NotAStore, AssemblyMismatch):
            return None
        return described if self._objects.get(log.key(number)) == log.to_json(described) else None

    def _expected(self) -> dict[str, bytes]:
        """Compute the correct metadata, and plan which shards may exist."""
        assembly = self._store.assembly
        expected: dict[str, bytes] = {}
        needed = self._store.format  # a build interrupted just before a declaration may have raised it
        for name in self._set_names():
            described = self._described(name)
            if described is None:
                continue
            needed = max(needed, layout.format_of(described))
            contigs = self._contigs_of(name)
            expected |= set_documents(assembly, described, contigs)
            arrays = {contig: ContigLayout(described, assembly.lengths[contig]) for contig in contigs}
            self._planned[ArrayKey(name)] = {
                layout.shard_key(name, contig, phase, shard): array
                for contig, array in arrays.items()
                for phase in range(array.shape[0])
                for shard in range(array.n_shards(phase))
            }
            for anchors in sorted({key.split("/")[2] for key in self._below(f"{layout.ANCHORED}/{name}")} - {GROUP}):
                expected |= self._expected_of_anchors(described, anchors)
            expected |= self._expected_of_overlays(described)
        return expected | root_documents(assembly, number=needed)

    def _expected_of_anchors(self, described: FeatureSet, anchors: str) -> dict[str, bytes]:
        try:
            array = anchored_layout(self._store, described, anchors)
            documents = anchored_documents(array, read_table(self._store, array))
        except (NotBuilt, NotAStore, DamagedChunk, LinkInStore) as error:
            path = layout.anchored_path(described.name, anchors)
            self._pass_over(path, f"{layout.COMMITS}/{ArrayKey(described.name, anchors)}")
            if not isinstance(error, NotBuilt):  # else its build was interrupted before the declaration
                self._fault(path, str(error), "then verify again: nothing below was compared")
            return {}
        self._planned[array.key] = {
            layout.shard_key(array.key, layout.ANCHORS, 0, shard): array for shard in range(array.n_shards)
        }
        return documents

    def _expected_of_overlays(self, described: FeatureSet) -> dict[str, bytes]:
        expected: dict[str, bytes] = {}
        folder = f"{layout.OVERLAYS}/{described.name}"
        for name in sorted({key.split("/")[2] for key in self._below(folder)} - {GROUP}):
            path, key = layout.overlay_path(described.name, name), ArrayKey(described.name, overlay=name)
            try:
                found = read_whole(self._objects, self._store.assembly, described, name)
            except (NotAStore, OverlayMismatch, DamagedChunk, LinkInStore) as error:
                self._fault(path, str(error), "then verify again: nothing below was compared")
                found = None
            if found is None:  # else its build was interrupted before the declaration, or its deletion
                self._pass_over(path, f"{layout.COMMITS}/{key}")
                continue
            expected |= found.documents
            self._planned[key] = {
                layout.shard_key(key, contig, phase, shard): array
                for contig, array in found.arrays.items()
                for phase, shard in array.shards()
            }
        return expected

    def _check_documents(self, expected: dict[str, bytes]) -> None:
        self.found.documents = expected
        for key in expected.keys() - self._listing.keys():
            self._fault(key, "is not there", _WRITES, write=expected[key])
        there = [key for key in expected if key in self._listing]
        for key, data in zip(there, in_order(self._objects.get, there, threads=REQUESTS_AT_ONCE), strict=True):
            found = sealed_as(data)
            if self._is_right(key, data, found):
                self.found.objects[key] = found
            else:
                self._fault(key, "is not what follows from the store's description", _WRITES, write=expected[key])

    def _is_right(self, key: str, data: bytes, found: SealedObject) -> bool:
        sealed = self._manifest.objects.get(key) if self._manifest else None
        if sealed is not None and self._manifest is not None:
            hashed = self._manifest.hashed_as.get(key)
            return found == sealed and (hashed is None or hashed == sealed_as(without_coordinates(key, data)))
        # After an interrupted sealing, some groups are consolidated and some are not.
        return data == self.found.documents[key] or without_coordinates(key, data) == self._consolidated.get(key)

    @cached_property
    def _consolidated(self) -> dict[str, bytes]:
        return consolidated(self.found.documents)

    def _check_shards(self, progress: Callable[[int, int], None] | None) -> None:
        logs = {f"{layout.COMMITS}/{array}" for array in self._planned}
        records = [key for key in self._listing if layout.parse_commit_key(key) and key.rsplit("/", 2)[0] in logs]
        committed: set[str] = set()
        check = ShardCheck(self._store, self._listing, self._planned, crc=self._crc).of_record
        for number, checked in enumerate(in_order(check, records, threads=self._threads), start=1):
            self.found.objects[checked.record] = None
            if checked.shard is not None:
                committed.add(checked.shard)
                self.found.shards += 1
                self.found.bytes += self._listing.get(checked.shard, 0)
                self.found.objects[checked.shard] = checked.sealed
            if checked.fault is not None:
                self.found.faults.append(checked.fault)
            if progress is not None:
                progress(number, len(records))
        missing = {str(array): planned.keys() - committed for array, planned in self._planned.items()}
        self.found.incomplete = {name: len(keys) for name, keys in missing.items() if keys}
        self.found.orphans = sorted(set().union(*missing.values()) & self._listing.keys())

    def _compare_with_manifest(self, manifest: Manifest) -> None:
        at_fault = {fault.where for fault in self.found.faults}
        unread = []
        for key, sealed in manifest.objects.items():
            known = self.found.objects.get(key)
            if key in at_fault:
                continue
            if self._listing.get(key) != sealed.size or known not in (None, sealed):
                self._not_as_sealed(key)
            elif known is None and (self._crc or key.endswith(".json")):  # every document, at any depth
                unread.append(key)
        for key, found in sha256_of(self._objects, unread, threads=self._threads):
            if found != manifest.objects[key]:
                self._not_as_sealed(key)
        if CATALOG in manifest.objects:  # else an earlier version sealed it
            self._check_croissant(manifest)
        for key in sorted(self.found.objects.keys() - manifest.objects.keys() - at_fault):
            self._fault(key, f"is not in {MANIFEST}, so it came after the store was sealed", _UNSEALS, MANIFEST)

    def _check_croissant(self, manifest: Manifest) -> None:
        """Check the only card that the manifest cannot list, since it contains the manifest's hash."""
        try:
            data = self._objects.get(CROISSANT)
        except FileNotFoundError:
            self._fault(CROISSANT, "is not there", _WRITES_CARD, MANIFEST)
            return
        if not is_croissant_of(data, manifest.top_hash):
            self._fault(CROISSANT, "is not as it was written", _WRITES_CARD, MANIFEST, CROISSANT)

    def _not_as_sealed(self, key: str) -> None:
        what = f"is not what {MANIFEST} says" if key in self._listing else f"is in {MANIFEST}, but not there"
        if key in CARDS or is_coordinate(key):
            self._fault(key, what, _WRITES_CARD, MANIFEST, key)
        else:
            self._fault(key, what, _UNSEALS, MANIFEST)
