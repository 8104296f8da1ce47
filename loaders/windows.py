"""Windows of one feature set as tensors.

Belongs here: the map-style dataset. Does not: reading (`featurestore`), which channels (`loaders.channels`), batches
and their order (`loaders.batching.loader`), genes (`loaders.genes`).
"""

import copy
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset

from catalog import FeatureIdentity
from featurestore import StorageOptions
from loaders.channels import ChannelView, Projection
from loaders.counter_rng import draw_within
from loaders.residence.open import (
    DEFAULT_CACHE_BYTES,
    DEFAULT_MEMORY_BYTES,
    DEFAULT_STREAM_BYTES,
    CountingReader,
    Residence,
    open_reader,
)
from loaders.stats import Stats

Orientation = Literal["forward", "gene"]


class Placed(NamedTuple):
    """Where some windows are read in one epoch."""

    centres: NDArray[np.int64]
    """The positions that are read around, jitter included, shape `(windows,)` (bp)."""
    starts: NDArray[np.int64]
    """First base of each window, before base 0 for one that reaches past the contig, shape `(windows,)` (bp)."""
    phases: NDArray[np.int64]
    """Shape `(windows,)`."""
    residuals: NDArray[np.int64]
    """Centre of each window as read minus `centres`, shape `(windows,)` (bp, signed)."""


class WindowDataset(Dataset[Tensor]):
    """Windows of one feature set around given positions, map-style.

    Parameters
    ----------
    url
        The store.
    feature_set
        Name of the set.
    contigs, centres
        One contig and one position (0-based bp) a window.
    n_bins
        Bins a window. `dataset.n_bins = 101` changes it in place; nothing is read or computed until the next item.
    residence
        `memory`, `cache` or `stream`: where rows are kept, within `memory_bytes`, `cache_bytes` and `cache_dir`, or
        `stream_bytes` (`loaders.open_reader`); the tensors are equal.
    channels
        Names or groups to keep, or `"signal"` for all but those that the set marks as low-signal
        (`loaders.channels.ChannelView`); None for all.
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
    dtype
        Of the tensors, a floating one; the store holds float16.

    Raises
    ------
    UnknownContig, ValueError
        If a window does not lie in the store's assembly; said at once, not in the middle of an epoch.
    NotBuilt
        If the store lacks the feature set; a shard that lacks is said when a window needs it.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
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
        dtype: torch.dtype = torch.float32,
        storage_options: StorageOptions | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        stream_bytes: int = DEFAULT_STREAM_BYTES,
    ) -> None:
        if np.size(centres) == 0:
            raise ValueError("there are no windows: centres is empty; give one contig and one centre a window")
        if jitter_bins < 0 or jitter_bp < 0:
            raise ValueError(
                f"jitter is how far a window may move either way, 0 or more; got jitter_bins={jitter_bins} and "
                f"jitter_bp={jitter_bp}"
            )
        if not dtype.is_floating_point:
            raise ValueError(f"features are fractions: dtype is float16, bfloat16, float32 or float64; got {dtype}")
        self._open = {
            "url": os.fspath(url),
            "feature_set": feature_set,
            "residence": residence,
            "storage_options": storage_options,
            "cache_dir": cache_dir,
            "cache_bytes": cache_bytes,
            "memory_bytes": memory_bytes,
            "stream_bytes": stream_bytes,
        }
        self._reader: CountingReader | None = None
        self._opened_in = 0
        self.dtype = dtype
        self.reader.plan(contigs, centres, n_bins)  # refuses windows that are not on this assembly
        self.centres: NDArray[np.int64] = np.atleast_1d(np.asarray(centres)).astype(np.int64)
        """Position of each window (bp), without jitter."""
        names = [contigs] * len(self.centres) if isinstance(contigs, str) else contigs
        own = {name: self.reader.assembly.resolve(name) for name in set(names)}
        self.contigs: tuple[str, ...] = tuple(own[name] for name in names)
        """Contig of each window, under the assembly's own name."""
        self.orient: Orientation = orient
        """Which way the bins run."""
        self._reversed = _reversed_windows(strands, orient, len(self.contigs))
        self._view = ChannelView(self.reader.feature_set, channels, projection)
        self._jitter = (jitter_bins, jitter_bp)
        self._seed = seed
        self._epoch = 0
        # A window is jittered by its number here, in any subset.
        self._numbers = np.arange(len(self.contigs), dtype=np.int64)
        self.n_bins = n_bins

    @property
    def n_bins(self) -> int:
        """Bins a window; may be set at any time."""
        return self._n_bins

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        if n_bins < 1:
            raise ValueError(f"a window has at least 1 bin, got n_bins={n_bins}")
        self._n_bins = n_bins

    @property
    def reader(self) -> CountingReader:
        """The reader; opened on first use, so that a dataset can be sent to a spawned worker."""
        if self._reader is None:
            self._reader = open_reader(**self._open)  # type: ignore[arg-type]  # the constructor's own arguments
            self._opened_in = os.getpid()
        if os.getpid() != self._opened_in:
            # tensorstore aborts in a forked child and obstore waits for ever: neither is given the chance.
            raise RuntimeError(
                "this dataset was used before the process forked, and its store does not survive a fork; start "
                "workers with multiprocessing_context='spawn' or 'forkserver' (`loaders.data_loader` does), or use "
                "num_workers=0"
            )
        return self._reader

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the tensors' last axis."""
        return self._view.names

    @property
    def identity(self) -> FeatureIdentity:
        """What decides the meaning of the features, with the channels that are shown."""
        reader = self.reader
        return replace(reader.feature_set.identity(reader.assembly.digest), channels=self.channel_names)

    @property
    def fingerprint(self) -> str:
        """What the features were made with."""
        return self.reader.feature_set.fingerprint

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint by name of the feature set."""
        return {self.reader.name: self.fingerprint}

    @property
    def stats(self) -> Stats:
        """What was read in this process."""
        return self.reader.stats

    def set_epoch(self, epoch: int) -> None:
        """Jitter the windows as in this epoch; `loaders.data_loader` and `WindowStream` call it."""
        self._epoch = epoch

    def centres_at(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the positions that some windows are read around in this epoch (bp)."""
        places = np.asarray(indices, dtype=np.int64)
        centres = self.centres[places]
        if not any(self._jitter):
            return centres
        most_bins, most_bp = self._jitter
        numbers = self._numbers[places]
        bins = draw_within(numbers, most_bins, seed=self._seed, epoch=self._epoch, purpose="jitter_bins")
        bp = draw_within(numbers, most_bp, seed=self._seed, epoch=self._epoch, purpose="jitter_bp")
        lengths = self.reader.assembly.lengths
        last = np.asarray([lengths[self.contigs[place]] - 1 for place in places], dtype=np.int64)
        moved: NDArray[np.int64] = centres + bins * self.reader.feature_set.bin_size + bp
        return moved.clip(0, last)

    def placed(self, indices: Sequence[int]) -> Placed:
        """Tell where some windows are read in this epoch; nothing is read."""
        centres = self.centres_at(indices)
        grid = self.reader.feature_set.grid
        phases, first_bins, residuals = grid.place(centres, self.n_bins)
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
        return (
            self.contigs == other.contigs
            and np.array_equal(self.centres, other.centres)
            and np.array_equal(self._reversed, other._reversed)
            and np.array_equal(self._numbers, other._numbers)
            and (self._jitter, self._seed) == (other._jitter, other._seed)
        )

    @property
    def is_reversed(self) -> NDArray[np.bool_]:
        """Whether the bins of each window run backwards, shape `(windows,)`: see `orient`."""
        return self._reversed

    def __len__(self) -> int:
        return len(self.contigs)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: Sequence[int] | NDArray[np.int64]) -> Tensor: ...
    def __getitem__(self, index: int | Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Read one window, `(n_bins, channels)`, or for a list of indices a batch, `(windows, n_bins, channels)`."""
        if isinstance(index, Sequence | np.ndarray):
            return self._batch(list(index))
        return self._batch([int(index)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        """Read many windows in one request; DataLoader calls this when it makes batches itself."""
        return list(self._batch(list(indices)))

    def subset(self, indices: Sequence[int]) -> "WindowDataset":
        """Give the dataset of some of the windows, in the order named; it shares what was read already."""
        chosen = self._copy()
        chosen.contigs = tuple(self.contigs[index] for index in indices)
        chosen.centres = self.centres[list(indices)]
        chosen._reversed = self._reversed[list(indices)]
        chosen._numbers = self._numbers[list(indices)]
        return chosen

    def elsewhere(self, contigs: Sequence[str], centres: ArrayLike) -> "WindowDataset":
        """Give the dataset of windows around other positions, forward and without jitter; it shares what was read.

        Raises
        ------
        UnknownContig, ValueError
            If a window does not lie in the store's assembly.
        """
        self.reader.plan(contigs, centres, self.n_bins)
        moved = self.unjittered()
        moved.contigs = tuple(map(self.reader.assembly.resolve, contigs))
        moved.centres = np.asarray(centres, dtype=np.int64)
        moved.orient = "forward"
        moved._reversed = np.zeros(len(moved.contigs), dtype=np.bool_)
        moved._numbers = np.arange(len(moved.contigs), dtype=np.int64)
        return moved

    def unjittered(self) -> "WindowDataset":
        """Give the dataset of the same windows where they were asked for, as models are judged on."""
        chosen = self._copy()
        chosen._jitter = (0, 0)
        return chosen

    def tensor_of(self, values: NDArray[np.float16], indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Turn what was read for some windows into what this dataset gives: its channels, type and orientation."""
        tensor = self._view.tensor_of(values, self.dtype)
        turned = self._reversed[np.asarray(indices, dtype=np.int64)]
        if turned.any():
            tensor[turned] = tensor[turned].flip(1)
        return tensor

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None}

    def _copy(self) -> "WindowDataset":
        reader = self.reader  # opened before the copy is made, which notes in which process it was
        copied = copy.copy(self)
        copied._reader = reader  # a copy is made as a pickle is, without it
        return copied

    def _batch(self, indices: list[int]) -> Tensor:
        check_indices(indices, len(self))
        contigs = [self.contigs[index] for index in indices]
        return self.tensor_of(self.reader.windows(contigs, self.centres_at(indices), self.n_bins).values, indices)


def check_indices(indices: Sequence[int], n_windows: int) -> None:
    """Refuse indices that a dataset does not have, and none at all."""
    places = np.asarray(indices, dtype=np.int64)
    outside = places[(places < -n_windows) | (places >= n_windows)]
    if outside.size or not places.size:
        raise IndexError(
            f"this dataset has {n_windows} windows, 0 to {n_windows - 1}; got "
            f"{f'index {outside[0]}' if places.size else 'no index'}"
        )


def _reversed_windows(strands: Sequence[str] | None, orient: Orientation, n_windows: int) -> NDArray[np.bool_]:
    if orient not in ("forward", "gene"):
        raise ValueError(f"orient is 'forward' or 'gene', got {orient!r}")
    if orient == "forward":
        return np.zeros(n_windows, dtype=np.bool_)
    if strands is None or len(strands) != n_windows:
        raise ValueError(f"orient='gene' needs the strand of each of the {n_windows} windows: strands=['+', '-', ...]")
    return np.asarray([strand == "-" for strand in strands], dtype=np.bool_)
