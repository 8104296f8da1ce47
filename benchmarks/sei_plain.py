"""What `sei_forward` compares with: the network as anyone would write it, its weights, inputs, and float64 truth.

Belongs here: what knows nothing of our kernels. Does not: timing (`benchmarks.sei_forward`).
"""

import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from builders.extractors.sei.network import INPUT_LENGTH, encode, reverse_complement, spline_basis

Network = TypeVar("Network", bound=nn.Module)


class PlainSei(nn.Module):
    """The layer table, layer by layer, as anyone would write it down."""

    def __init__(self, n_profiles: int) -> None:
        super().__init__()

        def conv(n_in: int, n_out: int, taps: int = 9, dilation: int = 1) -> nn.Conv1d:
            return nn.Conv1d(n_in, n_out, taps, padding=taps // 2 * dilation, dilation=dilation)

        def curved(n: int) -> list[nn.Module]:
            return [conv(n, n), nn.ReLU(), conv(n, n), nn.ReLU()]

        def straight(n_in: int, n_out: int) -> nn.Sequential:
            return nn.Sequential(nn.MaxPool1d(4, 4), nn.Dropout(0.2), conv(n_in, n_out), conv(n_out, n_out))

        self.lconv1 = nn.Sequential(conv(4, 480), conv(480, 480))
        self.conv1 = nn.Sequential(*curved(480))
        self.lconv2 = straight(480, 640)
        self.conv2 = nn.Sequential(nn.Dropout(0.2), *curved(640))
        self.lconv3 = straight(640, 960)
        self.conv3 = nn.Sequential(nn.Dropout(0.2), *curved(960))
        for number, dilation in enumerate((2, 4, 8, 16, 25), start=1):
            self.add_module(f"dconv{number}", nn.Sequential(nn.Dropout(0.1), conv(960, 960, 5, dilation), nn.ReLU()))
        self.register_buffer("basis", torch.from_numpy(spline_basis()), persistent=False)
        self.classifier = nn.Sequential(
            nn.Linear(960 * 16, n_profiles), nn.ReLU(), nn.Linear(n_profiles, n_profiles), nn.Sigmoid()
        )

    def trunk(self, onehot: torch.Tensor) -> torch.Tensor:
        """Run all but the classifier."""
        x = self.lconv1(onehot)
        x = self.lconv2(x + self.conv1(x))
        x = self.lconv3(x + self.conv2(x))
        total = self.conv3(x)
        total = total + self.get_submodule("dconv1")(total + x)
        for number in range(2, 6):
            total = total + self.get_submodule(f"dconv{number}")(total)
        flat: torch.Tensor = (total @ self.get_buffer("basis")).flatten(1)
        return flat

    def forward(self, onehot: torch.Tensor) -> torch.Tensor:
        """Predict profiles of one strand."""
        profiles: torch.Tensor = self.classifier(self.trunk(onehot))
        return profiles


def rule_value(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Fill a parameter: s sin(0.37 (i^2 + p i mod 1000003) + p) + o, of full rank and the same everywhere."""
    p, modulus = zlib.crc32(key.encode("ascii")) % 1000, 1_000_003
    i = np.arange(modulus, dtype=np.int64)
    offset = 0.0
    if key == "projvec":
        scale = 1.0
    elif key.endswith(".weight"):
        scale = {"classifier.0.weight": 0.03, "classifier.2.weight": 4.0}.get(key, 1.6) / float(
            np.prod(shape[1:])
        ) ** 0.5
    else:
        scale = 0.1
        offset = -2.0 if key == "classifier.0.bias" else 0.0 if key.startswith(("lconv", "classifier.2")) else -0.3
    period = (scale * np.sin(0.37 * ((i * i + p * i) % modulus) + p) + offset).astype(np.float32)
    return torch.from_numpy(np.resize(period, shape))


def rule_state(n_profiles: int) -> dict[str, torch.Tensor]:
    """Fill all 38 parameters; 3.6 GB with all profiles."""
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in PlainSei(n_profiles).state_dict().items()}
    return {key: rule_value(key, shape) for key, shape in shapes.items()}


def loaded(network: Network, state: Mapping[str, torch.Tensor]) -> Network:
    """Give a network made on the meta device its parameters, for inference."""
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def sequences(n: int) -> NDArray[np.uint8]:
    """Make bins like those of the golden data: plain, of drifting composition, with a run of N, all N, scattered N."""
    rng = np.random.default_rng(20_240)
    rows = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, (n, INPUT_LENGTH))]
    is_gc = rng.random((n, INPUT_LENGTH)) < np.linspace(0.2, 0.8, INPUT_LENGTH)
    gc, at = (np.frombuffer(pair, dtype=np.uint8)[rng.integers(0, 2, (n, INPUT_LENGTH))] for pair in (b"GC", b"AT"))
    rows[1::6] = np.where(is_gc, gc, at)[1::6]
    rows[2::6] = np.where(is_gc, at, gc)[2::6]
    rows[3::6, 1500:2617] = ord("N")
    rows[4::6] = ord("N")
    rows[5::6][rng.random(rows[5::6].shape) < 0.01] = ord("n")
    return rows


def directions_of(n_profiles: int) -> torch.Tensor:
    """Give a projection to classes, shape `(61, n_profiles)`, rows of length 1."""
    vectors = rule_value("projvec", (61, n_profiles)).double()
    directions: torch.Tensor = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return directions.float()


def reference(state: Mapping[str, torch.Tensor], bases: NDArray[np.uint8], device: str) -> dict[str, NDArray[Any]]:
    """Compute `OUTPUTS` in float64 from the same float32 parameters."""
    with torch.device("meta"):
        plain = PlainSei(8)
    plain.classifier = nn.Sequential()
    trunk = {key: value for key, value in state.items() if not key.startswith("classifier")}
    plain = loaded(plain, trunk).to(device).double()
    onehot = encode(torch.from_numpy(bases)).double()
    with torch.inference_mode():
        both = torch.cat([onehot, reverse_complement(onehot)])
        flat = torch.cat([plain.trunk(both[i : i + 2].to(device)) for i in range(0, len(both), 2)])
        hidden = _wide_linear(flat, state["classifier.0.weight"], state["classifier.0.bias"]).relu_()
        logits = _wide_linear(hidden, state["classifier.2.weight"], state["classifier.2.bias"])
        forward, reverse = logits.sigmoid().cpu().chunk(2)
    profiles = (forward + reverse) / 2
    scores = profiles @ directions_of(profiles.shape[1]).double().T
    return {"profiles": profiles.numpy(), "classes": scores.numpy()}


def _wide_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, rows: int = 2048) -> torch.Tensor:
    """Multiply by float32 weights in float64, a few rows at a time: all of them would take 7 GB more."""
    parts = [x @ weight[i : i + rows].to(x.device).double().T for i in range(0, len(weight), rows)]
    return torch.cat(parts, 1) + bias.to(x.device)
