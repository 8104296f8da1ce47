"""One interface to every predictor of expression: made by name, fitted, asked, saved, loaded.

Belongs here: the protocol, GTA behind it, the names. Does not: the models themselves (`model.gta`, `model.baselines`).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from loaders import GeneDataset, data_loader
from model.backbone import Backbone
from model.baselines import CentreRidge, ClosedForm, ExponentialRidge, Mean
from model.checkpoint import Checkpoint, CheckpointError, TrainedOn, read_checkpoint, write_checkpoint
from model.fit_report import FitReport
from model.gta import GTA, PRESETS, GtaConfig
from model.training import RECIPES, TrainConfig, choose_device, fit

PREDICTORS = ("gta-best", "gta-paper", "gta-no-llm", "ridge-centre", "ridge-exponential", "mean")
"""Names that `build_predictor` knows."""
_CLOSED_FORMS: dict[str, type[ClosedForm]] = {form.name: form for form in (CentreRidge, ExponentialRidge, Mean)}


class Predictor(Protocol):
    """Predicts log(1 + expression) of genes from their windows."""

    name: str
    n_bins: int
    trained_on: TrainedOn | None
    """None until it is fitted or loaded."""
    allow_other_store: bool
    """Predict from features of another fingerprint too."""

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
        """Predict log(1 + expression), shape `(genes,)`, float32; targets need not be known.

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


class GtaPredictor:
    """GTA as a `Predictor`.

    Parameters
    ----------
    name
        Under which its checkpoint says what it is.
    model
        Trained or not.
    training
        How `fit` trains it; its batch size and device also serve `predict`.
    """

    def __init__(self, name: str, model: GTA, training: TrainConfig) -> None:
        self.name = name
        self.model = model
        self.training = training
        self.n_bins = model.n_bins
        self.trained_on: TrainedOn | None = None
        self.allow_other_store = False

    def fit(
        self, train: GeneDataset, validation: GeneDataset, *, out: str | os.PathLike[str] | None = None
    ) -> FitReport:
        """Train the model; see `model.training.fit`."""
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
        self.trained_on.check(dataset, allow_other_store=self.allow_other_store)
        device = choose_device(self.training.device)
        model = self.model.to(device).eval()
        predicted = [
            model.to_log1p(model(batch.features.to(device), batch.prompts)).cpu()
            for batch in data_loader(dataset, batch_size=self.training.batch_size)
        ]
        return torch.cat(predicted).float().numpy()

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write everything but the language model, of which only the place and the digest are kept."""
        if self.trained_on is None:
            raise RuntimeError(f"{self.name} has not been fitted; call fit(train, validation) before save")
        backbone = self.model.backbone
        settings = {
            "config": self.model.config.to_json(),
            "training": self.training.to_json(),
            "channel_texts": list(self.model.channel_texts),
            "backbone": None if backbone is None else _describe(backbone, Path(directory)),
        }
        write_checkpoint(
            directory,
            kind=self.name,
            trained_on=self.trained_on,
            settings=settings,
            tensors=self.model.own_state(),
        )


def build_predictor(
    name: str,
    *,
    n_bins: int,
    channel_names: Sequence[str],
    channel_texts: Sequence[str] | None = None,
    backbone: str | os.PathLike[str] | None = None,
    config: GtaConfig | None = None,
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
        Directory of the language model, for the GTAs that read with one.
    config, training
        How a GTA is set and trained, in place of the preset of that name; its seed also draws the initial weights.

    Raises
    ------
    ValueError
        If there is no predictor of that name, or a GTA lacks its language model.
    BackboneError
        If the directory does not serve, or the window leaves no room for a prompt.
    """
    if name in _CLOSED_FORMS:
        return _CLOSED_FORMS[name](n_bins=n_bins)
    preset = name.removeprefix("gta-")
    if name not in PREDICTORS:
        raise ValueError(f"no predictor is called {name!r}; there are {', '.join(PREDICTORS)}")
    config = config or PRESETS[preset]
    training = training or RECIPES[preset]
    if config.llm and backbone is None:
        raise ValueError(
            f"{name} reads with a language model: give backbone=DIRECTORY (a Hugging Face model directory, or one that "
            "make_untrained_backbone wrote), or take gta-no-llm"
        )
    loaded = None
    if config.llm and backbone is not None:
        loaded = Backbone(
            Path(backbone), max_layers=config.layers, max_positions=config.positions, precision=config.precision
        )
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        model = GTA(config, n_bins=n_bins, channel_names=channel_names, channel_texts=channel_texts, backbone=loaded)
    return GtaPredictor(name, model, training)


def load_predictor(
    directory: str | os.PathLike[str],
    *,
    dataset: GeneDataset | None = None,
    backbone: str | os.PathLike[str] | None = None,
    allow_other_store: bool = False,
) -> Predictor:
    """Load a predictor that `save` wrote.

    Parameters
    ----------
    dataset
        Checked at once, if given, instead of when something is predicted from it.
    backbone
        Where the language model lies now, if it has moved.
    allow_other_store
        Predict from features of another fingerprint, or of other channel names, as well.

    Raises
    ------
    CheckpointError
        If the folder holds no whole checkpoint, or the language model is gone or another one.
    OtherStore, ValueError
        If the dataset does not suit (`TrainedOn.check`).
    """
    checkpoint = read_checkpoint(directory)
    if dataset is not None:
        checkpoint.trained_on.check(dataset, allow_other_store=allow_other_store)
    predictor: Predictor
    if checkpoint.kind in _CLOSED_FORMS:
        predictor = _CLOSED_FORMS[checkpoint.kind].restored(checkpoint)
    elif checkpoint.kind in PREDICTORS:
        predictor = _restored_gta(checkpoint, Path(directory), backbone)
    else:
        raise CheckpointError(
            f"{directory} holds a predictor {checkpoint.kind!r}, which this version does not know "
            f"({', '.join(PREDICTORS)}); update genomic-featurestore"
        )
    predictor.allow_other_store = allow_other_store
    return predictor


def _restored_gta(checkpoint: Checkpoint, directory: Path, backbone: str | os.PathLike[str] | None) -> GtaPredictor:
    settings, trained_on = checkpoint.settings, checkpoint.trained_on
    recorded = settings["backbone"]
    made = build_predictor(
        checkpoint.kind,
        n_bins=trained_on.n_bins,
        channel_names=trained_on.channel_names,
        channel_texts=settings["channel_texts"],
        backbone=None if recorded is None else _find(recorded, directory, backbone),
        config=GtaConfig.from_json(settings["config"]),
        training=TrainConfig.from_json(settings["training"]),
    )
    assert isinstance(made, GtaPredictor)
    loaded = made.model.backbone
    if loaded is not None and loaded.digest != recorded["digest"]:
        raise CheckpointError(
            f"{directory} was trained with a language model of digest {recorded['digest'][:12]}, but {loaded.directory}"
            f" holds {loaded.digest[:12]}; give the directory of the same model with backbone=, or train again"
        )
    made.model.load_own_state(checkpoint.tensors)
    made.trained_on = trained_on
    return made


def _describe(backbone: Backbone, checkpoint: Path) -> dict[str, Any]:
    return {
        "directory": str(backbone.directory),
        # So that a folder with both in it can be moved.
        "relative": os.path.relpath(backbone.directory, checkpoint.resolve()),
        "digest": backbone.digest,
        "untrained": backbone.is_untrained,
        "layers": backbone.layers,
    }


def _find(recorded: dict[str, Any], checkpoint: Path, given: str | os.PathLike[str] | None) -> Path:
    if given is not None:
        return Path(given)
    for place in (checkpoint.resolve() / recorded["relative"], Path(recorded["directory"])):
        if place.is_dir():
            return place
    raise CheckpointError(
        f"{checkpoint} reads with the language model in {recorded['directory']}, which is not there any more; "
        "say where it lies now with backbone=DIRECTORY"
    )
