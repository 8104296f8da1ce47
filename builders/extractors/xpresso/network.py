"""The network of Xpresso, and its published weights.

Belongs here: the network and reading it from a file. Does not: which bases it reads
(`builders.extractors.xpresso.promoters`), Keras's files (`builders.extractors.networks.keras_file`).

Two convolutions with ReLU and pooling, then three dense layers. The widths, lengths and pools are the file's: for
`human_trainepoch.11-0.426.h5` of vagarwal87/Xpresso (MIT) 10,500 bp, 128 kernels of 6 bp, pools of 30, 32 kernels of 9,
pools of 10, and 64, 2 and 1 units.
"""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from builders.extractors.networks.keras_file import KerasFileError, KerasLayer, read_keras_layers, require_settings
from builders.extractors.networks.onehot import encode

_KINDS = (
    *("InputLayer", "Conv1D", "MaxPooling1D", "Conv1D", "MaxPooling1D", "Flatten", "InputLayer", "Concatenate"),
    *("Dense", "Activation", "Dense", "Activation", "Dense"),
)
_SETTINGS: dict[str, dict[str, object]] = {
    "Conv1D": {"padding": "same", "strides": [1], "dilation_rate": [1], "activation": "relu"},
    "MaxPooling1D": {"padding": "valid"},
    "Dense": {"activation": "linear"},
    "Activation": {"activation": "relu"},
}
"""What decides the result, by kind of layer."""
_LONGEST = 1 << 20
_Weights: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""A kernel with its bias."""
_MOST_ACTIVATIONS = 1 << 27
"""Numbers of one promoter after the first convolution: 512 MB."""


class Xpresso(nn.Module):
    """Predicts standardised expression from a promoter; half-life features are 0, as in the published predictions.

    Parameters
    ----------
    kernels
        Of the two convolutions, each of shape `(out, in, width)`, and their biases.
    pools
        Positions that each pooling takes together.
    dense
        Weights, each of shape `(out, in)`, and biases of the dense layers.
    input_length
        Bases of a promoter.
    """

    def __init__(
        self,
        kernels: Sequence[_Weights],
        pools: Sequence[int],
        dense: Sequence[_Weights],
        *,
        input_length: int,
    ) -> None:
        super().__init__()
        self.input_length = input_length
        self.pools = tuple(pools)
        self.widths = tuple(kernel.shape[2] for kernel, _ in kernels)
        self.convolutions = nn.ModuleList(
            _loaded(nn.Conv1d(w.shape[1], w.shape[0], w.shape[2]), w, b) for w, b in kernels
        )
        self.dense = nn.ModuleList(_loaded(nn.Linear(w.shape[1], w.shape[0]), w, b) for w, b in dense)

    def forward(self, sequences: Tensor) -> Tensor:
        """Predict from ASCII bases `(batch, input_length)`, uint8, on the gene's strand; shape `(batch,)`, float32."""
        return self.from_onehot(encode(sequences))

    def from_onehot(self, onehot: Tensor) -> Tensor:
        """Predict from encoded bases `(batch, 4, input_length)`, float32, on the gene's strand; shape `(batch,)`."""
        x = onehot
        for convolution, width, pool in zip(self.convolutions, self.widths, self.pools, strict=True):
            left = (width - 1) // 2  # Keras pads an even kernel by one more on the right
            x = F.max_pool1d(F.relu(convolution(F.pad(x, (left, width - 1 - left)))), pool)
        x = x.transpose(1, 2).flatten(1)  # Keras has the channels last
        *hidden, last = self.dense
        for layer in hidden:
            x = F.relu(layer(x))
        predicted: Tensor = last(x)
        return predicted[:, 0]


def load_xpresso(path: str | os.PathLike[str]) -> Xpresso:
    """Read a network of Xpresso's form from a file that Keras saved, for inference in float32.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KerasFileError
        If it is no such file (`read_keras_layers`), or holds another network.
    """
    path = Path(path)
    layers = _layers_of(path)
    by_kind = {kind: [layer for layer in layers if layer.kind == kind] for kind in _KINDS}
    (length, letters), (n_half_life,) = (
        _input_shape(path, layer, axes=axes) for layer, axes in zip(by_kind["InputLayer"], (2, 1), strict=True)
    )
    pools = [_pool(path, layer) for layer in by_kind["MaxPooling1D"]]
    kernels = [_weights(path, layer, axes=3) for layer in by_kind["Conv1D"]]
    dense = [_weights(path, layer, axes=2) for layer in by_kind["Dense"]]
    flattened = length // pools[0] // pools[1] * kernels[1][1].size
    read = [letters, kernels[0][1].size, flattened + n_half_life, *(bias.size for _, bias in dense)]
    shapes = [kernel.shape[-2:] for kernel, _ in (*kernels, *dense)]
    fits = shapes == [(read[0], read[1]), (read[1], kernels[1][1].size), *pairwise(read[2:])]
    if not fits or letters != 4 or read[-1] != 1 or not flattened or length * read[1] > _MOST_ACTIVATIONS:
        raise KerasFileError(
            f"{path}: layers of shapes {shapes} do not fit {length:,} bp, pools of {pools} and {n_half_life} half-life "
            "features; download it again"
        )
    first, bias = dense[0]
    dense[0] = first[:flattened], bias  # half-life features come last, and are 0
    return Xpresso(
        [(kernel.transpose(2, 1, 0), bias) for kernel, bias in kernels],
        pools,
        [(kernel.T, bias) for kernel, bias in dense],
        input_length=length,
    ).eval()


def _layers_of(path: Path) -> list[KerasLayer]:
    """Read the layers, and refuse those of another network."""
    layers = [layer for layer in read_keras_layers(path) if layer.kind != "Dropout"]
    kinds = tuple(layer.kind for layer in layers)
    if kinds != _KINDS:
        raise KerasFileError(
            f"{path} holds no network of Xpresso's form: its layers are {', '.join(kinds)}; "
            f"expected {', '.join(_KINDS)}"
        )
    require_settings(path, layers, _SETTINGS)
    names = {layer.kind: layer.name for layer in layers}
    joined = next(layer for layer in layers if layer.kind == "Concatenate")
    if joined.inputs != (names["Flatten"], names["InputLayer"]):  # the later of the two inputs is the half-life
        raise KerasFileError(f"{path}: {joined.name} joins {joined.inputs}, expected the promoter, then the half-life")
    return layers


def _input_shape(path: Path, layer: KerasLayer, *, axes: int) -> list[int]:
    shape = layer.settings.get("batch_input_shape")
    sizes = shape[1:] if isinstance(shape, list) else []
    if len(sizes) != axes or not all(isinstance(size, int) and 1 <= size <= _LONGEST for size in sizes):
        raise KerasFileError(f"{path}: the input {layer.name} is of shape {shape}, expected {axes} sizes a gene")
    return sizes


def _pool(path: Path, layer: KerasLayer) -> int:
    size = layer.settings.get("pool_size")
    if not isinstance(size, list) or len(size) != 1 or not isinstance(size[0], int) or not 1 <= size[0] <= _LONGEST:
        raise KerasFileError(f"{path}: {layer.name} pools {size!r} positions, expected a number of them")
    if layer.settings.get("strides") != size:
        raise KerasFileError(f"{path}: {layer.name} has strides {layer.settings.get('strides')}, expected {size}")
    return size[0]


def _weights(path: Path, layer: KerasLayer, *, axes: int) -> _Weights:
    kernel, bias = layer.weights.get("kernel"), layer.weights.get("bias")
    if kernel is None or bias is None or kernel.ndim != axes or bias.shape != kernel.shape[-1:] or not kernel.size:
        raise KerasFileError(f"{path}: {layer.name} has no kernel with a bias for each of its units; download it again")
    return kernel, bias


def _loaded(layer: nn.Conv1d | nn.Linear, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> nn.Module:
    layer.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(kernel)), requires_grad=False)
    layer.bias = nn.Parameter(torch.from_numpy(bias), requires_grad=False)
    return layer
