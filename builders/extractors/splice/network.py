"""The network of SpliceAI: a stack of dilated residual units.

Belongs here: the layers. Does not: the files that hold its weights (`builders.extractors.splice.files`), strands and
bins (`builders.extractors.splice.extractor`).

The architecture is that of Jaganathan et al., Cell 2019, doi:10.1016/j.cell.2018.12.015, with the parameter names of
Kuanhao-Chao/OpenSpliceAI. OpenSpliceAI has leaky rectifiers and torch's batch norm; SpliceAI plain ones and Keras's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 32
UNITS_A_SKIP = 4
"""After as many units the trunk is added to what the last layer reads."""


class Unit(NamedTuple):
    """Size of the kernels of a residual unit."""

    kernel: int
    """Taps; odd."""
    dilation: int


class Flavour(NamedTuple):
    """Where the two sets of published weights differ."""

    negative_slope: float
    """Of the rectifiers."""
    epsilon: float
    """Of batch norm."""


OPEN = Flavour(negative_slope=0.1, epsilon=1e-5)
ILLUMINA = Flavour(negative_slope=0.0, epsilon=1e-3)


class ResidualUnit(nn.Module):
    """Batch norm, rectifier and convolution, twice, added to the input."""

    def __init__(self, size: Unit, flavour: Flavour) -> None:
        super().__init__()
        self.slope = flavour.negative_slope
        self.batchnorm1 = nn.BatchNorm1d(WIDTH, eps=flavour.epsilon)
        self.batchnorm2 = nn.BatchNorm1d(WIDTH, eps=flavour.epsilon)
        self.reach = size.dilation * (size.kernel - 1)
        """Places on each side that the output depends on."""
        padding = self.reach // 2
        self.conv1 = nn.Conv1d(WIDTH, WIDTH, size.kernel, dilation=size.dilation, padding=padding)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, size.kernel, dilation=size.dilation, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """Give the trunk after this unit, of the shape of `x`."""
        hidden = self.conv1(F.leaky_relu(self.batchnorm1(x), self.slope))
        added: Tensor = self.conv2(F.leaky_relu(self.batchnorm2(hidden), self.slope))
        return x + added

    def inside(self, x: Tensor) -> Tensor:
        """Give the trunk after this unit without the `reach` places at either end, which depend on what lies beyond."""
        hidden = x
        for norm, conv in ((self.batchnorm1, self.conv1), (self.batchnorm2, self.conv2)):
            hidden = F.leaky_relu(norm(hidden), self.slope)
            hidden = F.conv1d(hidden, conv.weight, conv.bias, dilation=conv.dilation)
        return x[..., self.reach : x.shape[2] - self.reach] + hidden


class Skip(nn.Module):
    """A convolution of one tap, whose output the last layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Give what is added, of the shape of `x`."""
        added: Tensor = self.conv(x)
        return added


class SpliceNetwork(nn.Module):
    """Predicts of each base whether it is an acceptor or a donor site of the strand that is read.

    Parameters
    ----------
    units
        Sizes of the residual units; after every fourth the trunk is added to what the last layer reads.
    flavour
        Of which weights.
    """

    def __init__(self, units: Sequence[Unit], flavour: Flavour) -> None:
        super().__init__()
        self.flank_bp = sum((unit.kernel - 1) * unit.dilation for unit in units)
        """Bases on each side that a prediction takes into account (bp)."""
        self.initial_conv = nn.Conv1d(4, WIDTH, 1)
        self.initial_skip = Skip()
        self.residual_units = nn.ModuleList()
        for number, unit in enumerate(units, start=1):
            self.residual_units.append(ResidualUnit(unit, flavour))
            if number % UNITS_A_SKIP == 0:
                self.residual_units.append(Skip())
        self.final_conv = nn.Conv1d(WIDTH, 3, 1)

    def forward(self, onehot: Tensor) -> Tensor:
        """Predict from encoded sequence.

        Parameters
        ----------
        onehot
            Shape `(batch, 4, length)`, float32: A, C, G, T; zeros where a base is not known.

        Returns
        -------
        Probabilities, shape `(batch, 3, length - 2 * flank_bp)`: neither, acceptor, donor.
        """
        trunk = self.initial_conv(onehot)
        read = self.initial_skip(trunk)
        for layer in self.residual_units:
            if isinstance(layer, Skip):
                read = read + layer(trunk)
            else:
                trunk = layer(trunk)
        inner = read[..., self.flank_bp : read.shape[2] - self.flank_bp]
        return F.softmax(self.final_conv(inner), dim=1)
