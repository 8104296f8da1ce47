"""The Sei network as published, and the files that hold its weights.

Belongs here: layers, one-hot encoding, reading and checking a checkpoint.
Does not: strands, classes, channels (`builders.extractors.sei.extractor`).

Needs numpy and torch only (safetensors for a file of that kind), so that it also runs on its own where nothing else is
installed. The architecture is that of Chen, Wong, Troyanskaya, Zhou, Nature Genetics 2022,
doi:10.1038/s41588-022-01102-2, with the parameter names of FunctionLab/sei-framework `model/sei.py`.
"""

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from builders.extractors.networks import onehot
from builders.extractors.networks.torch_file import WeightsError, disagreements, read_parameters, refuse_spoiled

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
_EXPECTED = "expected sei.pth of sei_model.tar.gz (Zenodo record 4906997), or a state dict with its parameter names"


class SeiCheckpointError(WeightsError):
    """A file that does not hold the weights of a Sei network."""


def encode(sequences: torch.Tensor) -> torch.Tensor:
    """Encode bases one-hot in the order A, C, G, T.

    Every byte but the four bases is 0.25 in all four channels, as in training: zeros would be wrong. Shapes are as in
    `builders.extractors.networks.onehot.encode`.
    """
    return onehot.encode(sequences, unknown=0.25)


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

    Tensors are mapped from the file (`builders.extractors.networks.torch_file`). The published file has
    `module.model.` before each name.

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
    state = read_parameters(path, expected=_EXPECTED, raises=SeiCheckpointError)
    last = state.get("classifier.2.bias")
    n_profiles = len(last) if isinstance(last, torch.Tensor) and last.ndim == 1 and len(last) else N_PROFILES
    with torch.device("meta"):
        problems = disagreements(state, SeiNetwork(n_profiles))
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
    refuse_spoiled(network, Path(path), SeiCheckpointError)
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
