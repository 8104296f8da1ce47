"""From tables and a store to a trained model, its scores and its predictions: what the verbs of `model.cli` do.

Belongs here: the steps. Does not: models (`model.predictor`), the folder of a run (`model.run_folder`), which genes are
held out (`model.held_out`), joining genes to windows (`loaders.genes`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from catalog import Split, read_annotations, read_genes, read_targets
from featurestore import open as open_store
from loaders import GeneDataset, gene_dataset
from model.ensemble import Ensemble
from model.held_out import HeldOut
from model.metrics import bootstrap, spearman
from model.predictor import Predictor, TorchPredictor, build_predictor
from model.run_folder import SUBSETS, begin_run, finish_run, finished_run
from model.run_folder import Run as Run
from model.run_folder import open_run as open_run
from model.train_request import TrainRequest as TrainRequest
from model.train_request import decided_by, set_up, untrained_predictor

BASELINES = ("mean", "ridge-centre", "ridge-exponential")
"""Fitted on the split of every trained model, to stand beside its score."""


def load_genes(
    store: str,
    feature_set: str | None,
    *,
    genes: str | os.PathLike[str],
    targets: str | os.PathLike[str] | None,
    target_column: str | None = None,
    target_columns: Sequence[str] = (),
    annotations: str | os.PathLike[str] | None = None,
    n_bins: int = 251,
    residence: str = "memory",
) -> GeneDataset:
    """Read the tables and join them to the windows of a store; low-signal channels are left out.

    Parameters
    ----------
    feature_set
        None for the store's only one.
    target_columns
        Columns of several tasks, in place of one; a gene needs one of them.

    Raises
    ------
    ValueError
        If the store has several feature sets and none is named, or no gene lies on it.
    """
    if feature_set is None:
        there = open_store(store).feature_sets()
        if len(there) != 1:
            raise ValueError(f"{store} has the feature sets {', '.join(there) or '(none)'}; say which with --features")
        feature_set = there[0]
    measured: pl.DataFrame | None = None
    if targets is not None:
        if target_columns:
            measured = _read_columns(targets, target_columns)
        else:
            measured = read_targets(targets, column=target_column)
    return gene_dataset(
        store,
        feature_set,
        read_genes(genes),
        annotations=None if annotations is None else read_annotations(annotations),
        targets=measured,
        n_bins=n_bins,
        residence=residence,
        channels="signal",
    )


def _read_columns(targets: str | os.PathLike[str], columns: Sequence[str]) -> pl.DataFrame:
    """Read one column a task; a value that is missing or none from 0 up is null."""
    read = [
        read_targets(targets, column=column, bad_values="drop").rename({"value": f"{index}"})
        for index, column in enumerate(columns)
    ]
    return reduce(lambda one, other: one.join(other, on="gene_id", how="full", coalesce=True), read)


def make_split(
    dataset: GeneDataset,
    *,
    test_contigs: Sequence[str] | None = None,
    validation_contigs: Sequence[str] | None = None,
    seed: int = 0,
) -> Split:
    """Hold genes out: those of some contigs, else a random fifth; a tenth of the rest chooses the epoch.

    `model.held_out.HeldOut` has more ways, and the errors.
    """
    return HeldOut(test_contigs=test_contigs, validation_contigs=validation_contigs, seed=seed).of(dataset)


def train(
    dataset: GeneDataset,
    split: Split,
    request: TrainRequest,
    *,
    out: Path,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train a model and write its run folder.

    The same request goes on where it was stopped, and gives a finished run's summary at once.

    Parameters
    ----------
    say
        Told, in a line, what is trained.

    Returns
    -------
    A summary as plain JSON: model, bins, genes, trainable parameters, seconds, validation score, baselines.

    Raises
    ------
    ValueError
        If the split leaves no training or validation genes, or the request does not fit together.
    OtherTraining
        If the folder holds another run.
    """
    parts = {name: dataset.subset(getattr(split, name)) for name in SUBSETS}
    for name in ("train", "validation"):
        if not len(parts[name]):
            raise ValueError(f"the split leaves no {name} genes; name other contigs, or take a random split")
    config, training = set_up(request)
    asked = decided_by(dataset, split, request, config, training)
    summary = None if request.restart else finished_run(out, asked)
    if summary is not None:
        say(f"{out} holds this run, finished; --restart trains it again")
        return summary
    predictor = untrained_predictor(dataset, request, config, training, out)
    # Only now: a request that does not fit together leaves the folder as it was.
    begin_run(
        out, asked, feature_set=dataset.windows.reader.name, split=split, tasks=request.tasks, restart=request.restart
    )
    models = _models(predictor)
    for line in _parameters(models):
        say(line)
    report = predictor.fit(parts["train"], parts["validation"], out=out)
    baselines = _fit_baselines(parts, request) if models and request.baselines else []
    validation = parts["validation"]
    summary = {
        "model": request.model,
        "n_bins": predictor.n_bins,
        **{f"n_{name}": len(part) for name, part in parts.items()},
        "trainable_parameters": sum(model.n_trainable() for model in models),
        "seconds": report.seconds,
        # Undefined where all predictions are equal.
        "validation_spearman": None if np.isnan(report.validation_spearman) else report.validation_spearman,
        "baselines": {
            made.name: _defined(spearman(made.predict(validation), np.log1p(validation.targets.numpy())))
            for made in baselines
        },
    }
    finish_run(out, predictor, baselines, summary)
    return summary


def evaluate(
    run: Run,
    dataset: GeneDataset,
    *,
    subset: str = "test",
    draws: int = 5000,
    allow_other_store: bool = False,
    baselines: bool = True,
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

    Returns
    -------
    Plain JSON: model, n_bins, n_test (genes scored), spearman, two_sd, pearson, mse (both of log(1 + expression)), and
    `baselines`, the same four of each (null where undefined). Of several tasks, `tasks` has them by name, and the
    scores are their means (the mean of `two_sd` is no less than that of the mean score).

    Raises
    ------
    ValueError
        If too few genes can be scored, or all predictions are equal, so that they have no ranks.
    """
    if subset not in (*SUBSETS, "all"):
        raise ValueError(f"genes to score are {', '.join(SUBSETS)} or all; got {subset!r}")
    scored = dataset if subset == "all" else dataset.subset(getattr(run.split, subset))
    if len(scored) < 3:
        raise ValueError(f"{len(scored)} {subset} genes have features and targets; a rank correlation takes at least 3")
    predictors = [run.predictor, *(run.baselines if baselines else ())]
    for predictor in predictors:
        predictor.allow_other_store = allow_other_store
    predictions = [predictor.predict(scored) for predictor in predictors]
    observed = np.log1p(scored.targets.numpy())
    head = {"model": run.predictor.name, "n_bins": run.predictor.n_bins, "n_test": len(scored), "subset": subset}
    if run.tasks:
        by_task = {
            task: _scores(predictions[0][None, :, index], observed[:, index], f"{subset} genes in {task}", draws)[0]
            for index, task in enumerate(run.tasks)
        }
        means = {name: float(np.mean([score[name] for score in by_task.values()])) for name in _STATISTICS}
        return head | means | {"tasks": by_task, "baselines": []}
    own, *others = _scores(np.stack(predictions), observed, f"{subset} genes", draws)
    named = [{"model": made.name, **score} for made, score in zip(predictors[1:], others, strict=True)]
    return head | own | {"baselines": named}


_STATISTICS = ("spearman", "two_sd", "pearson", "mse")


def _scores(
    predictions: NDArray[np.float32], observed: NDArray[np.float32], genes: str, draws: int
) -> list[dict[str, Any]]:
    """Score several models on the genes whose target is known; the first must have ranks."""
    known = ~np.isnan(observed)
    predictions, observed = predictions[:, known], observed[known]
    if len(observed) < 3:
        raise ValueError(f"{len(observed)} {genes} have targets; a rank correlation takes at least 3")
    if np.ptp(predictions[0]) == 0 or np.ptp(observed) == 0:
        equal = "predictions" if np.ptp(predictions[0]) == 0 else "targets"
        raise ValueError(f"all {equal} of the {len(observed)} {genes} are equal, so there are no ranks to compare")
    found = bootstrap(predictions, observed, draws)
    return [
        {
            "spearman": _defined(found.spearman.estimate(index).value),
            "two_sd": _defined(found.spearman.estimate(index).two_sd),
            "pearson": _defined(found.pearson.estimate(index).value),
            "mse": found.mse.estimate(index).value,
        }
        for index in range(len(predictions))
    ]


def predict(run: Run, dataset: GeneDataset, *, allow_other_store: bool = False) -> pl.DataFrame:
    """Predict every gene of a dataset.

    Returns
    -------
    gene_id, symbol, contig, strand, tss, subset (`train`, `validation`, `test`; null for a gene that the run has not
    seen), prediction (log(1 + expression)), target (expression as given, or null). Of several tasks, a pair
    `prediction <task>`, `target <task>` of each.
    """
    run.predictor.allow_other_store = allow_other_store
    prediction = run.predictor.predict(dataset)
    place = {gene: name for name in SUBSETS for gene in getattr(run.split, name)}
    frame = dataset.genes.select("gene_id", "symbol", "contig", "strand", "tss").with_columns(
        subset=pl.Series([place.get(gene) for gene in dataset.gene_ids], dtype=pl.String)
    )
    columns = prediction.reshape(len(frame), -1).T
    # A dataset without targets has one column of NaN, whatever the tasks.
    targets = np.broadcast_to(dataset.targets.numpy().reshape(len(frame), -1).T, columns.shape)
    for name, predicted, target in zip(run.tasks or ("",), columns, targets, strict=True):
        frame = frame.with_columns(
            pl.Series(f"prediction {name}".strip(), predicted),
            pl.Series(f"target {name}".strip(), target).fill_nan(None),
        )
    return frame


def _fit_baselines(parts: Mapping[str, GeneDataset], request: TrainRequest) -> list[Predictor]:
    if request.tasks:
        return []  # closed forms learn one number a gene
    made = [build_predictor(name, n_bins=parts["train"].n_bins, channel_names=()) for name in BASELINES]
    for predictor in made:
        predictor.fit(parts["train"], parts["validation"])
    return made


def _models(predictor: Predictor) -> list[Any]:
    members = predictor.members if isinstance(predictor, Ensemble) else (predictor,)
    return [member.model for member in members if isinstance(member, TorchPredictor)]


def _parameters(models: Sequence[Any]) -> list[str]:
    if not models:
        return []
    counts = models[0].parameter_table()
    each = " in each member" if len(models) > 1 else ""
    width = max(map(len, counts))
    return [f"parameters{each}:", *(f"  {part:<{width}} {count:>13,}" for part, count in counts.items())]


def _defined(value: float) -> float | None:
    """Give a number that JSON has; a rank correlation with a constant is none."""
    return None if np.isnan(value) else float(value)
