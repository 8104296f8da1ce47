"""A representation and a head on it as one function of bases.

Belongs here: features of sequences as they are asked for, and predictions from them. Does not: what is explained
(`model.probes.attribution.maps`), features that are kept (`model.probes.features`).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from builders.extractors.base import Extractor, tile_bins
from builders.extractors.sequence import UNKNOWN
from model.probes.features import FeaturePlan
from model.probes.kept import ProbeHead

Sequences = NDArray[np.uint8]
"""ASCII, shape `(rows, length + 2 * context_bp)`."""
_MOST_NUMBERS = 1 << 24
"""Features that are held at a time: 64 MiB."""


class Windows(NamedTuple):
    """What the extractor reads of some sequences."""

    windows: NDArray[np.uint8]
    """Shape `(rows, blocks, input_length)`."""
    first: int
    """Base of a sequence at which the first begins; it may lie before 0."""
    step: int
    """Bases from one to the next (bp)."""


@dataclass(frozen=True)
class SequenceModel:
    """From bases to targets: the features that a head was fitted to, not rounded as they are when they are kept."""

    plan: FeaturePlan
    head: ProbeHead

    @property
    def length(self) -> int:
        """Bases of a row, N past the end of a shorter one (bp)."""
        return self.plan.task.length

    @property
    def context_bp(self) -> int:
        """Bases of the genome on either side of a row (bp)."""
        return self.plan.context_bp

    @cached_property
    def network(self) -> Extractor:
        """The extractor; one that predicts bases, on a tile of a whole row."""
        made: Any = self.plan.extractor
        if not hasattr(made, "tiled"):
            return self.plan.extractor
        bins = self.plan.bins
        found: Extractor = made.tiled(bin_size=bins.bin_size, n_bins=1 if bins.n_bins == 1 else bins.pieces)
        return found

    @property
    def rows_at_once(self) -> int:
        """Sequences whose features are held at a time."""
        return max(1, min(512, _MOST_NUMBERS // (self.head.shape.pieces * self.head.shape.channels)))

    def predict(self, sequences: Sequences) -> NDArray[np.float64]:
        """Predict targets, or log-odds of classes, `(rows, targets)`."""
        parts = []
        for first in range(0, len(sequences), self.rows_at_once):
            features = self.features(sequences[first : first + self.rows_at_once])
            with torch.no_grad():
                parts.append(self.head(torch.from_numpy(features)).double().numpy())
        return np.concatenate(parts)

    def features(self, sequences: Sequences) -> NDArray[np.float32]:
        """Compute features, shape `(rows, pieces, channels)`."""
        network, bins = self.network, self.plan.bins
        read = self.windows(sequences).windows
        inputs = np.ascontiguousarray(read).reshape(-1, read.shape[2])
        size = network.batch_size
        calls = [network(inputs[first : first + size]) for first in range(0, len(inputs), size)]
        of_sets = []
        for name in network.channels:
            values = np.concatenate([found[name] for found in calls]).astype(np.float32)
            of_sets.append(values.reshape(len(sequences), bins.pieces, -1))
        return np.concatenate(of_sets, axis=2)

    def windows(self, sequences: Sequences) -> Windows:
        """Cut out what the extractor reads, N where a sequence ends."""
        bins, reach = self.plan.bins, self.network.input_length
        step = bins.bin_size * tile_bins(self.network)
        blocks = -(-bins.pieces * bins.bin_size // step) if bins.n_bins > 1 else 1
        first = self.context_bp + step // 2 - reach // 2
        missing = max(0, -first), max(0, first + (blocks - 1) * step + reach - sequences.shape[1])
        padded = np.pad(sequences, ((0, 0), missing), constant_values=UNKNOWN)
        views = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=1)
        begin = first + missing[0]
        return Windows(views[:, begin : begin + (blocks - 1) * step + 1 : step], first, step)

    def slopes(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Differentiate each target by each feature: `(rows, pieces, channels, targets)`."""
        read = torch.from_numpy(features).requires_grad_()
        with torch.enable_grad():
            output = self.head(read).sum(0)
        found = [torch.autograd.grad(one, read, retain_graph=True)[0] for one in output]
        return torch.stack(found, dim=-1).numpy()
