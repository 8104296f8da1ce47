"""Published weights of SpliceAI and OpenSpliceAI.

Belongs here: which file is which, and the network that it holds. Does not: opening files of either kind
(`builders.extractors.networks.torch_file`, `builders.extractors.splice.keras_graph`).
"""

import os
from pathlib import Path

import torch

from builders.extractors.networks.torch_file import WeightsError, load_parameters, read_parameters
from builders.extractors.splice.network import ILLUMINA, OPEN, UNITS_A_SKIP, SpliceNetwork, Unit
from catalog.runtime.plugins import how_to_install

DILATIONS = (1,) * 4 + (4,) * 4 + (10,) * 4 + (25,) * 4
"""Of the units; networks with less context have the first of them."""
_EXPECTED = (
    "expected a file of OpenSpliceAI (openspliceai_mane_10000nt_rs10.pt and its like) or of SpliceAI (spliceai1.h5 to "
    "spliceai5.h5)"
)


def load_splice(path: str | os.PathLike[str]) -> SpliceNetwork:
    """Read a network, for inference in float32.

    A name that ends in `.h5` or `.hdf5` is of Keras; any other of torch or safetensors.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    WeightsError, KerasFileError
        If it is damaged, holds pickled code, or another network.
    """
    path = Path(path)
    return _of_keras(path) if path.suffix in (".h5", ".hdf5") else _of_torch(path)


def _of_torch(path: Path) -> SpliceNetwork:
    state = read_parameters(path, expected=_EXPECTED)
    # Units and skips are numbered together.
    kernels = [
        state.get(f"residual_units.{number}.conv1.weight")
        for number in range(len(DILATIONS) + len(DILATIONS) // UNITS_A_SKIP)
    ]
    widths = [len(kernel[0, 0]) for kernel in kernels if isinstance(kernel, torch.Tensor) and kernel.ndim == 3]
    if not widths or len(widths) % UNITS_A_SKIP:
        raise WeightsError(f"{path} holds {len(widths)} residual units, and SpliceAI has 4, 8, 12 or 16; {_EXPECTED}")
    units = [Unit(width, dilation) for width, dilation in zip(widths, DILATIONS, strict=False)]
    with torch.device("meta"):
        network = SpliceNetwork(units, OPEN)
    return load_parameters(network, state, path=path, expected=_EXPECTED)


def _of_keras(path: Path) -> SpliceNetwork:
    try:
        from builders.extractors.splice.keras_graph import read_graph
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"reading {path} needs h5py: {how_to_install('keras')}") from error
    state, units = read_graph(path, expected=_EXPECTED)
    with torch.device("meta"):
        network = SpliceNetwork(units, ILLUMINA)
    return load_parameters(network, state, path=path, expected=_EXPECTED)
