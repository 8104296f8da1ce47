"""The Sei network as published, and the files that hold its weights.

Belongs here: layers, one-hot encoding, reading and checking a checkpoint.
Does not: strands, classes, channels (`builders.extractors.sei.extractor`).

Needs numpy and torch only (safetensors for a file of that kind), so that it also runs on its own where nothing else is
installed. The architecture is that of Chen, Wong, Troyanskaya, Zhou, Nature Genetics 2022,
doi:10.1038/s41588-022-01102-2, with the parameter names of FunctionLab/sei-framework `model/sei.py`.
"""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from catalog.runtime.locations import required_path

INPUT_LENGTH = 4096
"""Bases that the network reads (bp)."""
N_PROFILES = 21_907
"""Chromatin profiles that the published network predicts."""
N_CHANNELS = 960
"""Channels that enter the spline."""
N_SPLINES = 16
"""B-splines that summarise the positions of one channel."""

_POSITIONS = INPUT_LENGTH // 16
_DEGREE = 3
_DILATIONS = (2, 4, 8, 16, 25)
_PREFIXES = re.compile(r"^(?:module\.|model\.)+")
_ZIP, _GZIP = b"PK\x03\x04", b"\x1f\x8b"
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before 1.6 begin: a pickled magic number."""
_EXPECTED = "expected sei.pth of sei_model.tar.gz (Zenodo record 4906997), or a state dict with its parameter names"


class SeiCheckpointError(ValueError):
    """A file that does not hold the weights of a Sei network."""


def encode(sequences: torch.Tensor) -> torch.Tensor:
    """Encode bases one-hot in the order A, C, G, T.

    Parameters
    ----------
    sequences
        ASCII bases in either case, shape `(batch, length)`, uint8, on any device.

    Returns
    -------
    Shape `(batch, 4, length)`, float32, on the same device. Every byte but the four bases (N, IUPAC codes, U, gaps) is
    0.25 in all four channels, as in training: zeros would be wrong.
    """
    letters = sequences | 0x20  # lower case
    bases = torch.stack([letters == code for code in b"acgt"], dim=1)
    return bases + 0.25 * ~bases.any(1, keepdim=True)


def reverse_complement(onehot: torch.Tensor) -> torch.Tensor:
    """Give the other strand of encoded sequences, shape `(batch, 4, length)`: A, C, G, T reversed is T, G, C, A."""
    return onehot.flip(1, 2)


def check_length(onehot: torch.Tensor) -> None:
    """Raise `ValueError` unless the shape is `(batch, 4, 4096)`: pooling would round other lengths without a word."""
    if onehot.shape[1:] != (4, INPUT_LENGTH):
        raise ValueError(
            f"Sei reads one-hot sequence of shape (batch, 4, {INPUT_LENGTH}), got {tuple(onehot.shape)}; "
            "take the 4,096 bases around the centre, and fill up with N"
        )


def spline_basis() -> NDArray[np.float32]:
    """Evaluate the 16 cubic B-splines at the 256 positions that the convolutions leave.

    Knots are 0 and 255, each four times, and between them 255 j / 13 for j = 1..12: the quantiles of the positions.

    Returns
    -------
    Shape `(256, 16)`, float32, rows summing to 1; computed in float64.
    """
    last = float(_POSITIONS - 1)
    n_inner = N_SPLINES - _DEGREE - 1
    inner = last * np.arange(1, n_inner + 1) / (n_inner + 1)
    knots = np.concatenate([np.zeros(_DEGREE + 1), inner, np.full(_DEGREE + 1, last)])
    x = np.arange(_POSITIONS, dtype=np.float64)[:, None]
    values = ((knots[:-1] <= x) & (x < knots[1:])).astype(np.float64)
    values[-1, N_SPLINES - 1] = 1.0  # the last interval is closed, so that position 255 lies in it
    for degree in range(1, _DEGREE + 1):
        # Cox-de Boor: each step blends neighbours; where knots coincide the term is 0 by definition.
        widths = knots[degree:] - knots[:-degree]
        slopes = np.divide(1.0, widths, out=np.zeros_like(widths), where=widths > 0)
        rising = (x - knots[: -degree - 1]) * slopes[:-1]
        falling = (knots[degree + 1 :] - x) * slopes[1:]
        values = rising * values[:, :-1] + falling * values[:, 1:]
    return values.astype(np.float32)


class SeiNetwork(nn.Module):
    """Sei: 4,096 bases in, the probabilities of chromatin profiles at the centre base out.

    The state dict has the 38 names of the published one: the splines are computed, not learned, so they are a buffer
    that is not saved (and follows the module to another device).

    Parameters
    ----------
    n_profiles
        Profiles predicted; also the width of the hidden layer before them. 21,907 make 890 M parameters (3.6 GB).
    """

    splines: torch.Tensor

    def __init__(self, n_profiles: int = N_PROFILES) -> None:
        super().__init__()
        self.n_profiles = n_profiles
        # No activation between or after the two convolutions of an `lconv` block.
        self.lconv1 = nn.Sequential(_conv(4, 480), _conv(480, 480))
        self.conv1 = nn.Sequential(_conv(480, 480), nn.ReLU(inplace=True), _conv(480, 480), nn.ReLU(inplace=True))
        self.lconv2 = _pooled_linear(480, 640)
        self.conv2 = _nonlinear(640)
        self.lconv3 = _pooled_linear(640, N_CHANNELS)
        self.conv3 = _nonlinear(N_CHANNELS)
        for number, dilation in enumerate(_DILATIONS, start=1):
            self.add_module(f"dconv{number}", _dilated(dilation))
        self.spline_dropout = nn.Dropout(0.5)
        self.classifier = nn.Sequential(
            nn.Linear(N_CHANNELS * N_SPLINES, n_profiles),
            nn.ReLU(inplace=True),
            nn.Linear(n_profiles, n_profiles),
            nn.Sigmoid(),
        )
        self.register_buffer("splines", torch.from_numpy(spline_basis()), persistent=False)

    def embed(self, onehot: torch.Tensor) -> torch.Tensor:
        """Run all but the two last layers.

        Parameters
        ----------
        onehot
            Encoded sequence, shape `(batch, 4, 4096)`, float.

        Returns
        -------
        Each channel's weight on each spline along the sequence, shape `(batch, 960, 16)`.

        Raises
        ------
        ValueError
            If the sequences are not 4,096 long.
        """
        check_length(onehot)
        skip = self.lconv1(onehot)
        skip = self.lconv2(skip + self.conv1(skip))
        skip = self.lconv3(skip + self.conv2(skip))
        nonlinear = self.conv3(skip)
        # The skip connection enters the first dilated block, but not the sum over all of them.
        total = nonlinear + self.get_submodule("dconv1")(nonlinear + skip)
        for number in range(2, len(_DILATIONS) + 1):
            total = total + self.get_submodule(f"dconv{number}")(total)
        weights: torch.Tensor = self.spline_dropout(total) @ self.splines
        return weights

    def head(self, embedding: torch.Tensor) -> torch.Tensor:
        """Turn the output of `embed`, shape `(batch, 960, 16)`, into probabilities, shape `(batch, n_profiles)`."""
        profiles: torch.Tensor = self.classifier(embedding.flatten(1))
        return profiles

    def forward(self, onehot: torch.Tensor) -> torch.Tensor:
        """Predict profiles of one strand, shape `(batch, n_profiles)`, from `(batch, 4, 4096)`."""
        return self.head(self.embed(onehot))


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Open a checkpoint and check names and shapes.

    Tensors are mapped from the file, not read: milliseconds for a `.safetensors` or a `.pth` of torch 1.6 or newer.
    Leading `module.` and `model.` are taken off the names; the published file has `module.model.` before each.

    Returns
    -------
    The 38 parameters by the names of `SeiNetwork`, on the CPU, in the precision of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SeiCheckpointError
        If it is damaged, holds pickled code, or its parameters are not those of a Sei network; all that is wrong with
        them is listed at once.
    """
    path = required_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; {_EXPECTED}")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]  # as training with Selene saves it
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise SeiCheckpointError(f"{path} holds a {type(content).__name__}, not parameters by name; {_EXPECTED}")
    state = {_PREFIXES.sub("", key): value for key, value in content.items()}
    problems = _disagreements(state)
    if len(state) < len(content):
        problems.append(f"{len(content) - len(state)} names are the same without their module. and model. prefixes")
    if problems:
        raise SeiCheckpointError(f"{path} is not a checkpoint of Sei: {'; '.join(problems)}; {_EXPECTED}")
    return state


def load_sei(path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> SeiNetwork:
    """Load a network for inference in float32; how many profiles it has is read from the file.

    On the CPU the weights stay mapped from the file, so processes on one machine share them: do not overwrite the file
    meanwhile.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    SeiCheckpointError
        If the file is not a checkpoint of Sei (see `read_checkpoint`), or weights are NaN or infinite.
    """
    state = read_checkpoint(path)
    with torch.device("meta"):
        network = SeiNetwork(len(state["classifier.2.bias"]))
    network.load_state_dict(state, assign=True)
    network.to(device=device, dtype=torch.float32).eval().requires_grad_(False)
    # Minimum and maximum carry NaN along and need no copy, unlike `isfinite` on 480 M weights.
    spoiled = [key for key, value in network.state_dict().items() if not all(map(torch.isfinite, value.aminmax()))]
    if spoiled:
        raise SeiCheckpointError(
            f"{path} holds NaN or infinite weights in {', '.join(spoiled)}; training diverged, or the file is damaged: "
            "fetch it again"
        )
    return network


def _conv(n_in: int, n_out: int) -> nn.Conv1d:
    return nn.Conv1d(n_in, n_out, kernel_size=9, padding=4)


def _pooled_linear(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.MaxPool1d(4, 4), nn.Dropout(0.2), _conv(n_in, n_out), _conv(n_out, n_out))


def _nonlinear(n: int) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(0.2), _conv(n, n), nn.ReLU(inplace=True), _conv(n, n), nn.ReLU(inplace=True))


def _dilated(dilation: int) -> nn.Sequential:
    conv = nn.Conv1d(N_CHANNELS, N_CHANNELS, kernel_size=5, dilation=dilation, padding=2 * dilation)
    return nn.Sequential(nn.Dropout(0.1), conv, nn.ReLU(inplace=True))


def _disagreements(state: dict[str, Any]) -> list[str]:
    """Say all that keeps `state` from being the parameters of a Sei network of as many profiles as it ends in."""
    last = state.get("classifier.2.bias")
    n_profiles = len(last) if isinstance(last, torch.Tensor) and last.ndim == 1 and len(last) else N_PROFILES
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in SeiNetwork(n_profiles).state_dict().items()}
    problems = [f"missing {key} {shape}" for key, shape in expected.items() if key not in state]
    for key, value in state.items():
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            problems.append(f"{key} is {kind}, expected floating-point weights")
        elif key not in expected:
            problems.append(f"unexpected {key} {tuple(value.shape)}")
        elif tuple(value.shape) != expected[key]:
            problems.append(f"{key} has shape {tuple(value.shape)}, expected {expected[key]}")
    return problems


def _read_safetensors(path: Path) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"reading {path} needs safetensors: pip install safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise SeiCheckpointError(
            f"{path} ({path.stat().st_size:,} bytes) is truncated, or no safetensors file ({error}); fetch it again, "
            "or name a .pth file .pth"
        ) from error


def _read_pickle(path: Path) -> object:
    with path.open("rb") as file:
        head = file.read(len(_OLD_TORCH))
    if head.startswith(_GZIP):
        raise SeiCheckpointError(f"{path} is an archive; unpack it (`tar -xzf {path.name}`) and give model/sei.pth")
    if not head.startswith((_ZIP, _OLD_TORCH)):
        raise SeiCheckpointError(f"{path} is no checkpoint of torch: it begins with {head[:8]!r}; {_EXPECTED}")
    try:
        # Only the format since torch 1.6, a zip file, can be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=head.startswith(_ZIP))
    except pickle.UnpicklingError as error:
        # Torch's own text advises to load it all the same, so only the name in it is passed on.
        names = re.findall(r"GLOBAL (\S+)", str(error))
        raise SeiCheckpointError(
            f"{path} holds pickled code{f' ({names[0]})' if names else ''}, and loading that could run anything, so it "
            "was refused; save weights alone: torch.save(network.state_dict(), path)"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise SeiCheckpointError(
            f"{path} ({path.stat().st_size:,} bytes) is truncated or damaged ({reason}); fetch it again"
        ) from error
