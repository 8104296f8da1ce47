"""From tables and a store to a trained model, its scores and its predictions: what the verbs of `model.cli` do.

Belongs here: the steps and the folder of a run. Does not: models (`model.predictor`), joining genes to windows
(`loaders.genes`).

A run's folder holds `checkpoint.json` and `model.safetensors` (`model.checkpoint`), `run.json` (the feature set and
which genes were held out), `metrics.csv`, and `backbone/` if the language model was made on the spot.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog import Split, read_annotations, read_genes, read_targets, splits
from featurestore import open as open_store
from loaders import GeneDataset, gene_dataset
from model.checkpoint import CheckpointError
from model.metrics import bootstrap_spearman, mse, pearson
from model.predictor import GtaPredictor, Predictor, build_predictor, load_predictor
from model.training import RECIPES
from model.untrained import make_untrained_backbone

UNTRAINED = "untrained"
_RUN = "run.json"
_SUBSETS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train."""

    model: str = "gta-best"
    """A name of `model.predictor.PREDICTORS`."""
    backbone: str = UNTRAINED
    """Directory of a Hugging Face model, or `untrained` for a small random one made in the run's folder."""
    epochs: int | None = None
    """None for the recipe's own."""
    batch_size: int | None = None
    """None for the recipe's own."""
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Run:
    """A trained model with what it was trained on."""

    predictor: Predictor
    feature_set: str
    split: Split


def load_genes(
    store: str,
    feature_set: str | None,
    *,
    genes: str | os.PathLike[str],
    targets: str | os.PathLike[str] | None,
    target_column: str | None = None,
    annotations: str | os.PathLike[str] | None = None,
    n_bins: int = 251,
    residence: str = "memory",
) -> GeneDataset:
    """Read the tables and join them to the windows of a store; low-signal channels are left out.

    Parameters
    ----------
    feature_set
        None for the store's only one.

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
    return gene_dataset(
        store,
        feature_set,
        read_genes(genes),
        annotations=None if annotations is None else read_annotations(annotations),
        targets=None if targets is None else read_targets(targets, column=target_column),
        n_bins=n_bins,
        residence=residence,
        channels="signal",
    )


def make_split(
    dataset: GeneDataset,
    *,
    test_contigs: Sequence[str] | None = None,
    validation_contigs: Sequence[str] | None = None,
    seed: int = 0,
) -> Split:
    """Hold genes out: those of some contigs, else a random fifth; a tenth of the rest chooses the epoch.

    Raises
    ------
    ValueError
        If validation contigs are named without test contigs, or a part is left without genes.
    """
    assembly = dataset.windows.reader.assembly
    genes = dataset.genes
    if test_contigs is None:
        if validation_contigs is not None:
            raise ValueError("--validation-contigs goes with --test-contigs; name both, or neither for a random split")
        return splits.random(genes, seed=seed)
    test = [assembly.resolve(contig) for contig in test_contigs]
    if validation_contigs is None:
        held_out = genes.filter(pl.col("contig").is_in(test))["gene_id"].to_list()
        return splits.by_gene_list(genes, held_out, validation_fraction=0.1, seed=seed)
    return splits.by_contig(genes, test=test, validation=[assembly.resolve(contig) for contig in validation_contigs])


def train(dataset: GeneDataset, split: Split, request: TrainRequest, *, out: Path) -> dict[str, Any]:
    """Train a model and write its run folder.

    Returns
    -------
    A summary as plain JSON: model, bins, genes, trainable parameters, seconds, validation score.
    """
    out.mkdir(parents=True, exist_ok=True)
    predictor = _untrained_predictor(dataset, request, out)
    parts = {name: dataset.subset(getattr(split, name)) for name in _SUBSETS}
    for name in ("train", "validation"):
        if not len(parts[name]):
            raise ValueError(f"the split leaves no {name} genes; name other contigs, or take a random split")
    report = predictor.fit(parts["train"], parts["validation"], out=out)
    predictor.save(out)
    run = {"feature_set": dataset.windows.reader.name, "split": json.loads(split.to_json())}
    (out / _RUN).write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    trainable = predictor.model.n_trainable() if isinstance(predictor, GtaPredictor) else 0
    return {
        "model": predictor.name,
        "n_bins": predictor.n_bins,
        "n_train": len(parts["train"]),
        "n_validation": len(parts["validation"]),
        "n_test": len(parts["test"]),
        "trainable_parameters": trainable,
        "seconds": report.seconds,
        # Undefined where all predictions are equal.
        "validation_spearman": None if np.isnan(report.validation_spearman) else report.validation_spearman,
    }


def open_run(directory: str | os.PathLike[str], *, device: str = "auto") -> Run:
    """Load what `train` wrote.

    Raises
    ------
    CheckpointError
        If the folder is no run, or not a whole one.
    """
    predictor = load_predictor(directory)
    if isinstance(predictor, GtaPredictor):
        predictor.training = replace(predictor.training, device=device)
    try:
        document = json.loads(Path(directory, _RUN).read_text(encoding="utf-8"))
        return Run(predictor, str(document["feature_set"]), Split.from_json(json.dumps(document["split"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{directory} has no whole {_RUN} ({error}); train again") from error


def evaluate(
    run: Run, dataset: GeneDataset, *, subset: str = "test", draws: int = 5000, allow_other_store: bool = False
) -> dict[str, Any]:
    """Score a run on the genes that it was or was not trained on.

    Parameters
    ----------
    subset
        `test`, `validation`, `train` or `all`.
    draws
        Bootstrap draws for `two_sd`, twice the standard deviation of Spearman over resampled genes.

    Returns
    -------
    Plain JSON: model, n_bins, n_test (genes scored), spearman, two_sd, pearson, mse (both of log(1 + expression)).

    Raises
    ------
    ValueError
        If too few genes can be scored, or all predictions are equal, so that they have no ranks.
    """
    if subset not in (*_SUBSETS, "all"):
        raise ValueError(f"genes to score are {', '.join(_SUBSETS)} or all; got {subset!r}")
    scored = dataset if subset == "all" else dataset.subset(getattr(run.split, subset))
    if len(scored) < 3:
        raise ValueError(f"{len(scored)} {subset} genes have features and targets; a rank correlation takes at least 3")
    run.predictor.allow_other_store = allow_other_store
    prediction = run.predictor.predict(scored)
    observed = np.log1p(scored.targets.numpy())
    if np.ptp(prediction) == 0 or np.ptp(observed) == 0:
        equal = "predictions" if np.ptp(prediction) == 0 else "targets"
        raise ValueError(f"all {equal} of the {len(scored)} {subset} genes are equal, so there are no ranks to compare")
    estimate = bootstrap_spearman(prediction, observed, draws=draws)
    return {
        "model": run.predictor.name,
        "n_bins": run.predictor.n_bins,
        "n_test": len(scored),
        "subset": subset,
        "spearman": estimate.value,
        "two_sd": estimate.two_sd,
        "pearson": pearson(prediction, observed),
        "mse": mse(prediction, observed),
    }


def predict(run: Run, dataset: GeneDataset, *, allow_other_store: bool = False) -> pl.DataFrame:
    """Predict every gene of a dataset.

    Returns
    -------
    gene_id, symbol, contig, strand, tss, subset (`train`, `validation`, `test`; null for a gene that the run has not
    seen), prediction (log(1 + expression)), target (expression as given, or null).
    """
    run.predictor.allow_other_store = allow_other_store
    prediction = run.predictor.predict(dataset)
    place = {gene: name for name in _SUBSETS for gene in getattr(run.split, name)}
    return dataset.genes.select("gene_id", "symbol", "contig", "strand", "tss").with_columns(
        subset=pl.Series([place.get(gene) for gene in dataset.gene_ids], dtype=pl.String),
        prediction=pl.Series(prediction),
        target=pl.Series(dataset.targets.numpy()).fill_nan(None),
    )


def _untrained_predictor(dataset: GeneDataset, request: TrainRequest, out: Path) -> Predictor:
    preset = request.model.removeprefix("gta-")
    training = None
    if preset in RECIPES:
        recipe = RECIPES[preset]
        training = replace(
            recipe,
            seed=request.seed,
            device=request.device,
            epochs=recipe.epochs if request.epochs is None else request.epochs,
            batch_size=recipe.batch_size if request.batch_size is None else request.batch_size,
        )
    backbone: Path | None = None
    if preset in RECIPES and preset != "no-llm":
        backbone = Path(request.backbone)
        if request.backbone == UNTRAINED:
            backbone = out / "backbone"
            make_untrained_backbone(backbone, dataset.prompts, seed=request.seed)
    channels = {channel.name: channel for channel in dataset.windows.reader.feature_set.channels}
    return build_predictor(
        request.model,
        n_bins=dataset.n_bins,
        channel_names=dataset.channel_names,
        channel_texts=[f"{name} {channels[name].description}".strip() for name in dataset.channel_names],
        backbone=backbone,
        training=training,
    )
