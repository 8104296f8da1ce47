"""The protocol of window sources: what genes, streams and models need of windows.

Belongs here: the protocol `WindowSource`, and where windows are read. Does not: the
sources (`loaders.windows.grid` around any positions, `loaders.windows.anchored` around anchors to the base,
`loaders.windows.stacked` of several feature sets, `loaders.windows.joined` of several stores).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from catalog import Assembly, FeatureIdentity
from loaders.settings import Orientation, WindowSettings
from loaders.stats import Stats


class Placed(NamedTuple):
    """Where some windows are read in one epoch."""

    centres: NDArray[np.int64]
    """The positions that are read around, jitter included, shape `(windows,)` (bp)."""
    starts: NDArray[np.int64]
    """First base of each window, before base 0 for one that reaches past the contig, shape `(windows,)` (bp)."""
    phases: NDArray[np.int64]
    """Of the grid, shape `(windows,)`; 0 for windows around anchors, which are on none."""
    residuals: NDArray[np.int64]
    """Centre of each window as read minus `centres`, shape `(windows,)` (bp, signed)."""


class WindowSource(Protocol):
    """Windows of features, `(n_bins, channels)` each, map-style: what `GeneDataset` reads its features from.

    Every window lies on one assembly and has bins of one size. A batch is read in one request, and the copies that
    `subset`, `with_n_bins`, `unjittered` and `elsewhere` give share what was read already.
    """

    n_bins: int
    """Bins a window; may be set at any time. `with_n_bins` changes a copy instead."""

    @property
    def settings(self) -> WindowSettings:
        """How windows are cut, read and shown; of several sources, what they share."""
        ...

    @property
    def name(self) -> str:
        """Name of the feature set; of several, comma-separated."""
        ...

    @property
    def assembly(self) -> Assembly:
        """What the windows lie on."""
        ...

    @property
    def bin_size(self) -> int:
        """Bases of every bin (bp)."""
        ...

    @property
    def contigs(self) -> tuple[str, ...]:
        """Contig of each window, under the assembly's own name."""
        ...

    @property
    def centres(self) -> NDArray[np.int64]:
        """Requested position of each window, without jitter, shape `(windows,)` (bp)."""
        ...

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the last axis."""
        ...

    @property
    def channel_texts(self) -> tuple[str, ...]:
        """What each channel means, in words that begin with its name."""
        ...

    @property
    def identity(self) -> FeatureIdentity:
        """What decides the meaning of the features, with the channels that are shown."""
        ...

    @property
    def fingerprint(self) -> str:
        """What the features were made with."""
        ...

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint by name of the feature set."""
        ...

    @property
    def orient(self) -> Orientation:
        """Which way the bins run: along the forward strand, or along each gene."""
        ...

    @property
    def anchors(self) -> str | None:
        """Name of the anchors that the windows are centred on to the base; None for windows of a grid."""
        ...

    @property
    def is_reversed(self) -> NDArray[np.bool_]:
        """Whether the bins of each window run backwards, shape `(windows,)`: see `orient`."""
        ...

    @property
    def stats(self) -> Stats:
        """What was read in this process."""
        ...

    def __len__(self) -> int:
        """Count the windows."""
        ...

    def __getitem__(self, index: list[int], /) -> Tensor:
        """Read some windows as a batch, `(windows, n_bins, channels)`."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Jitter the windows as in this epoch."""
        ...

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard each window's centre lies in, by number: the blocks of a two-level shuffle; `(windows,)`."""
        ...

    def placed(self, indices: Sequence[int]) -> Placed:
        """Place some windows as in this epoch; nothing is read."""
        ...

    def subset(self, indices: Sequence[int]) -> Self:
        """Give some of the windows, in the order named."""
        ...

    def with_n_bins(self, n_bins: int) -> Self:
        """Give the same windows with so many bins each."""
        ...

    def unjittered(self) -> Self:
        """Give the same windows without jitter, for evaluation."""
        ...

    def elsewhere(self, contigs: Sequence[str], centres: ArrayLike) -> "WindowSource":
        """Give windows of the same features around other positions, forward and without jitter.

        Raises
        ------
        UnknownContig, ValueError
            If a window does not lie on the assembly.
        """
        ...
