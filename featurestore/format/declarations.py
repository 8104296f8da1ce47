"""Declarations of feature sets, and how concurrent builders agree on them.

Belongs here: reading a description, and the log of declarations. Does not: the objects that repeat it for readers
(`featurestore.format.metadata`), when a set may change (`featurestore.store`).

    declared/<set>/<number>.json

A set may gain phases, and a phase's number is part of the keys of its shards: concurrent builders must agree on the
numbers before either writes a shard. The only atomic operation that all object stores share is
create-if-absent. So declarations are never changed: each is created under the next number, and a builder that finds it
taken reads that one and retries. The newest is valid. The set's group repeats it for readers, and can be rewritten.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from catalog import Assembly, AssemblyMismatch, FeatureSet
from catalog.runtime.documents import parse_object
from featurestore.format import layout
from featurestore.format.metadata import is_whole, set_description
from featurestore.objects.objects import Objects

DECLARED = "declared"

_NUMBERED = re.compile(rf"{DECLARED}/[^/]+/(\d+)\.json")


class NotAStore(ValueError):
    """No feature store, or one that is damaged or that this version cannot read."""


class Declaration(NamedTuple):
    """A feature set, with the number of its declaration."""

    number: int
    feature_set: FeatureSet


class DeclarationLog:
    """The declarations of one feature set."""

    def __init__(self, objects: Objects, assembly: Assembly, feature_set: str) -> None:
        self._objects = objects
        self._assembly = assembly
        self.feature_set = feature_set

    def key(self, number: int) -> str:
        """Key of a declaration."""
        return f"{DECLARED}/{self.feature_set}/{number}.json"

    def newest(self) -> Declaration | None:
        """Read the newest, valid one; None if the set was never declared (one listing, one request).

        Raises
        ------
        NotAStore
            If it is damaged.
        """
        keys = [key for key, _ in self._objects.walk(f"{DECLARED}/{self.feature_set}")]
        number = max((found for key in keys if (found := number_of(key)) is not None), default=None)
        return None if number is None else Declaration(number, self.load(number))

    def load(self, number: int) -> FeatureSet:
        """Read one declaration; NotAStore if it is damaged."""
        where = f"{self._objects.location}/{self.key(number)}"
        data = self._objects.get(self.key(number))
        document = parse_object(data, where=where, mend="`featurestore repair` mends it", raises=NotAStore)
        return read_description(document, self._assembly, where=where)

    def add(self, declaration: Declaration) -> bool:
        """Create a declaration; False if its number is taken."""
        return self._objects.create(self.key(declaration.number), self.to_json(declaration.feature_set))

    def to_json(self, feature_set: FeatureSet) -> bytes:
        """Encode a declaration."""
        return json.dumps(set_description(self._assembly, feature_set), indent=1, ensure_ascii=False).encode()


def number_of(key: str) -> int | None:
    """Parse the number from a declaration's key; None for another key."""
    match = _NUMBERED.fullmatch(key)
    return int(match[1]) if match else None


def read_description(document: Mapping[str, Any], assembly: Assembly, *, where: str) -> FeatureSet:
    """Parse a feature set from the fields that `metadata.set_description` wrote, among others.

    Raises
    ------
    NotAStore
        If it is damaged.
    AssemblyMismatch
        If the set is on another assembly.
    """
    described = {name: document[name] for name in ("feature_set", "assembly", "digest") if name in document}
    damaged = f"{where} has a damaged description of a feature set"
    if not is_whole(described):
        raise NotAStore(f"{damaged}: its digest is that of another; `featurestore repair` mends it")
    if described.get("assembly", assembly.digest) != assembly.digest:
        raise AssemblyMismatch(
            f"{where} is on the assembly {described['assembly']}, but the store's zarr.json says {assembly.name} "
            f"({assembly.digest}); put the zarr.json that the store had back, or remove it and build with its FASTA"
        )
    try:
        found = FeatureSet.model_validate(described.get("feature_set"))
        refuse_too_many_shards(found, assembly)
    except ValidationError as error:
        raise NotAStore(f"{damaged} ({error.error_count()} faults); `featurestore repair` mends it") from error
    except ValueError as error:
        raise NotAStore(f"{damaged}: {error}") from error
    return found


def refuse_too_many_shards(feature_set: FeatureSet, assembly: Assembly) -> None:
    """Refuse, with a ValueError, a set in so many shards that no store can be listed."""
    shards = layout.most_shards(feature_set, assembly.lengths.values())
    if shards > layout.MAX_SHARDS:
        raise ValueError(
            f"{feature_set.name!r} would have some {shards:,} shards on {assembly.name}, and a store has at most "
            f"{layout.MAX_SHARDS:,} of a set; take more bins a shard (`shard_bins=`), or fewer phases"
        )
