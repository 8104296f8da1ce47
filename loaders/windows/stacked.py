"""Several aligned feature sets as one: their channels side by side.

Belongs here: the one tensor of several sets, and the names of its channels. Does not: covering the same bases
(`loaders.windows.aligned`).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from catalog import Assembly, FeatureIdentity
from featurestore.display import Display, Displayed, heading, some
from loaders.settings import Orientation, WindowSettings
from loaders.stats import Stats
from loaders.windows.aligned import AlignedDataset
from loaders.windows.indexing import TensorWindows
from loaders.windows.source import Placed


class StackedDataset(Displayed, TensorWindows):
    """The sets of an `AlignedDataset` as one, `(windows, n_bins, channels)`: a `WindowSource`.

    Bins are those of the set with the widest ones. A set with bins a k-th as wide gives its k bins in each as k times
    its channels, in the order of the window's bins: nothing is averaged, so nothing is lost. What cannot be aligned so,
    `AlignedDataset` refuses. Channels are called `set/channel`, and those of narrower bins `set/channel+bp`, after the
    bases from the beginning of the wide bin to that of theirs (its end where bins run backwards).

    Parameters
    ----------
    aligned
        The sets; the order of its parts is that of the channels.
    """

    anchors = None
    """The windows lie on the grid."""

    def __init__(self, aligned: AlignedDataset) -> None:
        self.aligned = aligned

    @property
    def n_bins(self) -> int:
        """Bins a window, of the set with the widest bins; may be set at any time."""
        return self.aligned.n_bins

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        self.aligned.n_bins = n_bins

    @property
    def settings(self) -> WindowSettings:
        """How windows are cut, read and shown, as the set with the widest bins has it."""
        return self.aligned.lead.settings

    @property
    def name(self) -> str:
        """Names of the feature sets, comma-separated."""
        return ",".join(self.aligned.parts)

    @property
    def assembly(self) -> Assembly:
        """What the windows lie on."""
        return self.aligned.lead.assembly

    @property
    def bin_size(self) -> int:
        """Bases of every bin (bp)."""
        return self.aligned.lead.bin_size

    @property
    def contigs(self) -> tuple[str, ...]:
        """Contig of each window, under the assembly's own name."""
        return self.aligned.lead.contigs

    @property
    def centres(self) -> NDArray[np.int64]:
        """Position of each window (bp), without jitter."""
        return self.aligned.lead.centres

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the tensors' last axis."""
        return self._labels({name: part.channel_names for name, part in self.aligned.parts.items()})

    @property
    def channel_texts(self) -> tuple[str, ...]:
        """What each channel means, in words; those of narrower bins say the same of each."""
        return self._labels({name: part.channel_texts for name, part in self.aligned.parts.items()})

    @property
    def identity(self) -> FeatureIdentity:
        """What decides the meaning of the features, set by set."""
        lead = self.aligned.lead.identity
        every = [part.identity for part in self.aligned.parts.values()]
        return replace(
            lead,
            name=self.name,
            extractor=",".join(str(one.extractor) for one in every),
            dtype=lead.dtype if len({one.dtype for one in every}) == 1 else None,
            channels=self.channel_names,
            fingerprint=self.fingerprint,
        )

    @property
    def fingerprint(self) -> str:
        """What the features were made with, set by set."""
        return ",".join(f"{name}={made}" for name, made in self.fingerprints.items())

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint by name of the feature set."""
        return self.aligned.fingerprints

    @property
    def orient(self) -> Orientation:
        """Which way the bins run: along the forward strand, or along each gene."""
        return self.aligned.lead.orient

    @property
    def is_reversed(self) -> NDArray[np.bool_]:
        """Whether the bins of each window run backwards, shape `(windows,)`: see `orient`."""
        return self.aligned.lead.is_reversed

    @property
    def stats(self) -> Stats:
        """What was read in this process, of all sets."""
        return Stats.total(part.stats for part in self.aligned.parts.values())

    def _display(self) -> Display:
        return Display(
            f"StackedDataset of {self.name}",
            (
                ("windows", f"{len(self):,}, orient={self.orient!r}"),
                ("tensors", f"{self.n_bins:,} bins x {len(self.channel_names):,} channels each"),
                ("channels", some(self.channel_names)),
                ("of", "; ".join(heading(part) for part in self.aligned.parts.values())),
            ),
        )

    def set_epoch(self, epoch: int) -> None:
        """Jitter the windows as in this epoch."""
        self.aligned.set_epoch(epoch)

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard of the set with the widest bins each window's centre lies in, by number, `(windows,)`."""
        return self.aligned.blocks()

    def placed(self, indices: Sequence[int]) -> Placed:
        """Place some windows as in this epoch; nothing is read."""
        return self.aligned.lead.placed(indices)

    def subset(self, indices: Sequence[int]) -> Self:
        """Give the dataset of some of the windows, in the order named; it shares what was read already."""
        return self._of(self.aligned.subset(indices))

    def with_n_bins(self, n_bins: int) -> Self:
        """Give the dataset of the same windows with so many of the widest bins each."""
        return self._of(self.aligned.with_n_bins(n_bins))

    def unjittered(self) -> Self:
        """Give the dataset of the same windows without jitter, for evaluation."""
        return self._of(self.aligned.unjittered())

    def elsewhere(self, contigs: Sequence[str], centres: ArrayLike) -> Self:
        """Give the dataset of windows around other positions, forward and without jitter; it shares what was read."""
        return self._of(self.aligned.elsewhere(contigs, centres))

    def __len__(self) -> int:
        return len(self.aligned)

    def _batch(self, indices: list[int]) -> Tensor:
        return self._side_by_side(self.aligned[indices])

    @property
    def is_on_device(self) -> bool:
        """Whether windows of all sets are gathered where the model is: `residence="device"`."""
        return all(part.is_on_device for part in self.aligned.parts.values())

    def gathered(self, numbers: Tensor) -> Tensor:
        """Gather some windows by number, int64, on the device."""
        return self._side_by_side(self.aligned.gathered(numbers))

    def _side_by_side(self, parts: Mapping[str, Tensor]) -> Tensor:
        device = next(iter(parts.values())).device  # one, unless the sets are kept in different places
        wide = [part.reshape(len(part), self.n_bins, -1).to(device) for part in parts.values()]
        return torch.cat(wide, dim=2)

    def _labels(self, labels: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
        found: list[str] = []
        for name, part in self.aligned.parts.items():
            starts = range(0, self.bin_size, part.bin_size)
            for start in starts:
                where = f"+{start}" if len(starts) > 1 else ""
                found += [f"{name}/{label}{where}" for label in labels[name]]
        return tuple(found)

    def _of(self, aligned: AlignedDataset) -> Self:
        changed = copy.copy(self)
        changed.aligned = aligned
        return changed
