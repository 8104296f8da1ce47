"""A model: each bin says how much it counts and what it adds, and the window's sum is the gene's expression.

    featurestore train genome.store --genes genes.tsv --targets expression.tsv --model gated-pooling --set width=32

The simplest network that can be told to look near or far: one number is its reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.networks.base import ExpressionModel
from model.predictors.factory import ModelInputs
from model.predictors.torch_predictor import NetworkFactory
from model.training.config import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedPoolingConfig:
    """How the model is set."""

    width: int = 32
    """Hidden units a bin."""
    reach: float = 10.0
    """Distance from the TSS at which a bin's weight has fallen to 1/e, to begin with (bins)."""
    tasks: tuple[str, ...] = ()
    """Names of what is predicted, for several cell types."""

    def __post_init__(self) -> None:
        if self.width < 1 or not self.reach > 0:
            raise ValueError(f"width is at least 1 and reach above 0; got {self.width} and {self.reach:g}")


class GatedPooling(ExpressionModel):
    """Sums `sigmoid(gate) * value` over the bins, weighed by their distance from the TSS."""

    def __init__(self, config: GatedPoolingConfig, *, n_bins: int, channel_names: Sequence[str]) -> None:
        super().__init__(config=config, n_bins=n_bins, channel_names=channel_names, tasks=config.tasks)
        outputs = len(config.tasks) or 1
        self.hidden = nn.Linear(len(self.channel_names), config.width)
        self.gate, self.value = nn.Linear(config.width, outputs), nn.Linear(config.width, outputs)
        self.log_reach = nn.Parameter(torch.tensor(config.reach).log())

    def forward(self, features: Tensor, prompts: Sequence[str]) -> Tensor:
        """Predict the standardised target, `(batch,)` or `(batch, tasks)`, of features `(batch, bins, channels)`."""
        hidden = nn.functional.gelu(self.hidden(self.standardise_features(features)))
        n_bins = features.shape[1]
        distance = (torch.arange(n_bins, device=features.device) - n_bins // 2).abs()
        weight = torch.exp(-distance / self.log_reach.exp())[:, None]
        read = (weight * self.gate(hidden).sigmoid() * self.value(hidden)).sum(dim=1)
        return read if self.tasks else read.squeeze(-1)


def _network(inputs: ModelInputs) -> GatedPooling:
    return GatedPooling(inputs.config, n_bins=inputs.n_bins, channel_names=inputs.channel_names)


FACTORY = NetworkFactory(
    config=GatedPoolingConfig(), recipe=TrainConfig(epochs=10, learning_rate=3e-3), network=_network
)
