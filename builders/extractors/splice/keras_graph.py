"""SpliceAI's own files, as Keras saved them: the layers, named as the network names them.

Belongs here: following the layers of such a file from the last to the first. Does not: opening it
(`builders.extractors.networks.keras_file`), the network (`builders.extractors.splice.network`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from builders.extractors.networks.keras_file import KerasFileError, KerasLayer, read_keras_layers
from builders.extractors.splice.network import Unit

_PATH = ("BatchNormalization", "Activation", "Conv1D", "BatchNormalization", "Activation", "Conv1D")
"""Layers of a residual unit."""
_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "BatchNormalization": {"axis": -1, "epsilon": 0.001, "center": True, "scale": True},
    "Activation": {"activation": "relu"},
    "Conv1D": {"strides": [1], "use_bias": True},
}
"""What decides the result, by kind of layer."""


def read_graph(path: Path, *, expected: str) -> tuple[dict[str, torch.Tensor], list[Unit]]:
    """Read a file's parameters, by the names of `SpliceNetwork`, and the sizes of its residual units.

    Parameters
    ----------
    expected
        Which file is expected, for the end of an error message.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KerasFileError
        If it is damaged, or its layers are not those of SpliceAI.
    """
    layers = {layer.name: layer for layer in read_keras_layers(path)}
    try:
        return _Graph(layers).parameters()
    except (LookupError, ValueError) as error:
        raise KerasFileError(f"{path} holds no network of SpliceAI's form ({error}); {expected}") from error


class _Graph:
    """Layers of a Keras file, which say what they read."""

    def __init__(self, layers: Mapping[str, KerasLayer]) -> None:
        self.layers = layers

    def parameters(self) -> tuple[dict[str, torch.Tensor], list[Unit]]:
        """Give the parameters by the names of `SpliceNetwork`, and the sizes of its units."""
        read = {name for layer in self.layers.values() for name in layer.inputs}
        (last,) = (layer for name, layer in self.layers.items() if name not in read)
        self._is(last, "Conv1D", activation="softmax")
        crop = self._input(last, "Cropping1D")
        state = _convolution("final_conv", last)
        skips = self._skips(self._input(crop, "Add"))
        trunk = [self._input(skip) for skip in skips]
        state |= _convolution("initial_conv", trunk[0]) | _convolution("initial_skip.conv", skips[0])
        self._is(self._input(trunk[0]), "InputLayer")
        units: list[Unit] = []
        number = 0
        for before, after, skip in zip(trunk, trunk[1:], skips[1:], strict=False):
            for path in self._units(before, after):
                state |= _unit(f"residual_units.{number}", path)
                units.append(Unit(_taps(path[2]), _dilation(path[2])))
                number += 1
            state |= _convolution(f"residual_units.{number}.conv", skip)
            number += 1
        flank = sum((unit.kernel - 1) * unit.dilation for unit in units)
        self._is(crop, "Cropping1D", cropping=[flank, flank])
        return state, units

    def _skips(self, total: KerasLayer) -> list[KerasLayer]:
        """List the convolutions whose outputs are added up, the first one first."""
        found: list[KerasLayer] = []
        while total.kind == "Add":
            one, other = (self.layers[name] for name in total.inputs)
            # The sum so far, and a convolution of the trunk; of the first sum both are convolutions.
            so_far, added = (one, other) if one.kind == "Add" or self._reads_before(one, other) else (other, one)
            self._is(added, "Conv1D", kernel_size=[1], activation="linear")
            found.insert(0, added)
            total = so_far
        self._is(total, "Conv1D", kernel_size=[1], activation="linear")
        return [total, *found]

    def _reads_before(self, one: KerasLayer, other: KerasLayer) -> bool:
        """Tell whether a convolution reads the trunk where it is no sum yet, and the other where it is."""
        return self._input(one).kind == "Conv1D" and self._input(other).kind == "Add"

    def _units(self, before: KerasLayer, after: KerasLayer) -> list[list[KerasLayer]]:
        """List the layers of the units between two places of the trunk."""
        found: list[list[KerasLayer]] = []
        while after.name != before.name:
            self._is(after, "Add")
            path, source = self._branch(after)
            found.insert(0, path)
            after = source
        return found

    def _branch(self, total: KerasLayer) -> tuple[list[KerasLayer], KerasLayer]:
        """Give the layers of a unit in their order, and the trunk that they are added to."""
        for one, other in (total.inputs, total.inputs[::-1]):
            path: list[KerasLayer] = []
            layer = self.layers[one]
            for kind in reversed(_PATH):
                if layer.kind != kind:
                    break
                self._is(layer, kind)
                path.insert(0, layer)
                layer = self._input(layer)
            if len(path) == len(_PATH) and layer.name == other:
                return path, layer
        raise ValueError(f"{total.name} adds up no residual unit")

    def _input(self, layer: KerasLayer, kind: str | None = None) -> KerasLayer:
        (name,) = layer.inputs
        found = self.layers[name]
        if kind is not None and found.kind != kind:
            raise ValueError(f"{layer.name} reads {found.name}, a {found.kind}, not a {kind}")
        return found

    def _is(self, layer: KerasLayer, kind: str, **settings: object) -> None:
        expected = {**_SETTINGS.get(kind, {}), **settings}
        found = {name: layer.settings.get(name) for name in expected}
        wrong = [f"{name}={found[name]!r}" for name, value in expected.items() if found[name] != value]
        if layer.kind != kind or wrong:
            raise ValueError(f"{layer.name} is a {layer.kind} with {', '.join(wrong) or 'other inputs'}")


def _taps(layer: KerasLayer) -> int:
    return int(layer.weights["kernel"].shape[0])


def _dilation(layer: KerasLayer) -> int:
    (rate,) = layer.settings["dilation_rate"]
    return int(rate)


def _convolution(name: str, layer: KerasLayer) -> dict[str, torch.Tensor]:
    kernel = layer.weights["kernel"].transpose(2, 1, 0)  # Keras has (taps, in, out)
    return {
        f"{name}.weight": torch.from_numpy(kernel.copy()),
        f"{name}.bias": torch.from_numpy(layer.weights["bias"]),
    }


def _unit(name: str, path: list[KerasLayer]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for number, norm, convolution in ((1, path[0], path[2]), (2, path[3], path[5])):
        state |= _convolution(f"{name}.conv{number}", convolution)
        named = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        state |= {
            f"{name}.batchnorm{number}.{ours}": torch.from_numpy(norm.weights[theirs]) for ours, theirs in named.items()
        }
        state[f"{name}.batchnorm{number}.num_batches_tracked"] = torch.tensor(0)
    return state
