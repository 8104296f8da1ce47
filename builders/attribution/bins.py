"""Neighbouring bins whose output is explained: which bases they read, and computing them from altered bases.

Belongs here: sizes and shapes, for extractors that read each bin by itself and for those that read tiles. Does not:
where the bases come from (`builders.attribution.regions`), what is altered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builders.extractors.base import Extractor
from builders.source import note_call
from catalog import Interval


@dataclass(frozen=True, slots=True)
class Bins:
    """Neighbouring bins that cover a region, and the sequence that they read.

    Bin `j` reads bases `[j * bin_size, j * bin_size + reach)` of the sequence.
    """

    extractor: Extractor
    tiled: Callable[..., Extractor] | None
    """Makes the extractor on tiles of any number of bins; None if it reads each bin by itself."""
    bin_size: int
    reach: int
    """Bases that one bin reads (bp)."""
    n_bins: int
    start: int
    """Base of the contig at which the sequence begins; it may lie before 0."""
    feature_set: str
    columns: tuple[int, ...]
    """Which channels are explained."""

    @classmethod
    def over(
        cls, region: Interval, extractor: Extractor, *, bin_size: int | None, channels: Sequence[str] | None
    ) -> "Bins":
        """Lay bins over a region, as few as cover it, their middle on its middle.

        Parameters
        ----------
        bin_size
            Bases a bin (bp); None for 1 where the extractor predicts bases, else 4096.
        channels
            Which to explain; None for all.

        Raises
        ------
        ValueError
            If a channel is not there, or bases between the bins would not be read.
        """
        feature_set, columns = chosen_channels(extractor, channels)
        tiled: Callable[..., Extractor] | None = getattr(extractor, "tiled", None)
        size = bin_size or (4096 if tiled is None else 1)
        reach = extractor.input_length if tiled is None else tiled(bin_size=size, n_bins=1).input_length
        if reach < size:
            raise ValueError(
                f"{extractor.name} reads {reach:,} bases around the centre of a bin; give at most that as `bin_size=`, "
                f"got {size:,}"
            )
        n_bins = -(-len(region) // size)
        first = region.start + (len(region) - n_bins * size) // 2
        return cls(extractor, tiled, size, reach, n_bins, first + size // 2 - reach // 2, feature_set, tuple(columns))

    @property
    def length(self) -> int:
        """Bases of the whole sequence (bp)."""
        return self.length_of(self.n_bins)

    def length_of(self, n_bins: int) -> int:
        """Give the bases that so many neighbouring bins read (bp)."""
        return (n_bins - 1) * self.bin_size + self.reach

    @property
    def most_affected(self) -> int:
        """Bins that read one base, at most."""
        return min(self.n_bins, (self.reach - 1) // self.bin_size + 1)

    def first_affected(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the first of `most_affected` neighbouring bins among which are all that read each place."""
        first = -((self.reach - 1 - places) // self.bin_size)
        return np.clip(first, 0, self.n_bins - self.most_affected)

    def network(self, n_bins: int) -> Extractor:
        """Give the extractor on sequences of so many bins; where it reads bins by themselves, of one."""
        return self.extractor if self.tiled is None else self.tiled(bin_size=self.bin_size, n_bins=n_bins)

    def inputs(self, sequences: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut sequences `(batch, length_of(n))` into what the network reads at a time: tiles whole, bins one by one."""
        if self.tiled is not None:
            return sequences
        windows = np.lib.stride_tricks.sliding_window_view(sequences, self.reach, axis=1)[:, :: self.bin_size]
        return np.ascontiguousarray(windows).reshape(-1, self.reach)

    def compute(self, sequences: NDArray[np.uint8], *, n_bins: int) -> NDArray[np.float64]:
        """Compute bins from sequences `(batch, length_of(n_bins))`, ASCII: `(batch, n_bins, columns)`."""
        network, inputs = self.network(n_bins), self.inputs(sequences)
        batches = []
        for first in range(0, len(inputs), network.batch_size):
            note_call()
            rows = network(np.ascontiguousarray(inputs[first : first + network.batch_size]))[self.feature_set]
            batches.append(rows[:, list(self.columns)].astype(np.float64))
        return np.concatenate(batches).reshape(len(sequences), n_bins, len(self.columns))


def chosen_channels(extractor: Extractor, channels: Sequence[str] | None) -> tuple[str, list[int]]:
    """Find channels by name: the feature set, and their places in it.

    Raises
    ------
    ValueError
        If the extractor gives several sets, or has no such channel.
    """
    sets = extractor.channels
    if len(sets) != 1:
        raise ValueError(f"{extractor.name} gives {', '.join(sets)}; name one of them as `outputs=`")
    ((feature_set, known),) = sets.items()
    names = {channel.name: number for number, channel in enumerate(known)}
    if unknown := [name for name in channels or () if name not in names]:
        shown = ", ".join(list(names)[:12]) + (", ..." if len(names) > 12 else "")
        raise ValueError(f"{extractor.name} has no channel {unknown[0]!r}, of `channels=`; it has {shown}")
    return feature_set, [names[name] for name in channels] if channels is not None else list(range(len(known)))
