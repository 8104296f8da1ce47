"""Networks that predict each base: how many bins they see at once, and from bases to bins.

A network that sees `flank` bases around each base would read them again for every bin. It is given tiles of several
neighbouring bins (`builders.extractors.base.tile_bins`), so that what it reads twice is a small share.

Belongs here: sizes and shapes. Does not: any network. Needs torch.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

_LEAST_SHARE = 0.8
"""Of the bases that a tile reads, those whose predictions are kept."""


def bins_of_a_tile(bin_size: int, flank_bp: int) -> int:
    """Give the bins that a tile holds, so that at least four bases in five that are read are predicted, too."""
    least = 2 * flank_bp * _LEAST_SHARE / (1 - _LEAST_SHARE)
    return max(1, -(-int(least) // bin_size))


def sequences_a_call(input_length: int, *, bases: Mapping[str, int], device: str) -> int:
    """Give the sequences a call, of about as many bases as suit the kind of device, `cpu` or `cuda`."""
    is_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    return max(1, bases["cuda" if is_gpu else "cpu"] // input_length)


def per_bin(predicted: Tensor, bin_size: int) -> Tensor:
    """Cut predictions of tiles, shape `(tiles, channels, bases)`, into bins: `(tiles * bins, channels, bin_size)`."""
    tiles, channels, _ = predicted.shape
    cut = predicted.reshape(tiles, channels, -1, bin_size)
    return cut.transpose(1, 2).reshape(-1, channels, bin_size)
