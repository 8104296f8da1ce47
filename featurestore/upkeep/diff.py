"""Compare two stores, or two feature sets of one.

Belongs here: descriptions, which shards are equal by their records, and which rows are compared. Does not: statistics
of the differences (`featurestore.upkeep.channel_diff`), reporting (`featurestore.cli.diff_report`).

Rows are matched by genome position, phases by offset, channels by name: shard size, phases and order may differ.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catalog import AssemblyMismatch, FeatureSet
from featurestore.format.commits import NotBuilt
from featurestore.format.layout import ContigLayout
from featurestore.rows.row_requests import RowRequest
from featurestore.store import Store
from featurestore.upkeep.channel_diff import Change, ChannelChange, ChannelSums, Largest

_READ_VALUES = 1 << 24
"""Values of each read at a time: 32 MB of float16, 64 MB of float32."""

Progress = Callable[[int, int], None]
"""Called with the bins compared so far and in total."""


@dataclass(frozen=True, slots=True)
class OnlyIn:
    """Items that only one of the two has."""

    a: list[str]
    b: list[str]

    @classmethod
    def of(cls, a: Sequence[object], b: Sequence[object]) -> "OnlyIn":
        """Compare two lists, regardless of order."""
        in_a, in_b = set(a), set(b)
        return cls([str(item) for item in a if item not in in_b], [str(item) for item in b if item not in in_a])

    def __bool__(self) -> bool:
        return bool(self.a or self.b)


@dataclass(slots=True)
class SetDifference:
    """Differences between two feature sets.

    Shards are counted if both have the same shard size; otherwise segments, each within one shard of either set.
    """

    set_a: str
    set_b: str
    description: dict[str, tuple[object, object]]
    """Differing fields of the descriptions: value of one, of the other."""
    channels_only: OnlyIn
    offsets_only: OnlyIn
    contigs_only: OnlyIn
    equal_shards: int = 0
    """Shards with equal checksums in their records; not read."""
    equal_bins: int = 0
    """Bins of those shards."""
    read_shards: int = 0
    """Shards with other checksums, compared value by value."""
    bins_only_a: int = 0
    """Bins of common contigs and phases that are built in the first only."""
    bins_only_b: int = 0
    channels: list[ChannelChange] = field(default_factory=list)
    """Statistics over the bins of the shards that were read."""
    largest: list[Change] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same features, described in the same way."""
        return not (
            self.description
            or self.channels_only
            or self.offsets_only
            or self.contigs_only
            or self.bins_only_a
            or self.bins_only_b
            or any(channel.changed for channel in self.channels)
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences between two stores."""

    a: str
    b: str
    sets_only: OnlyIn
    sets: list[SetDifference]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.sets_only and all(item.is_equal for item in self.sets)

    def to_json(self) -> dict[str, object]:
        """Return the difference as plain JSON, without the single changes."""
        document = asdict(self)
        for written, item in zip(document["sets"], self.sets, strict=True):
            del written["largest"]
            written["is_equal"] = item.is_equal
            for row, channel in zip(written["channels"], item.channels, strict=True):
                row["changed_share"] = channel.changed_share
        return document | {"is_equal": self.is_equal}


def diff(
    a: Store,
    b: Store,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    largest: int = 0,
    progress: Progress | None = None,
) -> Difference:
    """Compare two stores of one assembly; values of two types are compared as numbers.

    Shards with equal checksums in their records are not read. Memory: about 400 MB, regardless of shard size.

    Parameters
    ----------
    pairs
        Names of feature sets to compare, of `a` and of `b`; None for those of the same name.
    largest
        Number of the largest changes to keep for every pair.

    Raises
    ------
    AssemblyMismatch, NotBuilt, ValueError
        If the two are of other assemblies, have no such sets, or sets that cannot be compared.
    DamagedRecord, DamagedChunk
        If a record or a shard cannot be read.
    """
    _require_one_assembly(a, b)
    sets_only = OnlyIn([], [])
    if pairs is None:
        names_a, names_b = a.feature_sets(), b.feature_sets()
        sets_only = OnlyIn.of(names_a, names_b)
        pairs = [(name, name) for name in names_a if name in names_b]
        if not pairs:
            raise NotBuilt(
                f"no feature set is in both: {a.url} has {', '.join(names_a) or 'none'}, {b.url} has "
                f"{', '.join(names_b) or 'none'}; name one of each with `pairs=`"
            )
    comparisons = [_Comparison(a, b, *pair, largest=largest) for pair in pairs]
    to_read = sum(segment.end - segment.first for item in comparisons for segment in item.to_read)
    done = 0
    for comparison in comparisons:
        for bins in comparison.read():
            done += bins
            if progress is not None:
                progress(done, to_read)
    return Difference(a.url, b.url, sets_only, [item.found() for item in comparisons])


def _require_one_assembly(a: Store, b: Store) -> None:
    if a.assembly.digest != b.assembly.digest:
        raise AssemblyMismatch(
            f"{a.url} is on {a.assembly.name} ({a.assembly.digest}), {b.url} on {b.assembly.name} "
            f"({b.assembly.digest}); bins are compared by their position, so both must be on one assembly: build one "
            "of them on that of the other"
        )


class _Segment(NamedTuple):
    """Rows within one shard of each."""

    contig: str
    phase_a: int
    phase_b: int
    shard_a: int
    shard_b: int
    first: int
    end: int
    is_whole: bool
    """Whether it spans both shards entirely."""


class _Comparison:
    """Comparison of two feature sets: first by their records, then by values."""

    def __init__(self, a: Store, b: Store, set_a: str, set_b: str, *, largest: int) -> None:
        self._stores = a, b
        self._sets = one, other = a.feature_set(set_a), b.feature_set(set_b)
        self._common = _common_channels(one, other)
        self._difference = SetDifference(
            set_a,
            set_b,
            description=_described(one, other, self._common),
            channels_only=OnlyIn.of(one.channel_names, other.channel_names),
            offsets_only=OnlyIn.of(one.offsets, other.offsets),
            contigs_only=OnlyIn.of(a.contigs(set_a), b.contigs(set_b)),
        )
        self._sums = ChannelSums(self._common)
        self._largest = Largest(largest) if largest else None
        self.to_read: list[_Segment] = []
        self._compare_records()

    def _compare_records(self) -> None:
        hashes_a, hashes_b = (
            {
                (commit.contig, commit.phase, commit.shard): commit.sha256
                for commit in store.commits(item.name).records()
            }
            for store, item in zip(self._stores, self._sets, strict=True)
        )
        one, other = self._sets
        found = self._difference
        in_bytes = operator.attrgetter("channel_names", "chunk_bins", "dtype")
        stored_alike = in_bytes(one) == in_bytes(other)
        for segment in self._segments():
            in_a = hashes_a.get((segment.contig, segment.phase_a, segment.shard_a))
            in_b = hashes_b.get((segment.contig, segment.phase_b, segment.shard_b))
            bins = segment.end - segment.first
            if in_a is None or in_b is None:
                found.bins_only_a += bins * (in_a is not None)
                found.bins_only_b += bins * (in_b is not None)
            elif in_a == in_b and segment.is_whole and stored_alike:
                found.equal_shards += 1
                found.equal_bins += bins
            else:
                found.read_shards += 1
                self.to_read.append(segment)

    def _segments(self) -> Iterator[_Segment]:
        """Iterate over the segments of all phases and contigs that both have."""
        (a, b), (one, other) = self._stores, self._sets
        phases = [
            (phase, other.offsets.index(offset)) for phase, offset in enumerate(one.offsets) if offset in other.offsets
        ]
        in_b = set(b.contigs(other.name))
        for contig in a.contigs(one.name):
            if contig not in in_b:
                continue
            layout_a, layout_b = (ContigLayout(item, a.assembly.lengths[contig]) for item in self._sets)
            size_a, size_b = layout_a.shard_bins, layout_b.shard_bins
            for phase_a, phase_b in phases:
                rows = layout_a.n_bins(phase_a)
                edges = sorted({*range(0, rows, size_a), *range(0, rows, size_b), rows})
                for first, end in pairwise(edges):
                    shards = first // size_a, first // size_b
                    yield _Segment(contig, phase_a, phase_b, *shards, first, end, is_whole=size_a == size_b)

    def read(self) -> Iterator[int]:
        """Compare the values of what may differ; yield the number of bins of each part when it is done."""
        readers = [store[item.name] for store, item in zip(self._stores, self._sets, strict=True)]
        columns = [_columns(item.channel_names, self._common) for item in self._sets]
        for contig, *phases, first, end in self._parts():
            a, b = (
                reader.rows([RowRequest(contig, phase, first, end)])[0][:, chosen]
                for reader, phase, chosen in zip(readers, phases, columns, strict=True)
            )
            self._sums.add(a, b)
            if self._largest is not None:
                spans = self._spans(contig, phases[0], first, end)
                self._largest.offer(a, b, contig=contig, spans=spans, channels=self._common)
            yield end - first

    def _parts(self) -> Iterator[tuple[str, int, int, int, int]]:
        """Split the segments into whole chunks of a bounded size: contig, phase of each, first row, end."""
        chunk = self._sets[0].chunk_bins
        n_channels = max(len(item.channels) for item in self._sets)
        step = max(1, _READ_VALUES // (n_channels * chunk)) * chunk
        for segment in self.to_read:
            for first in range(segment.first, segment.end, step):
                yield segment.contig, segment.phase_a, segment.phase_b, first, min(first + step, segment.end)

    def _spans(self, contig: str, phase: int, first: int, end: int) -> list[tuple[int, int]]:
        """Return the bases of every bin, clipped to the contig for other programs."""
        length = self._stores[0].assembly.lengths[contig]
        spans = (self._sets[0].grid.span(phase, index) for index in range(first, end))
        return [(max(start, 0), min(stop, length)) for start, stop in spans]

    def found(self) -> SetDifference:
        """Return the differences, after `read` has finished."""
        self._difference.channels = self._sums.changes()
        self._difference.largest = self._largest.changes() if self._largest is not None else []
        return self._difference


def _common_channels(a: FeatureSet, b: FeatureSet) -> tuple[str, ...]:
    """Return the common channels, in the order of the first; refuse sets that have nothing to compare."""
    if a.bin_size != b.bin_size:
        raise ValueError(
            f"{a.name!r} has bins of {a.bin_size} bp and {b.name!r} of {b.bin_size} bp; only bins of one size can be "
            "compared: build one of them again with the bins of the other"
        )
    in_b = set(b.channel_names)
    common = tuple(name for name in a.channel_names if name in in_b)
    if not common:
        raise ValueError(
            f"{a.name!r} and {b.name!r} have no channel of the same name ({a.channel_names[0]!r}, ... and "
            f"{b.channel_names[0]!r}, ...); choose sets that share some with `pairs=`"
        )
    return common


def _described(a: FeatureSet, b: FeatureSet, common: Sequence[str]) -> dict[str, tuple[object, object]]:
    """Compare two descriptions field by field; channels and pad for the common channels only."""
    documents = []
    channels_of_both = set(common)
    for item in (a, b):
        document = item.model_dump(mode="json", exclude={"name", "channels", "offsets", "pad"})
        channels = {channel.name: channel.model_dump(mode="json") for channel in item.channels}
        pads = dict(zip(item.channel_names, item.pad, strict=True))
        documents.append(
            document
            | {"order of channels": [name for name in item.channel_names if name in channels_of_both]}
            | {f"channel {name}": channels[name] for name in common}
            | {f"pad of {name}": pads[name] for name in common}
        )
    one, other = documents
    return {name: (one[name], other[name]) for name in one if one[name] != other[name]}


def _columns(names: Sequence[str], wanted: Sequence[str]) -> slice | NDArray[np.intp]:
    """Return an index of the wanted columns; a slice, which copies nothing, for all of them."""
    if tuple(names) == tuple(wanted):
        return slice(None)
    place = {name: index for index, name in enumerate(names)}
    return np.asarray([place[name] for name in wanted], dtype=np.intp)
