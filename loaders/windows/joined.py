"""The windows of several datasets of one feature set, one after the other.

Belongs here: `JoinedDataset`. Does not: several feature sets of the same windows (`loaders.windows.aligned`), reading
(`loaders.windows.grid`).
"""

import copy
from collections.abc import Sequence
from typing import Self, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from catalog import Assembly, FeatureIdentity
from featurestore.display import Display, Displayed, heading, some
from loaders.settings import Orientation, WindowSettings
from loaders.stats import Stats
from loaders.windows.aligned import refuse_disagreement
from loaders.windows.grid import WindowDataset
from loaders.windows.indexing import TensorWindows, window_numbers
from loaders.windows.source import Placed

T = TypeVar("T", bound=np.generic)


class JoinedDataset(Displayed, TensorWindows):
    """The windows of several datasets of one feature set, one after the other, as if they were one.

    Raises
    ------
    AssemblyMismatch, FingerprintMismatch
        If they are on different assemblies, or the set was made in two ways.
    ValueError
        If they hold different sets, channels or types, or there are none.
    """

    anchors = None
    """The windows lie on the grid."""

    def __init__(self, parts: Sequence[WindowDataset]) -> None:
        if not parts:
            raise ValueError("there are no datasets to join; name one at least")
        self.parts = list(parts)
        refuse_disagreement(self.parts)
        first = self.parts[0]
        for part in self.parts[1:]:
            for what in ("name", "channel_names", "n_bins", "dtype", "orient"):
                one, other = getattr(first, what), getattr(part, what)
                if one != other:
                    raise ValueError(
                        f"datasets that are joined share feature set, channels, n_bins, dtype and orientation, but "
                        f"{what} is {one} in one and {other} in another; make them alike, or align sets with "
                        "loaders.AlignedDataset"
                    )
        counts = [len(part) for part in self.parts]
        self._holders = np.repeat(np.arange(len(counts)), counts)
        """Which part holds each window."""
        self._within = np.concatenate([np.arange(count) for count in counts])
        """Its place there."""

    @property
    def n_bins(self) -> int:
        """Bins a window; may be set at any time."""
        return self.parts[0].n_bins

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        for part in self.parts:
            part.n_bins = n_bins

    @property
    def settings(self) -> WindowSettings:
        """How windows are cut, read and shown."""
        return self.parts[0].settings

    @property
    def name(self) -> str:
        """Name of the feature set."""
        return self.parts[0].name

    @property
    def assembly(self) -> Assembly:
        """What the windows lie on."""
        return self.parts[0].assembly

    @property
    def bin_size(self) -> int:
        """Bases of every bin (bp)."""
        return self.parts[0].bin_size

    @property
    def contigs(self) -> tuple[str, ...]:
        """Contig of each window, under the assembly's own name."""
        places = zip(self._holders.tolist(), self._within.tolist(), strict=True)
        return tuple(self.parts[holder].contigs[place] for holder, place in places)

    @property
    def centres(self) -> NDArray[np.int64]:
        """Position of each window (bp), without jitter."""
        return self._gathered([part.centres for part in self.parts])

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the tensors' last axis."""
        return self.parts[0].channel_names

    @property
    def channel_texts(self) -> tuple[str, ...]:
        """What each channel means, in words that begin with its name."""
        return self.parts[0].channel_texts

    @property
    def identity(self) -> FeatureIdentity:
        """What decides the meaning of the features, with the channels that are shown."""
        return self.parts[0].identity

    @property
    def fingerprint(self) -> str:
        """What the features were made with."""
        return self.parts[0].fingerprint

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint by name of the feature set."""
        return self.parts[0].fingerprints

    @property
    def orient(self) -> Orientation:
        """Which way the bins run: along the forward strand, or along each gene."""
        return self.parts[0].orient

    @property
    def is_reversed(self) -> NDArray[np.bool_]:
        """Whether the bins of each window run backwards, shape `(windows,)`: see `orient`."""
        return self._gathered([part.is_reversed for part in self.parts])

    @property
    def stats(self) -> Stats:
        """What was read in this process, by all parts."""
        return Stats.total(part.stats for part in self.parts)

    def _display(self) -> Display:
        return Display(
            f"JoinedDataset of {self.name}",
            (
                ("windows", f"{len(self):,}, orient={self.orient!r}"),
                ("tensors", f"{self.n_bins:,} bins x {len(self.channel_names):,} channels each"),
                ("channels", some(self.channel_names)),
                ("of", "; ".join(heading(part) for part in self.parts)),
            ),
        )

    def set_epoch(self, epoch: int) -> None:
        """Jitter the windows as in this epoch."""
        for part in self.parts:
            part.set_epoch(epoch)

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard each window's centre lies in, by number; two datasets share none; `(windows,)`."""
        numbered, first = [], 0
        for part in self.parts:
            numbered.append(part.blocks() + first)
            first = int(numbered[-1].max()) + 1
        return self._gathered(numbered)

    def placed(self, indices: Sequence[int]) -> Placed:
        """Place some windows as in this epoch; nothing is read."""
        every = [part.placed(range(len(part))) for part in self.parts]
        chosen = self.subset(indices)
        return Placed(*(chosen._gathered(list(column)) for column in zip(*every, strict=True)))

    def subset(self, indices: Sequence[int]) -> Self:
        """Give the dataset of some of the windows, in the order named; it shares what was read already."""
        chosen, places = copy.copy(self), window_numbers(indices)
        chosen._holders, chosen._within = self._holders[places], self._within[places]
        return chosen

    def with_n_bins(self, n_bins: int) -> Self:
        """Give the dataset of the same windows with so many bins each; it shares what was read already."""
        return self._with_parts([part.with_n_bins(n_bins) for part in self.parts])

    def unjittered(self) -> Self:
        """Give the dataset of the same windows without jitter, for evaluation."""
        return self._with_parts([part.unjittered() for part in self.parts])

    def elsewhere(self, contigs: Sequence[str], centres: ArrayLike) -> WindowDataset:
        """Give windows of the first dataset's store around other positions; see `WindowDataset.elsewhere`."""
        return self.parts[0].elsewhere(contigs, centres)

    def __len__(self) -> int:
        return len(self._holders)

    def _batch(self, indices: list[int]) -> Tensor:
        holders, within = self._holders[indices], self._within[indices]
        read: list[Tensor] = []
        order: list[NDArray[np.int64]] = []
        for holder in np.unique(holders).tolist():
            here = np.flatnonzero(holders == holder)
            order.append(here)
            read.append(self.parts[holder][within[here].tolist()])
        batch = torch.empty((len(indices), *read[0].shape[1:]), dtype=read[0].dtype, device=read[0].device)
        for here, part in zip(order, read, strict=True):
            batch[here] = part.to(batch.device)
        return batch

    def _with_parts(self, parts: list[WindowDataset]) -> Self:
        changed = copy.copy(self)
        changed.parts = parts
        return changed

    def _gathered(self, columns: list[NDArray[T]]) -> NDArray[T]:
        """Put values of the parts' windows, one array a part, into the order of the windows here."""
        starts = np.cumsum([0, *map(len, columns)])
        gathered: NDArray[T] = np.concatenate(columns)[starts[self._holders] + self._within]
        return gathered
