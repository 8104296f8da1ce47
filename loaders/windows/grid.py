"""Windows of one feature set around any positions, as tensors.

Belongs here: the map-style dataset on the grid. Does not: reading (`featurestore`), which channels
(`loaders.windows.channels`), windows around anchors (`loaders.windows.anchored`), batches and their order
(`loaders.batching.loader`), genes (`loaders.genes`).
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from catalog.runtime.whole_numbers import MOST, whole_numbers
from catalog.value_type import Values
from featurestore import RowRequest, StorageOptions
from featurestore.rows.window_plan import WindowPlan
from featurestore.store import StorePlace
from loaders.counter_rng import draw_within
from loaders.projection import Projection
from loaders.residence.open import (
    DEFAULT_CACHE_BYTES,
    DEFAULT_MEMORY_BYTES,
    DEFAULT_STREAM_BYTES,
    CountingReader,
    Residence,
    open_grid_reader,
)
from loaders.settings import Orientation, TensorType, WindowSettings, named_channels
from loaders.windows.base import FeatureWindows, reversed_windows
from loaders.windows.indexing import window_numbers
from loaders.windows.source import Placed


class WindowDataset(FeatureWindows[CountingReader]):
    """Windows of one feature set around given positions, map-style.

    Parameters
    ----------
    url
        The store: its path or URL, or one that is open.
    feature_set
        Name of the set.
    contigs, centres
        One contig and one position (0-based bp) a window.
    n_bins
        Bins a window. `dataset.n_bins = 101` changes it in place; nothing is read or computed until the next item.
    residence
        `memory`, `device`, `cache` or `stream`: where rows are kept, within `memory_bytes`, `cache_bytes` and
        `cache_dir`, or `stream_bytes` (`loaders.open_reader`); the tensors are equal. With `device` they are on the GPU
        if there is one, and windows are gathered there (`loaders.windows.row_table`).
    channels
        Names or groups to keep, or `"signal"` for all but those that the set marks as low-signal
        (`loaders.windows.channels.ChannelView`); None for all.
    projection
        Weighted sums of those channels to give in their place.
    strands
        `+` or `-` for each window, for `orient="gene"`.
    orient
        `forward`: bins run along the forward strand. `gene`: bins of windows on the minus strand run backwards.
    jitter_bins, jitter_bp
        Move each window by up to so many bins, and by up to so many bp, either way, evenly drawn and kept inside its
        contig. The phase nearest to the moved centre is read; `placed` tells the residual. A draw depends on `seed`,
        the epoch (`set_epoch`) and the window alone: not on order, workers or ranks.
    seed
        Of the jitter.
    overlay
        A personal genome, such as `NA12878/1`, whose bins are read where they differ; None for the reference.
    dtype
        Of the tensors: a floating one, or uint8 for a set of it; None for float32, or for the set's own uint8.

    Raises
    ------
    UnknownContig, ValueError
        If a window does not lie in the store's assembly; said at once, not in the middle of an epoch.
    NotBuilt
        If the store lacks the feature set; a shard that lacks is said when a window needs it.
    """

    def __init__(
        self,
        url: StorePlace,
        feature_set: str,
        *,
        contigs: Sequence[str] | str,
        centres: ArrayLike,
        n_bins: int = 251,
        residence: Residence = "memory",
        channels: Sequence[str] | str | None = None,
        projection: Projection | None = None,
        strands: Sequence[str] | None = None,
        orient: Orientation = "forward",
        jitter_bins: int = 0,
        jitter_bp: int = 0,
        seed: int = 0,
        dtype: torch.dtype | None = None,
        storage_options: StorageOptions | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        stream_bytes: int = DEFAULT_STREAM_BYTES,
        overlay: str | None = None,
    ) -> None:
        settings = WindowSettings(
            n_bins=n_bins,
            residence=residence,
            channels=named_channels(channels),
            projection=projection,
            orient=orient,
            jitter_bins=jitter_bins,
            jitter_bp=jitter_bp,
            seed=seed,
            dtype=None if dtype is None else cast(TensorType, str(dtype).removeprefix("torch.")),
            storage_options=storage_options,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            cache_bytes=cache_bytes,
            memory_bytes=memory_bytes,
            stream_bytes=stream_bytes,
            overlay=overlay,
        )
        self._begin(url, feature_set, contigs, centres, strands, settings)

    @classmethod
    def of(
        cls,
        url: StorePlace,
        feature_set: str,
        *,
        contigs: Sequence[str] | str,
        centres: ArrayLike,
        strands: Sequence[str] | None = None,
        settings: WindowSettings,
    ) -> Self:
        """Make the dataset of some windows from settings that come as one value."""
        made = cls.__new__(cls)
        made._begin(url, feature_set, contigs, centres, strands, settings)
        return made

    def _begin(
        self,
        url: StorePlace,
        feature_set: str,
        contigs: Sequence[str] | str,
        centres: ArrayLike,
        strands: Sequence[str] | None,
        settings: WindowSettings,
    ) -> None:
        if np.size(centres) == 0:
            raise ValueError("there are no windows: centres is empty; give one contig and one centre a window")
        super().__init__(url, feature_set, settings)
        self.reader.plan(contigs, centres, settings.n_bins)  # refuses windows that are not on this assembly
        if settings.jitter_bins * self.bin_size + settings.jitter_bp > MOST:
            raise ValueError(
                f"`jitter_bins={settings.jitter_bins}` and `jitter_bp={settings.jitter_bp}` move windows further than "
                "any genome is long; give smaller ones"
            )
        positions = whole_numbers(centres, name="centres")
        names = [contigs] * len(positions) if isinstance(contigs, str) else contigs
        own = {name: self.reader.assembly.resolve(name) for name in set(names)}
        is_reversed = reversed_windows(strands, settings.orient, len(positions))
        # A window is jittered by its number here, in any subset.
        self._set_windows([own[name] for name in names], positions, is_reversed, range(len(positions)))

    def _check_n_bins(self, n_bins: int) -> None:
        self.reader.feature_set.grid.checked_n_bins(n_bins)

    def _open(self) -> CountingReader:
        settings = self.settings
        return open_grid_reader(
            self._url,
            self._feature_set,
            residence=settings.residence,
            options=settings,
            storage_options=settings.storage_options,
            overlay=settings.overlay,
        )

    @property
    def anchors(self) -> None:
        """None: the windows lie on the grid."""
        return

    def centres_at(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the positions that some windows are read around in this epoch (bp)."""
        places = window_numbers(indices)
        centres = self.centres[places]
        most_bins, most_bp = self._settings.jitter_bins, self._settings.jitter_bp
        if not (most_bins or most_bp):
            return centres
        numbers, seed, epoch = self._numbers[places], self._settings.seed, self.epoch
        bins = draw_within(numbers, most_bins, seed=seed, epoch=epoch, purpose="jitter_bins")
        bp = draw_within(numbers, most_bp, seed=seed, epoch=epoch, purpose="jitter_bp")
        lengths = self.reader.assembly.lengths
        last = np.asarray([lengths[self.contigs[place]] - 1 for place in places], dtype=np.int64)
        moved: NDArray[np.int64] = centres + bins * self.bin_size + bp
        return moved.clip(0, last)

    def placed(self, indices: Sequence[int]) -> Placed:
        """Place some windows as in this epoch; nothing is read."""
        centres = self.centres_at(indices)
        grid = self.reader.feature_set.grid
        phases, first_bins, residuals = grid.place_whole(centres, self.n_bins)
        starts = first_bins * grid.bin_size - np.asarray(grid.offsets, dtype=np.int64)[phases]
        return Placed(centres, starts, phases, residuals)

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard each window's centre lies in, by number: the blocks of a two-level shuffle; `(windows,)`."""
        feature_set = self.reader.feature_set
        shards = self.centres // (feature_set.bin_size * feature_set.shard_bins)
        number = {contig: number for number, contig in enumerate(dict.fromkeys(self.contigs))}
        contigs = np.asarray([number[contig] for contig in self.contigs], dtype=np.int64)
        blocks: NDArray[np.int64] = contigs * (shards.max() + 1) + shards
        return blocks

    def same_windows(self, other: "WindowDataset") -> bool:
        """Whether the other dataset's windows lie around the same positions in every epoch, and turn the same way."""
        jitters = [(one.jitter_bins, one.jitter_bp, one.seed) for one in (self.settings, other.settings)]
        return (
            self.contigs == other.contigs
            and np.array_equal(self.centres, other.centres)
            and np.array_equal(self._reversed, other._reversed)
            and np.array_equal(self._numbers, other._numbers)
            and jitters[0] == jitters[1]
        )

    def elsewhere(self, contigs: Sequence[str], centres: ArrayLike) -> "WindowDataset":
        """Give the dataset of windows around other positions, forward and without jitter; it shares what was read.

        Raises
        ------
        UnknownContig, ValueError
            If a window does not lie in the store's assembly.
        """
        self.reader.plan(contigs, centres, self.n_bins)
        moved = self.unjittered()
        moved._settings = replace(moved.settings, orient="forward")
        own = [self.reader.assembly.resolve(contig) for contig in contigs]
        moved._set_windows(
            own, whole_numbers(centres, name="centres"), np.zeros(len(own), dtype=np.bool_), range(len(own))
        )
        return moved

    def unjittered(self) -> "WindowDataset":
        """Give the dataset of the same windows without jitter, for evaluation."""
        chosen = self._copy()
        chosen._settings = replace(self.settings, jitter_bins=0, jitter_bp=0)
        return chosen

    def plan_of(self, plan: WindowPlan) -> tuple[list[RowRequest], NDArray[np.int64]]:
        """Give for each window of a plan all rows of its contig and phase, and which of them is that of its first bin.

        Raises
        ------
        NotBuilt
            If one of its rows was never built.
        """
        reader = self.reader
        reader.require_rows(plan)
        whole = {place: RowRequest(*place, 0, reader.n_rows(*place)) for place in plan.places}
        places = zip(plan.contigs, plan.phases.tolist(), strict=True)
        return [whole[place] for place in places], plan.first_bins

    def _planned(self) -> tuple[list[RowRequest], NDArray[np.int64]]:
        centres = self.centres_at(range(len(self)))
        return self.plan_of(self.reader.plan(self.contigs, centres, self.n_bins))

    def _read(self, indices: list[int]) -> Values:
        contigs = [self.contigs[index] for index in indices]
        return self.reader.windows(contigs, self.centres_at(indices), self.n_bins).values
