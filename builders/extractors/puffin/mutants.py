"""Single-base mutants of a sequence: elements that hold the base are looked for again, and their effects exchanged.

A base lies in the 51 elements that begin up to 50 bases before it; what they do to 651 predictions is linear before the
last rectifier, so it is the effects of their change.

Belongs here: what mutants change. Does not: the layers (`builders.extractors.puffin.network`), from predictions to
signals (`builders.extractors.puffin.extractor`).
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from builders.extractors.networks.onehot import slices
from builders.extractors.puffin.network import EFFECT_BP, MOTIF_BP, Puffin, smooth_size

_MUTANTS_A_CALL = {"cpu": 24, "cuda": 1024}
"""On a CPU more of them leave its cache: 96 at a time take twice as long each."""


class PuffinMutants:
    """Mutants of one sequence.

    Parameters
    ----------
    onehot
        The sequence, shape `(1, 4, length)`, float32.
    signal
        From what the network gives before its last rectifier, `(batch, 20, bases)`, to channels `(batch, channels,
        bases)`.
    """

    def __init__(self, network: Puffin, onehot: Tensor, *, signal: Callable[[Tensor], Tensor]) -> None:
        self.batch_size = _MUTANTS_A_CALL[onehot.device.type]
        self._network, self._onehot, self._signal = network, onehot[0], signal
        with torch.inference_mode():
            elements = network.elements(onehot)
            before = network.before_rectifier(elements)
            self._elements, self._before, self._signals = elements[0], before[0], signal(before)[0]
            self._size = smooth_size(MOTIF_BP + EFFECT_BP - 1)
            spectrum = torch.fft.rfft(network.effects(), n=self._size).conj().resolve_conj()
            self._spectrum = spectrum.permute(2, 1, 0).contiguous()  # (frequencies, elements, 20)

    def changes(self, places: NDArray[np.int64], bases: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the change of the output summed over all bases, `(mutants, channels)`."""
        at, to = (torch.from_numpy(one).to(self._onehot.device) for one in (places, bases))
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            first = (at - MOTIF_BP + 1).clamp(0, self._elements.shape[1] - MOTIF_BP)
            around = slices(self._onehot, first, 2 * MOTIF_BP - 1).clone()
            mutant = torch.arange(len(at), device=at.device)
            around[mutant, :, at - first] = 0
            around[mutant, to, at - first] = 1
            changed = self._network.elements(around) - slices(self._elements, first, MOTIF_BP)
            begin = (first - EFFECT_BP + 1).clamp(0)
            width = min(MOTIF_BP + EFFECT_BP - 1, self._before.shape[1])
            begin = begin.clamp(max=self._before.shape[1] - width)
            before = slices(self._before, begin, width) + self._effects(changed, begin - first, width)
            difference = self._signal(before).double() - slices(self._signals, begin, width).double()
            return difference.sum(2).cpu().numpy()

    def _effects(self, changed: Tensor, begin: Tensor, width: int) -> Tensor:
        """Give what changed elements do to some predictions, `(mutants, 20, width)`; `begin` counts from the elements.

        An element at place `e` acts on the predictions of `e - 600` to `e`.
        """
        spectrum = torch.fft.rfft(changed, n=self._size).permute(2, 0, 1).contiguous()
        acted: Tensor = torch.fft.irfft((spectrum @ self._spectrum).permute(1, 2, 0), n=self._size)
        places = begin[:, None] + torch.arange(width, device=begin.device)
        is_acted_on = (places > -EFFECT_BP) & (places < MOTIF_BP)
        # Places before the first element come last in a transform, which is periodic.
        chosen = (places % self._size)[:, None].expand(-1, acted.shape[1], -1)
        return acted.gather(2, chosen) * is_acted_on[:, None]
