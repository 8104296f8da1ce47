"""A tiny network of MPRA-DragoNN's form, written with h5py as Keras would save it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from builders.extractors.mpra_dragonn.extractor import TASKS

LENGTH, WIDTHS, KERNEL = 20, (5, 6), 3
Described = list[dict[str, Any]]


def described() -> Described:
    """The layers as `model.to_json()` lists them."""
    conv = {"padding": "valid", "strides": [1], "dilation_rate": [1], "activation": "relu", "use_bias": True}
    norm = {"axis": -1, "center": True, "scale": True, "epsilon": 1e-3}
    layers: list[tuple[str, str, dict[str, Any]]] = []
    for number in range(1, len(WIDTHS) + 1):
        layers.append(("Conv1D", f"conv1d_{number}", dict(conv)))
        layers.append(("BatchNormalization", f"batch_normalization_{number}", dict(norm)))
        layers.append(("Dropout", f"dropout_{number}", {"rate": 0.1}))
    layers += [("Flatten", "flatten_1", {}), ("Dense", "dense_1", {"activation": "linear", "use_bias": True})]
    layers[0][2]["batch_input_shape"] = [None, LENGTH, 4]
    return [{"class_name": kind, "config": {"name": name, **settings}} for kind, name, settings in layers]


def tiny_weights(seed: int = 0) -> dict[str, dict[str, NDArray[np.float32]]]:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.normal(size=shape).astype(np.float32)

    found, before = {}, 4
    for number, width in enumerate(WIDTHS, start=1):
        found[f"conv1d_{number}"] = {"kernel": normal(KERNEL, before, width), "bias": normal(width)}
        norm = {name: normal(width) for name in ("gamma", "beta", "moving_mean", "moving_variance")}
        norm["moving_variance"] **= 2
        found[f"batch_normalization_{number}"] = norm
        before = width
    left = LENGTH - len(WIDTHS) * (KERNEL - 1)
    found["dense_1"] = {"kernel": normal(left * before, len(TASKS)), "bias": normal(len(TASKS))}
    return found


def write(folder: Path, weights: Mapping[str, Mapping[str, Any]] | None = None, layers: Described | None = None) -> Any:
    """Write weights alone, as `model.save_weights` does, with the JSON of the layers beside; give the settings."""
    weights, layers = weights or tiny_weights(), layers or described()
    with h5py.File(folder / "pretrained.hdf5", "w") as file:
        for layer in layers:
            name = layer["config"]["name"]
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{part}:0".encode() for part in weights.get(name, ())]
            for part, values in weights.get(name, {}).items():
                group.create_dataset(f"{name}/{part}:0", data=values)
    document = {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": layers}}
    (folder / "model.json").write_text(json.dumps(document))
    return {"weights": folder / "pretrained.hdf5", "architecture": folder / "model.json"}
