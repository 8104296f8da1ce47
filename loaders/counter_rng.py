"""Counter-based random numbers: stateless, a hash of seed, epoch, purpose and index.

Belongs here: the generator. Does not: its uses
(`loaders.batching.sampler` orders, `loaders.windows.grid` jitters).

A stateful generator's numbers depend on how many were drawn before, on which worker and rank. These are equal in any
process, in any order, with any numpy.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

_PURPOSES = ("order", "blocks", "jitter_bins", "jitter_bp")
Purpose = Literal["order", "blocks", "jitter_bins", "jitter_bp"]

_STEP = np.uint64(0x9E3779B97F4A7C15)


def draw(indices: NDArray[np.int64], *, seed: int, epoch: int, purpose: Purpose) -> NDArray[np.uint64]:
    """Draw a number in [0, 2^64) for each index; shape and order are those of `indices`."""
    stream = np.zeros(1, dtype=np.uint64)
    for part in (seed, epoch, _PURPOSES.index(purpose)):
        stream = _mixed(stream + np.uint64(part % 2**64) + _STEP)
    return _mixed(stream + indices.astype(np.uint64) * _STEP)


def draw_within(indices: NDArray[np.int64], most: int, *, seed: int, epoch: int, purpose: Purpose) -> NDArray[np.int64]:
    """Draw an integer in [-most, most] for each index."""
    # The remainder favours none noticeably: 2^64 is far above any span of a genome.
    drawn = draw(indices, seed=seed, epoch=epoch, purpose=purpose) % np.uint64(2 * most + 1)
    return drawn.astype(np.int64) - most


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter the bits of each value: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
