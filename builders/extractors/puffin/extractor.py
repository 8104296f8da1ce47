"""Puffin as an extractor: transcription initiation in each bin, on both strands.

Belongs here: the strand rule, adding bases up to bins, channels, what the values depend on. Does not: the network and
its file (`builders.extractors.puffin.network`).
"""

import hashlib
import json
from collections.abc import Mapping
from copy import copy
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
from catalog.runtime.weight_files import refuse_pointer, sha256_of_file

try:
    import torch
    from torch import Tensor

    from builders.extractors.networks.onehot import encode
    from builders.extractors.networks.per_base import bins_of_a_tile, per_bin, sequences_a_call
    from builders.extractors.networks.torch_device import usable_device
    from builders.extractors.puffin.mutants import PuffinMutants
    from builders.extractors.puffin.network import FLANK_BP, Puffin, by_strand, load_puffin
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"the puffin extractor needs torch: {how_to_install('torch')}") from error

ASSAYS = {
    "FANTOM_CAGE": "CAGE of FANTOM",
    "ENCODE_CAGE": "CAGE of ENCODE",
    "ENCODE_RAMPAGE": "RAMPAGE of ENCODE",
    "GRO_CAP": "GRO-cap",
    "PRO_CAP": "PRO-cap",
}
"""What the tracks of one strand are, in the order of the network."""
_TRACKS = (0, 1, 2, 3, 4, 9, 8, 7, 6, 5)
"""The forward strand's, then the reverse strand's in the same order."""
_CALL_BASES = {"cpu": 1 << 16, "cuda": 1 << 19}
"""The elements of a base, with their transforms, take about a kilobyte."""
_FLOPS_PER_BASE = 40_000.0
_CODE_VERSION = 1  # raise it with every change that changes a value
_FEATURE_SET = "puffin"


@dataclass(frozen=True, slots=True, kw_only=True)
class PuffinSettings:
    """What Puffin alone can be set to."""

    weights: Path
    """puffin.pth of github.com/jzhoulab/puffin (folder resources), or a safetensors file with the same parameters."""
    transform: Literal["log1p", "none"] = "log1p"
    """Of the sum over the bases of a bin: log(1 + sum), or the sum itself, which float16 cannot hold in a strong
    promoter."""


class PuffinExtractor:
    """Predict transcription initiation with the published Puffin network.

    The network gives log(1 + signal) at each base. It is not quite the same from either strand, so the mean of both is
    taken; the signal is summed over the bases of a bin.

    Parameters
    ----------
    weights
        `puffin.pth` as published. Read at the first call.
    bin_size
        Bases a bin (bp); 325 more are seen on either side.
    transform
        Of the sum: `log1p` or `none`.
    device
        `cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is a pointer of git-lfs.
    """

    name: str = "puffin"
    tolerance: float = 1e-3
    licence: str = (
        "Computed with Puffin, whose weights are licensed for academic research only (github.com/jzhoulab/puffin)"
    )
    citation: str = "Dudnyk, Cai, Shi, Xu, Zhou, Science 2024, doi:10.1126/science.adj0116"

    def __init__(
        self,
        weights: Path,
        *,
        bin_size: int = 4096,
        transform: Literal["log1p", "none"] = "log1p",
        device: str = "auto",
    ) -> None:
        if not weights.is_file():
            raise FileNotFoundError(f"no weights at {weights}; give resources/puffin.pth of github.com/jzhoulab/puffin")
        refuse_pointer(weights)
        self.weights = weights
        self.transform = transform
        self.device = device
        self._set_tiles(bin_size, bins_of_a_tile(bin_size, FLANK_BP))

    @classmethod
    def from_options(cls, options: ExtractorOptions, settings: PuffinSettings) -> "PuffinExtractor":
        """Make the extractor that the options describe.

        Raises
        ------
        FileNotFoundError, ValueError
            As the constructor says, and for outputs that Puffin does not have.
        """
        check_output(options, _FEATURE_SET)
        return cls(settings.weights, bin_size=options.bin_size, transform=settings.transform, device=options.device)

    def tiled(self, *, bin_size: int, n_bins: int) -> "PuffinExtractor":
        """Give the same network on tiles of `n_bins` bins."""
        _ = self._loaded  # which the copies then share
        made = copy(self)
        made.__dict__.pop("fingerprint", None)
        made._set_tiles(bin_size, n_bins)
        return made

    def _set_tiles(self, bin_size: int, n_bins: int) -> None:
        self.bin_size, self.tile_bins = bin_size, n_bins
        self.input_length = n_bins * bin_size + 2 * FLANK_BP
        self.batch_size = sequences_a_call(self.input_length, bases=_CALL_BASES, device=self.device)
        self.flops_per_bin = _FLOPS_PER_BASE * self.input_length / n_bins

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the weights, the settings, and the version of this code."""
        decisive = {
            "extractor": self.name,
            "version": _CODE_VERSION,
            "weights": sha256_of_file(self.weights),
            "transform": self.transform,
            "bin_size": self.bin_size,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """Five assays on the forward strand, then on the reverse strand."""
        return {
            _FEATURE_SET: tuple(
                Channel(name=f"{name}_{sign}", description=f"{assay}, {strand} strand, predicted", group=sign)
                for sign, strand in (("plus", "forward"), ("minus", "reverse"))
                for name, assay in ASSAYS.items()
            )
        }

    @property
    def options(self) -> dict[str, JsonValue]:
        """What decides the values, for people."""
        return {
            "weights": self.weights.name,
            "weights_sha256": sha256_of_file(self.weights),
            "transform": self.transform,
            "context_bp": FLANK_BP,
        }

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Predict bins.

        Parameters
        ----------
        sequence
            ASCII bases in either case, shape `(tiles, input_length)`, uint8.

        Returns
        -------
        The bins of each tile in turn, `(tiles * tile_bins, 10)`, float32.
        """
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            return {name: values.cpu().numpy() for name, values in self.predicted(self.encoded(sequence)).items()}

    def encoded(self, sequence: NDArray[np.uint8]) -> Tensor:
        """Encode tiles one-hot, `(tiles, 4, input_length)`."""
        _, device = self._loaded
        return encode(torch.tensor(sequence, device=device))

    def predicted(self, onehot: Tensor) -> dict[str, Tensor]:
        """Predict bins of encoded tiles, with gradients where they are asked for."""
        network, _ = self._loaded
        # (tiles, tracks, bases) to (bins, tracks, bases)
        return {_FEATURE_SET: self._transformed(per_bin(_signal(network(onehot)), self.bin_size).sum(2))}

    def mutants(self, sequence: NDArray[np.uint8]) -> PuffinMutants:
        """Make the single-base mutants of a tile of bins of 1 bp."""
        assert self.bin_size == 1, "signals of single bases are compared"
        network, _ = self._loaded
        return PuffinMutants(
            network, self.encoded(sequence[None]), signal=lambda before: self._transformed(_signal(by_strand(before)))
        )

    def _transformed(self, signal: Tensor) -> Tensor:
        return signal.log1p() if self.transform == "log1p" else signal

    @cached_property
    def _loaded(self) -> tuple[Puffin, torch.device]:
        device = usable_device(self.device)
        return load_puffin(self.weights).to(device), device


def _signal(predicted: Tensor) -> Tensor:
    """Give the signal at each base in the order of the channels: `(2, tiles, 10, bases)` to `(tiles, 10, bases)`."""
    return predicted.mean(0)[:, list(_TRACKS)].expm1()
