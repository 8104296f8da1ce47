"""Scores of a run, compared on the same genes with its baselines, its controls, and other runs.

Belongs here: predictions of several runs, compared draw by draw. Does not: the statistics (`model.evaluation.metrics`),
tables of predictions that others made (`model.evaluation.tables`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from catalog.runtime.tables import listed
from loaders import GeneDataset
from model.evaluation.cautions import warn_of_collapse, warn_of_even_windows, warn_of_other_length
from model.evaluation.metrics import Scores, bootstrap, spread
from model.evaluation.resampling import Resample, clusters_of
from model.predictors.ensemble import Ensemble, members_of, spread_of
from model.predictors.predictor import Predictor
from model.predictors.torch_predictor import TorchPredictor
from model.registry import find_model, model_names
from model.runs.folder import SUBSETS, Run, record_score
from model.runs.held_out import count_sharing_bases
from model.runs.training_seeds import is_another_seed, spread_over_seeds

_HELD_OUT = ("test", "validation")


class ComparedRun(NamedTuple):
    """Another run to compare with."""

    label: str
    run: Run
    dataset: GeneDataset | None = None
    """The same genes with windows as it reads them, of another feature set perhaps; None for those of the first run."""


class Evaluated(NamedTuple):
    """Scores of a run with what they are of."""

    scores: dict[str, Any]
    """What `evaluate` gives."""
    predictions: pl.DataFrame
    """A row a scored gene: gene_id, symbol, contig, and prediction and observed (log(1 + expression), null where it was
    not measured); of several tasks `prediction <task>` and `observed <task>` of each."""


class _Draw(NamedTuple):
    """Which genes are drawn, and how."""

    genes: str
    """What they are, for errors."""
    draws: int
    clusters: list[str] | None
    """Of each gene; None where genes are drawn one by one."""


def evaluate(
    run: Run,
    dataset: GeneDataset,
    *,
    subset: str = "test",
    draws: int = 5000,
    resample: Resample = "gene",
    allow_other_store: bool = False,
    baselines: bool = True,
    beside: Iterable[ComparedRun] = (),
) -> dict[str, Any]:
    """Score a run on the genes that it was or was not trained on.

    `evaluate_genes` gives the predictions too.

    Parameters
    ----------
    subset
        `test`, `validation`, `train` or `all`.
    draws
        Bootstrap draws for `two_sd`, twice the standard deviation of Spearman over resampled genes.
    resample
        What each draw takes: genes one by one, or all genes of a family or of a contig together.
    baselines
        Score those that were fitted with the run too, on the same genes and draws.
    beside
        Other runs to score on them, each on windows as long as it reads, of its own features where it names a dataset;
        taken one after the other, so that an iterator may open them as they come.

    Returns
    -------
    Plain JSON: model, n_bins, n_test (genes scored), n_sharing_bases (those of them whose windows share bases with a
    training window; null unless they are held out), resample and n_resampled (what a draw takes, and how many there
    are), spearman, two_sd, pearson, mse, mae (these of log(1 + expression)), spread (standard deviation of the
    predictions over that of the targets: a warning says where it is next to 0), `seeds` (`spread_over_seeds` of an
    ensemble's members, or of the run and those beside it that differ from it in the seed alone; else null), and
    `beside`, for each of the others its label as model, n_bins, the same five, and `lead`: by how much the run's
    Spearman is ahead (value, two_sd, share_above: `model.evaluation.metrics.Difference`); null where undefined. Of
    several tasks, `tasks` has the five by name, and the scores are their means (the mean of `two_sd` is no less than
    that of the mean score).

    Raises
    ------
    ValueError
        If too few genes can be scored, all predictions are equal, so that they have no ranks, another run was
        trained on genes that are scored, or has several tasks, or all genes are of one cluster to draw.
    """
    return evaluate_genes(
        run,
        dataset,
        subset=subset,
        draws=draws,
        resample=resample,
        allow_other_store=allow_other_store,
        baselines=baselines,
        beside=beside,
    ).scores


def evaluate_genes(
    run: Run,
    dataset: GeneDataset,
    *,
    subset: str = "test",
    draws: int = 5000,
    resample: Resample = "gene",
    allow_other_store: bool = False,
    baselines: bool = True,
    beside: Iterable[ComparedRun] = (),
) -> Evaluated:
    """Do as `evaluate`, and give the predictions of the run beside its scores."""
    if subset not in (*SUBSETS, "all"):
        raise ValueError(f"genes to score are {', '.join(SUBSETS)} or all; got {subset!r}")
    scored = dataset.subset(dataset.gene_ids if subset == "all" else getattr(run.split, subset)).unjittered()
    if len(scored) < 3:
        raise ValueError(f"{len(scored)} {subset} genes have features and targets; a rank correlation takes at least 3")
    warn_of_windows(run)
    draw = _Draw(f"{subset} genes", draws, None if resample == "gene" else clusters_of(scored.genes, resample))
    own, members = _predicted(run.predictor, run.reads(scored), allow_other_store)
    observed = np.log1p(scored.targets.numpy())
    head = {
        "model": run.predictor.name,
        "n_bins": run.predictor.n_bins,
        "n_test": len(scored),
        "subset": subset,
        "n_sharing_bases": _sharing_bases(run, scored, dataset) if subset in _HELD_OUT else None,
        "resample": resample,
        "n_resampled": len(scored) if draw.clusters is None else len(set(draw.clusters)),
    }
    table = _predictions(run, scored, own, observed)
    if run.tasks:
        by_task = _by_task(run, own, observed, draw) | {"seeds": spread_over_seeds(members, observed)}
        return Evaluated(head | by_task, table)
    own_spread = _checked_spread(run.predictor.name, own, observed)
    fitted = run.baselines if baselines else ()
    others = [
        (f"{run.predictor.name} ({name})", run.predictor.n_bins, predicted)
        for name, predicted in alternatives_of(run.predictor, run.reads(scored)).items()
    ]
    others += [(one.name, one.n_bins, _predicted(one, scored, allow_other_store)[0]) for one in fitted]
    for label, other, own_windows in beside:
        _require_comparable(label, other, scored, subset)
        read = scored if own_windows is None else _same_genes(label, own_windows, scored)
        predicted, _ = _predicted(other.predictor, other.reads(read), allow_other_store)
        _checked_spread(label, predicted, observed)
        others.append((label, other.predictor.n_bins, predicted))
        if is_another_seed(run, other):
            members.append(predicted)
    found = _scores(np.stack([own, *(prediction for *_, prediction in others)]), observed, draw)
    compared = [
        {"model": label, "n_bins": bins, **_statistics(found, place), "lead": _lead(found, place)}
        for place, (label, bins, _) in enumerate(others, 1)
    ]
    statistics = _statistics(found, 0)
    if subset in _HELD_OUT and statistics["spearman"] is not None:
        record_score(run, statistics["spearman"])
    seeds = spread_over_seeds(members, observed)
    return Evaluated(head | statistics | {"spread": own_spread, "seeds": seeds, "beside": compared}, table)


def _predictions(
    run: Run, scored: GeneDataset, predicted: NDArray[np.float32], observed: NDArray[np.float32]
) -> pl.DataFrame:
    columns = predicted.reshape(len(scored), -1).T, observed.reshape(len(scored), -1).T
    return scored.genes.select("gene_id", "symbol", "contig").with_columns(
        column
        for name, own, known in zip(run.tasks or ("",), *columns, strict=True)
        for column in (
            pl.Series(f"prediction {name}".strip(), own),
            pl.Series(f"observed {name}".strip(), known).fill_nan(None),
        )
    )


WHAT_CONTROLS_TELL = (
    "`featurestore train` with --controls trains them, and says what the prompt and the sequence each tell alone"
)


def missing_controls(scores: Mapping[str, Any]) -> list[str]:
    """Name the controls of a model that no score stands beside; none of several tasks."""
    if "tasks" in scores or scores["model"] not in model_names():
        return []
    return sorted({*find_model(scores["model"]).ablations} - {score["model"] for score in scores["beside"]})


def reads_alike(run: Run, other: Run) -> bool:
    """Tell whether two runs read the same features in the same way, but for the length of the windows."""
    if (run.feature_set, run.windows, run.signals) != (other.feature_set, other.windows, other.signals):
        return False
    read = [one.predictor.trained_on for one in (run, other)]
    return read[0] is None or read[1] is None or read[0].identity.first_difference(read[1].identity) is None


def warn_of_windows(run: Run) -> None:
    """Warn of windows of an even number of bins, or of another number than in training."""
    predictor = run.predictor
    trained_on = predictor.trained_on
    if trained_on is None or trained_on.identity.bin_size != 1:
        warn_of_even_windows(predictor.n_bins)
    if trained_on is not None:
        warn_of_other_length(predictor.name, predictor.n_bins, trained_on.n_bins, run.scored)


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


def _predicted(
    predictor: Predictor, genes: GeneDataset, allow_other_store: bool
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Give the predictions, and those of each training seed: of an ensemble's members, else the same."""
    predictor.allow_other_store = allow_other_store
    genes = genes.with_n_bins(predictor.n_bins)
    if isinstance(predictor, Ensemble):
        members = predictor.predict_members(genes)
        return spread_of(members).mean, [*members]
    predicted = predictor.predict(genes)
    return predicted, [predicted]


def alternatives_of(predictor: Predictor, genes: GeneDataset) -> dict[str, NDArray[np.float32]]:
    """Give predictions of other kinds that a model has, by name: of an ensemble, the mean of its members'."""
    genes = genes.with_n_bins(predictor.n_bins)
    found = [member.alternatives(genes) for member in members_of(predictor) if isinstance(member, TorchPredictor)]
    if len(found) < 2:
        return found[0] if found else {}
    return {name: spread_of(np.stack([one[name] for one in found])).mean for name in found[0]}


def _sharing_bases(run: Run, scored: GeneDataset, dataset: GeneDataset) -> int:
    trained_on = run.predictor.trained_on
    return count_sharing_bases(
        scored.gene_ids,
        run.split.train,
        dataset,
        trained_bins=run.predictor.n_bins if trained_on is None else trained_on.n_bins,
        read_bins=run.predictor.n_bins,
    )


def _require_comparable(label: str, run: Run, genes: GeneDataset, subset: str) -> None:
    if run.tasks:
        raise ValueError(f"{label} predicts {', '.join(run.tasks)}, and a run is compared on one number a gene")
    seen = sorted(set(run.split.train) & set(genes.gene_ids))
    if seen and subset in _HELD_OUT:
        raise ValueError(
            f"{label} was trained on {len(seen)} of the {len(genes)} {subset} genes: {listed(seen)}; train it with the "
            "same held-out genes (`split=` takes those of a run.json), or leave it out"
        )


def _same_genes(label: str, dataset: GeneDataset, scored: GeneDataset) -> GeneDataset:
    """Give the scored genes with another run's windows."""
    found = dataset.subset(scored.gene_ids).unjittered()
    lacking = sorted(set(scored.gene_ids) - set(found.gene_ids))
    if lacking:
        raise ValueError(
            f"{label} reads {dataset.identity.name}, and its dataset lacks {len(lacking)} of the {len(scored)} scored "
            f"genes: {listed(lacking)}; give it the same genes, or leave the run out"
        )
    return found


_STATISTICS = ("spearman", "two_sd", "pearson", "mse", "mae")


def _by_task(run: Run, predicted: NDArray[np.float32], observed: NDArray[np.float32], draw: _Draw) -> dict[str, Any]:
    by_task = {
        task: _statistics(
            _scores(predicted[None, :, index], observed[:, index], draw._replace(genes=f"{draw.genes} in {task}")), 0
        )
        for index, task in enumerate(run.tasks)
    }
    for index, task in enumerate(run.tasks):
        _checked_spread(f"{run.predictor.name} for {task}", predicted[:, index], observed[:, index])
    means = {name: float(np.mean([score[name] for score in by_task.values()])) for name in _STATISTICS}
    return means | {"tasks": by_task, "beside": []}


def _scores(predictions: NDArray[np.float32], observed: NDArray[np.float32], draw: _Draw) -> Scores:
    """Score several models on the genes whose target is known; the first must have ranks."""
    known = ~np.isnan(observed)
    predictions, observed = predictions[:, known], observed[known]
    if len(observed) < 3:
        raise ValueError(f"{len(observed)} {draw.genes} have targets; a rank correlation takes at least 3")
    if np.ptp(predictions[0]) == 0 or np.ptp(observed) == 0:
        equal = "predictions" if np.ptp(predictions[0]) == 0 else "targets"
        raise ValueError(f"all {equal} of the {len(observed)} {draw.genes} are equal, so there are no ranks to compare")
    clusters = None if draw.clusters is None else [draw.clusters[place] for place in np.flatnonzero(known)]
    return bootstrap(predictions, observed, draw.draws, clusters=clusters)


def _statistics(found: Scores, model: int) -> dict[str, float | None]:
    return {
        "spearman": defined(found.spearman.estimate(model).value),
        "two_sd": defined(found.spearman.estimate(model).two_sd),
        "pearson": defined(found.pearson.estimate(model).value),
        "mse": found.mse.estimate(model).value,
        "mae": found.mae.estimate(model).value,
    }


def _lead(found: Scores, model: int) -> dict[str, float | None]:
    return {name: defined(value) for name, value in found.spearman.difference(0, model)._asdict().items()}
