"""Stores as they are served: opened, read with a cache, and opened again when they were written anew.

Belongs here: finding stores and sets by name, reading windows of one state of a store. Does not: requests and replies
(`featurestore.web.serving.routes`).

A window is read, then the commit records of the shards that it touches are compared with those known before. If one has
changed, the store is opened again and the window is read again, so no reply mixes two states. This relies on the order
in which every verb writes: a record is removed before its shard is replaced, and created after it.
"""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from catalog import FeatureSet
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.commits import CommitLog, NotBuilt
from featurestore.format.metadata import GROUP
from featurestore.reader import FeatureReader
from featurestore.rows.engine import rows_of
from featurestore.rows.row_requests import RowRequest
from featurestore.rows.window_plan import WindowPlan
from featurestore.store import Store, open_store
from featurestore.upkeep.status import StoreStatus, status_of
from featurestore.web.serving.genes import GeneIndex, UnknownName, genes_of_explorer
from featurestore.web.serving.problems import StoreChanging
from featurestore.web.serving.windows import Reading, Wanted, described_windows, some

T = TypeVar("T")

_ATTEMPTS = 3
_REQUESTS_AT_ONCE = 8
_MOST_OVERLAYS = 16
"""Readers of overlays that stay open, a store."""
_DOCUMENTS_S = 2.0
"""How long the descriptions of a set may be out of date: a new phase is seen after that time."""
_STATUS_S = 15.0
"""How long a status is given out: making it reads every commit record."""


class Mark(NamedTuple):
    """What of a commit record tells one state of a shard from another."""

    sha256: str
    run: str
    finished: str


Marks = dict[str, Mark | None]
"""By the key of the record; None for one that is absent."""


class ServedReader:
    """The reader of one feature set, perhaps through an overlay, with the commit records that it has relied on.

    Parameters
    ----------
    documents
        Digests of the descriptions, as `digests_of` gave them before the reader was made.
    marks
        Records as they were first read, by all readers of one state of the store: they share cached chunks.
    """

    def __init__(self, store: Store, reader: FeatureReader, documents: list[str], marks: Marks) -> None:
        self.reader = reader
        self._store = store
        self._records = CommitLog(store.objects, reader.name)
        self._patches: CommitLog | None = None
        if reader.overlay is not None:
            key = ArrayKey(reader.name, overlay=layout.overlay_folder(reader.overlay))
            self._patches = CommitLog(store.objects, key)
        self._documents = documents
        self._checked = time.monotonic()
        self._marks = marks

    def shards_of(self, requests: Iterable[RowRequest]) -> list[str]:
        """List the keys of the commit records that rows rely on; of an overlay, all those of their contigs."""
        found: dict[str, None] = {}
        folders = set()
        for contig, phase, first, end in requests:
            folders.add(layout.contig_key(contig))
            bins = self.reader.layout(contig).shard_bins
            for shard in range(first // bins, (end - 1) // bins + 1):
                found[layout.commit_key(self.reader.name, contig, phase, shard)] = None
        listed = [] if self._patches is None else self._patches.keys()
        return [*found, *(key for key, _ in listed if key.split("/")[2] in folders)]

    def marks(self, keys: Sequence[str]) -> Marks:
        """Give the marks of records as they were first read; None for one that was absent."""
        for key, mark in self._read_marks([key for key in keys if key not in self._marks]).items():
            self._marks.setdefault(key, mark)  # another thread may have been faster: the first one counts
        return {key: self._marks[key] for key in keys}

    def is_current(self, keys: Sequence[str]) -> bool:
        """Tell whether the store still has the records as they were first read, and the set its description."""
        if time.monotonic() - self._checked > _DOCUMENTS_S:
            if digests_of(self._store, self.reader.name, self.reader.overlay) != self._documents:
                return False
            self._checked = time.monotonic()
        return self._read_marks(keys) == self.marks(keys)

    def _read_marks(self, keys: Sequence[str]) -> Marks:
        if self._store.objects.local_folder is not None or len(keys) < 2:
            return dict(zip(keys, map(self._read_mark, keys), strict=True))
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            return dict(zip(keys, pool.map(self._read_mark, keys), strict=True))

    def _read_mark(self, key: str) -> Mark | None:
        try:
            record = self._records.load(key, 0)
        except FileNotFoundError:
            return None
        return Mark(record.sha256, record.run, record.finished.isoformat())


def digests_of(store: Store, feature_set: str, overlay: str | None) -> list[str]:
    """Digest the descriptions of a set and of an overlay; empty texts for those that are not there."""
    keys = [f"{layout.set_path(feature_set)}/{GROUP}"]
    if overlay is not None:
        keys.append(f"{layout.overlay_path(feature_set, layout.overlay_folder(overlay))}/{GROUP}")
    found = []
    for key in keys:
        try:
            found.append(hashlib.sha256(store.objects.get(key)).hexdigest())
        except FileNotFoundError:
            found.append("")
    return found


def rows_around(reader: FeatureReader, contig: str, start: int, end: int) -> list[RowRequest]:
    """List the rows of every phase that cover the part of `[start, end)` on a contig (bp)."""
    name = reader.assembly.resolve(contig)
    found = []
    for phase, offset in enumerate(reader.feature_set.offsets):
        first = max(0, (start + offset) // reader.feature_set.bin_size)
        last = min(reader.n_rows(name, phase), (end - 1 + offset) // reader.feature_set.bin_size + 1)
        if first < last:
            found.append(RowRequest(name, phase, first, last))
    return found


class _State:
    """A store as it was opened at one time."""

    def __init__(self, store: Store, genes: GeneIndex, cache_bytes: int) -> None:
        self.store = store
        self.genes = genes
        self._cache_bytes = cache_bytes
        self._readers: dict[str, ServedReader] = {}
        self._overlays: OrderedDict[tuple[str, str], ServedReader] = OrderedDict()
        self._marks: Marks = {}
        self._lock = Lock()
        self._sets: tuple[float, list[str]] = (-_DOCUMENTS_S, [])

    def sets(self) -> list[str]:
        """List the names of the feature sets, at most 2 s old."""
        listed, names = self._sets
        if time.monotonic() - listed > _DOCUMENTS_S or not names:
            names = self.store.feature_sets()
            self._sets = (time.monotonic(), names)
        return names

    def knows(self, feature_set: str) -> bool:
        """Tell whether a set has a reader already."""
        return feature_set in self._readers

    def reader(self, feature_set: str, overlay: str | None) -> ServedReader:
        """Return the reader of a set; NotBuilt if there is none of that name."""
        with self._lock:
            if feature_set not in self._readers:
                documents = digests_of(self.store, feature_set, None)
                described = self.store.feature_set(feature_set)
                source = rows_of(self.store.objects, feature_set, cache_bytes=self._cache_bytes)
                plain = FeatureReader(self.store.objects, self.store.assembly, described, source)
                self._readers[feature_set] = ServedReader(self.store, plain, documents, self._marks)
            if overlay is None:
                return self._readers[feature_set]
            key = (feature_set, overlay)
            if key not in self._overlays:
                documents = digests_of(self.store, feature_set, overlay)
                patched = self._readers[feature_set].reader.with_overlay(overlay)
                self._overlays[key] = ServedReader(self.store, patched, documents, self._marks)
                if len(self._overlays) > _MOST_OVERLAYS:
                    self._overlays.popitem(last=False)
            self._overlays.move_to_end(key)
            return self._overlays[key]


class ServedStore:
    """A store under the name that clients ask for.

    Parameters
    ----------
    genes
        By which windows are found; None for those that lie beside the store.
    cache_bytes
        For the decoded chunks of each of its sets (bytes).
    """

    def __init__(self, name: str, store: Store, *, genes: GeneIndex | None, cache_bytes: int) -> None:
        self.name = name
        self.url = store.url
        self._given = genes
        self._cache_bytes = cache_bytes
        self._lock = Lock()
        self._state = self._state_of(store)
        self._status: tuple[float, StoreStatus] | None = None
        self._status_lock = Lock()

    @property
    def store(self) -> Store:
        """The store as it was last opened."""
        return self._state.store

    @property
    def genes(self) -> GeneIndex:
        """The genes by which windows are found."""
        return self._state.genes

    def status(self) -> StoreStatus:
        """Give the status of the build, at most 15 s old."""
        with self._status_lock:
            if self._status is None or time.monotonic() - self._status[0] > _STATUS_S:
                self._status = (time.monotonic(), status_of(self.store))
            return self._status[1]

    def sets(self) -> list[str]:
        """List the names of the feature sets, at most 2 s old."""
        return self._state.sets()

    def described(self, name: str | None) -> FeatureSet:
        """Return the description of a set, by its name or the only one.

        Raises
        ------
        UnknownName
            If there is none of that name.
        ValueError
            If none is named and there are several.
        """
        return self._reader(self._state, name, None).reader.feature_set

    def values_of(self, wanted: Wanted) -> int:
        """Count the values that are read for windows: all channels, also where few are wanted."""
        return len(wanted.places) * wanted.n_bins * len(self.described(wanted.feature_set).channels)

    def tag(self, wanted: Wanted) -> str | None:
        """Return the tag of windows without reading them; None if the store was written anew since it was opened."""
        served = self._reader(self._state, wanted.feature_set, wanted.overlay)
        plan = _plan(served.reader, wanted)
        shared, windows, _ = described_windows(self.name, served.reader, plan, wanted)
        keys = served.shards_of(plan.requests)
        return _etag([shared, windows], served.marks(keys)) if served.is_current(keys) else None

    def read(self, wanted: Wanted) -> Reading:
        """Read windows of one state of the store; the errors are those of `steady` and `FeatureReader.windows`."""

        def make(reader: FeatureReader, marks: Marks) -> Reading:
            plan = _plan(reader, wanted)
            shared, windows, columns = described_windows(self.name, reader, plan, wanted)
            values = reader.planned(plan)
            chosen = values if columns is None else values[..., columns]
            return Reading(shared, windows, chosen, _etag([shared, windows], marks))

        return self.steady(
            wanted.feature_set, lambda reader: _plan(reader, wanted).requests, make, overlay=wanted.overlay
        )

    def steady(
        self,
        feature_set: str | None,
        rows: Callable[[FeatureReader], Iterable[RowRequest]],
        make: Callable[[FeatureReader, Marks], T],
        *,
        overlay: str | None = None,
        beside: Sequence[str] = (),
    ) -> T:
        """Make something of rows that are all of one state of the store.

        Parameters
        ----------
        rows
            Those that `make` reads; of each set.
        make
            Called again, with another reader, if the store was written anew meanwhile.
        overlay
            Through which all the sets are read; None for the reference.
        beside
            Further sets that `make` reads.

        Raises
        ------
        UnknownName, ValueError
            As `described`; and whatever `make` raises.
        StoreChanging
            If the store is written faster than it can be read.
        """
        for _ in range(_ATTEMPTS):
            state = self._state
            served = [self._reader(state, name, overlay) for name in (feature_set, *beside)]
            relied_on = [(one, one.shards_of(rows(one.reader))) for one in served]
            marks = {key: mark for one, keys in relied_on for key, mark in one.marks(keys).items()}
            try:
                made = make(served[0].reader, marks)
            except (OSError, LookupError, ValueError):
                if all(one.is_current(keys) for one, keys in relied_on):
                    raise
            else:
                if all(one.is_current(keys) for one, keys in relied_on):
                    return made
            self._open_again(state)
        raise StoreChanging(f"the store {self.name} was written anew while it was read; try again in a moment")

    def _reader(self, state: "_State", name: str | None, overlay: str | None) -> ServedReader:
        if name is None:
            there = state.sets()
            if len(there) > 1:
                raise ValueError(
                    f"the store {self.name} has {len(there)} feature sets; name one of {some(there)} with `set=`"
                )
            if not there:
                raise UnknownName(f"the store {self.name} has no feature set yet; build one")
            name = there[0]
        if not state.knows(name) and name not in (there := self.store.feature_sets()):
            raise UnknownName(f"the store {self.name} has no feature set {name!r}; it has {some(there)}")
        return state.reader(name, overlay)

    def _state_of(self, store: Store) -> _State:
        genes = self._given if self._given is not None else genes_of_explorer(store.objects, store.assembly)
        return _State(store, genes, self._cache_bytes)

    def _open_again(self, seen: _State) -> None:
        with self._lock:
            if self._state is seen:  # else another request did
                store = open_store(self.url, storage_options=seen.store.storage_options)
                self._state = self._state_of(store)
                self._status = None


class Served:
    """All stores of a server, by name."""

    def __init__(self, stores: Iterable[ServedStore]) -> None:
        self.stores = {store.name: store for store in stores}

    def get(self, name: str | None) -> ServedStore:
        """Return the store that was named, or the only one; UnknownName, or ValueError if it has to be named."""
        if name is None and len(self.stores) == 1:
            return next(iter(self.stores.values()))
        if name is None:
            raise ValueError(f"{len(self.stores)} stores are served; name one of {some(self.stores)} with `store=`")
        if name not in self.stores:
            raise UnknownName(f"no store is served as {name!r}; there are {some(self.stores)}")
        return self.stores[name]


def _plan(reader: FeatureReader, wanted: Wanted) -> WindowPlan:
    contigs, centres = [place.contig for place in wanted.places], [place.centre for place in wanted.places]
    return reader.plan(contigs, centres, wanted.n_bins)


def _etag(about: Any, marks: Marks) -> str:
    if None in marks.values():
        raise NotBuilt("a shard of the windows lost its commit record while it was read; build it again")
    hashes = [[key, mark.sha256] for key, mark in sorted(marks.items()) if mark is not None]
    return hashlib.sha256(json.dumps([about, hashes], sort_keys=True).encode()).hexdigest()[:32]
