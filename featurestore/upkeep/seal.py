"""Seal a finished store: write its manifest, with one hash over the contents.

Belongs here: checking that a store may be sealed, and writing the consolidated metadata, the coordinates, the cards and
the manifest.
Does not: what the manifest says (`featurestore.format.manifest`), what the cards say
(`featurestore.upkeep.registry_file`, `featurestore.upkeep.data_card`, `featurestore.upkeep.croissant`,
`featurestore.upkeep.explorer_file`), the checks (`featurestore.upkeep.verify`).

The root is consolidated first, then come coordinates, the root and the other groups that list them, then the cards; the
manifest comes last. Interrupted at any moment, the store can be read and built further, and sealing again completes it.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from catalog import FeatureSet
from featurestore.anchored.declare import build_command
from featurestore.distribution.version import __version__
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.build_commands import grid_command
from featurestore.format.coordinates import coordinate_keys, coordinate_objects, is_coordinate, without_coordinates
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
    sealed_as,
    top_hash,
)
from featurestore.format.metadata import GROUP, consolidated
from featurestore.rows.overlays.describe import build_command as overlay_command
from featurestore.rows.overlays.describe import read_folder
from featurestore.store import Store
from featurestore.upkeep.croissant import croissant
from featurestore.upkeep.data_card import data_card
from featurestore.upkeep.explorer_file import explorer_file, lists_overlays
from featurestore.upkeep.registry_file import summarise
from featurestore.upkeep.verification.findings import Verification
from featurestore.upkeep.verification.ordered import REQUESTS_AT_ONCE, in_order, sha256_of
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
    if found.manifest is not None and not _is_of_an_earlier_version(store, found.manifest):
        return Sealing(found.manifest, was_sealed=True)
    objects, hashed_as = _consolidate(store, found)
    manifest = _describe(store, objects, hashed_as, is_complete=not found.missing)
    _refuse_a_store_that_changed(store, manifest, before)
    return Sealing(manifest, was_sealed=False)


def _is_of_an_earlier_version(store: Store, manifest: Manifest) -> bool:
    """Tell whether a sealed store lacks what this version writes beside the contents."""
    if EXPLORER not in manifest.objects or not lists_overlays(store.objects.get(EXPLORER)):
        return True
    coordinates = (coordinate_keys(item, lengths) for item, lengths in _described(store))
    return not all(keys <= manifest.objects.keys() for keys in coordinates)


def _described(store: Store) -> list[tuple[FeatureSet, dict[str, int]]]:
    """Read the description of every feature set, with the lengths of its contigs (bp)."""
    of_assembly = store.assembly.lengths
    return [
        (store.feature_set(name), {contig: of_assembly[contig] for contig in store.contigs(name)})
        for name in store.feature_sets()
    ]


def _describe(
    store: Store, objects: Mapping[str, SealedObject], hashed_as: Mapping[str, SealedObject], *, is_complete: bool
) -> Manifest:
    """Write the cards of a store, then the manifest."""
    with_lengths = _described(store)
    described = [item for item, _ in with_lengths]
    lengths = {item.name: of_contigs for item, of_contigs in with_lengths}
    created = datetime.now(UTC)
    sizes = {key: sealed.size for key, sealed in objects.items()}
    contents = top_hash({**objects, **hashed_as})
    summary = summarise(store, described, sizes, top_hash=contents, as_of=created)
    cards = {
        CATALOG: summary.to_json(),
        EXPLORER: explorer_file(store, described, top_hash=contents, is_complete=is_complete),
        README: data_card(summary, described, lengths, store_format=store.format, version=__version__),
    }
    objects = {**objects, **{key: sealed_as(data) for key, data in cards.items()}}
    manifest = Manifest(
        format=store.format,
        version=__version__,
        created=created,
        assembly=store.assembly.digest,
        fingerprints={item.name: item.fingerprint for item in described},
        complete=is_complete,
        top_hash=contents,
        objects=dict(sorted(objects.items())),
        hashed_as=dict(hashed_as),
    )
    written = manifest.to_json()
    files = {key: objects[key] for key in (GROUP, *cards)} | {MANIFEST: sealed_as(written)}
    cards[CROISSANT] = croissant(summary, files)
    for key, data in cards.items():
        store.objects.put(key, data)
    store.objects.put(MANIFEST, written)
    return manifest


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


def _consolidate(store: Store, found: Verification) -> tuple[dict[str, SealedObject], dict[str, SealedObject]]:
    """Write coordinates and the consolidated metadata; return every object as it is then, and groups as hashed."""
    coordinates: dict[str, bytes] = {}
    for item, lengths in _described(store):
        coordinates |= coordinate_objects(item, lengths)
    documents = consolidated(found.documents | coordinates)
    bare = {key: without_coordinates(key, data) for key, data in documents.items()}
    if found.manifest is not None:  # an earlier version's, of other documents
        store.objects.delete(MANIFEST)
    store.objects.put(GROUP, bare[GROUP])  # first: it says that sealing has begun, and lists no coordinate yet
    for written in (
        {key: data for key, data in coordinates.items() if not key.endswith(GROUP)},
        {key: data for key, data in coordinates.items() if key.endswith(GROUP)},
        documents,
    ):
        list(in_order(lambda item: store.objects.put(*item), written.items(), threads=REQUESTS_AT_ONCE))
    known = {key: sealed for key, sealed in found.objects.items() if sealed is not None and key not in documents}
    known |= {key: sealed_as(data) for key, data in (coordinates | documents).items()}
    unknown = found.objects.keys() - known.keys()
    objects = dict(sorted({**known, **dict(sha256_of(store.objects, unknown))}.items()))
    return objects, {key: sealed_as(data) for key, data in sorted(bare.items()) if data != documents[key]}


def _refuse_a_store_that_changed(store: Store, manifest: Manifest, before: Mapping[str, int]) -> None:
    """Remove the manifest again if something was declared or built meanwhile (one listing)."""
    after = dict(store.objects.walk(""))
    new = {
        key
        for key in after.keys() - before.keys() - {MANIFEST, *CARDS}
        if not key.startswith(f"{layout.FAILURES}/") and not is_coordinate(key)
    }
    if not new and all(after.get(key) == sealed.size for key, sealed in manifest.objects.items()):
        return
    store.unseal()
    raise NotSealed(
        f"{store.url} changed while it was being sealed; when no build is running, `featurestore repair` and seal again"
    )
