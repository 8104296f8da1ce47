"""Seal a finished store: write its manifest, with one hash over the contents.

Belongs here: checking that a store may be sealed, and writing the consolidated metadata, the cards and the manifest.
Does not: what the manifest says (`featurestore.format.manifest`), what the cards say
(`featurestore.upkeep.registry_file`, `featurestore.upkeep.data_card`, `featurestore.upkeep.croissant`,
`featurestore.upkeep.explorer_file`), the checks (`featurestore.upkeep.verify`).

The root is consolidated first, then the other groups, then the cards; the manifest comes last. Interrupted at any
moment, the store can be read and built further, and sealing again completes it.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from featurestore.anchored.declare import build_command
from featurestore.distribution.version import __version__
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.build_commands import grid_command
from featurestore.format.manifest import (
    CARDS,
    CATALOG,
    CROISSANT,
    EXPLORER,
    MANIFEST,
    README,
    Manifest,
    SealedObject,
    has_foreign_readme,
    top_hash,
)
from featurestore.format.metadata import GROUP, consolidated
from featurestore.rows.overlays.describe import build_command as overlay_command
from featurestore.rows.overlays.describe import read_folder
from featurestore.store import Store
from featurestore.upkeep.croissant import croissant
from featurestore.upkeep.data_card import data_card
from featurestore.upkeep.explorer_file import explorer_file
from featurestore.upkeep.findings import Verification
from featurestore.upkeep.ordered import sha256_of
from featurestore.upkeep.registry_file import summarise
from featurestore.upkeep.verify import verify


class NotSealed(ValueError):
    """A store that cannot be sealed as it is."""


class Sealing(NamedTuple):
    """Result of `seal`."""

    manifest: Manifest
    was_sealed: bool
    """Whether the store already had this manifest, and nothing was written."""


def seal(
    store: Store,
    *,
    crc: bool = True,
    partial: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Sealing:
    """Verify a store, then consolidate its metadata and write its cards and its manifest.

    Parameters
    ----------
    crc
        Read every shard first; otherwise records are trusted if the size matches.
    partial
        Also seal a store that lacks shards; its manifest then says that it is incomplete.
    progress
        Called with the committed shards verified so far, and their total.

    Raises
    ------
    NotSealed
        If the store has faults, lacks shards, has a README.md that `seal` did not write, or changes meanwhile; it is
        then left as it was, or unsealed.
    """
    before = dict(store.objects.walk(""))
    found = verify(store, crc=crc, progress=progress)
    _refuse_what_is_not_fit(store, found, partial=partial)
    if found.manifest is not None and EXPLORER in found.manifest.objects:  # else an earlier version sealed it
        return Sealing(found.manifest, was_sealed=True)
    objects = _consolidate(store, found)
    manifest = _describe(store, objects, is_complete=not found.missing)
    _refuse_a_store_that_changed(store, manifest, before)
    return Sealing(manifest, was_sealed=False)


def _describe(store: Store, objects: Mapping[str, SealedObject], *, is_complete: bool) -> Manifest:
    """Write the cards of a store, then the manifest."""
    described = [store.feature_set(name) for name in store.feature_sets()]
    created = datetime.now(UTC)
    sizes = {key: sealed.size for key, sealed in objects.items()}
    summary = summarise(store, described, sizes, top_hash=top_hash(objects), as_of=created)
    of_assembly = store.assembly.lengths
    lengths = {item.name: {contig: of_assembly[contig] for contig in store.contigs(item.name)} for item in described}
    cards = {
        CATALOG: summary.to_json(),
        EXPLORER: explorer_file(store, described, top_hash=top_hash(objects), is_complete=is_complete),
        README: data_card(summary, described, lengths, store_format=store.format, version=__version__),
    }
    objects = {**objects, **{key: _as_sealed(data) for key, data in cards.items()}}
    manifest = Manifest(
        format=store.format,
        version=__version__,
        created=created,
        assembly=store.assembly.digest,
        fingerprints={item.name: item.fingerprint for item in described},
        complete=is_complete,
        top_hash=top_hash(objects),
        objects=dict(sorted(objects.items())),
    )
    written = manifest.to_json()
    files = {key: objects[key] for key in (GROUP, *cards)} | {MANIFEST: _as_sealed(written)}
    cards[CROISSANT] = croissant(summary, files)
    for key, data in cards.items():
        store.objects.put(key, data)
    store.objects.put(MANIFEST, written)
    return manifest


def _as_sealed(data: bytes) -> SealedObject:
    return SealedObject(len(data), hashlib.sha256(data).hexdigest())


def _refuse_what_is_not_fit(store: Store, found: Verification, *, partial: bool) -> None:
    if found.faults:
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
    if has_foreign_readme(store.objects):
        raise NotSealed(
            f"{store.url} has a {README} that was written by another hand, and sealing writes one of its own there; "
            "give that file another name, then seal"
        )
    if partial or not found.missing:
        return
    name = next(iter(found.incomplete))
    command = _build_command(store, ArrayKey.of(name))
    raise NotSealed(
        f"{store.url} lacks {found.incomplete[name]} shards of {name!r}; {command} makes them, and `partial=True` "
        "seals without"
    )


def _build_command(store: Store, array: ArrayKey) -> str:
    name, described = array.feature_set, store.feature_set(array.feature_set)
    if array.overlay is not None:
        overlay = read_folder(store.objects, name, array.overlay)
        return overlay_command(store.objects, name, overlay.name if overlay else array.overlay.replace("+", "/"))
    if array.anchors is not None:
        return build_command(store, described, array.anchors)
    contigs = store.contigs(name)
    return grid_command(store.url, store.assembly, described, contigs=contigs, offsets=described.offsets)


def _consolidate(store: Store, found: Verification) -> dict[str, SealedObject]:
    """Write the consolidated metadata, the root first; return every object as it is then."""
    documents = consolidated(found.documents)
    for key in sorted(documents, key=lambda key: key != GROUP):
        store.objects.put(key, documents[key])
    known = {key: sealed for key, sealed in found.objects.items() if sealed is not None and key not in documents}
    unknown = found.objects.keys() - known.keys()
    return dict(sorted({**known, **dict(sha256_of(store.objects, unknown))}.items()))


def _refuse_a_store_that_changed(store: Store, manifest: Manifest, before: Mapping[str, int]) -> None:
    """Remove the manifest again if something was declared or built meanwhile (one listing)."""
    after = dict(store.objects.walk(""))
    new = {
        key for key in after.keys() - before.keys() - {MANIFEST, *CARDS} if not key.startswith(f"{layout.FAILURES}/")
    }
    if not new and all(after.get(key) == sealed.size for key, sealed in manifest.objects.items()):
        return
    store.unseal()
    raise NotSealed(
        f"{store.url} changed while it was being sealed; when no build is running, `featurestore repair` and seal again"
    )
