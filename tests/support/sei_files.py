"""Files of a small Sei: parameters filled by a published rule, or hollow ones of the right shapes."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from builders.extractors.sei.network import SeiNetwork

MODULUS = 1_000_003


def rule_value(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Fill one parameter by the rule of the golden data: s * sin(0.37 * (i * i + p * i mod M) + p) + o."""
    offset, scale = offset_and_scale(key, shape)
    p = zlib.crc32(key.encode("ascii")) % 1000
    i = np.arange(MODULUS, dtype=np.int64)
    period = (scale * np.sin(0.37 * ((i * i + p * i) % MODULUS) + p) + offset).astype(np.float32)
    return torch.from_numpy(np.resize(period, shape))


def offset_and_scale(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    root = float(np.sqrt(np.prod(shape[1:])))
    if key == "projvec":
        return 0.0, 1.0
    if key.endswith(".weight"):
        return 0.0, {"classifier.0.weight": 0.03, "classifier.2.weight": 4.0}.get(key, 1.6) / root
    if key == "classifier.0.bias":
        return -2.0, 0.1
    return (0.0 if key.startswith(("lconv", "classifier.2")) else -0.3), 0.1


def shapes_of(n_profiles: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in SeiNetwork(n_profiles).state_dict().items()}


def rule_state(n_profiles: int) -> dict[str, torch.Tensor]:
    return {key: rule_value(key, shape) for key, shape in shapes_of(n_profiles).items()}


def published(state: Mapping[str, Any]) -> dict[str, Any]:
    return {f"module.model.{key}": value for key, value in state.items()}


def hollow_state(n_profiles: int = 8, value: float = 0.5) -> dict[str, Any]:
    """Give parameters of the right shapes that take no room on disk: one number each, spread out."""
    return {key: torch.full((1,), value).expand(shape) for key, shape in shapes_of(n_profiles).items()}


def saved(content: object, folder: Path, name: str = "sei.pth", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def projector(folder: Path, vectors: NDArray[Any]) -> Path:
    np.save(folder / "projvec_targets.npy", vectors)
    return folder / "projvec_targets.npy"
