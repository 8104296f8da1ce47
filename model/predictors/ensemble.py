"""Ensembles: the mean of several predictors, such as the same model from several seeds.

Belongs here: their mean and spread, their folder. Does not: the predictors (`model.predictors.predictor`).
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loaders import GeneDataset
from model.language.prefixes.cache import PrefixCache
from model.networks.base import ExpressionModel
from model.predictors.build import build_predictor, default_training, restored_predictor
from model.predictors.checkpoint import Checkpoint, TrainedOn, damaged, read_checkpoint, write_checkpoint
from model.predictors.factory import BackbonePlace
from model.predictors.predictor import NetworkPredictor, Predictor
from model.training.config import TrainConfig
from model.training.report import FitReport
from model.training.targets import mean_spearman, require_targets

ENSEMBLE = "ensemble"
"""Kind of an ensemble's checkpoint."""


class Spread(NamedTuple):
    """Mean and spread over the members of an ensemble, on the scale of log(1 + expression)."""

    mean: NDArray[np.float32]
    """Shape `(genes,)`, or `(genes, tasks)`."""
    spread: NDArray[np.float32]
    """Standard deviation over the members (n - 1), of the same shape."""


class Ensemble:
    """The mean of several predictors, as a `Predictor`.

    Members predict log(1 + expression), so their mean is a geometric one of expression, and no member counts more for
    the scale that it was trained on.

    Parameters
    ----------
    members
        At least two, that read windows of the same length.
    """

    name = ENSEMBLE

    def __init__(self, members: Sequence[Predictor]) -> None:
        if len(members) < 2:
            raise ValueError(
                f"an ensemble has at least 2 members, got {len(members)}; save a single predictor as it is"
            )
        lengths = {member.n_bins for member in members}
        if len(lengths) > 1:
            raise ValueError(
                f"the members read windows of {', '.join(map(str, sorted(lengths)))} bins; set n_bins of each to the "
                "same number"
            )
        self.members = tuple(members)

    @property
    def n_bins(self) -> int:
        """Bins a window; setting it sets that of every member."""
        return self.members[0].n_bins

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        for member in self.members:
            member.n_bins = n_bins

    def with_n_bins(self, n_bins: int) -> "Ensemble":
        """Give an ensemble of the same members that read so many bins a window; it shares their weights."""
        return Ensemble([member.with_n_bins(n_bins) for member in self.members])

    @property
    def trained_on(self) -> TrainedOn | None:
        """Features that the members were trained on; None until all are."""
        found = [member.trained_on for member in self.members]
        return None if None in found else found[0]

    @property
    def allow_other_store(self) -> bool:
        """Predict from features of another fingerprint too; setting it sets that of every member."""
        return self.members[0].allow_other_store

    @allow_other_store.setter
    def allow_other_store(self, allowed: bool) -> None:
        for member in self.members:
            member.allow_other_store = allowed

    def fit(
        self, train: GeneDataset, validation: GeneDataset, *, out: str | os.PathLike[str] | None = None
    ) -> FitReport:
        """Fit one member after the other; the score is that of their mean."""
        require_targets(validation)
        started = time.perf_counter()
        for member, name in zip(self.members, self._names(), strict=True):
            member.fit(train, validation, out=None if out is None else Path(out, name))
        ranked = mean_spearman(self.predict(validation).astype(np.float64), validation.targets.double().numpy())
        return FitReport(seconds=time.perf_counter() - started, validation_spearman=ranked)

    def predict(self, dataset: GeneDataset) -> NDArray[np.float32]:
        """Predict the mean of the members; see `Predictor.predict`."""
        return self.predict_spread(dataset).mean

    def predict_spread(self, dataset: GeneDataset) -> Spread:
        """Predict the mean and the standard deviation of the members."""
        return spread_of(self.predict_members(dataset))

    def predict_members(self, dataset: GeneDataset) -> NDArray[np.float32]:
        """Predict with each member, shape `(members, genes)`, or `(members, genes, tasks)`."""
        return np.stack([member.predict(dataset) for member in self.members])

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write a folder with one of each member in it; `model.predictors.saved.load_predictor` reads it."""
        for member, name in zip(self.members, self._names(), strict=True):
            member.save(Path(directory, name))
        assert self.trained_on is not None
        # Members that share a frozen language model share it again when they are loaded: it may take many GB.
        settings = {
            "members": self._names(),
            "one_backbone": len({id(model.backbone) for model in _readers(self.members)}) == 1,
        }
        write_checkpoint(directory, kind=ENSEMBLE, trained_on=self.trained_on, settings=settings, tensors={})

    def _names(self) -> list[str]:
        return [f"member-{index}" for index in range(len(self.members))]


def spread_of(predicted: NDArray[np.float32]) -> Spread:
    """Average what `Ensemble.predict_members` gives over the members, with the spread."""
    wide = predicted.astype(np.float64)
    return Spread(wide.mean(axis=0).astype(np.float32), wide.std(axis=0, ddof=1).astype(np.float32))


def seed_ensemble(
    name: str,
    *,
    seeds: Sequence[int],
    n_bins: int,
    channel_names: Sequence[str],
    channel_texts: Sequence[str] | None = None,
    backbone: BackbonePlace | None = None,
    prefix_cache: PrefixCache | None = None,
    config: Any = None,
    training: TrainConfig | None = None,
) -> Ensemble:
    """Make the same predictor once a seed, none fitted yet.

    A frozen language model is loaded once and shared, and so is its prefix cache.

    Parameters
    ----------
    name
        One of `model.registry.model_names` that draws random numbers.
    seeds
        Of initial weights and of shuffling, all different.
    training
        How each is trained, but for the seed; None for the predictor's own recipe.
    n_bins, channel_names, channel_texts, backbone, prefix_cache, config
        See `build_predictor`.

    Raises
    ------
    ValueError
        If two seeds are equal, or the predictor has a closed form.
    """
    recipe = training or default_training(name)
    if recipe is None:
        raise ValueError(f"{name} is the same from every seed; make one of it with build_predictor")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"each member takes a seed of its own, got {', '.join(map(str, seeds))}")
    members: list[Predictor] = []
    for seed in seeds:
        made = build_predictor(
            name,
            n_bins=n_bins,
            channel_names=channel_names,
            channel_texts=channel_texts,
            backbone=backbone,
            prefix_cache=prefix_cache,
            config=config,
            training=replace(recipe, seed=seed),
        )
        members.append(made)
        for model in _readers([made]):
            if model.backbone is not None and not model.backbone.is_adapted:
                backbone, prefix_cache = model.backbone, model.prefix_cache
    return Ensemble(members)


def restored_ensemble(checkpoint: Checkpoint, directory: Path, backbone: BackbonePlace | None) -> Ensemble:
    """Load what `Ensemble.save` wrote; `model.predictors.saved.load_predictor` calls it."""
    members: list[Predictor] = []
    first: ExpressionModel | None = None
    names, shares = checkpoint.settings.get("members"), checkpoint.settings.get("one_backbone")
    if not isinstance(names, list) or len(names) < 2 or names != [f"member-{place}" for place in range(len(names))]:
        raise damaged(directory, ValueError("it does not list its members: member-0, member-1 and so on"))
    for name in names:
        member = restored_predictor(read_checkpoint(directory / name), directory / name, backbone)
        members.append(member)
        for model in _readers([member]) if shares else ():
            first = first or model
            backbone = first.backbone
            model.prefix_cache = first.prefix_cache
    return Ensemble(members)


def members_of(predictor: Predictor) -> tuple[Predictor, ...]:
    """Give the members of an ensemble; of another predictor, itself."""
    return predictor.members if isinstance(predictor, Ensemble) else (predictor,)


def _readers(members: Sequence[Predictor]) -> list[ExpressionModel]:
    """Give the models of those that read with a language model."""
    models = [member.model for member in members if isinstance(member, NetworkPredictor)]
    return [model for model in models if model.backbone is not None]
