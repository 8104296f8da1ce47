"""From the value of each base to that of each bin, in numpy.

Belongs here: summaries, clipping and transforms of arrays. Does not: where the values come from
(`builders.tracks.bigwig`).
"""

import numpy as np
from numpy.typing import NDArray

from builders.tracks.settings import Summary, Transform


def summarise(bases: NDArray[np.float64], bin_size: int, summary: Summary) -> NDArray[np.float64]:
    """Summarise each bin over all of its bases.

    Parameters
    ----------
    bases
        Value of each base, shape `(bins * bin_size,)`, finite; 0 where nothing was measured.

    Returns
    -------
    Shape `(bins,)`; of bins of one base the array itself.
    """
    if bin_size == 1:
        return bases
    bins = bases.reshape(-1, bin_size)
    if summary == "max":
        return np.asarray(bins.max(axis=1))
    total: NDArray[np.float64] = bins.sum(axis=1)
    return total / bin_size if summary == "mean" else total


def transformed(values: NDArray[np.float64], transform: Transform, clip: float | None) -> NDArray[np.float64]:
    """Clip the values of bins to `[-clip, clip]`, then transform them; of negative ones log1p is NaN, or no log1p."""
    if clip is not None:
        values = np.clip(values, -clip, clip)
    if transform == "log1p":
        return np.log1p(values)
    return np.arcsinh(values) if transform == "arcsinh" else values
