"""Single-base mutants of a sequence: of each layer only what has changed, the rest kept from the sequence itself.

A base reaches one place of the first layer, and more of every next one. Of each layer the places that it reaches are
computed for the mutant, from those of the layer before and, around them, the sequence's own (as fastISM does it: Nair,
Shrikumar, Schreiber, Kundaje, Bioinformatics 2022, doi:10.1093/bioinformatics/btac135).

Belongs here: what one network's mutants change. Does not: the layers (`builders.extractors.splice.network`).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from builders.extractors.networks.onehot import slices
from builders.extractors.splice.network import ResidualUnit, Skip, SpliceNetwork

_CALL_BASES = {"cpu": 1 << 15, "cuda": 1 << 20}
"""Of mutants, in the widest layer, that are computed at a time."""


class SpliceMutants:
    """Mutants of one sequence, by the mean of some networks and on both strands.

    Parameters
    ----------
    onehot
        The sequence, shape `(1, 4, length)`, float32.
    """

    def __init__(self, networks: Sequence[SpliceNetwork], onehot: Tensor) -> None:
        self._device, self._last = onehot.device, onehot.shape[2] - 1
        with torch.inference_mode():
            self._forward = [_Trunk(network, onehot) for network in networks]
            self._reverse = [_Trunk(network, onehot.flip(1, 2)) for network in networks]
        self.batch_size = max(1, _CALL_BASES[onehot.device.type] // self._forward[0].widest)

    def changes(self, places: NDArray[np.int64], bases: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the change of the output summed over all bins of a base, `(mutants, 8)`: sums, then the likeliest."""
        at, to = (torch.from_numpy(one).to(self._device) for one in (places, bases))
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            forward = torch.stack([trunk.changes(at, to) for trunk in self._forward]).mean(0)
            reverse = torch.stack([trunk.changes(self._last - at, 3 - to) for trunk in self._reverse]).mean(0)
            return torch.cat([forward, reverse, forward, reverse], dim=1).cpu().numpy()


class _Trunk:
    """What one network makes of one strand, layer by layer.

    After layers that reach `r` bases, predictions depend on places `[r, length - r)` alone: only those are computed.
    """

    def __init__(self, network: SpliceNetwork, onehot: Tensor) -> None:
        self._network = network
        self._length = onehot.shape[2]
        trunk = network.initial_conv(onehot)
        read = network.initial_skip(trunk)
        self._trunks = [trunk[0]]
        for layer in network.residual_units:
            if isinstance(layer, Skip):
                read = read + layer(trunk)
            else:
                trunk = layer(trunk)
                self._trunks.append(trunk[0])
        self._read = read[0]
        self._predicted = F.softmax(network.final_conv(read), dim=1)[0]
        self.widest = min(4 * network.flank_bp + 1, self._length)
        """Places of a mutant, in one layer at most."""

    def changes(self, places: Tensor, bases: Tensor) -> Tensor:
        """Give the changes of acceptors and donors, summed over all bases: `(mutants, 2)`, float64."""
        first = self._network.initial_conv
        assert first.bias is not None
        new = (first.weight[:, :, 0].T[bases] + first.bias)[..., None]
        begin, reach, number = places, 0, 0
        read = [(begin, self._difference(self._network.initial_skip, new, self._trunks[0], begin))]
        for layer in self._network.residual_units:
            if isinstance(layer, Skip):
                read.append((begin, self._difference(layer, new, self._trunks[number], begin)))
                continue
            assert isinstance(layer, ResidualUnit)
            reach += layer.reach
            width = min(2 * reach + 1, self._length - 2 * reach)
            after = (places - reach).clamp(reach, self._length - reach - width)
            around = slices(self._trunks[number], after - layer.reach, width + 2 * layer.reach)
            new = layer.inside(_with(around, new, begin - after + layer.reach))
            begin, number = after, number + 1
        total = slices(self._read, begin, new.shape[2])
        for start, difference in read:
            _add(total, difference, start - begin)
        predicted = F.softmax(self._network.final_conv(total), dim=1)
        changed = predicted.double() - slices(self._predicted, begin, new.shape[2]).double()
        return changed[:, 1:].sum(2)

    @staticmethod
    def _difference(layer: Skip, new: Tensor, trunk: Tensor, begin: Tensor) -> Tensor:
        """Give what a change of the trunk does to what the last layer reads."""
        return F.conv1d(new - slices(trunk, begin, new.shape[2]), layer.conv.weight)


def _add(values: Tensor, more: Tensor, begin: Tensor) -> None:
    """Add to slices what lies in them of others, which begin at a place of each, also outside."""
    places = begin[:, None, None] + torch.arange(more.shape[2], device=more.device)
    width = values.shape[2]
    is_inside = (places >= 0) & (places < width)
    values.scatter_add_(2, places.clamp(0, width - 1).expand(more.shape), more * is_inside)


def _with(values: Tensor, new: Tensor, begin: Tensor) -> Tensor:
    """Put new values `(slices, channels, width)` into wider slices, from a place of each on."""
    places = begin[:, None, None] + torch.arange(new.shape[2], device=new.device)
    return values.scatter(2, places.expand(new.shape), new)
