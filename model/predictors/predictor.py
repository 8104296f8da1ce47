"""One interface to every predictor of expression: made by name, fitted, asked, saved.

Belongs here: the protocol, torch models behind it, the names. Does not: the models themselves (`model.networks.gta`,
`model.networks.bin_models`, `model.predictors.closed_form`), several predictors as one (`model.predictors.ensemble`),
loading any of them (`model.predictors.saved`).
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from loaders import GeneDataset, data_loader
from model.device import choose_device
from model.language.backbone import Backbone
from model.language.prefix_cache import PrefixCache
from model.networks.base import ExpressionModel
from model.networks.bin_models import BIN_MODELS, BinModel, BinModelConfig
from model.networks.gta import GTA
from model.networks.gta_config import PRESETS, GtaConfig
from model.predictors.checkpoint import Checkpoint, CheckpointError, TrainedOn, write_checkpoint
from model.predictors.closed_form import CentreRidge, ClosedForm, ExponentialRidge, Mean
from model.training.config import BIN_RECIPE, RECIPES, TrainConfig
from model.training.fit import fit
from model.training.report import FitReport

_CLOSED_FORMS: dict[str, type[ClosedForm]] = {form.name: form for form in (CentreRidge, ExponentialRidge, Mean)}
PREDICTORS = (
    "gta-best",
    "gta-paper",
    "gta-no-llm",
    "gta-sequence-only",
    "gta-prompt-only",
    *BIN_MODELS,
    *_CLOSED_FORMS,
)
"""Names that `build_predictor` knows."""


class Predictor(Protocol):
    """Predicts log(1 + expression) of genes from their windows."""

    name: str
    n_bins: int
    """Bins a window; after the fit it may be set to another number, to predict from windows of that length."""
    allow_other_store: bool
    """Predict from features of another fingerprint too."""

    @property
    def trained_on(self) -> TrainedOn | None:
        """None until it is fitted or loaded."""
        ...

    def fit(
        self, train: GeneDataset, validation: GeneDataset, *, out: str | os.PathLike[str] | None = None
    ) -> FitReport:
        """Fit on the training genes, with what must be chosen chosen on the validation genes.

        Parameters
        ----------
        train, validation
            Windows of `n_bins` bins, targets all known.
        out
            Folder for the course of the training, where there is one to tell.
        """
        ...

    def predict(self, dataset: GeneDataset) -> NDArray[np.float32]:
        """Predict log(1 + expression), float32; targets need not be known.

        Returns
        -------
        Shape `(genes,)`, or `(genes, tasks)` from a model with named tasks.

        Raises
        ------
        OtherStore
            If the features are not those of training (`TrainedOn.check`).
        ValueError
            If the windows have another length.
        RuntimeError
            If it was never fitted.
        """
        ...

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `model.safetensors` and `checkpoint.json` into a folder; `load_predictor` reads them."""
        ...


class TorchPredictor:
    """A model that is trained by gradient, as a `Predictor`.

    Parameters
    ----------
    name
        Under which its checkpoint says what it is.
    model
        Trained or not.
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

    def fit(
        self, train: GeneDataset, validation: GeneDataset, *, out: str | os.PathLike[str] | None = None
    ) -> FitReport:
        """Train the model; see `model.training.fit.fit`."""
        trained_on = TrainedOn.of(train)
        trained_on.check(validation)
        report = fit(self.model, train, validation, self.training, out=None if out is None else Path(out))
        self.trained_on = trained_on
        return report

    @torch.no_grad()
    def predict(self, dataset: GeneDataset) -> NDArray[np.float32]:
        """Predict; see `Predictor.predict`."""
        if self.trained_on is None:
            raise RuntimeError(f"{self.name} has not been fitted; call fit(train, validation) or load a checkpoint")
        asked = replace(self.trained_on, n_bins=self.n_bins)
        asked.check(dataset, allow_other_store=self.allow_other_store)
        device = choose_device(self.training.device)
        model = self.model.to(device).eval()
        predicted = [
            model.to_log1p(model(batch.features.to(device), batch.prompts)).cpu()
            for batch in data_loader(dataset, batch_size=self.training.batch_size)
        ]
        return torch.cat(predicted).float().numpy()

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write what training changed, and how the model is set."""
        if self.trained_on is None:
            raise RuntimeError(f"{self.name} has not been fitted; call fit(train, validation) before save")
        write_checkpoint(
            directory,
            kind=self.name,
            trained_on=self.trained_on,
            settings=self._settings(Path(directory)),
            tensors=self.model.own_state(),
        )

    def _settings(self, directory: Path) -> dict[str, Any]:
        return {"training": self.training.to_json(), "built_for": self.model.built_for}


class GtaPredictor(TorchPredictor):
    """GTA as a `Predictor`; its checkpoint names the language model by place and digest, and does not hold it."""

    model: GTA

    def _settings(self, directory: Path) -> dict[str, Any]:
        backbone = self.model.backbone
        return super()._settings(directory) | {
            "config": self.model.config.to_json(),
            "channel_texts": list(self.model.channel_texts),
            "backbone": None if backbone is None else _describe(backbone, directory),
        }


class BinPredictor(TorchPredictor):
    """A network on the bins as a `Predictor`."""

    model: BinModel

    def _settings(self, directory: Path) -> dict[str, Any]:
        return super()._settings(directory) | {"config": self.model.config.to_json()}


def default_training(name: str) -> TrainConfig | None:
    """Give the recipe of a predictor; None for one that has a closed form."""
    return BIN_RECIPE if name in BIN_MODELS else RECIPES.get(name.removeprefix("gta-"))


def reads_language(name: str) -> bool:
    """Tell whether a predictor needs a language model."""
    preset = PRESETS.get(name.removeprefix("gta-"))
    return preset is not None and preset.llm


def build_predictor(
    name: str,
    *,
    n_bins: int,
    channel_names: Sequence[str],
    channel_texts: Sequence[str] | None = None,
    backbone: str | os.PathLike[str] | Backbone | None = None,
    prefix_cache: PrefixCache | None = None,
    config: GtaConfig | BinModelConfig | None = None,
    training: TrainConfig | None = None,
) -> Predictor:
    """Make a predictor that has not been fitted yet.

    Parameters
    ----------
    name
        One of `PREDICTORS`.
    n_bins, channel_names
        Of the windows: `dataset.n_bins`, `dataset.channel_names`.
    channel_texts
        What the channels mean, in words, for the prototypes of GTA; their names if not given.
    backbone
        Directory of the language model, for the GTAs that read with one; or one that was loaded already, cut as the
        configuration says, which several predictors may share.
    prefix_cache
        One of that language model to use instead of a new one in memory; see `GTA`.
    config, training
        How a model is set and trained, in place of the defaults of that name; the seed of `training` also draws the
        initial weights.

    Raises
    ------
    ValueError
        If there is no predictor of that name, a GTA lacks its language model, or a configuration is another model's.
    BackboneError
        If the directory does not serve, or the window leaves no room for a prompt.
    """
    if name in _CLOSED_FORMS:
        return _CLOSED_FORMS[name](n_bins=n_bins)
    if name not in PREDICTORS:
        raise ValueError(f"no predictor is called {name!r}; there are {', '.join(PREDICTORS)}")
    training = training or default_training(name)
    config = config or BIN_MODELS.get(name) or PRESETS[name.removeprefix("gta-")]
    assert training is not None
    if isinstance(config, BinModelConfig) != (name in BIN_MODELS):
        raise ValueError(
            f"config={type(config).__name__} does not set {name}; GtaConfig is for the gta-..., "
            f"BinModelConfig for {', '.join(BIN_MODELS)}"
        )
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        if isinstance(config, BinModelConfig):
            network = BinModel(config, n_bins=n_bins, channel_names=channel_names)
            return BinPredictor(name, network, training)
        model = GTA(
            config,
            n_bins=n_bins,
            channel_names=channel_names,
            channel_texts=channel_texts,
            backbone=_load_backbone(name, config, backbone),
            prefix_cache=prefix_cache,
        )
    return GtaPredictor(name, model, training)


def _load_backbone(name: str, config: GtaConfig, backbone: str | os.PathLike[str] | Backbone | None) -> Backbone | None:
    if not config.llm:
        return None
    if backbone is None:
        raise ValueError(
            f"{name} reads with a language model: give backbone=DIRECTORY (a Hugging Face model directory, or one that "
            "make_untrained_backbone wrote), or take gta-no-llm"
        )
    if isinstance(backbone, Backbone):
        return backbone
    return Backbone(
        # A string may be the id of a model on the Hub.
        backbone if isinstance(backbone, str) else Path(backbone),
        max_layers=config.layers,
        max_positions=config.positions,
        precision=config.precision,
        data_attention=config.data_attention,
    )


def restored_predictor(
    checkpoint: Checkpoint, directory: Path, backbone: str | os.PathLike[str] | Backbone | None = None
) -> Predictor:
    """Make again what `save` wrote into a folder; `model.predictors.saved.load_predictor` calls it.

    Raises
    ------
    CheckpointError
        If it is of a kind that is not known, or the language model is gone or another one.
    """
    if checkpoint.kind in _CLOSED_FORMS:
        return _CLOSED_FORMS[checkpoint.kind].restored(checkpoint)
    if checkpoint.kind in PREDICTORS:
        return _restored(checkpoint, directory, backbone)
    raise CheckpointError(
        f"{directory} holds a predictor {checkpoint.kind!r}, which this version does not know "
        f"({', '.join(PREDICTORS)}); update genomic-featurestore"
    )


def _restored(
    checkpoint: Checkpoint, directory: Path, backbone: str | os.PathLike[str] | Backbone | None
) -> TorchPredictor:
    settings, trained_on = checkpoint.settings, checkpoint.trained_on
    recorded = settings.get("backbone")
    config = (BinModelConfig if checkpoint.kind in BIN_MODELS else GtaConfig).from_json(settings["config"])
    made = build_predictor(
        checkpoint.kind,
        # Checkpoints before `built_for` were trained on what they were made for.
        n_bins=settings.get("built_for", trained_on.n_bins),
        channel_names=trained_on.channel_names,
        channel_texts=settings.get("channel_texts"),
        backbone=None if recorded is None else _find(recorded, directory, backbone),
        config=config,
        training=TrainConfig.from_json(settings["training"]),
    )
    assert isinstance(made, TorchPredictor)
    if isinstance(made, GtaPredictor) and made.model.backbone is not None and recorded is not None:
        _check_same(made.model.backbone, recorded, directory)
    made.model.load_own_state(checkpoint.tensors)
    made.n_bins = trained_on.n_bins
    made.trained_on = trained_on
    return made


def _check_same(loaded: Backbone, recorded: dict[str, Any], directory: Path) -> None:
    if loaded.digest != recorded["digest"]:
        raise CheckpointError(
            f"{directory} was trained with a language model of digest {recorded['digest'][:12]}, but {loaded.directory}"
            f" holds {loaded.digest[:12]}; give the directory of the same model with backbone=, or train again"
        )
    if loaded.layers != recorded["layers"]:
        raise CheckpointError(
            f"{directory} was trained with {recorded['layers']} blocks of its language model, but the one given has "
            f"{loaded.layers}; load it with max_layers={recorded['layers']}, or give its directory with backbone="
        )


def _describe(backbone: Backbone, checkpoint: Path) -> dict[str, Any]:
    return {
        "directory": str(backbone.directory),
        # So that a folder with both in it can be moved.
        "relative": os.path.relpath(backbone.directory, checkpoint.resolve()),
        "digest": backbone.digest,
        "untrained": backbone.is_untrained,
        "layers": backbone.layers,
    }


def _find(
    recorded: dict[str, Any], checkpoint: Path, given: str | os.PathLike[str] | Backbone | None
) -> str | os.PathLike[str] | Backbone:
    if given is not None:
        return given
    for place in (checkpoint.resolve() / recorded["relative"], Path(recorded["directory"])):
        if place.is_dir():
            return place
    raise CheckpointError(
        f"{checkpoint} reads with the language model in {recorded['directory']}, which is not there any more; "
        "say where it lies now with backbone=DIRECTORY"
    )
