"""Commit records: one small object for each complete shard, created once and never changed.

Belongs here: the record, the log of one feature set, and the error for features without one. Does not: writing shards
(`featurestore.format.writer`).
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import google_crc32c
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog.runtime.documents import parse_object
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.format.metadata import DIGEST, is_whole, signed
from featurestore.objects.objects import Objects

_MAX_RECORD_BYTES = 1 << 16
_MOST = 1 << 40
_REQUESTS_AT_ONCE = 16


class NotBuilt(LookupError):
    """Requested features that were never computed."""

    def __str__(self) -> str:
        return str(self.args[0])


class CommitConflict(RuntimeError):
    """Two writers produced different bytes for one shard."""


class DamagedRecord(ValueError):
    """A record in the store that cannot be read."""


class Commit(BaseModel):
    """Record of one complete shard: size, checksums and provenance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feature_set: str
    """The array's key, as text: `<set>` or `<set>@<anchors>`."""
    contig: str
    phase: int = Field(ge=0, le=_MOST)
    shard: int = Field(ge=0, le=_MOST)
    first_bin: int = Field(ge=0, le=_MOST)
    n_bins: int = Field(ge=1, le=_MOST)
    size: int = Field(ge=1, le=_MOST)
    """Of the shard object (bytes)."""
    crc32c: str
    """Of the object, 8 hexadecimal digits."""
    sha256: str
    fingerprint: str
    """Of the extractor that computed the values."""
    run: str
    """Id of the build."""
    worker: str = ""
    """Host and worker."""
    device: str
    seconds: float = Field(ge=0, le=1e9)
    """Spent by the extractor on the shard."""
    versions: dict[str, str]
    finished: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def key(self) -> str:
        """Key of the record."""
        return layout.commit_key(self.feature_set, self.contig, self.phase, self.shard)

    def is_of(self, data: bytes) -> bool:
        """Tell whether these are the bytes that were committed, by both checksums."""
        return f"{google_crc32c.value(data):08x}" == self.crc32c and hashlib.sha256(data).hexdigest() == self.sha256

    def to_json(self) -> bytes:
        """Encode the record, with a digest of itself that reveals a flipped bit."""
        document = self.model_dump(mode="json")
        return json.dumps(signed(document), indent=1, ensure_ascii=False).encode()


class CommitLog:
    """The commit records of one feature set on its grid, or around anchors."""

    def __init__(self, objects: Objects, array: ArrayKey | str) -> None:
        self._objects = objects
        self.array = ArrayKey.of(array)

    def shards(self) -> dict[str, set[tuple[int, int]]]:
        """List the committed `(phase, shard)` of each contig, by the contig's folder name (one listing)."""
        found: dict[str, set[tuple[int, int]]] = {}
        for key, _ in self.keys():
            parsed = layout.parse_commit_key(key)
            if parsed is not None:
                contig, phase, shard = parsed
                found.setdefault(contig, set()).add((phase, shard))
        return found

    def keys(self) -> list[tuple[str, int]]:
        """List the keys of the records and their sizes (bytes)."""
        return list(self._objects.walk(f"{layout.COMMITS}/{self.array}"))

    def records(self) -> Iterator[Commit]:
        """Read every record, several concurrently, in the order of their keys.

        Raises
        ------
        DamagedRecord
            If one cannot be read.
        """
        for record in self.readable():
            if isinstance(record, DamagedRecord):
                raise record
            yield record

    def readable(self) -> Iterator["Commit | DamagedRecord"]:
        """Like `records`, with the error in place of a record that cannot be read."""
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            yield from pool.map(self._load_or_error, self.keys())

    def _load_or_error(self, entry: tuple[str, int]) -> "Commit | DamagedRecord":
        try:
            return self.load(*entry)
        except DamagedRecord as error:
            return error

    def load(self, key: str, size: int) -> Commit:
        """Read the record at a key.

        Raises
        ------
        DamagedRecord
            If it cannot be read, or is that of another shard.
        """
        if size > _MAX_RECORD_BYTES:
            raise DamagedRecord(f"{key} has {size} bytes; a commit record has a few hundred. Remove it and build again")
        return _parse(key, self._objects.get(key))

    def read(self, contig: str, phase: int, shard: int) -> Commit | None:
        """Read one record, or None if the shard is not committed."""
        key = layout.commit_key(self.array, contig, phase, shard)
        try:
            data = self._objects.get(key)
        except FileNotFoundError:
            return None
        return _parse(key, data)

    def add(self, commit: Commit) -> Commit:
        """Commit a shard: create the record, or return the existing one if it has the same bytes.

        Raises
        ------
        CommitConflict
            If another writer committed other bytes.
        """
        if self._objects.create(commit.key, commit.to_json()):
            return commit
        other = self.read(commit.contig, commit.phase, commit.shard)
        if other is None or other.sha256 != commit.sha256:
            raise CommitConflict(
                f"{commit.key} was committed by run {other.run if other else '?'} with other bytes than those of run "
                f"{commit.run}; the extractor is not deterministic across these devices: build with one kind of "
                "device, then check with `featurestore verify --crc`"
            )
        return other


def _parse(key: str, data: bytes) -> Commit:
    document = parse_object(data, where=key, mend="remove it and build again", raises=DamagedRecord)
    try:
        if DIGEST not in document or not is_whole(document):
            raise ValueError("its digest is not that of its content")
        del document[DIGEST]
        commit = Commit.model_validate(document)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"{error.error_count()} faults" if isinstance(error, ValidationError) else str(error)
        raise DamagedRecord(f"{key} is no commit record ({what}); remove it and build again") from error
    if commit.key != key:
        raise DamagedRecord(f"{key} holds the record of {commit.key}; remove it and build again")
    return commit
