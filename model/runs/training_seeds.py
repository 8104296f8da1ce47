"""How far scores of one training differ from seed to seed.

Belongs here: which runs are one training from several seeds, and the spread of their scores. Does not: the scores
(`model.runs.scores`), ensembles (`model.predictors.ensemble`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.evaluation import metrics
from model.runs.folder import Run
from model.training.targets import mean_spearman

_DIFFER = {"seed", "split"}
"""What may differ between runs that are one training from several seeds: a seed draws the validation genes, too."""


def is_another_seed(run: Run, other: Run) -> bool:
    """Tell whether two runs differ in the seed alone, and in which genes chose the epoch."""
    if not run.asked or run.asked.get("seeds") or run.asked.get("seed") == other.asked.get("seed"):
        return False
    first, second = ({name: value for name, value in one.asked.items() if name not in _DIFFER} for one in (run, other))
    return (
        first == second
        and run.predictor.n_bins == other.predictor.n_bins
        and set(run.split.test) == set(other.split.test)
        and len(run.split.train) == len(other.split.train)
    )


def spread_over_seeds(predicted: Sequence[NDArray[np.float32]], observed: NDArray[np.float32]) -> dict[str, Any] | None:
    """Score each of several seeds on the same genes; None if there is one only.

    Parameters
    ----------
    predicted
        Predictions of each seed, `(genes,)` or `(genes, tasks)`.
    observed
        log(1 + expression), of the same shape; NaN where it is not known.

    Returns
    -------
    Plain JSON: `n`, `spearman` of each (of several tasks their mean), their `mean` and `sd` (n - 1); null where a
    seed's predictions are all equal. Of one number a gene also `statistics`: mean and sd by name.
    """
    if len(predicted) < 2:
        return None
    wanted = observed.astype(np.float64)
    found = np.array([mean_spearman(one.astype(np.float64), wanted) for one in predicted])
    whole = not np.isnan(found).any()
    spread = {
        "n": len(found),
        "spearman": [None if np.isnan(score) else float(score) for score in found],
        "mean": float(found.mean()) if whole else None,
        "sd": float(found.std(ddof=1)) if whole else None,
    }
    if wanted.ndim > 1 or np.isnan(wanted).any():
        return spread
    return spread | {"statistics": {name: _mean_and_sd(name, predicted, wanted) for name in ("mse", "mae", "pearson")}}


def _mean_and_sd(
    name: str, predicted: Sequence[NDArray[np.float32]], wanted: NDArray[np.float64]
) -> dict[str, float | None]:
    found = np.array([getattr(metrics, name)(one, wanted) for one in predicted])
    if np.isnan(found).any():
        return {"mean": None, "sd": None}
    return {"mean": float(found.mean()), "sd": float(found.std(ddof=1))}
