"""The network of Puffin, and its published weights.

Belongs here: the layers, and reading them from a file. Does not: strands and bins
(`builders.extractors.puffin.extractor`).

The architecture is that of Dudnyk, Cai, Shi, Xu, Zhou, Science 2024, doi:10.1126/science.adj0116, with the parameter
names of jzhoulab/puffin `puffin.py`: motifs, initiators and trinucleotides are found on both strands by one convolution
each, made positive by softplus, and the effects of all, by their distance from a base, are added up.
"""

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from builders.extractors.networks.torch_file import load_parameters, read_parameters

FLANK_BP = 325
"""Bases on each side that a prediction takes into account (bp)."""
N_TRACKS = 10
EFFECT_BP = 601
MOTIF_BP, _INITIATOR_BP, _TRINUCLEOTIDE_BP = 51, 15, 3
_EXPECTED = "expected resources/puffin.pth of github.com/jzhoulab/puffin"


class Puffin(nn.Module):
    """Predicts transcription initiation at each base, on both strands.

    The effects are convolutions of 601 bp with 104 channels: they are multiplied in the frequency domain, which is what
    makes it fast on a CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 10, MOTIF_BP)
        self.conv_inr = nn.Conv1d(4, 10, _INITIATOR_BP)
        self.conv_sim = nn.Conv1d(4, 32, _TRINUCLEOTIDE_BP)
        self.deconv = nn.Conv1d(20, N_TRACKS, EFFECT_BP)
        self.deconv_sim = nn.Conv1d(64, N_TRACKS, EFFECT_BP)
        self.deconv_inr = nn.ConvTranspose1d(20, N_TRACKS, _INITIATOR_BP)
        # In the published file, and used by nothing in the published network.
        self.scaler, self.scaler2 = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, onehot: Tensor) -> Tensor:
        """Predict from encoded sequence, and from its reverse complement.

        Parameters
        ----------
        onehot
            Shape `(batch, 4, length)`, float32: A, C, G, T; zeros where a base is not known.

        Returns
        -------
        Shape `(2, batch, 10, length - 650)`: natural log of 1 + the signal, from either strand of the sequence. Tracks
        0 to 4 are FANTOM CAGE, ENCODE CAGE, ENCODE RAMPAGE, GRO-cap and PRO-cap of the forward strand, and 9 to 5 of
        the reverse strand; positions are those of the forward strand, whichever strand was read.
        """
        return by_strand(self.before_rectifier(self.elements(onehot)))

    def elements(self, onehot: Tensor) -> Tensor:
        """Find elements on both strands, by their first base: shape `(batch, 104, length - 50)`."""
        return torch.cat([self._found(layer, onehot) for layer in (self.conv, self.conv_inr, self.conv_sim)], dim=1)

    def before_rectifier(self, elements: Tensor) -> Tensor:
        """Add up effects of elements: shape `(batch, 20, length - 650)`, the reverse strand last."""
        return _correlate(elements, self.effects()) + self._bias()[:, None]

    def _found(self, layer: nn.Conv1d, onehot: Tensor) -> Tensor:
        """Look for elements on both strands: shape `(batch, 2 * elements, length - 50)`."""
        beside = (MOTIF_BP - layer.kernel_size[0]) // 2
        found = torch.cat([layer(onehot), layer(onehot.flip(1, 2)).flip(2)], dim=1)
        return F.softplus(found[..., beside : found.shape[2] - beside])

    def effects(self) -> Tensor:
        """Give what each element does to each track, by distance: shape `(20, 104, 601)`, the reverse strand last."""
        # A transposed convolution is one with the kernel turned round; it reaches 7 bases, the others 300.
        initiators = self.deconv_inr.weight.transpose(0, 1).flip(2)
        beside = (EFFECT_BP - _INITIATOR_BP) // 2
        groups = [self.deconv.weight, F.pad(initiators, (beside, beside)), self.deconv_sim.weight]
        # From the other strand the same elements are found, the two strands of each exchanged, and all is turned round.
        turned = [torch.cat(group.chunk(2, dim=1)[::-1], dim=1).flip(0, 2) for group in groups]
        return torch.cat([torch.cat(groups, dim=1), torch.cat(turned, dim=1)])

    def _bias(self) -> Tensor:
        biases = (self.deconv.bias, self.deconv_inr.bias, self.deconv_sim.bias)
        bias = torch.stack([one for one in biases if one is not None]).sum(0)
        return torch.cat([bias, bias.flip(0)])


def by_strand(before: Tensor) -> Tensor:
    """Rectify predictions `(batch, 20, bases)`: shape `(2, batch, 10, bases)`, as `Puffin.forward` gives them."""
    return F.softplus(torch.stack(before.chunk(2, dim=1)))


def _correlate(signal: Tensor, kernel: Tensor) -> Tensor:
    """Convolve as `F.conv1d` does, without padding, by Fourier transforms; the same up to rounding.

    Parameters
    ----------
    signal, kernel
        Shapes `(batch, in, length)` and `(out, in, width)`.

    Returns
    -------
    Shape `(batch, out, length - width + 1)`.
    """
    length, width = signal.shape[2], kernel.shape[2]
    size = smooth_size(length)
    # Positions that wrap round come last, and are cut off.
    spectrum = torch.fft.rfft(signal, n=size)
    turned = torch.fft.rfft(kernel, n=size).conj()
    found: Tensor = torch.fft.irfft(torch.einsum("bif,oif->bof", spectrum, turned), n=size)
    return found[..., : length - width + 1]


def smooth_size(least: int) -> int:
    """Give the smallest even size from `least` on without prime factors above 5, at which transforms are fast."""
    size = least + least % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


def load_puffin(path: str | os.PathLike[str]) -> Puffin:
    """Read the published network, for inference in float32.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    WeightsError
        If it is damaged, holds pickled code, or other parameters.
    """
    state = read_parameters(path, expected=_EXPECTED)
    with torch.device("meta"):
        network = Puffin()
    return load_parameters(network, state, path=Path(path), expected=_EXPECTED)
