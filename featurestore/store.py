"""A store: one assembly, and the feature sets computed on it.

Belongs here: create, open, describe, declare feature sets and contigs. Does not: shards (`featurestore.format.writer`),
windows (`featurestore.reader`).
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from catalog import Assembly, AssemblyMismatch, FeatureSet, KnownSet, StoreSummary
from catalog.registry import UNKNOWN
from catalog.runtime.documents import parse_object
from catalog.runtime.locations import absolute
from featurestore.display import Display, Displayed, in_bytes, percent, some
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.commits import CommitLog, NotBuilt
from featurestore.format.declarations import Declaration, DeclarationLog, read_description, refuse_too_many_shards
from featurestore.format.http_listing import listed
from featurestore.format.manifest import CATALOG, Manifest, is_sealed_in_part, read_manifest, unseal
from featurestore.format.metadata import GROUP, root_documents, set_documents
from featurestore.format.root import group_attributes, read_assembly, root_description
from featurestore.objects.objects import Objects, StorageOptions, connect
from featurestore.reader import FeatureReader
from featurestore.rows.engine import rows_of
from featurestore.rows.overlays.describe import overlay_names
from featurestore.rows.source import RowSource

_REQUESTS_AT_ONCE = 8


class FingerprintMismatch(ValueError):
    """Features of another extractor, other weights, or other settings."""


class Store(Displayed):
    """A feature store, on disk or in an object store. Made by `create` and `open_store`.

    `list(store)` lists the names of its feature sets, and `store["motif"]` is the reader of one.
    """

    def __init__(self, objects: Objects, assembly: Assembly, *, storage_options: StorageOptions | None = None) -> None:
        self.objects = objects
        self.assembly = assembly
        self.storage_options = storage_options
        """Options that it was opened with; never displayed, since they may hold credentials."""

    @property
    def url(self) -> str:
        """URL of the store; the path of a local one."""
        return self.objects.location

    @property
    def format(self) -> int:
        """Format of the store (`featurestore.format.layout`); a declaration may raise it."""
        return int(root_description(self.objects)["format"])

    def feature_sets(self) -> list[str]:
        """List the names of the feature sets."""
        # A group without description is a set whose build was interrupted before the declaration.
        return [name for name in self.objects.folders(layout.FEATURES) if self._read_feature_set(name) is not None]

    def feature_set(self, name: str) -> FeatureSet:
        """Read the description of one feature set.

        Raises
        ------
        NotBuilt
            If there is none of that name; the message lists those there are.
        """
        found = self._read_feature_set(name)
        if found is None:
            there = self.feature_sets()
            if name in there:  # a builder has declared it meanwhile
                return self.feature_set(name)
            raise NotBuilt(
                f"{self.url} has no feature set {name!r}; it has {', '.join(there) or 'none yet'}. "
                f"`featurestore build {self.url} --fasta {self.assembly.name}.fa --extractor NAME` builds one"
            )
        return found

    def contigs(self, feature_set: str) -> list[str]:
        """List the contigs that have an array in a feature set, in the assembly's order."""
        there = set(self.objects.folders(layout.set_path(feature_set)))
        return [name for name in self.assembly.lengths if layout.contig_key(name) in there]

    def commits(self, array: ArrayKey | str) -> CommitLog:
        """Return the commit log of a feature set, by its name, or of an anchored array."""
        return CommitLog(self.objects, array)

    def __getitem__(self, name: str) -> FeatureReader:
        """Return the reader of one feature set; NotBuilt if there is none of that name."""
        return FeatureReader(self.objects, self.assembly, self.feature_set(name), self.rows(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.feature_sets())

    def __len__(self) -> int:
        return len(self.feature_sets())

    def __bool__(self) -> bool:
        return True  # also before it has feature sets, and without a request

    def __contains__(self, name: object) -> bool:
        return name in self.feature_sets()

    def _ipython_key_completions_(self) -> list[str]:
        return self.feature_sets()

    def _display(self) -> Display:
        assembly = self.assembly
        length = sum(assembly.lengths.values())
        rows = [("assembly", f"{assembly.name}, {len(assembly.contigs):,} contigs, {length:,} bp")]
        try:
            rows += self._contents()
        except Exception as error:  # a display shows why the store cannot be read, not a traceback
            rows.append(("not read", str(error)))
        return Display(f"Store {self.url}", tuple(rows))

    def _contents(self) -> list[tuple[str, str]]:
        """Summarise the contents in few requests: from a sealed store's `catalog.json`, or the sets' metadata.

        Completeness and size need a full listing, so they are shown for local stores only.
        """
        try:
            data = self.objects._get(CATALOG)  # not `get`, which retries for minutes
            card = StoreSummary.model_validate(parse_object(data, where=CATALOG, mend="`featurestore seal` again"))
        except FileNotFoundError:
            sets = [self.feature_set(name) for name in self.feature_sets()]
            rows = [(item.name, _set_in_words(item, item.channel_names, self._share_built(item))) for item in sets]
            if self.objects.local_folder is None:
                return [("size", "told when it is sealed; `featurestore.status_of(store)` tells what is built"), *rows]
            sizes = [size for _, size in self.objects.walk("")]
            return [("size", f"{in_bytes(sum(sizes))} in {len(sizes):,} objects"), *rows]
        rows = [(item.name, _set_in_words(item, item.channels, item.share)) for item in card.feature_sets]
        summary = f"{in_bytes(card.size_bytes)} in {card.objects:,} objects, {percent(card.share)} built"
        return [("size", summary), ("sealed", f"top hash {card.top_hash}"), *rows]

    def _share_built(self, feature_set: FeatureSet) -> float | None:
        if self.objects.local_folder is None:
            return None
        lengths, name = self.assembly.lengths, feature_set.name
        arrays = [layout.ContigLayout(feature_set, lengths[contig]) for contig in self.contigs(name)]
        shards = sum(array.n_shards(phase) for array in arrays for phase in range(len(feature_set.offsets)))
        committed = sum(map(len, self.commits(name).shards().values()))
        return committed / shards if shards else 0.0

    def manifest(self) -> Manifest | None:
        """Read the manifest; None if the store is not sealed; see `read_manifest`."""
        return read_manifest(self.objects)

    def unseal(self) -> None:
        """Unseal, before anything changes; idempotent."""
        unseal(self.objects)

    def rows(self, array: ArrayKey | str) -> RowSource:
        """Return the fastest engine for this URL: tensorstore, else zarr."""
        return rows_of(self.objects, array)

    def overlays(self, feature_set: str) -> list[str]:
        """List the overlays of a feature set by name, such as `NA12878/1`."""
        return overlay_names(self.objects, feature_set)

    def require_assembly(self, assembly: Assembly) -> None:
        """Check that an assembly is the store's.

        Raises
        ------
        AssemblyMismatch
            If the digests differ; the message names the first contig that does.
        """
        if assembly.digest == self.assembly.digest:
            return
        ours = {contig.name: contig.digest for contig in self.assembly.contigs}
        theirs = {contig.name: contig.digest for contig in assembly.contigs}
        differing = [name for name in [*ours, *theirs] if ours.get(name) != theirs.get(name)]
        where = f"they first differ at {differing[0]}" if differing else "their contigs are in another order"
        raise AssemblyMismatch(
            f"{self.url} holds {self.assembly.name} ({self.assembly.digest}), but the sequence is {assembly.name} "
            f"({assembly.digest}); {where}. "
            "Build another assembly into a store of its own"
        )

    def declare(self, feature_set: FeatureSet, contigs: Iterable[str]) -> FeatureSet:
        """Declare a feature set on some contigs: groups, coordinates and empty arrays.

        Idempotent, and safe for concurrent builders: new phases are added, existing ones stay. A sealed store that
        lacks something is unsealed.

        Returns
        -------
        The feature set as stored: it may have more phases than those given, and in another order.

        Raises
        ------
        FingerprintMismatch
            If the store has a set of that name made with other weights, code, settings, channels, bins or dtype.
        ValueError
            If the name of a contig is too long for a folder, or the set would have too many shards; nothing is written.
        """
        wanted = list(contigs)
        layout.require_contig_keys(wanted)
        refuse_too_many_shards(feature_set, self.assembly)
        log = DeclarationLog(self.objects, self.assembly, feature_set.name)
        while True:
            newest = log.newest()
            present = newest.feature_set if newest else self._read_feature_set(feature_set.name)
            agreed = feature_set if present is None else self._merged(present, feature_set)
            known = self.contigs(agreed.name)
            if agreed == present and set(wanted) <= set(known) and is_sealed_in_part(self.objects):
                return agreed
            self.unseal()
            self._raise_format(agreed)
            if newest is None or agreed != present:
                newest = Declaration(0 if newest is None else newest.number + 1, agreed)
                if not log.add(newest):
                    continue
            self._write_documents(agreed, [*known, *wanted])
            self._raise_format(agreed)  # a concurrent builder's unsealing may have restored the old root
            # Another builder may have added phases since, and its objects may have been overwritten.
            if log.newest() == newest:
                return agreed

    def _raise_format(self, feature_set: FeatureSet) -> None:
        """Raise the root's format before a declaration needs it, so that older readers refuse the store."""
        needed = layout.format_of(feature_set)
        if needed > layout.FORMATS[0] and needed > self.format:
            self.objects.put(GROUP, root_documents(self.assembly, number=needed)[GROUP])

    def _write_documents(self, feature_set: FeatureSet, contigs: Iterable[str]) -> None:
        def write(key: str) -> None:
            if not self.objects.create(key, documents[key]) and self.objects.get(key) != documents[key]:
                self.objects.put(key, documents[key])

        documents = set_documents(self.assembly, feature_set, contigs)
        group = f"{layout.set_path(feature_set.name)}/{GROUP}"
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            list(pool.map(write, documents.keys() - {group}))
        write(group)  # last: readers see a phase only once every array has it

    def agreed(self, wanted: FeatureSet) -> FeatureSet:
        """Return the stored description of an existing feature set, with the wanted phases added.

        Raises
        ------
        FingerprintMismatch
            If it was made with other weights, code, settings, channels or bins.
        """
        return self._merged(self.feature_set(wanted.name), wanted)

    def _merged(self, present: FeatureSet, wanted: FeatureSet) -> FeatureSet:
        digest = self.assembly.digest
        difference = present.identity(digest).first_difference(wanted.identity(digest))
        if difference is not None:
            raise FingerprintMismatch(
                f"{self.url} already has {present.name!r} with {difference}: other weights, code or settings made it. "
                "Build with those, or into another store"
            )
        added = tuple(offset for offset in wanted.offsets if offset not in present.offsets)
        # Licence and citation are filled in if they were not stated before.
        stated = {field: getattr(present, field) or getattr(wanted, field) for field in ("licence", "citation")}
        return present.model_copy(update={"offsets": (*present.offsets, *added), **stated})

    def _read_feature_set(self, name: str) -> FeatureSet | None:
        path = layout.set_path(name)
        attributes = group_attributes(self.objects, path)
        if attributes is None:
            return None  # its build was interrupted before the declaration
        return read_description(attributes, self.assembly, where=f"{self.url}/{path}/{GROUP}")


StorePlace = str | os.PathLike[str] | Store
"""An open store, or its location: a local path or any fsspec URL."""


def place_of(store: StorePlace, storage_options: StorageOptions | None) -> tuple[str, StorageOptions | None]:
    """Return the URL and the options that open a store again, also in another process or working directory.

    Raises
    ------
    ValueError
        If options are given for an open store, which has its own.
    """
    if not isinstance(store, Store):
        return absolute(store), storage_options
    if storage_options is not None:
        raise ValueError(f"{store.url} is open already, with options of its own; leave `storage_options=` out")
    return store.url, store.storage_options


def create(url: str | os.PathLike[str], assembly: Assembly, *, storage_options: StorageOptions | None = None) -> Store:
    """Create a store for an assembly, or open the existing one.

    Parameters
    ----------
    url
        A local path or any fsspec URL.
    storage_options
        As fsspec and s3fs name them.

    Raises
    ------
    AssemblyMismatch
        If the existing store is of another assembly.
    """
    objects = connect(url, storage_options, make=True)
    if group_attributes(objects, "") is None:
        documents = root_documents(assembly)
        for key in sorted(documents, key=len, reverse=True):  # the root last: its presence makes this a store
            objects.create(key, documents[key])
    store = _open(objects, storage_options)
    store.require_assembly(assembly)
    return store


def open_store(url: str | os.PathLike[str], *, storage_options: StorageOptions | None = None) -> Store:
    """Open a store for reading.

    Parameters
    ----------
    url
        A local path, `s3://bucket/prefix`, or any other fsspec URL.
    storage_options
        As fsspec and s3fs name them: `key`, `secret`, `endpoint_url`, `region`, `anon`; else from the environment.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the URL.
    NotAStore
        If it is not a feature store, or of a format that this version does not know.
    """
    return _open(listed(connect(url, storage_options)), storage_options)


def _open(objects: Objects, storage_options: StorageOptions | None) -> Store:
    return Store(objects, read_assembly(objects), storage_options=storage_options)


def _set_in_words(item: FeatureSet | KnownSet, channels: Sequence[str], share: float | None) -> str:
    """Describe a feature set in one line; `share` is the fraction that is built, in [0, 1], if known."""
    built = "" if share is None else f", {percent(share)} built"
    offsets = some([f"{offset:,}" for offset in item.offsets])
    return (
        f"{len(channels):,} channels of {item.dtype}, bins of {item.bin_size:,} bp at offsets {offsets} bp{built}, "
        f"by {item.extractor}, licence {item.licence.strip() or UNKNOWN}"
    )
