"""Seal a store: say what it holds, once and for all, with one hash over the contents.

Belongs here: checking that a store may be sealed, and writing the consolidated metadata and the manifest. Does not:
what the manifest says (`featurestore.manifest`), the checks (`featurestore.verify`).

The root is consolidated first, the other groups follow, the manifest comes last. Stopped at any moment the store can be
read and built further, and sealing again finishes it.
"""

import importlib.metadata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from featurestore import layout
from featurestore.anchored_declarations import build_command
from featurestore.findings import Verification
from featurestore.manifest import MANIFEST, Manifest, SealedObject, top_hash
from featurestore.metadata import GROUP, consolidated
from featurestore.store import Store
from featurestore.verify import sha256_of, verify


class NotSealed(ValueError):
    """A store that is not fit to be sealed."""


class Sealing(NamedTuple):
    """What `seal` found or made."""

    manifest: Manifest
    was_sealed: bool
    """The store had this manifest already, and nothing was written."""


def seal(
    store: Store,
    *,
    crc: bool = True,
    partial: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Sealing:
    """Verify a store, then consolidate its metadata and write its manifest.

    Parameters
    ----------
    crc
        Read every shard before; otherwise its record is believed where the size is right.
    partial
        Seal a store that lacks shards, too; its manifest says that it is not complete.
    progress
        Called with the committed shards that were verified, and how many there are.

    Raises
    ------
    NotSealed
        If the store is unsound, lacks shards, or changes meanwhile; it is then left as it was, or unsealed.
    """
    before = dict(store.objects.walk(""))
    found = verify(store, crc=crc, progress=progress)
    _refuse_what_is_not_fit(store, found, partial=partial)
    if found.manifest is not None:
        return Sealing(found.manifest, was_sealed=True)
    objects = _consolidate(store, found)
    described = {name: store.feature_set(name) for name in store.feature_sets()}
    manifest = Manifest(
        format=layout.FORMAT,
        version=importlib.metadata.version("genomic-featurestore"),
        created=datetime.now(UTC),
        assembly=store.assembly.digest,
        fingerprints={name: item.fingerprint for name, item in described.items()},
        complete=not found.missing,
        top_hash=top_hash(objects),
        objects=objects,
    )
    store.objects.put(MANIFEST, manifest.to_json())
    _refuse_a_store_that_changed(store, manifest, before)
    return Sealing(manifest, was_sealed=False)


def _refuse_what_is_not_fit(store: Store, found: Verification, *, partial: bool) -> None:
    if not found.is_sound:
        raise NotSealed(
            f"{store.url} is not sound ({len(found.faults)} faults, the first: {found.faults[0]}); "
            "`featurestore repair`, then build again what it removed, then seal"
        )
    if found.orphans:
        raise NotSealed(
            f"{store.url} has {len(found.orphans)} shards without a record, so not known to be whole: "
            f"{found.orphans[0]}, ...; the same `featurestore build` writes them again: then seal"
        )
    if not store.feature_sets():
        raise NotSealed(f"{store.url} has no feature set yet; `featurestore build {store.url} --fasta ...` makes one")
    if partial or not found.missing:
        return
    name = next(iter(found.incomplete))
    raise NotSealed(
        f"{store.url} lacks {found.incomplete[name]} shards of {name!r}; {_build_command(store, name)} makes them, and "
        "`featurestore seal --partial` does without"
    )


def _build_command(store: Store, name: str) -> str:
    name, _, anchors = name.partition("@")
    described = store.feature_set(name)
    if anchors:
        return build_command(store, described, anchors)
    return (
        f"`featurestore build {store.url} --fasta {store.assembly.name}.fa --extractor {described.extractor} "
        f"--offsets {','.join(map(str, described.offsets))} --contigs {','.join(store.contigs(name))}`"
    )


def _consolidate(store: Store, found: Verification) -> dict[str, SealedObject]:
    """Write the consolidated metadata, the root first; give every object as it is then."""
    documents = consolidated(found.documents)
    for key in sorted(documents, key=lambda key: key != GROUP):
        store.objects.put(key, documents[key])
    known = {key: sealed for key, sealed in found.objects.items() if sealed is not None and key not in documents}
    unknown = found.objects.keys() - known.keys()
    return dict(sorted({**known, **dict(sha256_of(store.objects, unknown))}.items()))


def _refuse_a_store_that_changed(store: Store, manifest: Manifest, before: Mapping[str, int]) -> None:
    """Take the manifest away again if something was declared or built meanwhile (one listing)."""
    after = dict(store.objects.walk(""))
    new = {key for key in after.keys() - before.keys() - {MANIFEST} if not key.startswith(f"{layout.FAILURES}/")}
    if not new and all(after.get(key) == sealed.size for key, sealed in manifest.objects.items()):
        return
    store.unseal()
    raise NotSealed(
        f"{store.url} changed while it was being sealed; when no build is running, `featurestore repair` and seal again"
    )
