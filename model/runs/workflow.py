"""From tables and a store to a trained model and its predictions: what the verbs of `model.cli.use` do.

Belongs here: the steps. Does not: models (`model.registry`), the folder of a run (`model.runs.folder`), its
scores (`model.runs.scores`), which genes are held out (`model.runs.held_out`), joining genes to windows
(`loaders.genes`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog import Split
from catalog.expression.targets import TargetSettings
from loaders import GeneDataset, WindowSettings
from model.evaluation.cautions import warn_of_collapse, warn_of_even_windows
from model.evaluation.metrics import spearman, spread
from model.predictors.build import build_predictor
from model.predictors.ensemble import members_of
from model.predictors.factory import factory_of
from model.predictors.predictor import NetworkPredictor, Predictor
from model.predictors.torch_predictor import NetworkFactory
from model.registry import find_model, models_of, reads_bins_of
from model.runs.folder import SUBSETS, begin_run, control_folder, finish_run, finished_run
from model.runs.folder import Run as Run
from model.runs.folder import open_run as open_run
from model.runs.genes import WindowRecord
from model.runs.genes import load_genes as load_genes
from model.runs.held_out import HeldOut
from model.runs.request import TrainRequest as TrainRequest
from model.runs.scores import alternatives_of, defined, warn_of_windows
from model.runs.scores import evaluate as evaluate
from model.runs.setup import decided_by, set_up, untrained_predictor
from model.runs.signal_inputs import SignalInputs, require_inputs
from model.runs.signals import load_signal_genes_as_trained, signals_of
from model.training.report import FitReport

_GRID = "none"
"""In place of the name of anchors: windows of the grid."""


def make_split(
    dataset: GeneDataset,
    *,
    test_contigs: Sequence[str] | None = None,
    validation_contigs: Sequence[str] | None = None,
    seed: int = 0,
) -> Split:
    """Hold genes out: those of some contigs, else a random fifth; a tenth of the rest chooses the epoch.

    `model.runs.held_out.HeldOut` has more ways, and the errors.
    """
    return HeldOut(test_contigs=test_contigs, validation_contigs=validation_contigs, seed=seed).of(dataset)


def load_genes_as_trained(
    run: Run,
    store: str,
    *,
    genes: str | os.PathLike[str],
    targets: str | os.PathLike[str] | None,
    target_column: str | None = None,
    target_settings: TargetSettings | None = None,
    annotations: str | os.PathLike[str] | None = None,
    anchors: str | None = None,
    windows: WindowSettings | None = None,
    covariates: Path | None = None,
) -> GeneDataset:
    """Read genes with windows as a run learned from them: its channels, orientation and tasks, and no jitter.

    Parameters
    ----------
    run
        Its predictor says how many bins a window has, also other than in training (`Run.with_n_bins`).
    target_settings
        How the table of targets gives one value a gene; None for a column of it.
    anchors
        Name of other anchors than in training, or `none` for the grid; None for those of training.
    windows
        Where rows are kept and how they are reached, and the overlay that they are read through: another one than in
        training, or `none` for the reference; None for that of training.
    covariates
        Of a run that reads covariates: where their table lies; None for where it was in training.

    Raises
    ------
    ValueError
        As `load_genes`.
    """
    record, overlay = run.windows, None if windows is None else windows.overlay
    if run.signals is not None:
        if overlay is not None:
            raise ValueError(f"{run.feature_set} are measured signals, which no variant changes: leave `overlay=` out")
        return load_signal_genes_as_trained(
            run.signals,
            store,
            genes=genes,
            targets=targets,
            length=run.predictor.n_bins,
            orient=record.orient,
            covariates=covariates,
            target_column=target_column,
            target_settings=target_settings,
            windows=windows,
        )
    return load_genes(
        store,
        run.feature_set,
        genes=genes,
        targets=targets,
        target_column=target_column,
        target_columns=run.tasks,
        target_settings=target_settings,
        annotations=annotations,
        anchors={None: record.anchors, _GRID: None}.get(anchors, anchors),
        windows=windows,
        n_bins=run.predictor.n_bins,
        orient=record.orient,
        channels=record.channels or ("all",),
        overlay={None: record.overlay, _GRID: None}.get(overlay, overlay),
        prompt_settings=run.prompt_settings,
    )


def train(
    dataset: GeneDataset,
    split: Split,
    request: TrainRequest,
    *,
    out: Path,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train a model and write its run folder, and those of its controls where `request.controls` is set.

    The same request resumes where it was stopped, and gives a finished run's summary at once.

    Parameters
    ----------
    say
        Called with progress, a line at a time.

    Returns
    -------
    A summary as plain JSON: model, bins, genes, trainable parameters, seconds, validation score and spread
    (`model.evaluation.metrics.spread`), baselines.

    Raises
    ------
    ValueError
        If the split leaves no training or validation genes, or options of the request contradict each other.
    OtherTraining
        If the folder holds another run.
    """
    summary = _train_one(dataset, split, request, out, say)
    if not request.controls:
        return summary
    controls = {}
    for name, control in _controls(dataset, request).items():
        say(f"control {name}:")
        controls[name] = _train_one(dataset, split, control, control_folder(out, name), say)["validation_spearman"]
    return summary | {"controls": controls}


def _controls(dataset: GeneDataset, request: TrainRequest) -> dict[str, TrainRequest]:
    """Say how each control is trained, by name."""
    factory, alone = factory_of(request.model), replace(request, controls=False, baselines=False)
    if isinstance(factory, NetworkFactory) and (own := factory.controls(dataset.channel_names)):
        # The same training, seeds too: a mean over seeds is the better for it.
        return {name: replace(alone, settings={**request.settings, **settings}) for name, settings in own.items()}
    reads = find_model(request.model).reads
    # Each as its preset has it: settings are the model's own, and half of the controls have other ones.
    presets = replace(alone, settings={}, seeds=())
    return {name: replace(presets, model=name) for name in models_of("control", reads=reads) if name != request.model}


def _train_one(
    dataset: GeneDataset, split: Split, request: TrainRequest, out: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    if dataset.annotations is not None:  # else its prompts are texts of the caller's own
        dataset = dataset.with_prompts(request.prompt_settings(dataset.prompt_settings))
    elif request.prompt_template or request.cell_type:
        raise ValueError(
            "`prompt_template=` and `cell_type=` say how prompts are written from annotations, and these genes have "
            "texts of their own; leave them out"
        )
    parts, source = _parts(dataset, split), signals_of(dataset)
    _require_bins(request.model, dataset)
    if dataset.windows.bin_size > 1:  # no bin of one base has an edge that the TSS could lie at
        warn_of_even_windows(dataset.n_bins)
    config, training = set_up(request)
    decided = decided_by(dataset, split, request, config, training)
    summary = None if request.restart else finished_run(out, decided, configs=(type(config), type(training)))
    if summary is not None:
        say(f"{out} holds this run, finished; a restart trains it again")
        return summary
    if config is not None and factory_of(request.model).language(config) is not None:
        say(f"language model: {request.backbone}")
    predictor = untrained_predictor(dataset, request, config, training, out)
    for model in _models(predictor)[:1]:  # the members of an ensemble share what is kept of prompts
        if planned := model.plan_prompts(dataset.prompts):
            say(planned)
    # Only now: a request that is refused leaves the folder as it was.
    begin_run(
        out,
        decided,
        feature_set=dataset.windows.name,
        windows=WindowRecord.of(dataset.windows),
        split=split,
        prompt_settings=dataset.prompt_settings,
        tasks=request.tasks,
        signals=None if source is None else source.record(),
        joined=None if dataset.joined is None else dataset.joined.to_json(),
        restart=request.restart,
    )
    for line in _parameters(_models(predictor)):
        say(line)
    report = predictor.fit(parts["train"], parts["validation"], out=out)
    baselines = _fit_baselines(parts, request) if training is not None and request.baselines else []
    summary = _summary(request.model, predictor, report, baselines, parts)
    finish_run(out, predictor, baselines, summary)
    return summary


def _parts(dataset: GeneDataset, split: Split) -> dict[str, GeneDataset]:
    """Split a dataset; only the training genes keep their jitter."""
    parts = {name: dataset.subset(getattr(split, name)) for name in SUBSETS}
    for name in ("train", "validation"):
        if not len(parts[name]):
            raise ValueError(f"the split leaves no {name} genes; name other contigs, or take a random split")
    return {name: part if name == "train" else part.unjittered() for name, part in parts.items()}


def _require_bins(model: str, dataset: GeneDataset) -> None:
    """Refuse genes that a model cannot read."""
    source = signals_of(dataset)
    require_inputs(model, SignalInputs() if source is None else SignalInputs(signals=(source.name,)))
    bin_size = dataset.windows.bin_size
    if not reads_bins_of(model, bin_size):
        longest = find_model(model).max_bin_size
        raise ValueError(
            f"{model} reads bins of at most {longest} bp, and those of {dataset.windows.name} are of {bin_size:,} bp; "
            f"name a finer feature set (`featurestore build --bin-size {longest}` makes one), or take another model"
        )


def _summary(
    model: str,
    predictor: Predictor,
    report: FitReport,
    baselines: Sequence[Predictor],
    parts: Mapping[str, GeneDataset],
) -> dict[str, Any]:
    """Give what `train` returns: plain JSON, null for a correlation with equal predictions."""
    validation = parts["validation"]
    observed = np.log1p(validation.targets.numpy())
    collapse = _validation_spread(predictor, validation)
    warn_of_collapse(model, collapse)
    return {
        "model": model,
        "n_bins": predictor.n_bins,
        **{f"n_{name}": len(part) for name, part in parts.items()},
        "trainable_parameters": sum(one.n_trainable() for one in _models(predictor)),
        "seconds": report.seconds,
        "validation_spearman": defined(report.validation_spearman),
        "validation_spread": defined(collapse),
        "baselines": {made.name: defined(spearman(made.predict(validation), observed)) for made in baselines},
    }


def _validation_spread(predictor: Predictor, validation: GeneDataset) -> float:
    """Give the spread of the predictions of the validation genes; of several tasks, the least."""
    predicted = predictor.predict(validation).reshape(len(validation), -1).T
    observed = np.log1p(validation.targets.numpy()).reshape(len(validation), -1).T
    found = [spread(p[~np.isnan(t)], t[~np.isnan(t)]) for p, t in zip(predicted, observed, strict=True)]
    return float(np.nanmin(found)) if not np.isnan(found).all() else float("nan")


def predict(run: Run, dataset: GeneDataset, *, allow_other_store: bool = False) -> pl.DataFrame:
    """Predict every gene of a dataset.

    Returns
    -------
    gene_id, symbol, contig, strand, tss, subset (`train`, `validation`, `test`; null for a gene that the run has not
    seen), prediction (log(1 + expression)), target (expression as given, or null). Of several tasks, a pair
    `prediction <task>`, `target <task>` of each; of a model with predictions of other kinds, `prediction <kind>` too.
    """
    warn_of_windows(run)
    run.predictor.allow_other_store = allow_other_store
    dataset = run.reads(dataset)
    prediction = run.predictor.predict(dataset.unjittered())
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
    others = alternatives_of(run.predictor, dataset.unjittered())
    return frame.with_columns(pl.Series(f"prediction {kind}", values) for kind, values in others.items())


def _fit_baselines(parts: Mapping[str, GeneDataset], request: TrainRequest) -> list[Predictor]:
    if request.tasks:
        return []  # closed forms learn one number a gene
    train = parts["train"]
    made = [
        build_predictor(name, n_bins=train.n_bins, channel_names=train.channel_names)
        for name in models_of("baseline", reads=find_model(request.model).reads)
        if reads_bins_of(name, train.windows.bin_size)
    ]
    for predictor in made:
        predictor.fit(train, parts["validation"])
    return made


def _models(predictor: Predictor) -> list[Any]:
    return [member.model for member in members_of(predictor) if isinstance(member, NetworkPredictor)]


def _parameters(models: Sequence[Any]) -> list[str]:
    if not models:
        return []
    counts = models[0].parameter_table()
    each = " in each member" if len(models) > 1 else ""
    width = max(map(len, counts))
    return [f"parameters{each}:", *(f"  {part:<{width}} {count:>13,}" for part, count in counts.items())]
