"""The network of MPRA-DragoNN, and its published weights.

Belongs here: the layers, and reading them from a file. Does not: strands and channels
(`builders.extractors.mpra_dragonn.extractor`), Keras's files (`builders.extractors.networks.keras_file`).

Convolutions without padding, each with ReLU and then batch normalisation, and one dense layer over all that is left.
Number and widths are the file's: in ConvModel of kundajelab/MPRA-DragoNN (MIT) 145 bp, three convolutions of 120
kernels of 5 bp, and 12 tasks.
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from builders.extractors.networks.keras_file import KerasFileError, KerasLayer, read_keras_layers, require_settings

_SETTINGS: dict[str, dict[str, object]] = {
    "Conv1D": {"padding": "valid", "strides": [1], "dilation_rate": [1], "activation": "relu", "use_bias": True},
    "BatchNormalization": {"axis": -1, "center": True, "scale": True},
    "Flatten": {},
    "Dense": {"activation": "linear", "use_bias": True},
}
"""What decides the result, by kind of layer."""
_LONGEST = 1 << 16
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


class MpraDragonn(nn.Module):
    """Predicts the activity of a short sequence in each task of a massively parallel reporter assay.

    Parameters
    ----------
    blocks
        Convolutions, each with its batch normalisation.
    dense
        Reads position by position, all channels of each: Keras has the channels last.
    input_length
        Bases of a sequence.
    """

    def __init__(self, blocks: list[tuple[nn.Conv1d, nn.BatchNorm1d]], dense: nn.Linear, *, input_length: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolution for convolution, _ in blocks)
        self.norms = nn.ModuleList(norm for _, norm in blocks)
        self.dense = dense
        self.input_length = input_length

    def forward(self, onehot: Tensor) -> Tensor:
        """Predict from encoded sequence `(batch, 4, input_length)`, float32; shape `(batch, tasks)`."""
        x = onehot
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(F.relu(convolution(x)))
        predicted: Tensor = self.dense(x.transpose(1, 2).flatten(1))
        return predicted


def load_mpra_dragonn(
    weights: str | os.PathLike[str], architecture: str | os.PathLike[str] | None = None
) -> MpraDragonn:
    """Read a network of this form, for inference in float32.

    Parameters
    ----------
    architecture
        The JSON of its layers, where the file holds weights alone, as the published one does.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KerasFileError
        If it is no such file (`read_keras_layers`), or holds another network.
    """
    path = Path(weights)
    layers = [one for one in read_keras_layers(path, architecture=architecture) if one.kind != "Dropout"]
    kinds = [layer.kind for layer in layers]
    n_blocks = (len(layers) - 2) // 2
    if n_blocks < 1 or kinds != ["Conv1D", "BatchNormalization"] * n_blocks + ["Flatten", "Dense"]:
        raise KerasFileError(
            f"{path} holds no network of MPRA-DragoNN's form: its layers are {', '.join(kinds)}; expected Conv1D and "
            "BatchNormalization in turns, then Flatten and Dense"
        )
    require_settings(path, layers, _SETTINGS)
    length = _input_length(path, layers[0])
    blocks, channels, left = [], 4, length
    for convolution, norm in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        made = _convolution(path, convolution, channels), _norm(path, norm)
        channels, left = made[0].out_channels, left - made[0].kernel_size[0] + 1
        if made[1].num_features != channels or left < 1:
            raise KerasFileError(f"{path}: {norm.name} does not fit {channels} kernels over {length:,} bp")
        blocks.append(made)
    dense = layers[-1]
    (kernel, bias) = _arrays(path, dense, ("kernel", "bias"), axes=2)
    if kernel.shape[0] != left * channels:
        raise KerasFileError(f"{path}: {dense.name} reads {kernel.shape[0]:,} numbers, expected {left * channels:,}")
    linear = nn.Linear(1, 1, device="meta")
    linear.weight, linear.bias = nn.Parameter(kernel.T.contiguous()), nn.Parameter(bias)
    network = MpraDragonn(blocks, linear, input_length=length)
    return network.eval().requires_grad_(False)


def _input_length(path: Path, first: KerasLayer) -> int:
    shape = first.settings.get("batch_input_shape")
    sizes = shape[1:] if isinstance(shape, list) else []
    if len(sizes) != 2 or sizes[1] != 4 or not isinstance(sizes[0], int) or not 1 <= sizes[0] <= _LONGEST:
        raise KerasFileError(f"{path}: the input is of shape {shape}, expected [None, bases, 4]")
    return sizes[0]


def _arrays(path: Path, layer: KerasLayer, names: tuple[str, ...], *, axes: int) -> list[Tensor]:
    """Give the weights of a layer: the first of so many axes, the others as long as its last one."""
    found = [layer.weights.get(name) for name in names]
    first = found[0]
    if first is None or first.ndim != axes or not first.size:
        raise KerasFileError(f"{path}: {layer.name} has no {names[0]} of {axes} axes; download it again")
    if any(one is None or one.shape != first.shape[-1:] for one in found[1:]):
        raise KerasFileError(f"{path}: {', '.join(names)} of {layer.name} do not fit one another; download it again")
    return [torch.from_numpy(np.ascontiguousarray(one)) for one in found]


def _convolution(path: Path, layer: KerasLayer, channels: int) -> nn.Conv1d:
    kernel, bias = _arrays(path, layer, ("kernel", "bias"), axes=3)
    if kernel.shape[1] != channels:
        raise KerasFileError(f"{path}: {layer.name} reads {kernel.shape[1]} channels, expected {channels}")
    made = nn.Conv1d(channels, len(bias), len(kernel), device="meta")
    made.weight, made.bias = nn.Parameter(kernel.permute(2, 1, 0).contiguous()), nn.Parameter(bias)
    return made


def _norm(path: Path, layer: KerasLayer) -> nn.BatchNorm1d:
    gamma, beta, mean, variance = _arrays(path, layer, _NORM, axes=1)
    epsilon = layer.settings.get("epsilon")
    if not isinstance(epsilon, float) or not epsilon > 0 or (variance < 0).any():
        raise KerasFileError(f"{path}: {layer.name} has epsilon={epsilon!r} or a negative variance; download it again")
    made = nn.BatchNorm1d(len(gamma), eps=epsilon)
    made.weight, made.bias = nn.Parameter(gamma), nn.Parameter(beta)
    made.running_mean, made.running_var = mean, variance
    return made
