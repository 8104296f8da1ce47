"""The tables of a probe: scores of representations and heads, of each target, and by number of training rows.

Belongs here: from predictions to tables. Does not: scores (`model.probes.results.scores`), pages
(`model.probes.results.report`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from model.probes.heads import some_of
from model.probes.representations import ONEHOT
from model.probes.results.scores import OF_CLASSES, OF_NUMBERS, sampled, score, sign_of
from model.probes.task import Task

CONSTANT = "constant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One fit."""

    representation: str
    is_control: bool
    head: str
    seed: int
    share: float
    predictions: NDArray[np.float64]
    """Of the test rows, shape `(rows, targets)`."""
    reads_bp: int = 0
    numbers: int = 0
    """Features of a row."""
    bytes: int = 0
    feature_seconds: float = 0.0
    fit_seconds: float = 0.0


def score_table(task: Task, results: Sequence[Result], *, draws: int) -> pl.DataFrame:
    """Give a row a representation and head: means over targets and seeds, and the difference to one-hot.

    `two_sd` and `difference_two_sd` are twice the standard deviation over bootstrap draws of the test rows, the same
    for all; `sd_seeds` is over seeds, null of one. `share_better` is of the draws in which the row is better than
    one-hot with the same head.
    """
    groups = _grouped(results)
    value, by_draw = _of_targets(task, results, draws)
    names = OF_CLASSES if task.is_binary else OF_NUMBERS
    means = {key: (value[rows].mean(), by_draw[:, rows].mean(1)) for key, rows in groups.items()}
    table = []
    for (representation, head), rows in groups.items():
        first = results[rows[0]]
        mean, drawn = means[representation, head]
        row = {
            "representation": representation,
            "head": head,
            "control": first.is_control,
            task.metric: float(mean),
            "two_sd": _two_sd(drawn),
            "seeds": len(rows),
            "sd_seeds": float(value[rows].std(ddof=1)) if len(rows) > 1 else None,
            **_against(
                means.get((ONEHOT, head)), (mean, drawn), sign_of(task.metric), is_self=representation == ONEHOT
            ),
        }
        row |= {name: _mean_score(task, results, rows, name) for name in names if name != task.metric}
        row |= {
            "train": len(task.rows(0)),
            "test": len(task.rows(2)),
            "numbers": first.numbers,
            "reads_bp": first.reads_bp,
            "bytes": first.bytes,
            "feature_seconds": round(first.feature_seconds, 3),
            "fit_seconds": round(float(np.mean([results[place].fit_seconds for place in rows])), 3),
        }
        table.append(row)
    return pl.DataFrame(table, infer_schema_length=None)


def target_table(task: Task, results: Sequence[Result]) -> pl.DataFrame:
    """Give the scores of each target, means over seeds."""
    names = OF_CLASSES if task.is_binary else OF_NUMBERS
    target = task.targets[task.rows(2)]
    return pl.DataFrame(
        [
            {"target": name, "representation": representation, "head": head}
            | {
                metric: float(
                    np.mean([score(metric, results[row].predictions[:, column], target[:, column]) for row in rows])
                )
                for metric in names
            }
            for (representation, head), rows in _grouped(results).items()
            for column, name in enumerate(task.target_names)
        ]
    )


def curve_table(task: Task, results: Sequence[Result]) -> pl.DataFrame:
    """Give the score by number of training rows, of the first seed."""
    rows = [
        {
            "representation": result.representation,
            "head": result.head,
            "train": len(some_of(task.rows(0), result.share)),
            task.metric: _mean_score(task, [result], [0], task.metric),
        }
        for result in results
        if result.seed == 0 and result.representation != CONSTANT
    ]
    return pl.DataFrame(rows).sort("representation", "head", "train")


def _grouped(results: Sequence[Result]) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for place, result in enumerate(results):
        found.setdefault((result.representation, result.head), []).append(place)
    return found


def _of_targets(task: Task, results: Sequence[Result], draws: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score all fits, means over targets: `(fits,)`, and `(draws, fits)`."""
    target = task.targets[task.rows(2)]
    of_each = [
        sampled(task.metric, np.stack([result.predictions[:, column] for result in results]), target[:, column], draws)
        for column in range(target.shape[1])
    ]
    return np.mean([one.value for one in of_each], axis=0), np.mean([one.draws for one in of_each], axis=0)


def _mean_score(task: Task, results: Sequence[Result], rows: Sequence[int], metric: str) -> float:
    target = task.targets[task.rows(2)]
    found = [
        score(metric, results[row].predictions[:, column], target[:, column])  # type: ignore[arg-type]  # one of Metric
        for row in rows
        for column in range(target.shape[1])
    ]
    return float(np.mean(found))


def _against(
    onehot: tuple[float, NDArray[np.float64]] | None,
    own: tuple[float, NDArray[np.float64]],
    sign: int,
    *,
    is_self: bool,
) -> dict[str, float | None]:
    """Compare with one-hot, draw by draw; draws in which either is undefined are left out."""
    nothing = dict.fromkeys(("difference", "difference_two_sd", "share_better"))
    if onehot is None or is_self or np.isnan(own[0]) or np.isnan(onehot[0]):
        return {**nothing}
    apart = own[1] - onehot[1]
    apart = apart[~np.isnan(apart)]
    return {
        "difference": float(own[0] - onehot[0]),
        "difference_two_sd": _two_sd(apart),
        "share_better": float(np.mean(sign * apart > 0)),
    }


def _two_sd(draws: NDArray[np.float64]) -> float:
    there = draws[~np.isnan(draws)]
    return float(2 * there.std(ddof=1)) if len(there) > 1 else float("nan")
