"""Models that are trained by gradient, as predictors.

Belongs here: fitting, predicting with, saving and loading any `ExpressionModel`. Does not: the models
(`model.networks`), the training (`model.training.fit`), making one by name (`model.predictors.build`).
"""

import copy
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from catalog.runtime.locations import required_path
from catalog.runtime.settings import plain_settings
from loaders import GeneDataset, data_loader
from model.device import choose_device
from model.language.backbone import Backbone
from model.language.gguf_files.source import find_packaged
from model.language.loading import LanguageSettings
from model.networks.base import ExpressionModel
from model.predictors.build import build_predictor
from model.predictors.checkpoint import LONGEST, Checkpoint, CheckpointError, TrainedOn, write_checkpoint
from model.predictors.factory import BackbonePlace, ModelInputs
from model.predictors.predictor import Predictor, require_finite, require_readable
from model.saved_config import from_json
from model.training.config import TrainConfig
from model.training.fit import fit
from model.training.report import FitReport


class TorchPredictor:
    """A model that is trained by gradient, as a `Predictor`.

    Parameters
    ----------
    name
        Of the registered model (`model.registry`), under which its checkpoint says what it is.
    model
        Trained or not; its `config` is saved with it.
    training
        How `fit` trains it; its batch size and device also serve `predict`.
    """

    def __init__(self, name: str, model: ExpressionModel, training: TrainConfig) -> None:
        self.name = name
        self.model = model
        self.training = training
        self.trained_on: TrainedOn | None = None
        self.allow_other_store = False

    @property
    def n_bins(self) -> int:
        """Bins a window; see `Predictor.n_bins`."""
        return self.model.n_bins

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        self.model.n_bins = n_bins

    def with_n_bins(self, n_bins: int) -> Self:
        """Give a predictor of the same weights that reads so many bins a window; see `Predictor.with_n_bins`."""
        changed = copy.copy(self)
        # A shallow copy of a module has the same parameters and buffers, and a number of bins of its own.
        changed.model = copy.copy(self.model)
        changed.model.n_bins = n_bins
        return changed

    def fit(
        self, train: GeneDataset, validation: GeneDataset, *, out: str | os.PathLike[str] | None = None
    ) -> FitReport:
        """Train the model; see `model.training.fit.fit`."""
        trained_on = TrainedOn.of(train)
        trained_on.check(validation)
        report = fit(self.model, train, validation, self.training, out=None if out is None else required_path(out))
        self.trained_on = trained_on
        return report

    @torch.no_grad()
    def predict(self, dataset: GeneDataset) -> NDArray[np.float32]:
        """Predict; see `Predictor.predict`."""
        require_readable(self, dataset)
        device = choose_device(self.training.device)
        model = self.model.to(device).eval()
        predicted = [
            model.to_log1p(model(batch.features.to(device), batch.prompts)).cpu()
            for batch in data_loader(dataset, batch_size=self.training.batch_size)
        ]
        return require_finite(self.name, dataset, torch.cat(predicted).float().numpy())

    @torch.no_grad()
    def alternatives(self, dataset: GeneDataset) -> dict[str, NDArray[np.float32]]:
        """Give predictions of other kinds that the model has, by name, each as `predict` gives its own."""
        require_readable(self, dataset)
        device = choose_device(self.training.device)
        model = self.model.to(device).eval()
        found: dict[str, list[torch.Tensor]] = {}
        for batch in data_loader(dataset, batch_size=self.training.batch_size):
            others = model.alternatives(batch.features.to(device), batch.prompts)
            if not others:
                return {}
            for name, predicted in others.items():
                found.setdefault(name, []).append(model.to_log1p(predicted).cpu())
        return {
            name: require_finite(f"{self.name} ({name})", dataset, torch.cat(parts).float().numpy())
            for name, parts in found.items()
        }

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write what training changed, and how the model is set."""
        if self.trained_on is None:
            raise RuntimeError(f"{self.name} has not been fitted; call fit(train, validation) before save")
        write_checkpoint(
            directory,
            kind=self.name,
            trained_on=self.trained_on,
            settings=_settings(self.model, self.training, required_path(directory)),
            tensors=self.model.own_state(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFactory:
    """Makes the predictors of a torch model; a `model.predictors.factory.ModelFactory`.

    FACTORY = NetworkFactory(config=LinearConfig(), recipe=TrainConfig(epochs=5), network=Linear.from_inputs)
    """

    config: Any
    """Settings as they are by default: a frozen dataclass. Old names of its fields may stand in a class variable
    `RENAMED`, old name to new one."""
    recipe: TrainConfig
    """How it is trained by default."""
    network: Callable[[ModelInputs], ExpressionModel]
    """Makes the model, whose `config` is that of the inputs."""
    controls: Callable[[Sequence[str]], Mapping[str, Mapping[str, object]]] = lambda channel_names: {}
    """From the channels of a dataset to the settings of controls by name: this model without a part, which
    `train --controls` trains beside it."""
    reads_with: Callable[[Any], LanguageSettings | None] = lambda config: None
    """What `language` gives: how a configuration wants its language model loaded."""

    def language(self, config: Any) -> LanguageSettings | None:
        """See `ModelFactory.language`."""
        return self.reads_with(config)

    def build(self, name: str, inputs: ModelInputs) -> Predictor:
        """See `ModelFactory.build`."""
        assert inputs.training is not None
        return TorchPredictor(name, self.network(inputs), inputs.training)

    def restore(self, checkpoint: Checkpoint, directory: Path, backbone: BackbonePlace | None) -> Predictor:
        """See `ModelFactory.restore`.

        Raises
        ------
        CheckpointError
            If the language model is gone or another one.
        """
        settings, trained_on = checkpoint.settings, checkpoint.trained_on
        recorded = settings.get("backbone")
        # Checkpoints before `built_for` were trained on what they were made for.
        built_for = settings.get("built_for", trained_on.n_bins)
        if type(built_for) is not int or not 1 <= built_for <= LONGEST:
            raise ValueError(f"built_for counts bins from 1 to {LONGEST:,}, got {built_for!r}")
        made = build_predictor(
            checkpoint.kind,
            n_bins=built_for,
            channel_names=trained_on.channel_names,
            channel_texts=settings.get("channel_texts"),
            backbone=None if recorded is None else _find(recorded, directory, backbone),
            config=from_json(type(self.config), settings["config"]),
            training=TrainConfig.from_json(settings["training"]),
        )
        assert isinstance(made, TorchPredictor)
        if made.model.backbone is not None and recorded is not None:
            _check_same(made.model.backbone, recorded, directory)
        made.model.load_own_state(checkpoint.tensors)
        made.n_bins = trained_on.n_bins
        made.trained_on = trained_on
        return made


def _settings(model: ExpressionModel, training: TrainConfig, directory: Path) -> dict[str, Any]:
    return {
        "training": training.to_json(),
        "built_for": model.built_for,
        "config": plain_settings(model.config),
        "channel_texts": list(model.channel_texts),
        # By place and digest; a checkpoint does not hold it.
        "backbone": None if model.backbone is None else _describe(model.backbone, directory),
    }


def _check_same(loaded: Backbone, recorded: dict[str, Any], directory: Path) -> None:
    if loaded.digest != recorded["digest"]:
        raise CheckpointError(
            f"{directory} was trained with a language model of digest {recorded['digest'][:12]}, but {loaded.directory}"
            f" holds {loaded.digest[:12]}; give the directory of the same model with `backbone=`, or train again"
        )
    scale = recorded.get("embedding_scale", 1.0)
    if not math.isclose(loaded.embedding_scale, scale, rel_tol=0.01):
        raise CheckpointError(
            f"{directory} was trained on embeddings of its language model times {scale:g}, and {loaded.directory} "
            f"reads them times {loaded.embedding_scale:g}: an earlier version left that factor out; train again"
        )
    if loaded.layers != recorded["layers"]:
        raise CheckpointError(
            f"{directory} was trained with {recorded['layers']} blocks of its language model, but the one given has "
            f"{loaded.layers}; load it with `max_layers={recorded['layers']}`, or give its directory with "
            "`backbone=`"
        )


def _describe(backbone: Backbone, checkpoint: Path) -> dict[str, Any]:
    return {
        "directory": str(backbone.directory),
        # So that a folder with both in it can be moved.
        "relative": os.path.relpath(backbone.directory, checkpoint.resolve()),
        "digest": backbone.digest,
        "untrained": backbone.is_untrained,
        "layers": backbone.layers,
        "embedding_scale": backbone.embedding_scale,
    }


def _find(recorded: dict[str, Any], checkpoint: Path, given: BackbonePlace | None) -> BackbonePlace:
    if given is not None:
        return given
    for place in (checkpoint.resolve() / recorded["relative"], Path(recorded["directory"])):
        if place.exists():
            return place
    # That of a package lies elsewhere in each environment; the digest says whether it is the same.
    packaged = find_packaged()
    if packaged is not None and packaged.name == Path(recorded["directory"]).name:
        return packaged
    raise CheckpointError(
        f"{checkpoint} reads with the language model in {recorded['directory']}, which is not there any more; "
        "say where it lies now with `backbone=DIRECTORY`"
    )
