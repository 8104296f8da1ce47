"""Xpresso as an extractor: what a promoter around the centre of a bin would drive, on either strand.

Belongs here: strands, channels, what the values depend on. Does not: the network
(`builders.extractors.xpresso.network`), a table of predictions for genes (`builders.extractors.xpresso.promoters`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

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

    from builders.extractors.networks.onehot import encode
    from builders.extractors.networks.torch_device import usable_device
    from builders.extractors.xpresso.network import Xpresso, load_xpresso
    from builders.extractors.xpresso.promoters import UPSTREAM_SHARE
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"the xpresso extractor needs torch and h5py: {how_to_install('keras')}") from error

_CODE_VERSION = 1  # raise it with every change that changes a value
_FEATURE_SET = "xpresso"


@dataclass(frozen=True, slots=True, kw_only=True)
class XpressoSettings:
    """What Xpresso alone can be set to."""

    weights: Path
    """The network as Keras saved it, such as human_trainepoch.11-0.426.h5 of github.com/vagarwal87/Xpresso."""


class XpressoExtractor:
    """Predict expression with Xpresso's published network, as if a gene began at the centre of each bin.

    Made for windows of one bin that are anchored at each TSS (`featurestore build-anchors --n-bins 1`): a gene's value
    is in the channel of its strand.

    Parameters
    ----------
    weights
        The network as Keras saved it. Read at once.
    device
        `cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KerasFileError
        If it holds another network.
    """

    name: str = "xpresso"
    batch_size: int = 16
    tolerance: float = 1e-3
    licence: str = "Computed with Xpresso, whose weights are under the MIT licence (github.com/vagarwal87/Xpresso)"
    citation: str = "Agarwal and Shendure, Cell Reports 2020, doi:10.1016/j.celrep.2020.107663"

    def __init__(self, weights: Path, *, device: str = "auto") -> None:
        self.weights = weights
        self.device = device
        self._network = load_xpresso(weights)
        self._upstream = self._network.input_length * UPSTREAM_SHARE[0] // UPSTREAM_SHARE[1]
        self.input_length = 2 * self._upstream
        self.flops_per_bin = 4.0 * 24 * 128 * self._network.input_length  # the first convolution; two strands

    @classmethod
    def from_options(cls, options: ExtractorOptions, settings: XpressoSettings) -> "XpressoExtractor":
        """Make the extractor that the options describe; bins may be of any size, since their centre decides.

        Raises
        ------
        FileNotFoundError, ValueError
            As the constructor says, and for outputs that it does not have.
        """
        check_output(options, _FEATURE_SET)
        return cls(settings.weights, device=options.device)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the weights and the version of this code."""
        decisive = {"extractor": self.name, "version": _CODE_VERSION, "weights": sha256_of_file(self.weights)}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """One a strand."""
        text = "standardised log expression of a gene that begins at the centre of the bin, {} strand, predicted"
        strands = (("plus", "forward"), ("minus", "reverse"))
        return {
            _FEATURE_SET: tuple(
                Channel(name=f"expression_{sign}", description=text.format(strand), group=sign)
                for sign, strand in strands
            )
        }

    @property
    def options(self) -> dict[str, JsonValue]:
        """What decides the values, for people."""
        return {
            "weights": self.weights.name,
            "weights_sha256": sha256_of_file(self.weights),
            "upstream_bp": self._upstream,
            "downstream_bp": self._network.input_length - self._upstream,
        }

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Predict bins.

        Parameters
        ----------
        sequence
            ASCII bases in either case, shape `(bins, input_length)`, uint8; the start site is the middle one.

        Returns
        -------
        `(bins, 2)`, float32.
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
        strands = [strand[..., : network.input_length] for strand in (onehot, onehot.flip(1, 2))]
        return {_FEATURE_SET: network.from_onehot(torch.cat(strands)).reshape(2, -1).T}

    @cached_property
    def _loaded(self) -> tuple[Xpresso, torch.device]:
        device = usable_device(self.device)
        return self._network.to(device), device
