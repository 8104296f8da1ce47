"""Feature sets: channels, grid, and provenance.

Belongs here: the documents that describe features. Does not: computing them (`builders`) or storing them
(`featurestore`).
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from catalog.grid import Grid
from catalog.value_type import Dtype, ValueType, value_type

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""A name that is also that of a folder: letters, digits, `.`, `_`, `-`."""


_MOST_PHASES = 4096
"""As many as bins of the default size have edges."""
_MOST_SHARD_BYTES = 1 << 32


@lru_cache(maxsize=64)
def _grid(bin_size: int, offsets: tuple[int, ...]) -> Grid:
    """Make a grid once: its checks take longer than most uses of it."""
    return Grid(bin_size=bin_size, offsets=offsets)


class Channel(BaseModel):
    """One column of a feature set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Unique in its set: the label that figures, subsets and prompts use."""
    description: str = ""
    """What a high value means, in words."""
    group: str = ""
    """Channels of one kind share a group (`E` for the enhancer classes of Sei)."""
    low_signal: bool = False
    """Loaders may drop it: the model's authors report little signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureIdentity:
    """What two sets of features share if their numbers mean the same: `first_difference` compares two.

    None stands for what an earlier version did not record: it is not compared.
    """

    assembly_digest: str | None
    name: str | None
    """Of the feature set."""
    extractor: str | None
    bin_size: int | None
    """(bp)"""
    dtype: Dtype | None
    """Of the values as stored."""
    channels: tuple[str, ...] | None
    """Names in the order of the last axis; of a dataset that shows some of them, those."""
    fingerprint: str | None

    def first_difference(self, other: "FeatureIdentity") -> str | None:
        """Describe the first difference, as in `bins of 16 bp, not 64 bp` (this one, then the other); None if equal.

        The most informative field is compared first; the fingerprint, which explains least, last.
        """
        for difference in (
            _differing("assembly", self.assembly_digest, other.assembly_digest),
            _differing("name", self.name, other.name),
            _differing("extractor", self.extractor, other.extractor),
            _differing("bins of", self.bin_size, other.bin_size, unit=" bp"),
            _differing("values of", self.dtype, other.dtype),
            _differing_channels(self.channels, other.channels),
            _differing("fingerprint", self.fingerprint, other.fingerprint),
        ):
            if difference is not None:
                return difference
        return None


def _differing(label: str, one: object, other: object, *, unit: str = "") -> str | None:
    return None if None in (one, other) or one == other else f"{label} {one}{unit}, not {other}{unit}"


def _differing_channels(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> str | None:
    if one is None or other is None or one == other:
        return None
    if len(one) != len(other):
        return f"{len(one):,} channels, not {len(other):,}"
    place = next(place for place, names in enumerate(zip(one, other, strict=True)) if names[0] != names[1])
    return f"channel {one[place]!r} in column {place}, not {other[place]!r}"


class FeatureSet(BaseModel):
    """All channels that one extractor writes under one name, with the metadata that a reader needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    extractor: Name
    fingerprint: str
    """Digest of everything that determines the values: weights, code version, precision, options."""
    channels: tuple[Channel, ...]
    bin_size: int
    offsets: Annotated[tuple[int, ...], Field(max_length=_MOST_PHASES)]
    pad: tuple[float, ...]
    """The extractor's output on sequence that is all N: the row of every bin outside its contig."""
    chunk_bins: int = Field(ge=1)
    """Bins an inner chunk, the smallest unit of a read."""
    shard_bins: int = Field(ge=1)
    """Bins a shard at the most, and 4 GiB: one object, one task, one commit."""
    dtype: Dtype = "float16"
    """Type of the values: `float16`, `float32` or `uint8`, in which 255 means never built."""
    licence: str = ""
    citation: str = ""
    options: dict[str, JsonValue] = {}
    """Options of the extractor, for people; only `fingerprint` is compared."""

    @field_validator("channels")
    @classmethod
    def _channels_are_distinct(cls, channels: tuple[Channel, ...]) -> tuple[Channel, ...]:
        names = [channel.name for channel in channels]
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        if not names or repeated:
            raise ValueError(f"a feature set has channels of distinct names; repeated: {repeated[:5] or 'none given'}")
        return channels

    @model_validator(mode="after")
    def _parts_agree(self) -> "FeatureSet":
        _ = self.grid
        if len(self.pad) != len(self.channels):
            raise ValueError(f"pad has one value a channel: expected {len(self.channels)}, got {len(self.pad)}")
        self.value_type.encode(np.asarray([self.pad]), where="pad", channels=self.channel_names)
        if self.shard_bins % self.chunk_bins:
            raise ValueError(f"a shard is whole chunks: {self.shard_bins} bins is no multiple of {self.chunk_bins}")
        if self.shard_bins * len(self.channels) * self.value_type.item_bytes > _MOST_SHARD_BYTES:
            raise ValueError(
                f"a shard of {self.shard_bins} bins x {len(self.channels)} channels has more than "
                f"{_MOST_SHARD_BYTES:,} bytes; take fewer bins a shard"
            )
        return self

    def identity(self, assembly_digest: str) -> "FeatureIdentity":
        """Identity of the set on an assembly; phases, licence and chunks are no part of it."""
        return FeatureIdentity(
            assembly_digest=assembly_digest,
            name=self.name,
            extractor=self.extractor,
            bin_size=self.bin_size,
            dtype=self.dtype,
            channels=self.channel_names,
            fingerprint=self.fingerprint,
        )

    @property
    def value_type(self) -> ValueType:
        """Type of the stored values, with its fill value."""
        return value_type(self.dtype)

    @property
    def grid(self) -> Grid:
        """The tilings that the set is computed on."""
        return _grid(self.bin_size, self.offsets)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names in the order of the array's last axis."""
        return tuple(channel.name for channel in self.channels)
