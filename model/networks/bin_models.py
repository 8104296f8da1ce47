"""Small networks trained on the bins from scratch: controls that a language model must beat.

Belongs here: the networks and how they are set. Does not: training them (`model.training.fit`), closed forms
(`model.predictors.closed_form`).

Each makes one activation a bin, and reads them out as GTA's preset `best` does; they differ in what a bin sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from model.networks.base import ExpressionModel, FeatureScale, TargetScale
from model.networks.kernels import exponential_kernels
from model.networks.positions import SinusoidalPositions
from model.networks.readout import CentreReadout, PooledReadout
from model.saved_config import check_counts, from_json

BinModelKind = Literal["mlp", "cnn", "transformer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BinModelConfig:
    """How a network on the bins is set. Plain JSON values."""

    kind: BinModelKind
    """`mlp`: the decaying sums of `ridge-exponential`, into a network with one hidden layer. `cnn`: dilated
    convolutions along the bins. `transformer`: attention among all bins."""
    width: int = 64
    """`cnn`, `transformer`: components of an activation."""
    layers: int = 2
    """`cnn`: convolutions after the first, each of twice the dilation. `transformer`: blocks."""
    kernel: int = 5
    """`cnn`: bins that a convolution sees, odd."""
    heads: int = 4
    """`transformer`: attention heads."""
    queries: int = 4
    """`cnn`, `transformer`: learned averages of the bins (`PooledReadout`)."""
    hidden: int = 32
    """Hidden units of the network that reads out."""
    dropout: float = 0.1
    tasks: tuple[str, ...] = ()
    """Names of what is predicted; empty for one number a gene."""
    target: TargetScale = "log1p"
    """What is learned, standardised on the training genes either way."""
    features: FeatureScale = "standardised"
    """Features as they come, or each channel standardised on the training genes."""

    FIXED: ClassVar[tuple[str, ...]] = ("kind",)
    """What the name of the model says, so that it is no setting."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(BinModelKind):
            raise ValueError(f"kind is one of {', '.join(get_args(BinModelKind))}; got {self.kind!r}")
        check_counts(self, _COUNTS)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a fraction in [0, 1), got {self.dropout}")
        if self.kernel % 2 == 0 or self.width % self.heads:
            raise ValueError(
                f"kernel is odd, so that it has a middle, and width a multiple of heads; got kernel={self.kernel}, "
                f"width={self.width}, heads={self.heads}"
            )

    def to_json(self) -> dict[str, Any]:
        """Give the values for a JSON document."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "BinModelConfig":
        """Take back what `to_json` gave."""
        return from_json(cls, document)


_COUNTS = ("width", "layers", "kernel", "heads", "queries", "hidden")

BIN_MODELS: Mapping[str, BinModelConfig] = MappingProxyType(
    {kind: BinModelConfig(kind=kind) for kind in get_args(BinModelKind)}
)
"""The networks by name."""


class BinModel(ExpressionModel):
    """Features in, expression out; prompts are not read.

    Parameters
    ----------
    config
        How it is set.
    n_bins
        Bins a window in training; may be set to another number afterwards.
    channel_names
        Names of the features.
    """

    def __init__(self, config: BinModelConfig, *, n_bins: int, channel_names: Sequence[str]) -> None:
        super().__init__(
            config=config,
            n_bins=n_bins,
            channel_names=channel_names,
            tasks=config.tasks,
            target=config.target,
            features=config.features,
        )
        self.config: BinModelConfig
        channels, outputs = len(self.channel_names), len(config.tasks) or 1
        self.check_window(n_bins)
        self.encoder: nn.Module
        self.readout: CentreReadout | PooledReadout
        if config.kind == "mlp":
            self.encoder = _DecayingSums()
            sums = channels * len(exponential_kernels(1))
            self.readout = CentreReadout(sums, hidden=config.hidden, dropout=config.dropout, outputs=outputs)
            return
        self.encoder = (_Convolutions if config.kind == "cnn" else _Transformer)(channels, config)
        self.readout = PooledReadout(
            config.width,
            n_bins=n_bins,
            queries=config.queries,
            hidden=config.hidden,
            dropout=config.dropout,
            outputs=outputs,
        )

    def forward(self, features: Tensor, prompts: Sequence[str]) -> Tensor:
        """Predict the standardised target.

        Parameters
        ----------
        features
            Features as the store holds them, shape `(batch, bins, channels)`, float32.
        prompts
            Not read.

        Returns
        -------
        Shape `(batch,)`, or `(batch, tasks)` where tasks are named, float32.
        """
        read: Tensor = self.readout(self.encoder(self.standardise_features(features)))
        return read if self.tasks else read.squeeze(-1)


class _DecayingSums(nn.Module):
    """The sums of `ridge-exponential` as a window of one bin; nothing is trained."""

    def forward(self, features: Tensor) -> Tensor:
        kernels = torch.from_numpy(exponential_kernels(features.shape[1])).to(features)
        return (kernels @ features).flatten(1)[:, None]


class _Convolutions(nn.Module):
    def __init__(self, channels: int, config: BinModelConfig) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, config.width, config.kernel, padding="same")
        self.rest = nn.ModuleList(
            nn.Conv1d(config.width, config.width, config.kernel, padding="same", dilation=2 ** (layer + 1))
            for layer in range(config.layers)
        )

    def forward(self, features: Tensor) -> Tensor:
        seen = self.first(features.mT)
        for convolution in self.rest:
            seen = seen + convolution(nn.functional.gelu(seen))
        return nn.functional.gelu(seen).mT


class _Transformer(nn.Module):
    def __init__(self, channels: int, config: BinModelConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, config.width)
        self.position = SinusoidalPositions()
        block = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            dim_feedforward=2 * config.width,
            dropout=config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        # The readout normalises across genes, which takes off what a bias here would add to all of them alike.
        norm = nn.LayerNorm(config.width, bias=False)
        self.blocks = nn.TransformerEncoder(block, config.layers, norm=norm, enable_nested_tensor=False)

    def forward(self, features: Tensor) -> Tensor:
        seen: Tensor = self.blocks(self.position(self.embed(features)))
        return seen
