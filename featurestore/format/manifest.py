"""Manifest of a sealed store: every object with its size and sha256, and one hash over the contents.

Belongs here: the manifest, reading it, and unsealing. Does not: writing it (`featurestore.upkeep.seal`),
comparing it with the objects (`featurestore.upkeep.verify`).
"""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catalog.runtime.documents import parse_json
from featurestore.format import layout
from featurestore.format.coordinates import is_coordinate, without_coordinates
from featurestore.format.declarations import DECLARED
from featurestore.format.metadata import (
    DIGEST,
    GROUP,
    is_consolidated,
    is_group,
    is_whole,
    signed,
    without_consolidated,
)
from featurestore.objects.objects import Objects

MANIFEST = "MANIFEST.json"
CATALOG, CROISSANT, EXPLORER, README = "catalog.json", "croissant.json", "explorer.json", "README.md"
CARDS = (CATALOG, CROISSANT, EXPLORER, README)
"""Descriptions of a sealed store for catalogs, machines, web pages and people."""
PAGE, PAGE_GENES, PAGE_MODELS = "index.html", "explorer_genes.json", "explorer_models"
"""The explorer's page, its genes, and the folder of its gene models (`featurestore.web`): beside the contents, not
sealed."""
PAGE_STATUS = "explorer_status.json"
"""How far a build is, for the same page."""
MARK = b"<!-- Written by `featurestore seal`, which writes it anew: what is changed here is lost. -->"
"""First line of a README written by `seal`, which unsealing removes."""

HISTORY = (f"{layout.COMMITS}/", f"{DECLARED}/")
"""Folders with the provenance of the contents."""
_MAX_BYTES = 1 << 28  # about a million objects
_REQUESTS_AT_ONCE = 16


class DamagedManifest(ValueError):
    """A manifest that cannot be read, or that contradicts itself."""


class SealedObject(NamedTuple):
    """One object of a sealed store; in JSON `[size, sha256]`."""

    size: int
    """Bytes."""
    sha256: str


def sealed_as(data: bytes) -> SealedObject:
    """Measure an object: its size and sha256."""
    return SealedObject(len(data), hashlib.sha256(data).hexdigest())


class Manifest(BaseModel):
    """The contents of a sealed store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    version: str
    """Of genomic-featurestore, which sealed the store."""
    created: datetime
    assembly: str
    """Digest of the assembly."""
    fingerprints: dict[str, str]
    """Of the extractor, by feature set."""
    complete: bool
    """Whether every shard of the declared contigs and phases is built."""
    top_hash: str = Field(pattern="^[0-9a-f]{64}$")
    objects: dict[str, SealedObject]
    """Every object, by key, except this one and `croissant.json`, which names this one's sha256 and holds its own
    digest; failure notes are not listed."""
    hashed_as: dict[str, SealedObject] = Field(default_factory=dict)
    """Documents of groups as they are without coordinates, which the top hash takes in the place of those listed."""

    @model_validator(mode="after")
    def _hash_is_that_of_the_objects(self) -> "Manifest":
        if self.top_hash != top_hash({**self.objects, **self.hashed_as}):
            raise ValueError("its top hash is not that of the objects that it lists")
        return self

    def to_json(self) -> bytes:
        """Encode the manifest, with a digest of itself."""
        # Written only where there are coordinates, so that a manifest without is that of earlier versions.
        return _encoded(signed(self.model_dump(mode="json", exclude=None if self.hashed_as else {"hashed_as"})))


def _encoded(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def top_hash(objects: Mapping[str, SealedObject]) -> str:
    """Hash the contents of a store, so that stores of equal contents have an equal hash.

    It is the sha256, in hexadecimal digits, of one line an object, in the order of their keys:
    `key <tab> size <tab> sha256 <newline>`. Contents are the shards, all metadata and the anchored arrays. Commit
    records and declarations are left out: they hold times, names of machines and the order of the build.
    So are the cards, which name this hash, and coordinates, which follow from the metadata: the documents of groups
    that list coordinates are hashed as they are without (`Manifest.hashed_as`).
    """
    lines = (
        f"{key}\t{size}\t{sha256}\n"
        for key, (size, sha256) in sorted(objects.items())
        if not key.startswith(HISTORY) and key not in CARDS and not is_coordinate(key)
    )
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def read_manifest(objects: Objects) -> Manifest | None:
    """Read the manifest of a sealed store; None if the store is not sealed (one request).

    Raises
    ------
    DamagedManifest
        If it is damaged.
    """
    try:
        data = objects.get(MANIFEST)
    except FileNotFoundError:
        return None
    where = f"{objects.location}/{MANIFEST}"
    mend = "`featurestore repair` removes it, then `featurestore seal` makes it anew"
    document = parse_json(data, where=where, mend=mend, raises=DamagedManifest, max_bytes=_MAX_BYTES)
    if not isinstance(document, dict) or DIGEST not in document or not is_whole(document):
        raise DamagedManifest(f"{where} is damaged: its digest is that of another; {mend}")
    if data != _encoded(document):  # the digest is of the values, and covers no byte between them
        raise DamagedManifest(f"{where} is damaged: it is not written as `seal` writes it; {mend}")
    try:
        return Manifest.model_validate({name: value for name, value in document.items() if name != DIGEST})
    except ValidationError as error:
        raise DamagedManifest(
            f"{where} is no manifest that this version reads ({error.errors()[0]['msg']}); {mend}"
        ) from error


def unseal(objects: Objects) -> None:
    """Unseal, before anything changes: remove the manifest, then the cards, consolidated metadata and coordinates.

    Idempotent; two requests for a store that is not sealed. The root comes last, as it comes first in sealing: while it
    is consolidated, an interrupted unsealing can be recognised and completed. At no moment a document lists a
    coordinate that is not there.
    """
    objects.delete(MANIFEST)
    if not is_sealed_in_part(objects):
        return
    for card in CARDS:
        if card != README or not has_foreign_readme(objects):
            objects.delete(card)
    keys = [key for key, _ in objects.walk("")]
    coordinates = [key for key in keys if is_coordinate(key)]
    documents = [key for key in keys if key.endswith(f"/{GROUP}") and not is_coordinate(key)]

    def strip(key: str) -> None:
        data = objects.get(key)
        if is_consolidated(data):
            objects.put(key, without_consolidated(data))

    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        list(pool.map(strip, documents))
        if coordinates:
            objects.put(GROUP, without_coordinates(GROUP, objects.get(GROUP)))
        list(pool.map(objects.delete, [key for key in coordinates if key.endswith(GROUP)]))
        list(pool.map(objects.delete, [key for key in coordinates if not key.endswith(GROUP)]))
    strip(GROUP)


def has_foreign_readme(objects: Objects) -> bool:
    """Tell whether there is a README that `seal` did not write (one request)."""
    try:
        return not objects.get(README).startswith(MARK)
    except FileNotFoundError:
        return False


def is_sealed_in_part(objects: Objects) -> bool:
    """Tell whether sealing has begun: the root's metadata is consolidated (one request)."""
    return is_consolidated(objects.get(GROUP))


def is_written(objects: Objects, key: str, data: bytes) -> bool:
    """Tell whether an object has these bytes, or a group's document does but for what sealing adds (one request)."""
    try:
        found = objects.get(key)
    except FileNotFoundError:
        return False
    return (without_consolidated(found) if is_group(key, found) else found) == data
