"""SpliceAI and OpenSpliceAI as an extractor: splice sites in each bin, on both strands.

Belongs here: strands, from bases to bins, channels, what the values depend on. Does not: the network
(`builders.extractors.splice.network`) and its files (`builders.extractors.splice.files`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import copy
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
from catalog.runtime.weight_files import refuse_pointer, sha256_of_file

try:
    import torch
    from torch import Tensor

    from builders.extractors.networks.onehot import encode
    from builders.extractors.networks.per_base import bins_of_a_tile, per_bin, sequences_a_call
    from builders.extractors.networks.torch_device import usable_device
    from builders.extractors.splice.files import load_splice
    from builders.extractors.splice.mutants import SpliceMutants
    from builders.extractors.splice.network import SpliceNetwork
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"the splice extractor needs torch: {how_to_install('torch')}") from error

SITES = ("acceptor", "donor")
_CALL_BASES = {"cpu": 1 << 17, "cuda": 1 << 20}
"""A base takes half a kilobyte of activations."""
_CODE_VERSION = 1  # raise it with every change that changes a value
_FEATURE_SET = "splice"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpliceSettings:
    """What the splice extractor alone can be set to."""

    weights: tuple[Path, ...]
    """Files of one network, or of several whose predictions are averaged, comma-separated: openspliceai_mane_*.pt of
    OpenSpliceAI, or spliceai1.h5 to spliceai5.h5 of SpliceAI (extra keras)."""


class SpliceExtractor:
    """Predict splice sites with published networks.

    A bin has, for acceptors and donors on either strand, the sum of the probabilities of its bases (the sites that are
    expected in it) and the largest of them.

    Parameters
    ----------
    weights
        Files of networks that see as many bases as each other; their predictions are averaged. Read at once.
    bin_size
        Bases a bin (bp).
    device
        `cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If no file is given, one holds another network, or they see different numbers of bases.
    """

    name: str = "splice"
    tolerance: float = 1e-3
    citation: str = (
        "Jaganathan et al., Cell 2019, doi:10.1016/j.cell.2018.12.015; OpenSpliceAI: Chao et al., eLife 2025, "
        "doi:10.7554/eLife.107454"
    )
    licence: str = (
        "Computed with SpliceAI (weights CC BY-NC 4.0, Illumina: not for commercial use) or OpenSpliceAI (GPL-3.0), "
        "as the option weights says"
    )

    def __init__(self, weights: Sequence[Path], *, bin_size: int = 4096, device: str = "auto") -> None:
        if not weights:
            raise ValueError("splice needs weights: openspliceai_mane_10000nt_rs10.pt, or spliceai1.h5 to spliceai5.h5")
        for path in weights:
            if path.is_file():
                refuse_pointer(path)
        self.weights = tuple(weights)
        self.device = device
        networks = [load_splice(path) for path in weights]
        seen = {network.flank_bp for network in networks}
        if len(seen) > 1:
            raise ValueError(
                f"{', '.join(path.name for path in weights)} see {', '.join(f'{2 * one:,}' for one in sorted(seen))} "
                "bases around each; average networks that see the same"
            )
        (self.flank_bp,) = seen
        self._networks = networks
        self._set_tiles(bin_size, bins_of_a_tile(bin_size, self.flank_bp))

    @classmethod
    def from_options(cls, options: ExtractorOptions, settings: SpliceSettings) -> "SpliceExtractor":
        """Make the extractor that the options describe.

        Raises
        ------
        FileNotFoundError, ValueError
            As the constructor says, and for outputs that it does not have.
        """
        check_output(options, _FEATURE_SET)
        return cls(settings.weights, bin_size=options.bin_size, device=options.device)

    def tiled(self, *, bin_size: int, n_bins: int) -> "SpliceExtractor":
        """Give the same networks on tiles of `n_bins` bins."""
        made = copy(self)
        made.__dict__.pop("fingerprint", None)
        made._set_tiles(bin_size, n_bins)
        return made

    def _set_tiles(self, bin_size: int, n_bins: int) -> None:
        self.bin_size, self.tile_bins = bin_size, n_bins
        self.input_length = n_bins * bin_size + 2 * self.flank_bp
        self.batch_size = sequences_a_call(self.input_length, bases=_CALL_BASES, device=self.device)
        numbers = sum(value.numel() for network in self._networks for value in network.parameters())
        self.flops_per_bin = 4.0 * numbers * self.input_length / n_bins  # two a multiply-add, two strands

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the weights, the size of bins, and the version of this code."""
        decisive = {
            "extractor": self.name,
            "version": _CODE_VERSION,
            "weights": [sha256_of_file(path) for path in self.weights],
            "bin_size": self.bin_size,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """Expected sites, then the most probable one, by site and strand."""
        what = {"sum": "expected number of {}s, {} strand", "max": "probability of the likeliest {}, {} strand"}
        return {
            _FEATURE_SET: tuple(
                Channel(name=f"{site}_{sign}_{kind}", description=text.format(site, strand), group=kind)
                for kind, text in what.items()
                for sign, strand in (("plus", "forward"), ("minus", "reverse"))
                for site in SITES
            )
        }

    @property
    def options(self) -> dict[str, JsonValue]:
        """What decides the values, for people."""
        return {
            "weights": [path.name for path in self.weights],
            "weights_sha256": [sha256_of_file(path) for path in self.weights],
            "context_bp": self.flank_bp,
        }

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Predict bins.

        Parameters
        ----------
        sequence
            ASCII bases in either case, shape `(tiles, input_length)`, uint8.

        Returns
        -------
        The bins of each tile in turn, `(tiles * tile_bins, 8)`, float32.
        """
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            return {name: values.cpu().numpy() for name, values in self.predicted(self.encoded(sequence)).items()}

    def encoded(self, sequence: NDArray[np.uint8]) -> Tensor:
        """Encode tiles one-hot, `(tiles, 4, input_length)`."""
        _, device = self._loaded
        return encode(torch.tensor(sequence, device=device))

    def predicted(self, onehot: Tensor) -> dict[str, Tensor]:
        """Predict bins of encoded tiles, with gradients where they are asked for."""
        networks, _ = self._loaded
        found = per_bin(site_probabilities(networks, onehot), self.bin_size)
        return {_FEATURE_SET: torch.cat([found.sum(2), found.amax(2)], dim=1)}

    def mutants(self, sequence: NDArray[np.uint8]) -> SpliceMutants:
        """Make the single-base mutants of a tile of bins of 1 bp."""
        assert self.bin_size == 1, "of one base the sum and the maximum are the same"
        networks, _ = self._loaded
        return SpliceMutants(networks, self.encoded(sequence[None]))

    @cached_property
    def _loaded(self) -> tuple[list[SpliceNetwork], torch.device]:
        device = usable_device(self.device)
        return [network.to(device) for network in self._networks], device


def site_probabilities(networks: Sequence[SpliceNetwork], onehot: Tensor) -> Tensor:
    """Predict acceptors and donors on both strands, the mean of some networks.

    Parameters
    ----------
    onehot
        Shape `(batch, 4, length)`, float32.

    Returns
    -------
    Shape `(batch, 4, length - 2 * flank_bp)`: acceptor and donor of the forward strand, then of the reverse strand,
    positions of the forward strand.
    """
    forward = torch.stack([network(onehot) for network in networks]).mean(0)
    reverse = torch.stack([network(onehot.flip(1, 2)) for network in networks]).mean(0).flip(2)
    return torch.cat([forward[:, 1:], reverse[:, 1:]], dim=1)
