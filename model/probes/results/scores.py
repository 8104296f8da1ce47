"""Scores of probes on test rows, with bootstrap draws that are the same for all of them.

Belongs here: pure functions of predictions and targets. Does not: fits (`model.probes.heads`), the table
(`model.probes.results.table`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from model.evaluation.metrics import bootstrap, mse, pearson, spearman
from model.probes.request import Metric

Values = NDArray[np.float64]
OF_NUMBERS: tuple[Metric, ...] = ("pearson", "spearman", "mse")
OF_CLASSES: tuple[Metric, ...] = ("auroc", "aupr")
_LOWER_IS_BETTER = ("mse",)


def auroc(prediction: Values, target: Values) -> float:
    """Give the share of pairs of a 1 and a 0 in which the 1 is ranked higher, ties half; NaN for one class."""
    ones = target == 1
    n_ones, n_zeros = int(ones.sum()), int((~ones).sum())
    if not n_ones or not n_zeros:
        return float("nan")
    ranks = rankdata(prediction)
    return float((ranks[ones].sum() - n_ones * (n_ones + 1) / 2) / (n_ones * n_zeros))


def aupr(prediction: Values, target: Values) -> float:
    """Give the average precision, tied rows taken together; NaN without a 1."""
    order = np.argsort(-prediction, kind="stable")
    ones = np.cumsum(target[order] == 1)
    if not ones[-1]:
        return float("nan")
    ends = np.flatnonzero(np.append(np.diff(prediction[order]) != 0, True))
    found = np.diff(ones[ends], prepend=0)
    return float((found * ones[ends] / (ends + 1)).sum() / ones[-1])


def score(metric: Metric, prediction: Values, target: Values) -> float:
    """Score predictions of rows `(rows,)`; those whose target is NaN are left out."""
    known = ~np.isnan(target)
    functions = {"pearson": pearson, "spearman": spearman, "mse": mse, "auroc": auroc, "aupr": aupr}
    return functions[metric](prediction[known], target[known])


class Sampled(NamedTuple):
    """A score of several predictions, and on bootstrap draws of the rows, the same for all."""

    value: Values
    """Shape `(predictions,)`."""
    draws: Values
    """Shape `(draws, predictions)`."""


def sampled(metric: Metric, predictions: Values, target: Values, draws: int) -> Sampled:
    """Score predictions `(predictions, rows)` on all rows and on draws of them."""
    known = ~np.isnan(target)
    predictions, target = predictions[:, known], target[known]
    if metric in OF_NUMBERS:
        found = getattr(bootstrap(predictions, target, draws), metric)
        return Sampled(found.value, found.draws)
    function = auroc if metric == "auroc" else aupr
    chosen = np.random.default_rng(0).integers(0, len(target), (draws, len(target)))
    by_draw = [[function(one[rows], target[rows]) for one in predictions] for rows in chosen]
    return Sampled(np.array([function(one, target) for one in predictions]), np.array(by_draw))


def sign_of(metric: Metric) -> int:
    """Give 1 where more is better, and -1 for an error."""
    return -1 if metric in _LOWER_IS_BETTER else 1
