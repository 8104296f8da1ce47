"""Networks that Keras saved as HDF5, read as data: no Keras, no TensorFlow, nothing that is run.

Belongs here: layers, their settings and their weights, within the bounds of the file. Does not: what a network is
(`builders.extractors.xpresso`).

A file is someone else's. HDF5 can point to other files, pack a terabyte into a kilobyte, and name code to unpack it
with; here a dataset is plain numbers that lie in this file, as many as it has bytes, or the file is refused. What
remains is the HDF5 library itself, in C: bytes flipped at random crash it now and then (a segmentation fault).
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from catalog.runtime.documents import parse_object, read_object
from catalog.runtime.locations import required_path
from catalog.runtime.weight_files import cut_short, refuse_pointer

MOST_BYTES = 1 << 28
"""Largest file that is read: published networks on sequence have up to some 10 MB."""
_MOST_LAYERS = 10_000
_MEND = "expected what Keras's `model.save(...)` writes as .h5"
_DAMAGED = (OSError, RuntimeError, LookupError, TypeError, AttributeError, ValueError)
"""What h5py raises of a damaged file, by where the damage is."""


class KerasFileError(ValueError):
    """A file that is no network as Keras saves one."""


class KerasLayer(NamedTuple):
    """One layer."""

    kind: str
    """Name of its class, such as `Conv1D`."""
    name: str
    settings: dict[str, Any]
    """Plain JSON, as the layer was made."""
    inputs: tuple[str, ...]
    """Names of the layers that it reads, in order."""
    weights: dict[str, NDArray[np.float32]]
    """By name, such as `kernel` and `bias`."""


def read_keras_layers(
    path: str | os.PathLike[str], *, architecture: str | os.PathLike[str] | None = None
) -> list[KerasLayer]:
    """Read the layers of a network in the order in which Keras lists them.

    Parameters
    ----------
    architecture
        What the layers are, as `to_json()` writes it, for a file of weights alone (`save_weights`). None
        where the file holds both.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KerasFileError
        If it is no such file, damaged, larger than `MOST_BYTES`, or its weights are not plain numbers in it.
    """
    path = required_path(path)
    described = None if architecture is None else _read_architecture(required_path(architecture))
    size = path.stat().st_size
    try:
        refuse_pointer(path)
    except ValueError as error:
        raise KerasFileError(str(error)) from error
    if size > MOST_BYTES:
        raise KerasFileError(f"{path} has {size:,} bytes, and at most {MOST_BYTES:,} are read; {_MEND}")
    if not h5py.is_hdf5(path):
        raise KerasFileError(f"{path} is no HDF5 file; {_MEND}")
    try:
        with h5py.File(path, "r") as file:
            documents = _documents(path, file) if described is None else described
            place = file.id if described is not None else _own(path, file.id, ("model_weights",))
            return [_layer(path, place, document) for document in documents]
    except KerasFileError:
        raise
    except _DAMAGED as error:
        raise KerasFileError(cut_short(path, " ".join(str(error).split()))) from error


def require_settings(
    path: str | os.PathLike[str], layers: Sequence[KerasLayer], expected: Mapping[str, Mapping[str, object]]
) -> None:
    """Refuse layers that are set otherwise than what is expected of their kind; KerasFileError says which."""
    for layer in layers:
        for name, value in expected.get(layer.kind, {}).items():
            found = layer.settings.get(name)
            if found != value:
                raise KerasFileError(f"{path}: {layer.name} has {name}={found!r}, expected {value!r}")


def _documents(path: Path, file: h5py.File) -> list[dict[str, Any]]:
    """Give what the file says of each layer."""
    text = file.attrs.get("model_config")
    if not isinstance(text, (str, bytes)):
        raise KerasFileError(
            f"{path} has weights, or something else, and no description of a network; {_MEND}, or give the JSON of its "
            "layers beside it (`architecture=`)"
        )
    where = f"model_config of {path}"
    return _listed(path, parse_object(text, where=where, mend=_MEND, raises=KerasFileError))


def _read_architecture(path: Path) -> list[dict[str, Any]]:
    mend = "expected what Keras's `to_json()` writes"
    return _listed(path, read_object(path, mend=mend, raises=KerasFileError))


def _listed(path: Path, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the layers of a described network."""
    config = document.get("config")
    # A sequential model is a list; in later versions a dictionary, as others are.
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list) or not 1 <= len(layers) <= _MOST_LAYERS:
        raise KerasFileError(f"{path} describes no layers; {_MEND}")
    for layer in layers:
        if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
            raise KerasFileError(f"{path} describes a layer without settings; {_MEND}")
    return layers


def _layer(path: Path, place: Any, document: dict[str, Any]) -> KerasLayer:
    settings = document["config"]
    kind, name = document.get("class_name"), settings.get("name", document.get("name"))
    if not isinstance(kind, str) or not isinstance(name, str):
        raise KerasFileError(f"{path} describes a layer without a class or a name; {_MEND}")
    nodes = document.get("inbound_nodes")
    # Of one call: [[["conv1d_1", 0, 0, {}], ...]].
    calls = nodes[0] if isinstance(nodes, list) and len(nodes) == 1 and isinstance(nodes[0], list) else []
    inputs = tuple(str(call[0]) for call in calls if isinstance(call, list) and call)
    return KerasLayer(kind, name, settings, inputs, _weights(path, place, name))


def _weights(path: Path, place: Any, layer: str) -> dict[str, NDArray[np.float32]]:
    group = _own(path, place, (layer,))
    if not isinstance(group, h5py.h5g.GroupID):
        raise KerasFileError(f"{path} has no weights of the layer {layer!r}; {_MEND}")
    listed = h5py.Group(group).attrs.get("weight_names")
    names = [one.decode() if isinstance(one, bytes) else str(one) for one in ([] if listed is None else listed)]
    found = {}
    for name in names:
        values = _own(path, group, name.split("/"))
        if not isinstance(values, h5py.h5d.DatasetID):
            raise KerasFileError(f"{path} names the weights {name!r}, which it does not hold; {_MEND}")
        found[name.rpartition("/")[2].partition(":")[0]] = _numbers(path, values)
    return found


def _own(path: Path, place: Any, names: Sequence[str]) -> Any:
    """Follow names from group to group, none of them a link to elsewhere; None if one is not there.

    By h5py's identifiers: SpliceAI's networks hold 1,030 arrays, and each object of h5py's asks the file ten times.
    """
    found = place
    for name in names:
        if not isinstance(found, h5py.h5g.GroupID | h5py.h5f.FileID) or not found.links.exists(name.encode()):
            return None
        if found.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise KerasFileError(f"{path}: {name!r} is a link to somewhere else, which is not followed; {_MEND}")
        found = h5py.h5o.open(found, name.encode())
    return found


def _numbers(path: Path, dataset: Any) -> NDArray[np.float32]:
    stored, dtype, shape = dataset.get_create_plist(), dataset.dtype, dataset.shape
    n_bytes = math.prod(shape) * dtype.itemsize
    is_plain = (
        stored.get_layout() == h5py.h5d.CONTIGUOUS
        and stored.get_external_count() == 0
        and dataset.get_storage_size() == n_bytes
    )
    if not is_plain or dtype.kind != "f" or dtype.itemsize > 8 or n_bytes > MOST_BYTES:
        raise KerasFileError(
            f"{path}: {_name(dataset)} is of {dtype}, shape {shape}, in {dataset.get_storage_size():,} bytes; weights "
            "are floating-point numbers that lie in the file, not packed and not elsewhere"
        )
    values = np.empty(shape, dtype=dtype)
    if values.size:
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    if not np.isfinite(values).all():
        raise KerasFileError(f"{path}: {_name(dataset)} has numbers that are not finite; download the file again")
    return values.astype(np.float32, copy=False)


def _name(dataset: Any) -> str:
    return str(h5py.h5i.get_name(dataset).decode(errors="replace"))
