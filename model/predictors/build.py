"""Predictors by name.

Belongs here: making one that has not been fitted, what is known of it by name. Does not: which names there are
(`model.registry`), how each is made (`model.predictors.factory`), loading one that was saved
(`model.predictors.saved`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from model.language.backbone import Backbone
from model.language.directory import BackboneError
from model.language.loading import load_backbone
from model.language.prefixes.cache import PrefixCache
from model.predictors.checkpoint import Checkpoint, CheckpointError, damaged
from model.predictors.factory import BackbonePlace, ModelFactory, ModelInputs, factory_of
from model.predictors.predictor import Predictor
from model.registry import SHIPPED, model_names
from model.training.config import TrainConfig

PREDICTORS = tuple(spec.name for spec in SHIPPED)
"""Names of the models that ship; `model.registry.model_names` lists those of plug-ins too."""


def default_training(name: str) -> TrainConfig | None:
    """Give the recipe of a predictor; None for one that has a closed form."""
    return factory_of(name).recipe


def reads_language(name: str) -> bool:
    """Tell whether a predictor, as it is by default, needs a language model."""
    factory = factory_of(name)
    return factory.language(factory.config) is not None


def build_predictor(
    name: str,
    *,
    n_bins: int,
    channel_names: Sequence[str],
    channel_texts: Sequence[str] | None = None,
    backbone: BackbonePlace | None = None,
    prefix_cache: PrefixCache | None = None,
    config: Any = None,
    training: TrainConfig | None = None,
) -> Predictor:
    """Make a predictor that has not been fitted yet.

    Parameters
    ----------
    name
        One of `model.registry.model_names`.
    n_bins, channel_names
        Of the windows: `dataset.n_bins`, `dataset.channel_names`.
    channel_texts
        What the channels mean, in words, for the prototypes of GTA; their names if not given.
    backbone
        Directory of the language model, for models that read with one; or one that was loaded already, cut as the
        configuration says, which several predictors may share.
    prefix_cache
        One of that language model to use instead of a new one in memory; see `GTA`.
    config, training
        How a model is set and trained, in place of the defaults of that name; the seed of `training` also draws the
        initial weights.

    Raises
    ------
    ValueError
        If there is no predictor of that name, it lacks its language model, or a configuration is another model's.
    BackboneError
        If the directory does not serve, or the window leaves no room for a prompt.
    """
    factory = factory_of(name)
    if config is None:
        config = factory.config
    elif type(config) is not type(factory.config):
        raise ValueError(
            f"`config=` is a {type(config).__name__}, and {name} is set by a {type(factory.config).__name__}"
        )
    training = training or factory.recipe
    with torch.random.fork_rng():
        if training is not None:
            torch.manual_seed(training.seed)
        inputs = ModelInputs(
            config=config,
            training=training,
            n_bins=n_bins,
            channel_names=channel_names,
            channel_texts=channel_texts,
            backbone=_language_model(name, factory, config, backbone),
            prefix_cache=prefix_cache,
        )
        return factory.build(name, inputs)


def restored_predictor(checkpoint: Checkpoint, directory: Path, backbone: BackbonePlace | None = None) -> Predictor:
    """Make again what `save` wrote into a folder; `model.predictors.saved.load_predictor` calls it.

    Raises
    ------
    CheckpointError
        If it is of a model that is not registered, the language model is gone or another one, or what it says makes no
        such model.
    BackboneError
        If its language model does not serve.
    """
    if checkpoint.kind not in model_names():
        raise CheckpointError(
            f"{directory} holds a predictor {checkpoint.kind!r}, which this version does not know "
            f"({', '.join(model_names())}); update genomic-featurestore, or install the distribution that adds it"
        )
    factory = factory_of(checkpoint.kind)
    try:
        return factory.restore(checkpoint, directory, backbone)
    except (CheckpointError, BackboneError):
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise damaged(directory, error) from error


def _language_model(name: str, factory: ModelFactory, config: Any, place: BackbonePlace | None) -> Backbone | None:
    settings = None if config is None else factory.language(config)
    if settings is None:
        return None
    if place is None:
        raise ValueError(
            f"{name} reads with a language model: give `backbone=DIRECTORY` (a Hugging Face model directory, or one "
            "that make_untrained_backbone wrote), or take gta-no-llm"
        )
    return load_backbone(place, settings)
