"""How well predictions agree with what was measured.

Belongs here: pure functions of two arrays. Does not: making predictions, drawing them (`model.figures`).

A correlation with a constant is undefined, and given as NaN: predicting the mean ranks nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CELLS = 1 << 22
"""Numbers held at a time in each array of the bootstrap (32 MiB of float64)."""


class Estimate(NamedTuple):
    """A statistic and its spread."""

    value: float
    """Of all the genes."""
    two_sd: float
    """Twice the standard deviation over the bootstrap draws."""


def mse(prediction: ArrayLike, target: ArrayLike) -> float:
    """Mean squared error of two arrays `(genes,)`."""
    x, y = _pair(prediction, target)
    return float(np.mean((x - y) ** 2))


def pearson(prediction: ArrayLike, target: ArrayLike) -> float:
    """Linear correlation of two arrays `(genes,)`; NaN if either is constant."""
    x, y = _pair(prediction, target)
    return float(_correlation(x[None], y[None], np.ones((1, x.size)))[0])


def spearman(prediction: ArrayLike, target: ArrayLike) -> float:
    """Rank correlation of two arrays `(genes,)`, ties at their average rank; NaN if either is constant."""
    x, y = _pair(prediction, target)
    return float(_weighted_spearman(x, y, np.ones((1, x.size), dtype=np.int64))[0])


def spearman_of_resamples(prediction: ArrayLike, target: ArrayLike, resamples: ArrayLike) -> NDArray[np.float64]:
    """Rank correlation of each resample, ranked anew: drawing genes twice makes ties.

    Parameters
    ----------
    prediction, target
        Shape `(genes,)`.
    resamples
        Which genes each draw holds, shape `(draws, genes)`, integer in `[0, genes)`.

    Returns
    -------
    Shape `(draws,)`; NaN where a draw is constant.
    """
    x, y = _pair(prediction, target)
    chosen = np.asarray(resamples, dtype=np.int64)
    draws = len(chosen)
    # The order within a draw does not matter, so a draw is how often it holds each gene.
    flat = chosen + np.arange(draws)[:, None] * x.size
    counts = np.bincount(flat.ravel(), minlength=draws * x.size).reshape(draws, x.size)
    return _weighted_spearman(x, y, counts)


def bootstrap_spearman(prediction: ArrayLike, target: ArrayLike, draws: int = 5000, seed: int = 0) -> Estimate:
    """Rank correlation and its spread when genes are drawn with replacement.

    The paper gives the same: the value, and two standard deviations over 5,000 draws. Draws that are constant
    are left out; both numbers are NaN if the predictions are.

    Raises
    ------
    ValueError
        If there are fewer than two draws.
    """
    if draws < 2:
        raise ValueError(f"a spread needs at least 2 draws, got {draws}; the paper takes 5000")
    x, y = _pair(prediction, target)
    value = spearman(x, y)
    if np.isnan(value):
        return Estimate(float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    at_a_time = max(1, _CELLS // x.size)
    drawn = [
        spearman_of_resamples(x, y, generator.integers(0, x.size, (min(at_a_time, draws - first), x.size)))
        for first in range(0, draws, at_a_time)
    ]
    return Estimate(value, float(2 * np.nanstd(np.concatenate(drawn), ddof=1)))


def _pair(prediction: ArrayLike, target: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(prediction, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or x.size < 2:
        raise ValueError(
            f"predictions and targets are two arrays of the same length, one number a gene, at least 2 genes; "
            f"got shapes {x.shape} and {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(
            "predictions and targets must be finite; leave out genes that were not measured, and look for a "
            "diverged training run (lower the learning rate) if a prediction is NaN"
        )
    return x, y


def _weighted_spearman(
    x: NDArray[np.float64], y: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Rank correlation of samples that hold gene `i` `counts[draw, i]` times."""
    return _correlation(_ranks(x, counts), _ranks(y, counts), counts.astype(np.float64))


def _ranks(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average ranks within each sample, shape `(draws, genes)`; only their differences matter.

    A run of `w` equal values after `b` smaller ones takes the ranks b+1 ... b+w, on average b + (w+1)/2.
    """
    distinct, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(distinct.size))
    run = np.add.reduceat(counts[:, order], starts, axis=1)
    rank = run.cumsum(axis=1) - run + (run + 1) / 2
    return np.asarray(rank[:, group])


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted linear correlation of each row, NaN where a row does not vary."""
    total = weights.sum(axis=1, keepdims=True)
    x = x - (weights * x).sum(axis=1, keepdims=True) / total
    y = y - (weights * y).sum(axis=1, keepdims=True) / total
    variance_x, variance_y = (weights * x * x).sum(axis=1), (weights * y * y).sum(axis=1)
    # Not zero but rounding is left of a constant after its mean is taken off.
    constant = [_is_constant(z, weights) for z in (x, y)]
    scale = np.sqrt(variance_x * variance_y)
    scale[constant[0] | constant[1] | (scale == 0)] = np.nan
    return np.asarray(np.clip((weights * x * y).sum(axis=1) / scale, -1, 1))


def _is_constant(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.bool_]:
    present = weights > 0
    low = np.where(present, values, np.inf).min(axis=1)
    high = np.where(present, values, -np.inf).max(axis=1)
    return np.asarray(low == high)
