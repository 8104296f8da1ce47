"""Background states as gates: one number in (0, 1) for each state and component, constant along the window.

Belongs here: gates computed from a gene's signals, gates of a fixed dictionary of states. Does not: what they weigh
(`model.networks.prism.model`), the loss that keeps them apart (`model.networks.prism.losses`), how a dictionary is
found (`model.networks.prism.dictionary`).
"""

import torch
from torch import Tensor, nn

_CHANNELS, _KERNELS, _POOL = (8, 16, 32), (7, 5, 3), 4


class ConditionalGates(nn.Module):
    """A small CNN over the signals of a gene, as released: 10,960 parameters for 3 signals, 2 states of width 128."""

    def __init__(self, n_signals: int, *, n_states: int, width: int) -> None:
        super().__init__()
        self.n_states, self.width = n_states, width
        blocks: list[nn.Module] = []
        for given, channels, kernel in zip((n_signals, *_CHANNELS), _CHANNELS, _KERNELS, strict=False):
            convolution = nn.Conv1d(given, channels, kernel, padding=kernel // 2)
            blocks += [convolution, nn.BatchNorm1d(channels), nn.ReLU(), nn.MaxPool1d(_POOL)]
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(_CHANNELS[-1], n_states * width)
        nn.init.zeros_(self.linear.bias)  # so that gates start at about 1/2

    def forward(self, signals: Tensor) -> Tensor:
        """Compute the gates of each gene, `(genes, n_states, width)`, from its signals `(genes, length, signals)`."""
        pooled = self.blocks(signals.mT).mean(dim=-1)
        return torch.sigmoid(self.linear(pooled)).view(len(signals), self.n_states, self.width)


class DictionaryGates(nn.Module):
    """A linear map of each state of a dictionary: the same gates for every gene.

    Parameters
    ----------
    n_numbers
        Numbers that describe a background (`model.networks.prism.dictionary.describe`).
    """

    def __init__(self, n_numbers: int, *, n_states: int, width: int) -> None:
        super().__init__()
        self.register_buffer("states", torch.zeros(n_states, n_numbers))
        self.states: Tensor
        self.linear = nn.Linear(n_numbers, width)
        nn.init.zeros_(self.linear.bias)

    def forward(self, signals: Tensor) -> Tensor:
        """Give the gates of each state, `(genes, n_states, width)`; the signals are not read."""
        gates = torch.sigmoid(self.linear(self.states))
        return gates.expand(len(signals), *gates.shape)
