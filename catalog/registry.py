"""Registry of known stores: what each one holds, its URL, and search.

Belongs here: the documents, reading and changing them, the search. Does not: inspecting a store, and registries on
disks or at URLs (`featurestore.upkeep.registry_file`).
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from catalog.feature_set import Name
from catalog.runtime.documents import parse_json
from catalog.value_type import Dtype

UNKNOWN = "unknown"
"""Placeholder for a licence or a citation that was not stated."""

_MAX_BYTES = 1 << 26  # about a hundred stores of 21,907 named channels
_MOST = 1 << 60
"""Beyond any count and size (bytes)."""
_STATED = Annotated[str, Field(min_length=1)]
# `user@` is part of the place there: the container.
_CONTAINER_SCHEMES = ("abfs://", "abfss://")
_USER = re.compile(r"://[^/?#]*@")
_PASSWORD = re.compile(r"://[^@]*:[^@]*@")


class DamagedRegistry(ValueError):
    """A registry that cannot be read."""


class UnknownStore(LookupError):
    """A name that the registry does not have."""


class KnownSet(BaseModel):
    """One feature set of a known store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    extractor: Name
    fingerprint: str
    """Digest of everything that determines the values."""
    channels: tuple[str, ...]
    """Names, in the order of the arrays."""
    bin_size: int = Field(ge=1, le=_MOST)
    """(bp)"""
    dtype: Dtype = "float16"
    """Of the values."""
    offsets: tuple[int, ...]
    """Of the phases (bp)."""
    contigs: int = Field(ge=0, le=_MOST)
    """Number of the assembly's contigs that it is declared on."""
    anchors: tuple[str, ...]
    """Names of its anchored arrays."""
    overlays: tuple[str, ...] = ()
    """Names of its overlays, such as `NA12878/1`."""
    shards: int = Field(ge=0, le=_MOST)
    """Shards of the complete set, those of anchored arrays included."""
    committed: int = Field(ge=0, le=_MOST)
    """Shards that are built."""
    licence: _STATED
    """Of the features; `unknown` where none was stated."""
    citation: _STATED

    @model_serializer(mode="wrap")
    def _as_earlier_versions_read_it(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a dtype of float16, the only one that earlier versions know, and overlays where there are none."""
        document: dict[str, Any] = write(self)
        return {
            name: value
            for name, value in document.items()
            if (name, value) != ("dtype", "float16") and (name != "overlays" or value)
        }

    @model_validator(mode="after")
    def _no_more_than_all(self) -> "KnownSet":
        if self.committed > self.shards:
            raise ValueError(f"{self.name} has {self.shards} shards, so not {self.committed} committed ones")
        return self

    @property
    def share(self) -> float:
        """Fraction of the shards that is built, in [0, 1]; 0 for a set without any."""
        return self.committed / self.shards if self.shards else 0.0


class StoreSummary(BaseModel):
    """Summary of a store's contents, without its URL. A sealed store carries its own, as `catalog.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    assembly: str
    """Name, for people."""
    assembly_digest: str
    """Two assemblies are the same if their digests are."""
    contigs: int = Field(ge=1, le=_MOST)
    """Of the assembly."""
    length: int = Field(ge=1, le=_MOST)
    """Total length of the contigs (bp)."""
    feature_sets: tuple[KnownSet, ...]
    size_bytes: int = Field(ge=0, le=_MOST)
    """Of its contents: shards, metadata and anchored arrays, without commit records and declarations."""
    objects: int = Field(ge=0, le=_MOST)
    """Number of those objects."""
    top_hash: str | None
    """Of the contents, if the store is sealed."""
    as_of: AwareDatetime
    """Time of inspection."""

    def is_on(self, assembly: str) -> bool:
        """Tell whether the store is on the assembly of that name or digest."""
        return assembly.casefold() in (self.assembly.casefold(), self.assembly_digest.casefold())

    @property
    def share(self) -> float:
        """Fraction of the declared shards that is built, in [0, 1]."""
        shards = sum(item.shards for item in self.feature_sets)
        return sum(item.committed for item in self.feature_sets) / shards if shards else 0.0

    def to_json(self) -> bytes:
        """Write the document."""
        return _as_json(self)


class KnownStore(StoreSummary):
    """A store with its name in the registry, and its URL."""

    name: Name
    url: str
    """A local path or a URL; never with credentials."""

    @field_validator("url")
    @classmethod
    def _url_holds_no_secret(cls, url: str) -> str:
        refuse_secrets(url)
        return url


class Registry(BaseModel):
    """Known stores, sorted by name: one JSON file, which may be edited by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    format: Literal[1] = 1
    stores: tuple[KnownStore, ...] = ()

    @field_validator("stores")
    @classmethod
    def _are_distinct(cls, stores: tuple[KnownStore, ...]) -> tuple[KnownStore, ...]:
        for what, all_of_them in (("name", [one.name for one in stores]), ("url", [one.url for one in stores])):
            if len(set(all_of_them)) < len(all_of_them):
                raise ValueError(f"two stores have the same {what}")
        return tuple(sorted(stores, key=lambda one: one.name))

    def get(self, name: str) -> KnownStore:
        """Return the store of a name.

        Raises
        ------
        UnknownStore
            If there is none; the message lists some known names.
        """
        for store in self.stores:
            if store.name == name:
                return store
        there = [store.name for store in self.stores]
        shown = f"{', '.join(there[:10])}{', ...' if len(there) > 10 else ''}" if there else "no stores yet"
        raise UnknownStore(
            f"the catalog has no store {name!r}; it has {shown}. `featurestore catalog add STORE` adds one"
        )

    def with_store(self, store: KnownStore) -> "Registry":
        """Add a store, replacing the one at the same URL if there is one.

        Raises
        ------
        ValueError
            If another store has that name.
        """
        others = [one for one in self.stores if one.url != store.url]
        taken = next((one.url for one in others if one.name == store.name), None)
        if taken is not None:
            raise ValueError(
                f"the catalog has a store {store.name!r}, at {taken}; give another `name=`, "
                f"or `featurestore catalog remove {store.name}` first"
            )
        return Registry(stores=(*others, store))

    def without(self, name: str) -> "Registry":
        """Remove a store; UnknownStore if there is none of that name."""
        gone = self.get(name)
        return Registry(stores=tuple(one for one in self.stores if one != gone))

    def find(
        self,
        text: str = "",
        *,
        assembly: str | None = None,
        extractor: str | None = None,
        fingerprint: str | None = None,
        channel: str | None = None,
        licence: str | None = None,
    ) -> list[KnownStore]:
        """Search the stores. Letter case is ignored, and what is None excludes nothing.

        Parameters
        ----------
        text
            Words that must all occur: in name, URL, assembly, or in name, extractor, channels, licence or citation of
            a set.
        assembly
            Its name, or its digest.
        extractor, fingerprint, channel, licence
            Of one and the same feature set: the extractor's name, a prefix of the fingerprint, and substrings of a
            channel's name and of the licence.
        """
        wanted = _SetWanted(extractor, fingerprint, channel, licence)
        words = text.casefold().split()
        return [
            store
            for store in self.stores
            if (assembly is None or store.is_on(assembly))
            and (wanted.is_anything or any(wanted.fits(one) for one in store.feature_sets))
            and (not words or _has_words(store, words))
        ]

    def to_json(self) -> bytes:
        """Write the registry.

        Raises
        ------
        ValueError
            If it is larger than `parse_registry` reads.
        """
        data = _as_json(self)
        if len(data) > _MAX_BYTES:
            raise ValueError(
                f"a catalog has at most {_MAX_BYTES:,} bytes, and this one would have {len(data):,}; "
                "`featurestore catalog remove` stores, or add to another: `place=`"
            )
        return data


def parse_registry(data: bytes, *, where: str) -> Registry:
    """Read a registry.

    Parameters
    ----------
    where
        Its place, for errors.

    Raises
    ------
    DamagedRegistry
        If it is too large, or is not what `to_json` writes.
    """
    mend = "mend that file, or move it away and `featurestore catalog add` the stores again; it was left as it is"
    if len(data) > _MAX_BYTES:
        raise DamagedRegistry(f"{where} has {len(data):,} bytes, and a catalog at most {_MAX_BYTES:,}; {mend}")
    document = parse_json(data, where=where, mend=mend, raises=DamagedRegistry, max_bytes=_MAX_BYTES)
    try:
        return Registry.model_validate(document)
    except ValidationError as error:
        # Not the error's own text: it may quote what the file holds.
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        at = ".".join(map(str, first["loc"]))
        raise DamagedRegistry(
            f"{where} is no catalog that this version reads ({at}{': ' if at else ''}{first['msg']}); {mend}"
        ) from None


def refuse_secrets(url: str) -> None:
    """Refuse a URL that holds credentials; the message does not repeat them.

    Raises
    ------
    ValueError
        If it names a user or a password, or has a query, as signed URLs do.
    """
    if "://" not in url:
        return
    has_user = _USER.search(url) is not None and not url.startswith(_CONTAINER_SCHEMES)
    if has_user or _PASSWORD.search(url):
        what = "a user or a password"
    elif "?" in url or "#" in url:
        what = "a query or a fragment, which may be a signature"
    else:
        return
    raise ValueError(
        f"the URL ({url.partition('://')[0]}://...) holds {what}, and a catalog keeps no secrets; give the plain URL, "
        "and credentials in the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, ...) or the storage options"
    )


class _SetWanted:
    """Criteria that one feature set must all meet."""

    def __init__(
        self, extractor: str | None, fingerprint: str | None, channel: str | None, licence: str | None
    ) -> None:
        given = (extractor, fingerprint, channel, licence)
        self.is_anything = all(one is None for one in given)
        self._extractor, self._fingerprint, self._channel, self._licence = (
            None if one is None else one.casefold() for one in given
        )

    def fits(self, found: KnownSet) -> bool:
        return (
            (self._extractor is None or found.extractor.casefold() == self._extractor)
            and (self._fingerprint is None or found.fingerprint.casefold().startswith(self._fingerprint))
            and (self._channel is None or any(self._channel in one.casefold() for one in found.channels))
            and (self._licence is None or self._licence in found.licence.casefold())
        )


def _has_words(store: KnownStore, words: Iterable[str]) -> bool:
    texts = [store.name, store.url, store.assembly]
    for one in store.feature_sets:
        texts += [one.name, one.extractor, one.licence, one.citation, *one.channels]
    text = "\n".join(texts).casefold()
    return all(word in text for word in words)


def _as_json(document: BaseModel) -> bytes:
    return document.model_dump_json(indent=1).encode()
