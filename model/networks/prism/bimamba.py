"""Bidirectional Mamba as Caduceus builds it (Schiff et al. 2024): two directions, added, with tied projections.

Belongs here: the layer, its initial weights, the trunk of several. Does not: the scan on any device
(`model.networks.prism.scan`).

A layer of width 128 has 134,784 parameters: in- and out-projections of the two directions are one.
"""

import importlib
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.networks.prism.scan import selective_scan

_STATE, _CONVOLUTION, _EXPAND = 16, 4, 2
"""Numbers of state a channel, positions of the causal convolution, inner channels a component."""
_STEPS = (1e-3, 1e-1)
"""Step sizes at the start, as in Mamba."""
Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class _Direction(nn.Module):
    """What a direction of a layer has for itself; names are those of Mamba."""

    def __init__(self, inner: int, rank: int) -> None:
        super().__init__()
        self.conv1d = nn.Conv1d(inner, inner, _CONVOLUTION, groups=inner, padding=_CONVOLUTION - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * _STATE, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, _STATE + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        with torch.no_grad():
            nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
            low, high = (math.log(step) for step in _STEPS)
            steps = (torch.rand(inner) * (high - low) + low).exp().clamp(min=1e-4)
            # softplus of the bias is the step: log(exp(step) - 1).
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, inner: Tensor, gate: Tensor, scan: Scan) -> Tensor:
        """Read `(batch, length, inner)` from left to right."""
        length = inner.shape[1]
        x = functional.silu(self.conv1d(inner.mT)[..., :length].mT)
        rank = self.dt_proj.in_features
        step, write, read = self.x_proj(x).split([rank, _STATE, _STATE], dim=-1)
        step = functional.softplus(self.dt_proj(step))
        return (scan(x, step, -self.A_log.exp(), write, read) + self.D * x) * functional.silu(gate)


class BiMambaLayer(nn.Module):
    """Mamba from left to right plus Mamba from right to left, `(batch, length, width)` to the same shape."""

    def __init__(self, width: int, *, layers: int, scan: Scan) -> None:
        super().__init__()
        inner = _EXPAND * width
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.forwards = _Direction(inner, math.ceil(width / 16))
        self.backwards = _Direction(inner, math.ceil(width / 16))
        self._scan = scan
        with torch.no_grad():
            # Residual branches of all layers together then have the variance of one.
            nn.init.kaiming_uniform_(self.out_proj.weight, a=math.sqrt(5))
            self.out_proj.weight /= math.sqrt(layers)

    def forward(self, hidden: Tensor) -> Tensor:
        """Read both ways."""
        inner, gate = self.in_proj(hidden).chunk(2, dim=-1)
        ahead = self.forwards(inner, gate, self._scan)
        back = self.backwards(inner.flip(1), gate.flip(1), self._scan).flip(1)
        read: Tensor = self.out_proj(ahead + back)
        return read


class BiMamba(nn.Module):
    """Pre-norm residual layers of `BiMambaLayer`, then a norm."""

    def __init__(self, width: int, *, layers: int, scan: Scan = selective_scan) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BiMambaLayer(width, layers=layers, scan=scan) for _ in range(layers))
        self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in range(layers + 1))

    def forward(self, hidden: Tensor) -> Tensor:
        """Read `(batch, length, width)`, give the same shape."""
        *before, last = self.norms
        for norm, layer in zip(before, self.layers, strict=True):
            hidden = hidden + layer(norm(hidden))
        normed: Tensor = last(hidden)
        return normed


def mamba_ssm_scan() -> Scan:
    """Give the scan of the package mamba-ssm, which needs a GPU; the weights are those of `selective_scan`.

    Raises
    ------
    ModuleNotFoundError
        If mamba-ssm is not installed.
    """
    try:
        fused = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "trunk=bimamba reads with the package mamba-ssm, which is not installed: pip install mamba-ssm where CUDA "
            "is, or set trunk=bimamba_ref (the same weights on any device, slower), or trunk=cnn"
        ) from error

    def scan(x: Tensor, step: Tensor, decay: Tensor, write: Tensor, read: Tensor) -> Tensor:
        if x.device.type != "cuda":
            raise ValueError(
                "trunk=bimamba runs on a GPU; set `device='cuda'` where there is one, or trunk=bimamba_ref, whose "
                "weights are the same"
            )
        # The kernel takes all of them in one type, and autocast leaves steps in float32.
        turned = [part.to(x.dtype).mT.contiguous() for part in (x, step, write, read)]
        y: Tensor = fused(turned[0], turned[1], decay.float(), turned[2], turned[3])
        return y.mT

    return scan
