"""Exponential kernels: weighted sums over a window by distance from the TSS.

Belongs here: the weights, as ExPecto has them, and as long bins need them. Does not: what is learned from the sums
(`model.networks.bin_models`, `model.predictors.closed_form`).
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

EXPECTO_RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Rates of ExPecto's own kernels, per 200 bp."""
EXPECTO_BIN_BP = 200
EXPECTO_REACH_BP = 20_000


def exponential_kernels(n_bins: int) -> NDArray[np.float64]:
    """Give the weight of each bin in each sum, shape `(2 * rates, n_bins)`: left and right for each rate."""
    distance = np.arange(n_bins) - centre_bin(n_bins)
    sides = (distance <= 0, distance >= 0)
    return np.stack([np.exp(-rate * np.abs(distance)) * side for rate in DECAYS for side in sides])


def expecto_kernels(n_bins: int, bin_size: int) -> NDArray[np.float64]:
    """Give ExPecto's own weight of each bin in each sum, shape `(10, n_bins)`: upstream and downstream for each rate.

    A bin whose middle lies `d` bp from the TSS, in transcription's direction, has `exp(-rate floor(|d| / 200))` in the
    sum of its side, and in both at d = 0; bins that are not wholly within 20 kb have 0. ExPecto has 200 bins of 200 bp,
    the TSS at the edge between the two in the middle; so are windows of 200 bins here, and with an odd number the TSS
    is in the middle of its bin.

    Raises
    ------
    ValueError
        If bins are longer than 200 bp: they hold what the kernels tell apart.
    """
    if bin_size > EXPECTO_BIN_BP:
        raise ValueError(
            f"ExPecto's kernels weigh bins of at most {EXPECTO_BIN_BP} bp, got {bin_size:,} bp; take ridge-exponential,"
            f" or build a feature set of shorter bins (`featurestore build --bin-size {EXPECTO_BIN_BP}`)"
        )
    distance = (np.arange(n_bins) - (n_bins - 1) / 2) * bin_size
    within = np.abs(distance) + bin_size / 2 <= EXPECTO_REACH_BP
    steps = np.floor(np.abs(distance) / EXPECTO_BIN_BP)
    sides = (within & (distance <= 0), within & (distance >= 0))
    return np.stack([np.exp(-rate * steps) * side for rate in EXPECTO_RATES for side in sides])
