"""Registry files of known stores, on disks and at URLs, and the entry of a store.

Belongs here: inspecting a store for its entry, reading and updating registries. Does not: the documents, and the search
(`catalog.registry`).

A registry is one JSON file. A writer holds its lock: on a disk the file lock of `.<file>.lock`, which the operating
system releases when the process dies; in an object store the object `<file>.lock`, created if absent and deleted
afterwards. The lock's holder reads the registry and puts the new one in its place. A put is atomic: readers see the
former registry or the next one.
"""

import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from catalog import FeatureSet
from catalog.registry import UNKNOWN, KnownSet, KnownStore, Registry, StoreSummary, parse_registry, refuse_secrets
from catalog.runtime.folders import data_directory
from catalog.runtime.locations import absolute, local_path
from featurestore.anchored.declare import anchored_names, read_anchored
from featurestore.anchored.layout import AnchorLayout
from featurestore.format import layout
from featurestore.format.layout import ContigLayout
from featurestore.format.manifest import CARDS, HISTORY, MANIFEST
from featurestore.format.metadata import GROUP
from featurestore.objects.errors import explained
from featurestore.objects.objects import Objects, StorageOptions, connect
from featurestore.store import Store, open_store

VARIABLE = "FEATURESTORE_CATALOG"

_LOCK_WAIT_S = 10.0
_LOOK_AGAIN_S = 0.05
_REQUESTS_AT_ONCE = 16


class RegistryLocked(OSError):
    """A registry that another command has locked."""


def describe(
    url: str | os.PathLike[str], *, name: str | None = None, storage_options: StorageOptions | None = None
) -> KnownStore:
    """Inspect a store and return its entry for a catalog (one listing of the store; over HTTP its manifest).

    Parameters
    ----------
    url
        A local path or any fsspec URL, without credentials.
    name
        Its name; None for the last part of its URL.
    storage_options
        As fsspec and s3fs name them; not stored in the entry.

    Raises
    ------
    ValueError
        If the URL holds credentials, or its last part is not a valid name.
    FileNotFoundError, NotAStore
        If there is no store at the URL.
    """
    refuse_secrets(os.fspath(url))
    store = open_store(url, storage_options=storage_options)
    name = name or store.url.rstrip("/").rpartition("/")[2]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(
            f"{name!r} is no name for a store: up to 100 letters, digits, '.', '_' and '-', beginning with a letter or "
            "a digit; give another `name=`"
        )
    manifest = store.manifest()
    sizes = (
        dict(store.objects.walk(""))
        if manifest is None
        else {key: sealed.size for key, sealed in manifest.objects.items()}
    )
    described = [store.feature_set(one) for one in store.feature_sets()]
    top_hash = None if manifest is None else manifest.top_hash
    summary = summarise(store, described, sizes, top_hash=top_hash, as_of=datetime.now(UTC))
    return KnownStore(name=name, url=store.url, **dict(summary))


def summarise(
    store: Store,
    described: Sequence[FeatureSet],
    sizes: Mapping[str, int],
    *,
    top_hash: str | None,
    as_of: datetime,
) -> StoreSummary:
    """Summarise the contents of a store.

    Parameters
    ----------
    described
        Its feature sets.
    sizes
        Its objects, by key (bytes).
    """
    beside = (*HISTORY, f"{layout.FAILURES}/")
    counted = [size for key, size in sizes.items() if key not in (MANIFEST, *CARDS) and not key.startswith(beside)]
    return StoreSummary(
        assembly=store.assembly.name,
        assembly_digest=store.assembly.digest,
        contigs=len(store.assembly.contigs),
        length=sum(store.assembly.lengths.values()),
        feature_sets=tuple(_known_set(store, one, sizes) for one in described),
        size_bytes=sum(counted),
        objects=len(counted),
        top_hash=top_hash,
        as_of=as_of,
    )


def _known_set(store: Store, described: FeatureSet, sizes: Mapping[str, int]) -> KnownSet:
    contigs, name = store.contigs(described.name), described.name
    records = []
    for contig in contigs:
        array = ContigLayout(described, store.assembly.lengths[contig])
        records += [
            layout.commit_key(name, contig, phase, shard)
            for phase in range(len(described.offsets))
            for shard in range(array.n_shards(phase))
        ]
    held = {anchors: read_anchored(store, name, anchors) for anchors in anchored_names(store, name)}
    arrays = [AnchorLayout(described, one) for one in held.values() if one is not None]
    records += [
        layout.commit_key(array.key, layout.ANCHORS, 0, shard) for array in arrays for shard in range(array.n_shards)
    ]
    return KnownSet(
        name=name,
        extractor=described.extractor,
        fingerprint=described.fingerprint,
        dtype=described.dtype,
        channels=described.channel_names,
        bin_size=described.bin_size,
        offsets=described.offsets,
        contigs=len(contigs),
        anchors=tuple(array.anchored.anchors for array in arrays),
        overlays=tuple(sorted(store.overlays(name))),
        shards=len(records),
        committed=sum(record in sizes for record in records),
        licence=described.licence.strip() or UNKNOWN,
        citation=described.citation.strip() or UNKNOWN,
    )


def not_reached(stores: Sequence[KnownStore]) -> dict[str, str]:
    """Request the root of each store, once and concurrently; return the errors of those not reached, by name."""

    def ask(store: KnownStore) -> str | None:
        # Any library's error: one store must not hide the others.
        try:
            objects = connect(store.url)
        except Exception as error:
            return str(error)
        try:
            objects._get(GROUP)  # not `get`, which would retry for minutes if the server is offline
        except Exception as error:
            return str(explained(error, f"read {store.url}/{GROUP}"))
        return None

    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        answers = zip(stores, pool.map(ask, stores), strict=True)
        return {store.name: answer for store, answer in answers if answer is not None}


def default_place() -> str:
    """Return the location of the user's registry: `$FEATURESTORE_CATALOG`, else `catalog.json` in the data directory.

    That is `featurestore` in `$XDG_DATA_HOME`, by default in `~/.local/share` (`catalog.runtime.folders`).
    """
    return os.environ.get(VARIABLE) or str(data_directory() / "catalog.json")


def read_registry(
    place: str | os.PathLike[str] | None = None, *, storage_options: StorageOptions | None = None
) -> Registry:
    """Read a registry (one request); an empty one if there is none.

    Parameters
    ----------
    place
        A JSON file: a local path or any fsspec URL; None for `default_place()`.

    Raises
    ------
    DamagedRegistry
        If it cannot be read.
    """
    folder, file = _parted(place)
    try:
        objects = connect(folder, storage_options)
    except FileNotFoundError:
        return Registry()
    return _read(objects, file)


def update_registry(
    change: Callable[[Registry], Registry],
    place: str | os.PathLike[str] | None = None,
    *,
    storage_options: StorageOptions | None = None,
) -> Registry:
    """Update a registry under its lock, and return it.

    Parameters
    ----------
    change
        Maps the present registry to the next; if it raises, nothing is changed.
    place
        As for `read_registry`; a missing local folder is created.

    Raises
    ------
    DamagedRegistry
        If the existing file cannot be read; it is not changed.
    RegistryLocked
        If another command keeps it locked.
    """
    folder, file = _parted(place)
    objects = connect(folder, storage_options, make=True)
    with _locked(objects, file):
        before = _read(objects, file)
        after = change(before)
        if after != before:
            objects.put(file, after.to_json())
    return after


def add_store(
    url: str | os.PathLike[str],
    place: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    storage_options: StorageOptions | None = None,
) -> KnownStore:
    """Inspect a store and add or replace its entry in a registry.

    Parameters
    ----------
    url, storage_options
        The store, as for `describe`.
    place
        The registry, as for `read_registry`; accessed without those options.
    name
        Its name; None for its present name there, else the last part of its URL.

    Raises
    ------
    The errors of `describe` and `update_registry`, and
    ValueError
        If another store has that name.
    """
    found = describe(url, name=name, storage_options=storage_options)

    def add(registry: Registry) -> Registry:
        nonlocal found
        former = next((one for one in registry.stores if one.url == found.url), None)
        if former is not None and name is None:
            found = found.model_copy(update={"name": former.name})
        return registry.with_store(found)

    update_registry(add, place)
    return found


def _parted(place: str | os.PathLike[str] | None) -> tuple[str, str]:
    text = absolute(default_place() if place is None else place)
    if not text.endswith(".json"):
        raise ValueError(f"a catalog is one file of JSON, and {text} is not called so; give `place=` a name in .json")
    local = local_path(text)
    if local is not None:
        # A registry, unlike a store, may be a link: many keep their settings elsewhere.
        text = os.fspath(local.resolve())
    folder, slash, file = text.rpartition("/")
    return (folder or slash or "."), file


def _read(objects: Objects, file: str) -> Registry:
    try:
        data = objects.get(file)
    except FileNotFoundError:
        return Registry()
    return parse_registry(data, where=f"{objects.location}/{file}")


def _locked(objects: Objects, file: str) -> AbstractContextManager[None]:
    folder = objects.local_folder
    return _created_lock(objects, file) if folder is None else _file_lock(folder, file)


@contextmanager
def _file_lock(folder: Path, file: str) -> Iterator[None]:
    lock = FileLock(folder / f".{file}.lock")
    try:
        lock.acquire(timeout=_LOCK_WAIT_S, poll_interval=_LOOK_AGAIN_S)
    except Timeout as error:
        raise RegistryLocked(
            f"{folder / file} is being changed by another command for more than {_LOCK_WAIT_S:g} s; wait for it, or "
            "end it"
        ) from error
    except OSError as error:
        raise explained(error, f"lock {folder / file}") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _created_lock(objects: Objects, file: str) -> Iterator[None]:
    key, began = f"{file}.lock", time.monotonic()
    # Unique content: by it a create whose answer was lost recognises its own lock.
    ours = f"{socket.gethostname()} process {os.getpid()} {uuid.uuid4().hex}\n".encode()
    while not objects.create(key, ours):
        if time.monotonic() - began > _LOCK_WAIT_S:
            raise RegistryLocked(
                f"{objects.location}/{file} is being changed by another command ({_holder(objects, key)}) for more "
                f"than {_LOCK_WAIT_S:g} s; if that is not running any more, remove {objects.location}/{key}"
            )
        time.sleep(_LOOK_AGAIN_S)
    try:
        yield
    finally:
        objects.delete(key)


def _holder(objects: Objects, key: str) -> str:
    try:
        return objects.get(key).decode(errors="replace").strip()[:200]
    except FileNotFoundError:
        return "just finished"
