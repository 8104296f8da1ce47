"""Which bins of a haplotype are to be computed, and as which tasks.

Belongs here: touched bins and the list of shards. Does not: running them (`builders.overlays.run`), the arithmetic of
edits (`builders.overlays.haplotype`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from builders.execution.tasks import Place
from builders.extractors.base import Extractor, tile_bins
from builders.overlays.haplotype import Edits
from builders.source import Span
from catalog import FeatureSet
from catalog.value_type import Values
from featurestore import Origin, Store, write_shard
from featurestore.format.array_key import ArrayKey
from featurestore.format.layout import contig_key
from featurestore.rows.overlays.describe import find_overlay, read_touched
from featurestore.rows.overlays.layout import Overlay, OverlayLayout, Touched

_BLOCK_BINS = 1 << 20


class Input(NamedTuple):
    """What an extractor sees of a bin beyond the bin itself, on either side (bp); negative where it sees less."""

    left: int
    right: int

    @classmethod
    def of(cls, extractor: Extractor, bin_size: int) -> "Input":
        """Say it of an extractor; a tile of several bins has its context around the tile."""
        length = tile_bins(extractor) * bin_size
        left = extractor.input_length // 2 - length // 2
        return cls(left, extractor.input_length - length - left)


def touched_bins(feature_set: FeatureSet, length: int, edits: Edits, seen: Input) -> list[NDArray[np.int64]]:
    """Find the bins of each phase of a contig whose input holds a variant, ascending."""
    grid = feature_set.grid
    found = []
    for phase in range(len(grid.offsets)):
        blocks = [np.empty(0, dtype=np.int64)]
        for first in range(0, grid.n_bins(length, phase), _BLOCK_BINS):  # bins of one base are many
            bins = np.arange(first, min(first + _BLOCK_BINS, grid.n_bins(length, phase)), dtype=np.int64)
            starts = bins * grid.bin_size - grid.offsets[phase]
            blocks.append(bins[edits.touches(starts - seen.left, starts + grid.bin_size + seen.right)])
        found.append(np.concatenate(blocks))
    return found


class OverlayTask(NamedTuple):
    """One shard of one phase of a contig of an overlay."""

    overlay: str
    """Name of the overlay."""
    folder: str
    contig: str
    phase: int
    shard: int
    runs: tuple[tuple[int, int], ...]
    """Lifted bins that follow each other on the haplotype: first base (bp), and how many."""

    @property
    def place(self) -> Place:
        """Where its records lie."""
        return Place(self.contig, self.phase, self.shard)

    @property
    def n_bins(self) -> int:
        """Bins to compute."""
        return sum(n_bins for _, n_bins in self.runs)

    def __str__(self) -> str:
        return f"{self.overlay} {self.contig} phase {self.phase} shard {self.shard} ({self.n_bins} bins)"

    def array_of(self, feature_set: str) -> ArrayKey:
        """Give the address of the overlay."""
        return ArrayKey(feature_set, overlay=self.folder)

    def spans(self, feature_set: FeatureSet) -> list[Span]:
        """List the bins to compute, on the haplotype."""
        return [Span(self.contig, start, n_bins) for start, n_bins in self.runs]

    def write(
        self,
        store: Store,
        feature_sets: Sequence[FeatureSet],
        values: Mapping[str, Values],
        origin: Origin,
    ) -> int:
        """Write and commit the shard."""
        size = 0
        for item in feature_sets:
            overlay = find_overlay(store.objects, item, self.overlay)
            touched = read_touched(store.objects, overlay, self.contig)
            assert touched is not None  # declared before the build began
            size += write_shard(
                store.objects,
                OverlayLayout.of(item, overlay, touched),
                values[item.name],
                contig=self.contig,
                phase=self.phase,
                shard=self.shard,
                origin=origin,
            ).size
        return size


def plan_contig(
    feature_set: FeatureSet, overlay: Overlay, touched: Touched, bins: Sequence[NDArray[np.int64]], edits: Edits
) -> list[OverlayTask]:
    """List the shards of an overlay on a contig.

    Parameters
    ----------
    bins
        Touched bins of each phase.
    """
    array = OverlayLayout.of(feature_set, overlay, touched)
    size = feature_set.bin_size
    tasks = []
    for phase, shard in sorted(array.shards()):
        first, end = array.shard_span(phase, shard)
        starts = bins[phase][first:end] * size - feature_set.offsets[phase]
        lifted = edits.lift(starts + size // 2) - size // 2
        tasks.append(OverlayTask(overlay.name, overlay.folder, touched.contig, phase, shard, _runs(lifted, size)))
    return tasks


def _runs(starts: NDArray[np.int64], bin_size: int) -> tuple[tuple[int, int], ...]:
    firsts = np.flatnonzero(np.diff(starts, prepend=starts[0] - 2 * bin_size) != bin_size)
    lengths = np.diff([*firsts, len(starts)])
    return tuple(zip(starts[firsts].tolist(), lengths.tolist(), strict=True))


def without_committed(store: Store, overlay: Overlay, tasks: Sequence[OverlayTask]) -> list[OverlayTask]:
    """Leave out the tasks whose shards are committed."""
    done = store.commits(ArrayKey(overlay.feature_set, overlay=overlay.folder)).shards()
    return [task for task in tasks if (task.phase, task.shard) not in done.get(contig_key(task.contig), set())]
