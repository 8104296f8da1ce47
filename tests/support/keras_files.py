"""A tiny network of Xpresso's form, written with h5py as Keras would save it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

LENGTH = 60
SHAPES = {"conv1d_1": (4, 4, 5), "conv1d_2": (3, 5, 3), "dense_1": (11, 6), "dense_2": (6, 2), "dense_3": (2, 1)}
"""60 bp, pools of 4 and 5, so 3 places of 3 kernels, and 2 half-life features."""


def tiny_weights(seed: int = 0) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Kernel and bias of each layer."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(size=shape).astype(np.float32), rng.normal(size=shape[-1]).astype(np.float32))
        for name, shape in SHAPES.items()
    }


def layers() -> list[dict[str, Any]]:
    """What the file says of its layers."""

    def layer(kind: str, name: str, *inputs: str, **settings: Any) -> dict[str, Any]:
        calls = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
        return {"class_name": kind, "name": name, "config": {"name": name, **settings}, "inbound_nodes": calls}

    conv = {"padding": "same", "strides": [1], "dilation_rate": [1], "activation": "relu"}
    return [
        layer("InputLayer", "promoter", batch_input_shape=[None, LENGTH, 4]),
        layer("Conv1D", "conv1d_1", "promoter", **conv),
        layer("MaxPooling1D", "pool_1", "conv1d_1", padding="valid", pool_size=[4], strides=[4]),
        layer("Conv1D", "conv1d_2", "pool_1", **conv),
        layer("MaxPooling1D", "pool_2", "conv1d_2", padding="valid", pool_size=[5], strides=[5]),
        layer("Flatten", "flatten_1", "pool_2"),
        layer("InputLayer", "halflife", batch_input_shape=[None, 2]),
        layer("Concatenate", "concatenate_1", "flatten_1", "halflife"),
        layer("Dense", "dense_1", "concatenate_1", activation="linear"),
        layer("Activation", "activation_1", "dense_1", activation="relu"),
        layer("Dropout", "dropout_1", "activation_1", rate=0.1),
        layer("Dense", "dense_2", "dropout_1", activation="linear"),
        layer("Activation", "activation_2", "dense_2", activation="relu"),
        layer("Dense", "dense_3", "activation_2", activation="linear"),
    ]


def write_keras(
    path: Path,
    weights: Mapping[str, tuple[NDArray[Any], NDArray[Any]]] | None = None,
    described: list[dict[str, Any]] | None = None,
) -> Path:
    """Write a network, by default that of `tiny_weights`."""
    weights, described = weights or tiny_weights(), described or layers()
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Model", "config": {"layers": described}})
        for layer in described:
            name = layer["config"]["name"]
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = [
                f"{name}/{part}:0".encode() for part in ("kernel", "bias") if name in weights
            ]
            for part, values in zip(("kernel", "bias"), weights.get(name, ()), strict=False):
                group.create_dataset(f"{name}/{part}:0", data=values)
    return path
