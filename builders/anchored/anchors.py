"""Tasks of a build of anchored arrays: its shards, and where their bins come from.

Belongs here: the shard of an anchored array, and the list of them. Does not: running it
(`builders.anchored.run_anchors`), the arrays (`featurestore.anchored.layout`).

Nothing is computed twice: windows of a shard share their bins, and bins that the store's grid has are read from there,
as computed by the device that built the grid.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from builders.execution.tasks import Place
from builders.source import Span
from catalog import FeatureSet
from catalog.genes.anchors import Anchor
from catalog.value_type import Values
from featurestore import ContigLayout, Origin, RowRequest, Store, write_shard
from featurestore.anchored.declare import anchored_layout
from featurestore.anchored.layout import AnchorLayout, bin_offsets
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey


class AnchoredWindow(NamedTuple):
    """One window to build."""

    contig: str
    length: int
    """Of the contig (bp)."""
    centre: int
    offset: int | None
    """Of the grid's phase that has all of its bins, committed, in every feature set (bp); None if no phase has."""


class BinSources(NamedTuple):
    """Where the bins of a shard come from; arrays of shape `(windows, bins)` unless noted."""

    starts: NDArray[np.int64]
    """First base (bp)."""
    is_outside: NDArray[np.bool_]
    """Wholly outside the contig: the pad row."""
    is_in_grid: NDArray[np.bool_]
    """Read from the store's grid."""
    rows: NDArray[np.int64]
    """Row among the bins to compute; -1 for the others."""
    to_compute: NDArray[np.int64]
    """Number of the contig, first base modulo the bin size, and first base of each distinct bin to compute, ascending;
    shape `(3, rows)`. Neighbours of one tiling are adjacent, so that runs of them are read in one request."""


class AnchorTask(NamedTuple):
    """One shard of an anchored array of every feature set of a source."""

    anchors: str
    """Name of the table."""
    shard: int
    first: int
    """Number of the first anchor."""
    windows: tuple[AnchoredWindow, ...]
    window_bins: int
    bin_size: int

    @property
    def place(self) -> Place:
        """Where its records lie."""
        return Place(layout.ANCHORS, 0, self.shard)

    @property
    def n_bins(self) -> int:
        """Bins that it stores."""
        return len(self.windows) * self.window_bins

    def __str__(self) -> str:
        return f"{self.anchors} shard {self.shard} (anchors {self.first}-{self.first + len(self.windows) - 1})"

    def array_of(self, feature_set: str) -> ArrayKey:
        """Give the address of the anchored array."""
        return ArrayKey(feature_set, self.anchors)

    def spans(self, feature_set: FeatureSet) -> list[Span]:
        """List the distinct bins to compute: runs of neighbours."""
        numbers, phases, starts = sources_of(self).to_compute
        if not len(starts):
            return []
        is_first = (np.diff(numbers, prepend=-1) != 0) | (np.diff(phases, prepend=-1) != 0)
        is_first[1:] |= np.diff(starts) != self.bin_size
        firsts = np.flatnonzero(is_first)
        lengths = np.diff([*firsts, len(starts)])
        contigs = _contigs(self)
        return [
            Span(contigs[numbers[first]], int(starts[first]), int(n_bins))
            for first, n_bins in zip(firsts, lengths, strict=True)
        ]

    def write(
        self,
        store: Store,
        feature_sets: Sequence[FeatureSet],
        values: Mapping[str, Values],
        origin: Origin,
    ) -> int:
        """Gather the windows, write and commit the shard of each set."""
        return sum(
            write_shard(
                store.objects,
                anchored_layout(store, item, self.anchors),
                self._gather(store, item, values[item.name]),
                contig=layout.ANCHORS,
                phase=0,
                shard=self.shard,
                origin=origin,
            ).size
            for item in feature_sets
        )

    def _gather(self, store: Store, feature_set: FeatureSet, computed: Values) -> Values:
        """Gather the features of all bins, window after window, shape `(bins, channels)`."""
        sources = sources_of(self)
        features = np.empty((*sources.starts.shape, len(feature_set.channels)), dtype=feature_set.dtype)
        features[sources.is_outside] = feature_set.pad
        is_computed = sources.rows >= 0
        features[is_computed] = computed[sources.rows[is_computed]]
        wanted = {
            number: _grid_rows(feature_set, window, sources.starts[number, 0], self.window_bins)
            for number, window in enumerate(self.windows)
            if window.offset is not None
        }
        if wanted:
            found = store[feature_set.name].rows(list(wanted.values()))
            for number, rows in zip(wanted, found, strict=True):
                features[number, sources.is_in_grid[number]] = rows
        return features.reshape(self.n_bins, -1)


@lru_cache(maxsize=4)
def sources_of(task: AnchorTask) -> BinSources:
    """Work out where each bin of a shard comes from."""
    lengths, centres = (np.array([getattr(window, name) for window in task.windows]) for name in ("length", "centre"))
    starts = centres[:, None] + bin_offsets(task.window_bins, task.bin_size)
    is_outside = (starts + task.bin_size <= 0) | (starts >= lengths[:, None])
    has_grid = np.array([window.offset is not None for window in task.windows])
    is_in_grid = ~is_outside & has_grid[:, None]
    contig_numbers = {contig: number for number, contig in enumerate(_contigs(task))}
    contigs = np.array([contig_numbers[window.contig] for window in task.windows])
    is_left = ~is_outside & ~is_in_grid
    left = starts[is_left]
    # Contig, first base modulo the bin size, and bin, as one number: sorting rows of three took 48 times as long.
    span = int(lengths.max()) + 2 * task.bin_size
    keys = np.broadcast_to(contigs[:, None], starts.shape)[is_left] * task.bin_size + left % task.bin_size
    _, first, inverse = np.unique(keys * span + left + task.bin_size, return_index=True, return_inverse=True)
    bins = np.stack([keys // task.bin_size, keys % task.bin_size, left])
    to_compute = bins[:, first]
    rows = np.full(starts.shape, -1, dtype=np.int64)
    rows[is_left] = inverse.reshape(-1)
    return BinSources(starts, is_outside, is_in_grid, rows, to_compute)


def _contigs(task: AnchorTask) -> list[str]:
    return list(dict.fromkeys(window.contig for window in task.windows))


def _grid_rows(feature_set: FeatureSet, window: AnchoredWindow, start: int, n_bins: int) -> RowRequest:
    """Say which rows of the grid a window has that begins at `start`; those outside the contig are none."""
    assert window.offset is not None
    phase = feature_set.offsets.index(window.offset)
    first = (int(start) + window.offset) // feature_set.bin_size
    rows = feature_set.grid.n_bins(window.length, phase)
    return RowRequest(window.contig, phase, max(first, 0), min(first + n_bins, rows))


def plan_anchors(
    store: Store, arrays: Sequence[AnchorLayout], anchors: Sequence[Anchor]
) -> tuple[list[AnchorTask], list[AnchorTask]]:
    """List the shards of anchored arrays that share them, and those of them that are not committed.

    Parameters
    ----------
    arrays
        Of the feature sets that one source writes.
    anchors
        The table, in the order of the arrays.
    """
    anchored = arrays[0].anchored
    grids = [(array.feature_set, store.commits(array.feature_set.name).shards()) for array in arrays]
    done = [store.commits(array.key).shards().get(layout.ANCHORS, set()) for array in arrays]
    lengths = store.assembly.lengths
    tasks = []
    for shard in range(arrays[0].n_shards):
        first, end = arrays[0].anchor_span(shard)
        windows = (
            AnchoredWindow(anchor.contig, lengths[anchor.contig], anchor.centre, None) for anchor in anchors[first:end]
        )
        windows_of_shard = tuple(_found_in_grid(window, grids, anchored.n_bins) for window in windows)
        tasks.append(AnchorTask(anchored.anchors, shard, first, windows_of_shard, anchored.n_bins, anchored.bin_size))
    return tasks, [task for task in tasks if not all((0, task.shard) in shards for shards in done)]


def _found_in_grid(
    window: AnchoredWindow, grids: Sequence[tuple[FeatureSet, dict[str, set[tuple[int, int]]]]], n_bins: int
) -> AnchoredWindow:
    """Note the offset of the phase whose committed shards have all bins of a window, in every feature set."""
    bin_size = grids[0][0].bin_size
    start = window.centre + int(bin_offsets(n_bins, bin_size)[0])
    found = window._replace(offset=-start % bin_size)
    for feature_set, committed in grids:
        if found.offset not in feature_set.offsets:
            return window
        rows = _grid_rows(feature_set, found, start, n_bins)
        size = ContigLayout(feature_set, window.length).shard_bins
        needed = {(rows.phase, shard) for shard in range(rows.first // size, (rows.end - 1) // size + 1)}
        if not needed <= committed.get(layout.contig_key(window.contig), set()):
            return window
    return found
