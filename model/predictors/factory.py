"""How a model is built by name, and made again from a checkpoint.

Belongs here: the protocol that a registered model fulfils, what it is built from. Does not: the models that ship
(`model.predictors.gta`, `model.predictors.bin_predictors`, `model.predictors.closed_form`), their names
(`model.registry`).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from catalog.runtime.plugins import require_members
from model.language.backbone import Backbone
from model.language.loading import LanguageSettings
from model.language.prefixes.cache import PrefixCache
from model.predictors.checkpoint import Checkpoint
from model.predictors.predictor import Predictor
from model.registry import find_model
from model.training.config import TrainConfig

BackbonePlace = str | os.PathLike[str] | Backbone
"""Where a language model lies, or that language model, loaded already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInputs:
    """What a model is built from."""

    config: Any
    """How it is set: an instance of the class of `ModelFactory.config`."""
    training: TrainConfig | None
    """How it is trained; None where that of the factory is."""
    n_bins: int
    """Bins a window."""
    channel_names: Sequence[str]
    channel_texts: Sequence[str] | None = None
    """What the channels mean, in words."""
    backbone: Backbone | None = None
    """The frozen language model, loaded as `ModelFactory.language` asks; None where it asks for none."""
    prefix_cache: PrefixCache | None = None
    """One of that language model, to use instead of a new one in memory."""


class ModelFactory(Protocol):
    """Makes the predictors of one registered model."""

    @property
    def config(self) -> Any:
        """Settings by default, a frozen dataclass (`catalog.runtime.settings`); None where there is none to set.

        Fields named `tasks` and `precision` are set by options of their own, and `layers` by a sweep over layers.
        """
        ...

    @property
    def recipe(self) -> TrainConfig | None:
        """How it is trained by default; None for a closed form."""
        ...

    def language(self, config: Any) -> LanguageSettings | None:
        """Say how the language model is loaded that it reads with under these settings; None if it reads with none."""
        ...

    def build(self, name: str, inputs: ModelInputs) -> Predictor:
        """Make a predictor that has not been fitted; torch's generator is seeded."""
        ...

    def restore(self, checkpoint: Checkpoint, directory: Path, backbone: BackbonePlace | None) -> Predictor:
        """Make again what `Predictor.save` wrote into a folder; `backbone` is where the language model lies now."""
        ...


def factory_of(name: str) -> ModelFactory:
    """Give the factory of a registered model.

    Raises
    ------
    The errors of `model.registry.find_model`, and
    UnfitPlugin
        If it is no factory; the message lists what it lacks.
    """
    found = find_model(name).load()
    require_members(found, ModelFactory, name=f"the model {name!r}")
    return cast("ModelFactory", found)
