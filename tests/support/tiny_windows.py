"""A tiny store for tests of the loaders, and places on it that are awkward: ends of contigs, both names of one."""

from typing import Any

import torch

import featurestore
from catalog import Grid
from loaders import WindowDataset

LENGTHS = {"chr1": 1000, "chr2": 77}
GRID = Grid(bin_size=16, offsets=(0, 8))
CONTIGS = ["chr1", "2", "chr1", "chr2", "chr1", "1"]
CENTRES = [3, 76, 999, 0, 500, 321]
STRANDS = ["+", "-", "-", "+", ".", "-"]


def windows(url: str, **settings: Any) -> WindowDataset:
    """Make the dataset of windows on those places."""
    arguments: dict[str, Any] = {"contigs": CONTIGS, "centres": CENTRES, "n_bins": 7} | settings
    return WindowDataset(url, "demo", **arguments)


def expected(url: str, n_bins: int = 7) -> torch.Tensor:
    """Read the same windows by the store itself."""
    read = featurestore.open(url)["demo"].windows(CONTIGS, CENTRES, n_bins)
    return torch.from_numpy(read.values).to(torch.float32)
