"""Linear heads: ridge regression, and logistic regression with the same penalty on the weights.

Belongs here: fits in double precision. Does not: which penalties are tried (`model.probes.heads`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Matrix = NDArray[np.float64]
_STEPS = 500


class Linear(NamedTuple):
    """A fitted linear head."""

    centre: Matrix
    scale: Matrix
    coefficients: Matrix
    """Shape `(columns, targets)`."""
    intercept: Matrix
    penalties: tuple[float, ...]
    """That of each target."""

    def __call__(self, features: Matrix) -> Matrix:
        """Predict, shape `(rows, targets)`: of classes the log-odds of 1."""
        found: Matrix = (features - self.centre) / self.scale @ self.coefficients + self.intercept
        return found


def fit_linear(
    train: tuple[Matrix, Matrix],
    validation: tuple[Matrix, Matrix],
    *,
    penalties: Sequence[float],
    is_binary: bool,
    standardise: bool,
) -> Linear:
    """Fit a head of each target, with the penalty of the least error on validation rows.

    Parameters
    ----------
    train, validation
        Features `(rows, columns)`, and targets `(rows, targets)`; rows whose target is NaN are left out.
    standardise
        Bring each column to mean 0 and deviation 1, so that one penalty suits all. Else columns are centred alone.
    """
    x, y = train
    x_held, y_held = validation
    centre, deviation = x.mean(0), x.std(0)
    # A column that is constant but for rounding would be blown up to noise.
    varies = deviation > 1e-9 * np.maximum(1, np.abs(centre))
    scale = np.where(varies, deviation, np.inf) if standardise else np.ones_like(centre)
    x, x_held = (x - centre) / scale, (x_held - centre) / scale
    coefficients = np.empty((x.shape[1], y.shape[1]))
    intercept, chosen = np.empty(y.shape[1]), [0.0] * y.shape[1]
    for columns in _alike(y):
        known = ~np.isnan(y[:, columns[0]])
        tried = (_logistic if is_binary else _ridge)(x[known], y[known][:, columns], penalties)
        for place, column in enumerate(columns):
            held = ~np.isnan(y_held[:, column])
            errors = [
                _error(x_held[held] @ weights[:, place] + bias[place], y_held[held, column], is_binary=is_binary)
                for weights, bias in tried
            ]
            best = int(np.argmin(errors))
            coefficients[:, column], intercept[column] = tried[best][0][:, place], tried[best][1][place]
            chosen[column] = float(penalties[best])
    return Linear(centre, scale, coefficients, intercept, tuple(chosen))


def _alike(targets: Matrix) -> list[list[int]]:
    """Group the targets that are known of the same rows: they share a decomposition."""
    found: dict[bytes, list[int]] = {}
    for column, known in enumerate(~np.isnan(targets.T)):
        found.setdefault(known.tobytes(), []).append(column)
    return list(found.values())


def _ridge(x: Matrix, y: Matrix, penalties: Sequence[float]) -> list[tuple[Matrix, Matrix]]:
    """Solve for each penalty: one decomposition of the smaller of `X'X` and `XX'` serves all."""
    mean, offset = y.mean(0), x.mean(0)
    x = x - offset
    is_wide = x.shape[1] > x.shape[0]
    squares, vectors = np.linalg.eigh(x @ x.T if is_wide else x.T @ x)
    squares = np.maximum(squares, 0)
    rotated = vectors.T @ ((y - mean) if is_wide else x.T @ (y - mean))
    solved = []
    for penalty in penalties:
        inner = vectors @ (rotated / (squares + penalty)[:, None])
        weights = x.T @ inner if is_wide else inner
        solved.append((weights, mean - offset @ weights))
    return solved


def _logistic(x: Matrix, y: Matrix, penalties: Sequence[float]) -> list[tuple[Matrix, Matrix]]:
    """Minimise the log-loss plus half the penalty times the squared weights, from each solution to the next."""
    found = [(np.empty((x.shape[1], y.shape[1])), np.empty(y.shape[1])) for _ in penalties]
    for column in range(y.shape[1]):
        signs = 2 * y[:, column] - 1
        start = np.zeros(x.shape[1] + 1)
        for place in np.argsort(penalties)[::-1]:
            start = minimize(
                _log_loss,
                start,
                args=(x, signs, penalties[place]),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": _STEPS},
            ).x
            found[place][0][:, column], found[place][1][column] = start[1:], start[0]
    return found


def _log_loss(weights: Matrix, x: Matrix, signs: Matrix, penalty: float) -> tuple[float, Matrix]:
    margin = signs * (x @ weights[1:] + weights[0])
    slope = -signs / (1 + np.exp(np.clip(margin, -500, 500)))
    loss = np.logaddexp(0, -margin).sum() + penalty / 2 * weights[1:] @ weights[1:]
    return float(loss), np.concatenate([[slope.sum()], x.T @ slope + penalty * weights[1:]])


def _error(predicted: Matrix, target: Matrix, *, is_binary: bool) -> float:
    if is_binary:
        return float(np.logaddexp(0, -(2 * target - 1) * predicted).mean())
    return float(((predicted - target) ** 2).mean())
