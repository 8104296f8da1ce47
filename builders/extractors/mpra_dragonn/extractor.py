"""MPRA-DragoNN as an extractor: what the bases around the centre of a bin would do in a reporter assay.

Belongs here: strands, channels, what the values depend on. Does not: the network and its file
(`builders.extractors.mpra_dragonn.network`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.extractors.base import ExtractorOptions, check_output
from catalog import Channel
from catalog.runtime.plugins import how_to_install
from catalog.runtime.weight_files import sha256_of_file

try:
    import torch
    from torch import Tensor

    from builders.extractors.mpra_dragonn.network import MpraDragonn, load_mpra_dragonn
    from builders.extractors.networks.onehot import encode
    from builders.extractors.networks.torch_device import usable_device
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"the mpra-dragonn extractor needs torch and h5py: {how_to_install('keras')}") from error

TASKS = tuple(
    (f"{cell.lower()}_{promoter.lower()}_{kind}", f"{cell}, {text}, {replicate}")
    for cell in ("K562", "HepG2")
    for promoter, text in (("minP", "minimal promoter"), ("SV40P", "SV40 promoter"))
    for kind, replicate in (("rep1", "replicate 1"), ("rep2", "replicate 2"), ("avg", "mean of the replicates"))
)
"""Names and meanings, in the order of the network (Sharpr-MPRA, Ernst et al. 2016)."""
_CODE_VERSION = 1  # raise it with every change that changes a value
_FEATURE_SET = "mpra-dragonn"


@dataclass(frozen=True, slots=True, kw_only=True)
class MpraDragonnSettings:
    """What MPRA-DragoNN alone can be set to."""

    weights: Path
    """kipoi/ConvModel/pretrained.hdf5 of github.com/kundajelab/MPRA-DragoNN."""
    architecture: Path | None = None
    """model.json of the same folder, which says what the layers are; needed where the weights' file does not say it,
    as the published one does not."""
    strands: Literal["both", "forward"] = "both"
    """The mean of the sequence and its reverse complement, with which the network was trained alike, or the sequence
    alone."""


class MpraDragonnExtractor:
    """Predict the activity in a massively parallel reporter assay of the 145 bp around the centre of each bin.

    Bins of 145 bp or less therefore leave no base unread.

    Parameters
    ----------
    settings
        Which files, which strands. They are read at once.
    device
        `cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KerasFileError
        If it holds another network.
    ValueError
        If the network has other tasks.
    """

    name: str = "mpra-dragonn"
    batch_size: int = 256
    tolerance: float = 1e-3
    licence: str = (
        "Computed with MPRA-DragoNN, whose weights are under the MIT licence (github.com/kundajelab/MPRA-DragoNN)"
    )
    citation: str = "Movva et al., PLoS ONE 2019, doi:10.1371/journal.pone.0218073"

    def __init__(self, settings: MpraDragonnSettings, *, device: str = "auto") -> None:
        self.settings = settings
        self.device = device
        self._network = load_mpra_dragonn(settings.weights, settings.architecture)
        tasks = self._network.dense.weight.shape[0]
        if tasks != len(TASKS):
            raise ValueError(f"{settings.weights} predicts {tasks} tasks, and MPRA-DragoNN's network {len(TASKS)}")
        self.input_length = self._network.input_length
        numbers = sum(part.numel() for part in self._network.convolutions.parameters()) * self.input_length
        strands = 2 if settings.strands == "both" else 1
        self.flops_per_bin = 2.0 * strands * (numbers + self._network.dense.weight.numel())

    @classmethod
    def from_options(cls, options: ExtractorOptions, settings: MpraDragonnSettings) -> "MpraDragonnExtractor":
        """Make the extractor that the options describe; bins may be of any size, since their centre decides.

        Raises
        ------
        FileNotFoundError, ValueError
            As the constructor says, and for outputs that it does not have.
        """
        check_output(options, _FEATURE_SET)
        return cls(settings, device=options.device)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the weights, the layers, the strands, and the version of this code."""
        architecture = self.settings.architecture
        decisive = {
            "extractor": self.name,
            "version": _CODE_VERSION,
            "weights": sha256_of_file(self.settings.weights),
            "architecture": None if architecture is None else sha256_of_file(architecture),
            "strands": self.settings.strands,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """One a task."""
        text = "standardised log2(RNA / DNA) in Sharpr-MPRA, predicted: {}"
        return {
            _FEATURE_SET: tuple(
                Channel(name=name, description=text.format(meaning), group=name.partition("_")[0])
                for name, meaning in TASKS
            )
        }

    @property
    def options(self) -> dict[str, JsonValue]:
        """What decides the values, for people."""
        architecture = self.settings.architecture
        return {
            "weights": self.settings.weights.name,
            "weights_sha256": sha256_of_file(self.settings.weights),
            "architecture": None if architecture is None else architecture.name,
            "strands": self.settings.strands,
        }

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Predict bins.

        Parameters
        ----------
        sequence
            ASCII bases in either case, shape `(bins, input_length)`, uint8.

        Returns
        -------
        `(bins, 12)`, float32.
        """
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            return {name: values.cpu().numpy() for name, values in self.predicted(self.encoded(sequence)).items()}

    def encoded(self, sequence: NDArray[np.uint8]) -> Tensor:
        """Encode bins one-hot, `(bins, 4, input_length)`."""
        _, device = self._loaded
        return encode(torch.tensor(sequence, device=device))

    def predicted(self, onehot: Tensor) -> dict[str, Tensor]:
        """Predict encoded bins, with gradients where they are asked for."""
        network, _ = self._loaded
        found: Tensor = network(onehot)
        if self.settings.strands == "both":
            found = (found + network(onehot.flip(1, 2))) / 2
        return {_FEATURE_SET: found}

    @cached_property
    def _loaded(self) -> tuple[MpraDragonn, torch.device]:
        device = usable_device(self.device)
        return self._network.to(device), device
