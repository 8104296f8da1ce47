"""What a probe keeps of a fit: the head on its own, which makes targets of features, and arrays.

    from model.probes.kept import load_head
    head = load_head(Path("probe/heads/kmer-4-ridge-seed0-1f2e3d4c.safetensors"))
    head(torch.from_numpy(features))  # (rows, pieces, channels) to (rows, targets)

Belongs here: heads as torch modules and files of arrays; tensors, numbers and JSON, never a pickle. Does not: fitting
heads (`model.probes.linear`, `model.probes.neural`), features (`model.probes.features`).
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from catalog.runtime.documents import parse_json
from catalog.runtime.files import replacing, write_atomic
from catalog.runtime.locations import required_path
from catalog.runtime.weight_files import cut_short
from model.probes.linear import Linear
from model.probes.networks import NETWORKS

_KEY = "probe"
"""Of the file's metadata: which head it is, as JSON."""


class HeadError(ValueError):
    """A file that cannot be read as a head."""


def keep_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays and texts by name (.npz), whole or not at all."""
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data.getbuffer())


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `keep_arrays` wrote; a ValueError if the file is damaged."""
    try:
        with path.open("rb") as file, np.load(file) as found:
            return {name: found[name] for name in found.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, MemoryError) as error:
        raise ValueError(f"{path} is cut short or damaged ({error}); remove it, and it is made again") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadShape:
    """What a head reads and gives; with its tensors it is the whole of it."""

    head: str
    pieces: int
    """Places along the sequence; 1 of pooled features."""
    channels: int
    targets: int
    width: float = 1.0
    """Of a network, as in its recipe."""
    reduce: int | None = None

    def network(self) -> nn.Module:
        """Make the layers of a network, with first weights."""
        return NETWORKS[self.head](self.channels, self.pieces, self.targets, width=self.width, reduce=self.reduce)


class ProbeHead(nn.Module):
    """A fitted head: features `(rows, pieces, channels)` to `(rows, targets)`, in units of the targets or log-odds."""

    def __init__(self, shape: HeadShape, inner: nn.Module) -> None:
        super().__init__()
        self.shape = shape
        self.inner = inner

    def forward(self, features: Tensor) -> Tensor:
        """Predict."""
        found: Tensor = self.inner(features)
        return found


class _Affine(nn.Module):
    """A linear head in double precision."""

    centre: Tensor
    weights: Tensor
    intercept: Tensor

    def __init__(self, columns: int, targets: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("weights", torch.zeros(columns, targets, dtype=torch.float64))
        self.register_buffer("intercept", torch.zeros(targets, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        """Weigh all numbers of a row."""
        found: Tensor = (features.flatten(1).double() - self.centre) @ self.weights + self.intercept
        return found


class _Scaled(nn.Module):
    """A network, whose targets were brought to mean 0 and deviation 1, in units of the targets."""

    centre: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, targets: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("centre", torch.zeros(targets, dtype=torch.float64))
        self.register_buffer("deviation", torch.ones(targets, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        """Predict, channels first as convolutions read them."""
        found: Tensor = self.network(features.float().transpose(1, 2)).double() * self.deviation + self.centre
        return found


def of_linear(head: str, fitted: Linear, *, pieces: int) -> ProbeHead:
    """Take over a linear fit."""
    columns, targets = fitted.coefficients.shape
    inner = _Affine(columns, targets)
    state = {
        "centre": fitted.centre,
        "weights": fitted.coefficients / fitted.scale[:, None],
        "intercept": fitted.intercept,
    }
    inner.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    shape = HeadShape(head=head, pieces=pieces, channels=columns // pieces, targets=targets)
    return ProbeHead(shape, inner).eval()


def of_network(
    shape: HeadShape, network: nn.Module, *, centre: NDArray[np.float64], deviation: NDArray[np.float64]
) -> ProbeHead:
    """Take over a trained network, and the scale of its targets `(targets,)`."""
    inner = _Scaled(network.cpu(), shape.targets)
    inner.centre.copy_(torch.from_numpy(centre))
    inner.deviation.copy_(torch.from_numpy(deviation))
    return ProbeHead(shape, inner).eval().requires_grad_(False)


def save_head(path: Path, head: ProbeHead, told: Mapping[str, Any]) -> None:
    """Write a head, whole or not at all.

    Parameters
    ----------
    told
        What else a reader should know of it, for JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in head.inner.state_dict().items()}
    with replacing(path) as partial:
        save_file(state, partial, metadata={_KEY: json.dumps({"shape": asdict(head.shape), **told})})


def load_head(path: Path) -> ProbeHead:
    """Read a head; no code of the file is run, and no more memory taken than it has bytes.

    Raises
    ------
    HeadError
        If it is damaged, or no head of a probe.
    """
    path = required_path(path)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise HeadError(f"{path} is no head of a probe; `featurestore probe` writes them into heads")
            document = parse_json(text, where=str(path), mend="fit it again", raises=HeadError)
            shape = _SHAPE.validate_json(json.dumps(document["shape"]), strict=True)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except SafetensorError as error:
        raise HeadError(cut_short(path, error)) from error
    except (ValidationError, KeyError, TypeError) as error:
        raise HeadError(f"{path} does not say which head it is ({str(error).splitlines()[0]}); fit it again") from error
    inner = _empty(shape, path)
    try:
        inner.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise HeadError(f"{path} holds other tensors than its {shape.head} has ({reason}); fit it again") from error
    if spoiled := [name for name, value in state.items() if not torch.isfinite(value).all()]:
        raise HeadError(f"{path} holds NaN or infinite weights in {spoiled[0]}; fit it again")
    return ProbeHead(shape, inner).eval().requires_grad_(False)


_SHAPE = TypeAdapter(HeadShape)


def _empty(shape: HeadShape, path: Path) -> nn.Module:
    """Make the layers of a head without any memory: whatever size a file states, its tensors must have it."""
    try:
        with torch.device("meta"):
            if shape.head not in NETWORKS:
                return _Affine(shape.pieces * shape.channels, shape.targets)
            return _Scaled(shape.network(), shape.targets)
    except (RuntimeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise HeadError(f"{path} states a {shape.head} that cannot be made ({error}); fit it again") from error
