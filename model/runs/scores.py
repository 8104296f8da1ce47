"""Scores of a run, compared on the same genes with its baselines, its controls, and other runs.

Belongs here: predictions of several runs, compared draw by draw. Does not: the statistics (`model.evaluation.metrics`),
tables of predictions that others made (`model.evaluation.tables`).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from catalog.runtime.tables import listed
from loaders import GeneDataset
from model.evaluation.cautions import warn_of_collapse, warn_of_even_windows, warn_of_other_length
from model.evaluation.metrics import Scores, bootstrap, spread
from model.predictors.predictor import Predictor
from model.runs.folder import SUBSETS, Run, record_score


class ComparedRun(NamedTuple):
    """Another run to compare with."""

    label: str
    run: Run


def evaluate(
    run: Run,
    dataset: GeneDataset,
    *,
    subset: str = "test",
    draws: int = 5000,
    allow_other_store: bool = False,
    baselines: bool = True,
    beside: Iterable[ComparedRun] = (),
) -> dict[str, Any]:
    """Score a run on the genes that it was or was not trained on.

    Parameters
    ----------
    subset
        `test`, `validation`, `train` or `all`.
    draws
        Bootstrap draws for `two_sd`, twice the standard deviation of Spearman over resampled genes.
    baselines
        Score those that were fitted with the run too, on the same genes and draws.
    beside
        Other runs to score on them, each on windows as long as it reads; taken one after the other, so that an iterator
        may open them as they come.

    Returns
    -------
    Plain JSON: model, n_bins, n_test (genes scored), spearman, two_sd, pearson, mse (both of log(1 + expression)),
    spread (standard deviation of the predictions over that of the targets: a warning says where it is next to 0), and
    `beside`, for each of the others its label as model, n_bins, the same four, and `lead`: by how much the run's
    Spearman is ahead (value, two_sd, share_above: `model.evaluation.metrics.Difference`); null where undefined. Of
    several tasks, `tasks` has the four by name, and the scores are their means (the mean of `two_sd` is no less than
    that of the mean score).

    Raises
    ------
    ValueError
        If too few genes can be scored, all predictions are equal, so that they have no ranks, or another run was
        trained on genes that are scored, or has several tasks.
    """
    if subset not in (*SUBSETS, "all"):
        raise ValueError(f"genes to score are {', '.join(SUBSETS)} or all; got {subset!r}")
    scored = dataset.subset(dataset.gene_ids if subset == "all" else getattr(run.split, subset)).unjittered()
    if len(scored) < 3:
        raise ValueError(f"{len(scored)} {subset} genes have features and targets; a rank correlation takes at least 3")
    warn_of_windows(run)
    own = _predicted(run.predictor, run.reads(scored), allow_other_store)
    observed = np.log1p(scored.targets.numpy())
    head = {"model": run.predictor.name, "n_bins": run.predictor.n_bins, "n_test": len(scored), "subset": subset}
    if run.tasks:
        return head | _by_task(run, own, observed, f"{subset} genes", draws)
    own_spread = _checked_spread(run.predictor.name, own, observed)
    others = [(one.name, one.n_bins, _predicted(one, scored, allow_other_store)) for one in run.baselines if baselines]
    for label, other in beside:
        _require_comparable(label, other, scored, subset)
        predicted = _predicted(other.predictor, other.reads(scored), allow_other_store)
        _checked_spread(label, predicted, observed)
        others.append((label, other.predictor.n_bins, predicted))
    found = _scores(np.stack([own, *(prediction for *_, prediction in others)]), observed, f"{subset} genes", draws)
    compared = [
        {"model": label, "n_bins": bins, **_statistics(found, place), "lead": _lead(found, place)}
        for place, (label, bins, _) in enumerate(others, 1)
    ]
    statistics = _statistics(found, 0)
    if subset in ("test", "validation") and statistics["spearman"] is not None:
        record_score(run, statistics["spearman"])
    return head | statistics | {"spread": own_spread, "beside": compared}


def warn_of_windows(run: Run) -> None:
    """Warn of windows of an even number of bins, or of another number than in training."""
    predictor = run.predictor
    warn_of_even_windows(predictor.n_bins)
    if predictor.trained_on is not None:
        warn_of_other_length(predictor.name, predictor.n_bins, predictor.trained_on.n_bins, run.scored)


def _checked_spread(name: str, predicted: NDArray[np.float32], observed: NDArray[np.float32]) -> float | None:
    """Give the spread of predictions where the target is known, with a warning if they hardly differ."""
    known = ~np.isnan(observed)
    if not known.any():
        return None
    found = spread(predicted[known], observed[known])
    warn_of_collapse(name, found)
    return defined(found)


def defined(value: float) -> float | None:
    """Give a number that JSON has; a rank correlation with a constant is none."""
    return None if np.isnan(value) else float(value)


def _predicted(predictor: Predictor, genes: GeneDataset, allow_other_store: bool) -> NDArray[np.float32]:
    predictor.allow_other_store = allow_other_store
    return predictor.predict(genes.with_n_bins(predictor.n_bins))


def _require_comparable(label: str, run: Run, genes: GeneDataset, subset: str) -> None:
    if run.tasks:
        raise ValueError(f"{label} predicts {', '.join(run.tasks)}, and a run is compared on one number a gene")
    seen = sorted(set(run.split.train) & set(genes.gene_ids))
    if seen and subset in ("test", "validation"):
        raise ValueError(
            f"{label} was trained on {len(seen)} of the {len(genes)} {subset} genes: {listed(seen)}; train it with the "
            "same held-out genes (`split=` takes those of a run.json), or leave it out"
        )


_STATISTICS = ("spearman", "two_sd", "pearson", "mse")


def _by_task(
    run: Run, predicted: NDArray[np.float32], observed: NDArray[np.float32], genes: str, draws: int
) -> dict[str, Any]:
    by_task = {
        task: _statistics(_scores(predicted[None, :, index], observed[:, index], f"{genes} in {task}", draws), 0)
        for index, task in enumerate(run.tasks)
    }
    for index, task in enumerate(run.tasks):
        _checked_spread(f"{run.predictor.name} for {task}", predicted[:, index], observed[:, index])
    means = {name: float(np.mean([score[name] for score in by_task.values()])) for name in _STATISTICS}
    return means | {"tasks": by_task, "beside": []}


def _scores(predictions: NDArray[np.float32], observed: NDArray[np.float32], genes: str, draws: int) -> Scores:
    """Score several models on the genes whose target is known; the first must have ranks."""
    known = ~np.isnan(observed)
    predictions, observed = predictions[:, known], observed[known]
    if len(observed) < 3:
        raise ValueError(f"{len(observed)} {genes} have targets; a rank correlation takes at least 3")
    if np.ptp(predictions[0]) == 0 or np.ptp(observed) == 0:
        equal = "predictions" if np.ptp(predictions[0]) == 0 else "targets"
        raise ValueError(f"all {equal} of the {len(observed)} {genes} are equal, so there are no ranks to compare")
    return bootstrap(predictions, observed, draws)


def _statistics(found: Scores, model: int) -> dict[str, float | None]:
    return {
        "spearman": defined(found.spearman.estimate(model).value),
        "two_sd": defined(found.spearman.estimate(model).two_sd),
        "pearson": defined(found.pearson.estimate(model).value),
        "mse": found.mse.estimate(model).value,
    }


def _lead(found: Scores, model: int) -> dict[str, float | None]:
    return {name: defined(value) for name, value in found.spearman.difference(0, model)._asdict().items()}
