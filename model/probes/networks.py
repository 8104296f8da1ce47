"""Networks of probes: an MLP, a plain CNN, a ResidualBind-like CNN and MPRAnn, after Tang et al. 2025.

Belongs here: layers. Does not: training (`model.probes.neural`), which recipe is whose (`model.probes.heads`).

Sizes are those of the paper's methods (Genome Biology 26:203, doi:10.1186/s13059-025-03674-8). All end in one
number a target, without a squashing function: of classes it is the log-odds.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

LEAST_PIECES = 20
"""Places along the sequence that the pools of a CNN need."""


class _Exponential(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Raise to the power of e; bounded, so that one large input does not end the training."""
        return torch.exp(x.clamp(max=10.0))


def _conv(n_in: int, n_out: int, width: int, *, dilation: int = 1) -> nn.Module:
    """Convolve to the same length; of an even width the odd zero is on the right, as Keras puts it."""
    zeros = ((width - 1) // 2 * dilation, width // 2 * dilation)
    return nn.Sequential(nn.ConstantPad1d(zeros, 0.0), nn.Conv1d(n_in, n_out, width, dilation=dilation))


def _dense(sizes: list[int], *, dropout: float) -> list[nn.Module]:
    """Stack dense layers, each with ReLU, batch norm and dropout."""
    made: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        made += [nn.Linear(n_in, n_out), nn.ReLU(), nn.BatchNorm1d(n_out), nn.Dropout(dropout)]
    return made


def mlp(n_channels: int, pieces: int, n_targets: int, *, width: float, reduce: int | None) -> nn.Module:
    """Make two hidden layers on a pooled vector."""
    hidden = [int(512 * width), int(256 * width)]
    layers = [nn.Flatten(), nn.BatchNorm1d(n_channels), *_dense([n_channels, *hidden], dropout=0.5)]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], n_targets))


def _reduced(n_channels: int, reduce: int | None) -> tuple[list[nn.Module], int]:
    """Bring many channels of a representation down to a few."""
    if reduce is None:
        return [], n_channels
    return [nn.BatchNorm1d(n_channels), nn.Conv1d(n_channels, reduce, 1)], reduce


def cnn(n_channels: int, pieces: int, n_targets: int, *, width: float, reduce: int | None) -> nn.Module:
    """Make two convolutions with pools, then dense layers."""
    first, n_in = _reduced(n_channels, reduce)
    a, b = int(196 * width), int(256 * width)
    layers = [
        *first,
        *(_conv(n_in, a, 7), nn.BatchNorm1d(a), _Exponential(), nn.Dropout(0.2), nn.MaxPool1d(5)),
        *(_conv(a, b, 7), nn.BatchNorm1d(b), nn.ReLU(), nn.MaxPool1d(4), nn.Dropout(0.2), nn.Flatten()),
        *_dense([b * (pieces // 20), int(512 * width), int(256 * width)], dropout=0.5),
    ]
    return nn.Sequential(*layers, nn.Linear(int(256 * width), n_targets))


class _Residual(nn.Module):
    """Dilated convolutions whose sum with their input goes on."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(_conv(channels, channels, 3, dilation=dilation), nn.BatchNorm1d(channels), nn.ReLU())
            for dilation in dilations
        )
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions find to `(batch, channels, pieces)`."""
        found = x
        for layer in self.layers:
            found = self.dropout(layer(found))
        return torch.relu(x + found)


def resnet(n_channels: int, pieces: int, n_targets: int, *, width: float, reduce: int | None) -> nn.Module:
    """Make a CNN after ResidualBind: a wide first layer, dilated residuals, position-wise and dense layers."""
    first, n_in = _reduced(n_channels, reduce)
    a, b = int(196 * width), int(256 * width)
    left = pieces // 5 // 5
    last = max(1, left // 2)
    layers = [
        *first,
        *(_conv(n_in, a, 19), nn.BatchNorm1d(a), nn.SiLU(), nn.Dropout(0.1)),
        *(_Residual(a, (1, 2, 4, 8, 16, 32)), nn.MaxPool1d(5), nn.Dropout(0.1)),
        *(_conv(a, b, 7), nn.BatchNorm1d(b), nn.ReLU(), nn.MaxPool1d(min(5, pieces // 5)), nn.Dropout(0.2)),
        *(nn.Conv1d(b, b, 1), nn.BatchNorm1d(b), nn.ReLU(), nn.AdaptiveAvgPool1d(last), nn.Flatten()),
        *_dense([b * last, b], dropout=0.5),
    ]
    return nn.Sequential(*layers, nn.Linear(b, n_targets))


def mprann(n_channels: int, pieces: int, n_targets: int, *, width: float, reduce: int | None) -> nn.Module:
    """Make MPRAnn (Agarwal et al. 2025): four convolutions, three of them with a softmax over channels."""
    first, n_in = _reduced(n_channels, reduce)
    sizes = [int(size * width) for size in (250, 250, 250, 100)]
    layers: list[nn.Module] = [*first, _conv(n_in, sizes[0], 7), nn.ReLU(), nn.BatchNorm1d(sizes[0])]
    for n_from, n_to, kernel in zip(sizes, sizes[1:], (8, 3, 2), strict=False):
        layers += [_conv(n_from, n_to, kernel), nn.Softmax(dim=1), nn.BatchNorm1d(n_to)]
    layers += [nn.MaxPool1d(2), nn.Dropout(0.1), nn.Flatten(), nn.Linear(sizes[-1] * (pieces // 2), int(300 * width))]
    layers += [nn.Sigmoid(), nn.Dropout(0.3), nn.Linear(int(300 * width), int(200 * width)), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(int(200 * width), n_targets))


Network = Callable[..., nn.Module]
NETWORKS: dict[str, Network] = {"mlp": mlp, "cnn": cnn, "resnet": resnet, "mprann": mprann}
"""By head; each takes channels, pieces, targets, `width` and `reduce`."""
