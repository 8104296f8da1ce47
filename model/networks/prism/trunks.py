"""Trunks by name: what reads along the positions of a window, `(batch, length, width)` to the same shape.

Belongs here: `make_trunk`, the convolutions, the recurrent network and the transformer. Does not: Mamba
(`model.networks.prism.bimamba`), what is read (`model.networks.prism.model`).
"""

from torch import Tensor, nn

from model.networks.positions import SinusoidalPositions
from model.networks.prism.bimamba import BiMamba, mamba_ssm_scan
from model.networks.prism.config import PrismConfig


class Convolutions(nn.Module):
    """Pre-norm residual convolutions, each of twice the dilation of the one before."""

    def __init__(self, width: int, *, layers: int, kernel: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers + 1))
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding="same", dilation=2**layer) for layer in range(layers)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Read the window."""
        *before, last = self.norms
        for norm, layer in zip(before, self.layers, strict=True):
            hidden = hidden + nn.functional.gelu(layer(norm(hidden).mT)).mT
        normed: Tensor = last(hidden)
        return normed


class Recurrent(nn.Module):
    """Gated recurrent units in both directions, half of the width each."""

    def __init__(self, width: int, *, layers: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width // 2, num_layers=layers, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Read the window."""
        normed: Tensor = self.norm(self.gru(hidden)[0])
        return normed


class Attention(nn.Module):
    """A transformer encoder; positions are counted from the TSS."""

    def __init__(self, width: int, *, layers: int, heads: int) -> None:
        super().__init__()
        self.positions = SinusoidalPositions()
        block = nn.TransformerEncoderLayer(
            width,
            heads,
            dim_feedforward=2 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Read the window."""
        read: Tensor = self.blocks(self.positions(hidden))
        return read


def make_trunk(config: PrismConfig) -> nn.Module:
    """Make the trunk of a configuration.

    Raises
    ------
    ModuleNotFoundError
        If it is `bimamba` and mamba-ssm is not installed.
    """
    width, layers = config.width, config.layers
    if config.trunk == "cnn":
        return Convolutions(width, layers=layers, kernel=config.kernel)
    if config.trunk == "gru":
        return Recurrent(width, layers=layers)
    if config.trunk == "transformer":
        return Attention(width, layers=layers, heads=config.heads)
    if config.trunk == "bimamba":
        return BiMamba(width, layers=layers, scan=mamba_ssm_scan())
    return BiMamba(width, layers=layers)
