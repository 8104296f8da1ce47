"""Exponential kernels: weighted sums over a window by distance from the TSS.

Belongs here: the weights, as ExPecto has them. Does not: what is learned from the sums (`model.networks.bin_models`,
`model.predictors.closed_form`).
"""

import numpy as np
from numpy.typing import NDArray

from model.networks.positions import centre_bin

DECAYS = (0.02, 0.05, 0.2, 0.8, 8.0)
"""Rates of the exponential kernels, per bin.

ExPecto (Zhou et al. 2018, Nature Genetics 50:1171) weighs 200-bp bins within 20 kb of the TSS by exp(-rate |d| / 200)
with the rates 0.01, 0.02, 0.05, 0.1 and 0.2, on each side of it: 10 kernels that reach 20 kb to 1 kb. At 4,096 bp a bin
these reach 205, 82, 20 and 5 kb, and the last is the bin of the TSS alone: outwards from ExPecto's longest, as one bin
holds what its short ones tell apart.
"""


def exponential_kernels(n_bins: int) -> NDArray[np.float64]:
    """Give the weight of each bin in each sum, shape `(2 * rates, n_bins)`: left and right for each rate."""
    distance = np.arange(n_bins) - centre_bin(n_bins)
    sides = (distance <= 0, distance >= 0)
    return np.stack([np.exp(-rate * np.abs(distance)) * side for rate in DECAYS for side in sides])
