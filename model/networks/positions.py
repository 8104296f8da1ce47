"""Positional encodings of bins by their distance from the TSS, counted in bins.

Belongs here: functions of that distance, which therefore hold for windows of any length. Does not: weighing bins
(`model.networks.readout`).
"""

from typing import Literal

import torch
from torch import Tensor, nn

PositionKind = Literal["none", "learned", "sinusoidal"]


def centre_bin(n_bins: int) -> int:
    """Give the bin that holds the centre of a window (for even `n_bins`, the one that begins there)."""
    return n_bins // 2


def distances(n_bins: int) -> Tensor:
    """Give the distance of each bin from the centre bin, negative to its left; shape `(n_bins,)`, int64."""
    return torch.arange(n_bins) - centre_bin(n_bins)


def bins_beyond(n_bins: int, trained: int) -> Tensor:
    """Count how far each bin lies outside a window of `trained` bins with the same centre; shape `(n_bins,)`, int64."""
    distance = distances(n_bins)
    return (distance - _clamped(distance, trained)).abs()


def rows_at(table: Tensor, n_bins: int) -> Tensor:
    """Read a table with one row a bin, shape `(trained bins, ...)`, for a window of `n_bins` with the same centre.

    Bins outside the table have the row of its edge.
    """
    if n_bins == len(table):
        return table
    return table[(_clamped(distances(n_bins), len(table)) + centre_bin(len(table))).to(table.device)]


class LearnedPositions(nn.Module):
    """Add a trainable vector for each distance; beyond the window of training, that of its edge.

    They start at 0, so that training begins as it would without them.

    Parameters
    ----------
    width
        Components of a token.
    n_bins
        Bins a window in training.
    """

    def __init__(self, width: int, *, n_bins: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(n_bins, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Add to tokens `(batch, bins, width)`."""
        return tokens + rows_at(self.table, tokens.shape[1])


class SinusoidalPositions(nn.Module):
    """Add sines and cosines of the distance (Vaswani et al. 2017, section 3.5), times one trainable gain.

    The gain starts at 0, so that training begins as it would without them, whatever the scale of the tokens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(()))
        self._table = torch.empty(0)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add to tokens `(batch, bins, width)`."""
        # 251 bins x 4,096 components take a CPU some 6 ms to compute: once, not in every step.
        if self._table.shape != tokens.shape[1:] or self._table.device != tokens.device:
            # A table made while validating would be of no use to training otherwise.
            with torch.inference_mode(False):
                self._table = sinusoids(tokens.shape[1], tokens.shape[2]).to(tokens.device)
        return tokens + self.gain * self._table


def make_positions(kind: PositionKind, *, width: int, n_bins: int) -> nn.Module:
    """Make the positional encoding of a kind; `none` adds nothing."""
    if kind == "learned":
        return LearnedPositions(width, n_bins=n_bins)
    return SinusoidalPositions() if kind == "sinusoidal" else nn.Identity()


def sinusoids(n_bins: int, width: int) -> Tensor:
    """Give sines and cosines of each bin's distance, in turn, shape `(n_bins, width)`, float32."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    angles = distances(n_bins)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


def _clamped(distance: Tensor, trained: int) -> Tensor:
    return distance.clamp(-centre_bin(trained), trained - 1 - centre_bin(trained))
