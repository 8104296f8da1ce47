"""How well predictions agree with what was measured.

Belongs here: pure functions of two arrays. Does not: making predictions, drawing them (`model.evaluation.figures`).

A correlation with a constant is undefined, and given as NaN: predicting the mean ranks nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CELLS = 1 << 18
"""Numbers held at a time in each array of the bootstrap: 2 MiB of float64, which fits the cache of a core."""


class Estimate(NamedTuple):
    """A statistic and its spread."""

    value: float
    """Of all the genes."""
    two_sd: float
    """Twice the standard deviation over the bootstrap draws."""


class Difference(NamedTuple):
    """Paired difference of two models on the same genes."""

    value: float
    """First minus second, of all the genes."""
    two_sd: float
    """Twice the standard deviation of the difference over the bootstrap draws, each the same genes for both."""
    share_above: float
    """Share of the draws in which the first has the larger value."""


class Resampled(NamedTuple):
    """A statistic of several models, on all genes and on resamples that are the same for all of them."""

    value: NDArray[np.float64]
    """On all the genes, shape `(models,)`."""
    draws: NDArray[np.float64]
    """On each resample, shape `(draws, models)`; NaN where it is undefined."""

    def estimate(self, model: int) -> Estimate:
        """Give one model's value with its spread; draws that are undefined are left out."""
        value = float(self.value[model])
        return Estimate(value, float("nan") if np.isnan(value) else _two_sd(self.draws[:, model]))

    def difference(self, first: int, second: int) -> Difference:
        """Compare two models, draw by draw; draws that are undefined for one of them are left out."""
        apart = self.draws[:, first] - self.draws[:, second]
        apart = apart[~np.isnan(apart)]
        value = float(self.value[first] - self.value[second])
        if np.isnan(value) or not apart.size:
            return Difference(float("nan"), float("nan"), float("nan"))
        return Difference(value, _two_sd(apart), float(np.mean(apart > 0)))


class Scores(NamedTuple):
    """What `bootstrap` gives: statistics of the same resamples."""

    spearman: Resampled
    pearson: Resampled
    mse: Resampled
    mae: Resampled


def mse(prediction: ArrayLike, target: ArrayLike) -> float:
    """Mean squared error of two arrays `(genes,)`."""
    x, y = _pair(prediction, target)
    return float(np.mean((x - y) ** 2))


def mae(prediction: ArrayLike, target: ArrayLike) -> float:
    """Mean absolute error of two arrays `(genes,)`."""
    x, y = _pair(prediction, target)
    return float(np.mean(np.abs(x - y)))


def pearson(prediction: ArrayLike, target: ArrayLike) -> float:
    """Linear correlation of two arrays `(genes,)`; NaN if either is constant."""
    x, y = _pair(prediction, target)
    return float(_of_samples(x[None], y, np.ones((x.size, 1))).pearson[0, 0])


def spearman(prediction: ArrayLike, target: ArrayLike) -> float:
    """Rank correlation of two arrays `(genes,)`, ties at their average rank; NaN if either is constant."""
    x, y = _pair(prediction, target)
    return float(_of_samples(x[None], y, np.ones((x.size, 1))).spearman[0, 0])


def spread(prediction: ArrayLike, target: ArrayLike) -> float:
    """Divide the standard deviation of predictions by that of targets, both `(genes,)`; NaN for constant targets.

    A model that has collapsed to the mean is near 0: its ranks are then noise.
    """
    x, y = _pair(prediction, target)
    return float(np.std(x) / np.std(y)) if np.ptp(y) > 0 else float("nan")


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
    return _of_samples(x[None], y, _counts(np.asarray(resamples, dtype=np.int64), x.size)).spearman[:, 0]


def bootstrap(
    predictions: ArrayLike,
    target: ArrayLike,
    draws: int = 5000,
    seed: int = 0,
    *,
    clusters: Sequence[str] | None = None,
) -> Scores:
    """Score several models on all genes, and on bootstrap draws of them, the same for every model.

    Parameters
    ----------
    predictions
        Shape `(models, genes)`.
    target
        Shape `(genes,)`.
    draws
        Resamples, each of as many genes; the GTA paper takes 5,000. Costs half a second a model at 2,846 genes.
    seed
        The same seed and number of genes give the same draws.
    clusters
        Contig or family of each gene, shape `(genes,)` (`model.evaluation.resampling`): each draw takes as many
        clusters as there are, with replacement and each with all its genes. None draws genes one by one.

    Raises
    ------
    ValueError
        If there are fewer than two draws, predictions, targets and clusters do not fit, or the former are not finite.
    """
    if draws < 2:
        raise ValueError(f"a spread needs at least 2 draws, got {draws}; the paper takes 5000")
    models = [_pair(row, target) for row in np.atleast_2d(np.asarray(predictions, dtype=np.float64))]
    x, y = np.stack([row for row, _ in models]), models[0][1]
    if clusters is not None and len(clusters) != y.size:
        raise ValueError(f"each of the {y.size} genes is of one cluster; got {len(clusters)} clusters")
    of_gene = None if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    units = y.size if of_gene is None else int(of_gene.max()) + 1
    generator = np.random.default_rng(seed)
    at_a_time = max(1, _CELLS // y.size)
    drawn = []
    for first in range(0, draws, at_a_time):
        counts = _counts(generator.integers(0, units, (min(at_a_time, draws - first), units)), units)
        drawn.append(_of_samples(x, y, counts if of_gene is None else counts[of_gene]))
    whole = _of_samples(x, y, np.ones((y.size, 1)))
    by_statistic = [Resampled(value[0], np.concatenate(parts)) for value, *parts in zip(whole, *drawn, strict=True)]
    return Scores(*by_statistic)


def bootstrap_spearman(prediction: ArrayLike, target: ArrayLike, draws: int = 5000, seed: int = 0) -> Estimate:
    """Rank correlation and its spread when genes are drawn with replacement.

    The paper gives the same: the value, and two standard deviations over 5,000 draws. Draws that are constant
    are left out; both numbers are NaN if the predictions are.

    Raises
    ------
    ValueError
        If there are fewer than two draws.
    """
    x, y = _pair(prediction, target)
    return bootstrap(x[None], y, draws, seed).spearman.estimate(0)


class _Samples(NamedTuple):
    """Each statistic of each sample and model, shape `(samples, models)`."""

    spearman: NDArray[np.float64]
    pearson: NDArray[np.float64]
    mse: NDArray[np.float64]
    mae: NDArray[np.float64]


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


def _two_sd(draws: NDArray[np.float64]) -> float:
    known = draws[~np.isnan(draws)]
    return float(2 * np.std(known, ddof=1)) if known.size > 1 else float("nan")


def _counts(chosen: NDArray[np.int64], genes: int) -> NDArray[np.float64]:
    """Count how often each draw holds each gene, shape `(genes, draws)`: the order within a draw does not matter."""
    draws = len(chosen)
    flat = chosen * draws + np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=genes * draws).reshape(genes, draws).astype(np.float64)


def _of_samples(x: NDArray[np.float64], y: NDArray[np.float64], counts: NDArray[np.float64]) -> _Samples:
    """Score models `x`, shape `(models, genes)`, on samples that hold gene `i` `counts[i, sample]` times."""
    # Genes run down and samples across, so that taking genes in another order copies whole rows.
    order = np.argsort(y, kind="stable")
    x, y, counts = x[:, order], y[order], counts[order]
    group = _groups(y)
    rank, variance = _ranks(group, counts)
    weighted = counts * rank[group]
    spearman, varies = np.empty((2, counts.shape[1], len(x)))
    for model, values in enumerate(x):
        order = np.argsort(values, kind="stable")
        group = _groups(values[order])
        own_rank, own_variance = _ranks(group, counts[order])
        covariance = (own_rank * np.add.reduceat(weighted[order], _starts(group))).sum(axis=0)
        varies[:, model] = own_variance * variance
        spearman[:, model] = covariance / _scale(varies[:, model])
    # Around the mean of all genes, so that a sample's own mean costs no digits.
    x_off, y_off = x - x.mean(axis=1, keepdims=True), (y - y.mean())[None]
    apart = x - y
    summed = np.concatenate([x_off, x_off**2, x_off * y_off, apart**2, np.abs(apart), y_off, y_off**2])
    means = counts.T @ summed.T / counts.sum(axis=0)[:, None]
    mean_x, square_x, product, mse, mae, of_y = np.split(means, np.arange(1, 6) * len(x), axis=1)
    mean_y, square_y = of_y[:, :1], of_y[:, 1:]
    variances = np.maximum(square_x - mean_x**2, 0) * np.maximum(square_y - mean_y**2, 0)
    # Ranks are exact where moments are rounded: they know a constant.
    pearson = (product - mean_x * mean_y) / _scale(np.where(varies > 0, variances, 0))
    return _Samples(np.clip(spearman, -1, 1), np.clip(pearson, -1, 1), mse, mae)


def _scale(product: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the product of two variances into what a covariance is divided by; NaN where one is 0."""
    return np.sqrt(np.where(product > 0, product, np.nan))


def _groups(ascending: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the number of the run of equal values that each is in."""
    return np.concatenate([[0], np.cumsum(np.diff(ascending) > 0)])


def _starts(group: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.searchsorted(group, np.arange(group[-1] + 1))


def _ranks(group: NDArray[np.int64], counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the average rank of each run of equal values, shape `(runs, samples)`, and the ranks' variance x genes.

    A run of `w` values after `b` smaller ones takes the ranks b+1 ... b+w, on average b + (w + 1)/2; less the mean of
    all `n` ranks, (n + 1)/2, that is (2b + w - n)/2, exact in float64.
    """
    run = np.add.reduceat(counts, _starts(group))
    ends = run.cumsum(axis=0)
    rank = ends - (run + ends[-1]) / 2
    return rank, (run * rank * rank).sum(axis=0)
