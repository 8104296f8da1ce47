"""What a worker is asked to do in one go: one shard of every feature set of an extractor.

Belongs here: what every kind of shard has in common, and the shard of a contig. Does not: choosing them
(`builders.plan`), doing them (`builders.shard`), shards of anchors (`builders.anchors`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from builders.sequence import bin_sequences
from catalog import Fasta, FeatureSet
from catalog.value_type import Values
from featurestore import ContigLayout, Origin, Store, write_shard


class Place(NamedTuple):
    """Where the commit record of a shard, or the note of its failure, lies in the log of its feature set."""

    contig: str
    phase: int
    shard: int


class Task(Protocol):
    """One shard of every feature set of an extractor. Small: it travels to the worker."""

    @property
    def place(self) -> Place:
        """Where its records lie."""
        ...

    @property
    def n_bins(self) -> int:
        """Bins that it stores."""
        ...

    def log_of(self, feature_set: str) -> str:
        """Name the commit log that a feature set has for this kind of shard."""
        ...

    def sequences(self, fasta: Fasta, feature_set: FeatureSet, input_length: int) -> NDArray[np.uint8]:
        """Read what the extractor sees of each bin to compute: ASCII, shape `(bins, input_length)`, uint8."""
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

    def log_of(self, feature_set: str) -> str:
        """Name the commit log: that of the set itself."""
        return feature_set

    def sequences(self, fasta: Fasta, feature_set: FeatureSet, input_length: int) -> NDArray[np.uint8]:
        """Read what the extractor sees of each bin."""
        return bin_sequences(fasta, self.contig, feature_set.grid, self.phase, self.first, self.end, input_length)

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
