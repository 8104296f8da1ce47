"""Windows around anchors, centred to the base, as tensors.

Belongs here: the map-style dataset of an anchored array. Does not: such arrays (`featurestore.anchored`), windows on
the grid (`loaders.windows.grid`), genes (`loaders.genes`).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalog.value_type import Values
from featurestore import RowRequest
from featurestore.format import layout
from featurestore.store import StorePlace
from loaders.residence.open import CountingAnchoredReader, open_anchored_reader
from loaders.settings import WindowSettings
from loaders.windows.base import FeatureWindows, reversed_windows
from loaders.windows.grid import WindowDataset
from loaders.windows.indexing import window_numbers
from loaders.windows.source import Placed


class AnchoredWindows(FeatureWindows[CountingAnchoredReader]):
    """Windows of an anchored array, map-style: every residual is 0.

    A window has an odd number of bins, at most those that the array was built with; a shorter one is its middle.

    Parameters
    ----------
    url, feature_set
        The store, open or where it lies, and the name of the set in it.
    anchors
        What the table of anchors is called in the store.
    names
        Of the anchors to give, in that order; None for all, in the array's order.
    settings
        How windows are cut, read and shown. There is no jitter, and no residence `cache`. With `orient="gene"` the
        strand is that of the table of anchors.

    Raises
    ------
    NotBuilt
        If the store lacks the feature set or the anchors; a shard that lacks is said when a window needs it.
    UnknownAnchor
        If a name is not in the table.
    ValueError
        If the settings ask for what an anchored array does not have.
    """

    def __init__(
        self,
        url: StorePlace,
        feature_set: str,
        anchors: str,
        *,
        names: Sequence[str] | None = None,
        settings: WindowSettings,
    ) -> None:
        if settings.jitter_bins or settings.jitter_bp:
            raise ValueError(
                f"anchored windows lie where they were built, around {anchors!r}, and cannot be moved; leave out "
                "`jitter_bins=` and `jitter_bp=`, or read windows of the grid: `anchors=None`"
            )
        if settings.overlay is not None:
            raise ValueError(
                f"an overlay is of the grid, and {anchors!r} are windows of the reference: leave out `overlay=`, or "
                "read windows of the grid: `anchors=None`"
            )
        self._anchors = anchors
        super().__init__(url, feature_set, settings)
        self._check_n_bins(settings.n_bins)
        table = self.reader.anchors
        numbers = list(range(len(table))) if names is None else self.reader.numbers_of(names)
        chosen = [table[number] for number in numbers]
        self._set_windows(
            [anchor.contig for anchor in chosen],
            np.array([anchor.centre for anchor in chosen], dtype=np.int64),
            reversed_windows([anchor.strand for anchor in chosen], settings.orient, len(chosen)),
            numbers,
        )

    def _open(self) -> CountingAnchoredReader:
        settings = self.settings
        return open_anchored_reader(
            self._url,
            self._feature_set,
            self._anchors,
            residence=settings.residence,
            options=settings,
            storage_options=settings.storage_options,
        )

    @property
    def anchors(self) -> str:
        """Name of the anchors that the windows are centred on to the base."""
        return self._anchors

    @property
    def names(self) -> list[str]:
        """Name of each window's anchor."""
        table = self.reader.anchors
        return [table[number].name for number in self._numbers.tolist()]

    def placed(self, indices: Sequence[int]) -> Placed:
        """Tell where some windows lie; nothing is read."""
        centres = self.centres[window_numbers(indices)]
        none = np.zeros(len(centres), dtype=np.int64)
        return Placed(centres, centres - self.bin_size // 2 - self.n_bins // 2 * self.bin_size, none, none)

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard each window lies in, by number: the blocks of a two-level shuffle; `(windows,)`."""
        blocks: NDArray[np.int64] = self._numbers // self.reader.layout.anchored.shard_anchors
        return blocks

    def unjittered(self) -> "AnchoredWindows":
        """Give the same windows, which have no jitter."""
        return self

    def elsewhere(self, contigs: Sequence[str], centres: ArrayLike) -> WindowDataset:
        """Give windows of the grid of the same feature set around other positions, forward.

        Raises
        ------
        UnknownContig, ValueError
            If a window does not lie in the store's assembly.
        """
        settings = replace(self.settings, orient="forward")
        return WindowDataset.of(self._url, self.name, contigs=contigs, centres=centres, settings=settings)

    def _planned(self) -> tuple[list[RowRequest], NDArray[np.int64]]:
        reader, numbers = self.reader, self._numbers.tolist()
        reader.require_built(numbers)
        first = (reader.n_bins - reader.check_n_bins(self.n_bins)) // 2
        requests = [RowRequest(layout.ANCHORS, number, 0, reader.n_bins) for number in numbers]
        return requests, np.full(len(numbers), first, dtype=np.int64)

    def _check_n_bins(self, n_bins: int) -> None:
        self.reader.check_n_bins(n_bins)

    def _read(self, indices: list[int]) -> Values:
        return self.reader.numbered(self._numbers[indices].tolist(), self.n_bins)
