"""A store: one assembly, and the feature sets computed on it.

Belongs here: create, open, describe, declare feature sets and contigs. Does not: shards (`featurestore.format.writer`),
windows (`featurestore.reader`).
"""

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import ValidationError

from catalog import Assembly, AssemblyMismatch, FeatureSet
from featurestore.format import layout
from featurestore.format.commits import CommitLog, NotBuilt
from featurestore.format.declarations import Declaration, DeclarationLog, NotAStore, read_description
from featurestore.format.manifest import Manifest, is_sealed_in_part, read_manifest, unseal
from featurestore.format.metadata import GROUP, is_whole, root_documents, set_documents
from featurestore.http_listing import listed
from featurestore.objects.objects import Objects, StorageOptions, connect
from featurestore.reader import FeatureReader
from featurestore.rows.source import RowSource, ZarrRows
from featurestore.rows.tensorstore_source import TensorStoreRows

_REQUESTS_AT_ONCE = 8


class FingerprintMismatch(ValueError):
    """Features of another extractor, of other weights, or of other settings."""


class Store:
    """A feature store, on disk or in an object store. Made by `create` and `open_store`."""

    def __init__(self, objects: Objects, assembly: Assembly) -> None:
        self.objects = objects
        self.assembly = assembly

    @property
    def url(self) -> str:
        """Where the store lies; a local store is shown as its path."""
        return self.objects.location

    def feature_sets(self) -> list[str]:
        """List the names of the feature sets."""
        # A group that says nothing yet is a set whose build was stopped before it was declared.
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
            raise NotBuilt(
                f"{self.url} has no feature set {name!r}; it has {', '.join(there) or 'none yet'}. "
                f"`featurestore build {self.url} --fasta {self.assembly.name}.fa --extractor NAME` builds one"
            )
        return found

    def contigs(self, feature_set: str) -> list[str]:
        """List the contigs that have an array in a feature set, in the assembly's order."""
        there = set(self.objects.folders(layout.set_path(feature_set)))
        return [name for name in self.assembly.lengths if layout.contig_key(name) in there]

    def commits(self, feature_set: str) -> CommitLog:
        """Give the commit records of a feature set."""
        return CommitLog(self.objects, feature_set)

    def __getitem__(self, name: str) -> FeatureReader:
        """Give the reader of one feature set; NotBuilt if there is none of that name."""
        return FeatureReader(self.objects, self.assembly, self.feature_set(name), self.rows(name))

    def manifest(self) -> Manifest | None:
        """Read what a sealed store says of its contents, or give None if it is not sealed; see `read_manifest`."""
        return read_manifest(self.objects)

    def unseal(self) -> None:
        """Take the seal off, before anything changes; nothing happens to a store that is not sealed."""
        unseal(self.objects)

    def rows(self, feature_set: str) -> RowSource:
        """Give the fastest engine that reads this URL: tensorstore, else zarr."""
        kvstore = self.objects.kvstore()
        if kvstore is None:
            return ZarrRows(self.objects.zarr(read_only=True), feature_set)
        return TensorStoreRows(kvstore, feature_set, renewed=self.objects.kvstore)

    def require_assembly(self, assembly: Assembly) -> None:
        """Refuse another assembly.

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
        """Make room for a feature set on some contigs: groups, coordinates and empty arrays.

        What is there already is kept: phases that are new are added to it, phases that the store has stay. A store that
        is sealed and lacks something is unsealed. Several builders may do this at one time.

        Returns
        -------
        The feature set as the store now has it: its phases may be more, and in another order, than those given.

        Raises
        ------
        FingerprintMismatch
            If the store has a set of that name made with other weights, code, settings, channels or bins.
        """
        wanted = list(contigs)
        log = DeclarationLog(self.objects, self.assembly, feature_set.name)
        while True:
            newest = log.newest()
            present = newest.feature_set if newest else self._read_feature_set(feature_set.name)
            agreed = feature_set if present is None else self._merged(present, feature_set)
            known = self.contigs(agreed.name)
            if agreed == present and set(wanted) <= set(known) and is_sealed_in_part(self.objects):
                return agreed
            self.unseal()
            if newest is None or agreed != present:
                newest = Declaration(0 if newest is None else newest.number + 1, agreed)
                if not log.add(newest):
                    continue
            self._write_documents(agreed, [*known, *wanted])
            # Another builder may have added phases since; what it wrote may just have been written over.
            if log.newest() == newest:
                return agreed

    def _write_documents(self, feature_set: FeatureSet, contigs: Iterable[str]) -> None:
        def write(key: str) -> None:
            if not self.objects.create(key, documents[key]) and self.objects.get(key) != documents[key]:
                self.objects.put(key, documents[key])

        documents = set_documents(self.assembly, feature_set, contigs)
        group = f"{layout.set_path(feature_set.name)}/{GROUP}"
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            list(pool.map(write, documents.keys() - {group}))
        write(group)  # last: readers learn of a phase when every array has it

    def agreed(self, wanted: FeatureSet) -> FeatureSet:
        """Give the store's own description of a feature set that it has, with the wanted phases added.

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
        # What was not stated before is taken over, so that it reaches whoever reads the store.
        stated = {field: getattr(present, field) or getattr(wanted, field) for field in ("licence", "citation")}
        return present.model_copy(update={"offsets": (*present.offsets, *added), **stated})

    def _read_feature_set(self, name: str) -> FeatureSet | None:
        path = layout.set_path(name)
        attributes = group_attributes(self.objects, path)
        if attributes is None:
            return None  # its build was stopped before it was declared
        return read_description(attributes, self.assembly, where=f"{self.url}/{path}/{GROUP}")


def create(url: str | os.PathLike[str], assembly: Assembly, *, storage_options: StorageOptions | None = None) -> Store:
    """Create a store for an assembly, or open the one that is there.

    Parameters
    ----------
    url
        A local path or any fsspec URL.
    storage_options
        As fsspec and s3fs name them.

    Raises
    ------
    AssemblyMismatch
        If a store of another assembly is there.
    """
    objects = connect(url, storage_options, make=True)
    if group_attributes(objects, "") is None:
        documents = root_documents(assembly)
        for key in sorted(documents, key=len, reverse=True):  # the root last: it makes the place a store
            objects.create(key, documents[key])
    store = _open(objects)
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
        If nothing is there.
    NotAStore
        If what is there is no feature store, or of a format that this version does not know.
    """
    return _open(listed(connect(url, storage_options)))


def _open(objects: Objects) -> Store:
    where = objects.location
    attributes = group_attributes(objects, "")
    if attributes is None:
        raise FileNotFoundError(f"no store at {where}; `featurestore build {where} --fasta ...` makes one")
    document = attributes.get("featurestore")
    if not isinstance(document, dict):
        raise NotAStore(f"{where} is a Zarr group, but no feature store: its attributes lack 'featurestore'")
    mend = _mend(objects, GROUP)
    if not is_whole(document):
        raise NotAStore(f"{where}/{GROUP} is damaged: its digest is that of another; {mend}")
    if document.get("format") != layout.FORMAT:
        raise NotAStore(
            f"{where} has format {document.get('format')!r}; this version reads format {layout.FORMAT}: "
            "use the version of genomic-featurestore that wrote it"
        )
    try:
        return Store(objects, Assembly.model_validate(document.get("assembly")))
    except ValidationError as error:
        raise NotAStore(f"{where}/{GROUP} has a damaged description of its assembly ({error}); {mend}") from error


def group_attributes(objects: Objects, path: str) -> dict[str, Any] | None:
    """Read the attributes of a Zarr v3 group, or None if there is none (one request, and no event loop).

    Raises
    ------
    NotAStore
        If what is there is no group of Zarr v3.
    """
    key = f"{path}/{GROUP}" if path else GROUP
    where = f"{objects.location}/{key}"
    try:
        document = json.loads(objects.get(key))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise NotAStore(f"{where} is no JSON ({error}), so damaged or no Zarr; {_mend(objects, key)}") from error
    if not isinstance(document, dict) or document.get("node_type") != "group" or document.get("zarr_format") != 3:
        raise NotAStore(f"{where} does not describe a group of Zarr version 3; {_mend(objects, key)}")
    attributes = document.get("attributes", {})
    return attributes if isinstance(attributes, dict) else {}


def _mend(objects: Objects, key: str) -> str:
    if key != GROUP:
        return f"`featurestore repair {objects.location}` writes it anew"
    return (
        f"put that of a copy there, or remove {objects.location}/{GROUP} and build with the same FASTA: that makes it"
    )
