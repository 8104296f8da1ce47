"""Tasks of a build: one shard of every feature set of a source.

Belongs here: the protocol of tasks, and the shard of a contig. Does not: listing them
(`builders.plan`), running them (`builders.execution.shard`), shards of anchors (`builders.anchored.anchors`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from builders.source import Span
from catalog import FeatureSet
from catalog.value_type import Values
from featurestore import ContigLayout, Origin, Store, write_shard
from featurestore.format.array_key import ArrayKey


class Place(NamedTuple):
    """Where the commit record of a shard, or the note of its failure, lies in the log of its feature set."""

    contig: str
    phase: int
    shard: int


class Task(Protocol):
    """One shard of every feature set of a source. Small: it travels to the worker."""

    @property
    def place(self) -> Place:
        """Where its records lie."""
        ...

    @property
    def n_bins(self) -> int:
        """Bins that it stores."""
        ...

    def array_of(self, feature_set: str) -> ArrayKey:
        """Give the address of the array of a feature set that this kind of shard is of."""
        ...

    def spans(self, feature_set: FeatureSet) -> list[Span]:
        """List the bins to compute; empty where all are known."""
        ...

    def write(
        self,
        store: Store,
        feature_sets: Sequence[FeatureSet],
        values: Mapping[str, Values],
        origin: Origin,
    ) -> int:
        """Write and commit the features of those bins, `(bins, channels)` a set; give the size of the objects."""
        ...


class ShardTask(NamedTuple):
    """One shard of a phase of a contig."""

    contig: str
    phase: int
    shard: int
    first: int
    end: int
    """Bins `[first, end)` of the phase."""

    @property
    def place(self) -> Place:
        """Where its records lie."""
        return Place(self.contig, self.phase, self.shard)

    @property
    def n_bins(self) -> int:
        """Bins to compute."""
        return self.end - self.first

    def __str__(self) -> str:
        return f"{self.contig} phase {self.phase} shard {self.shard} (bins {self.first}-{self.end - 1})"

    def array_of(self, feature_set: str) -> ArrayKey:
        """Give the address of the set's grid."""
        return ArrayKey(feature_set)

    def spans(self, feature_set: FeatureSet) -> list[Span]:
        """List the bins to compute: all, contiguous."""
        return [Span(self.contig, feature_set.grid.span(self.phase, self.first)[0], self.n_bins)]

    def write(
        self,
        store: Store,
        feature_sets: Sequence[FeatureSet],
        values: Mapping[str, Values],
        origin: Origin,
    ) -> int:
        """Write and commit the shard of each set."""
        length = store.assembly.lengths[self.contig]
        return sum(
            write_shard(
                store.objects,
                ContigLayout(item, length),
                values[item.name],
                contig=self.contig,
                phase=self.phase,
                shard=self.shard,
                origin=origin,
            ).size
            for item in feature_sets
        )
