"""Settings as `--set NAME=VALUE` gives them: which are the model's, which are of its training.

Belongs here: telling them apart, names that earlier versions had. Does not: reading values
(`catalog.runtime.settings`), what they mean (`model.networks.gta_config`, `model.networks.bin_models`,
`model.training.config`, plug-ins).
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from catalog.runtime.settings import apply_settings, settings_table
from model.saved_config import current_names
from model.training.config import TrainConfig

Config = TypeVar("Config")
_ELSEWHERE = ("tasks", "seed", "device", "devices", "log")
"""Names that an option of their own sets."""


def split_settings(config: Config, training: TrainConfig, settings: Mapping[str, object]) -> tuple[Config, TrainConfig]:
    """Change what is named, in the model's configuration or in that of its training.

    Raises
    ------
    ValueError
        If a name is not known (the known ones are listed), or a value is of another type or out of range.
    """
    of_model, of_training = _names(config), _names(training)
    values = current_names(settings, type(config), TrainConfig)
    for name in values:
        if name in _ELSEWHERE:
            raise ValueError(f"{name} is set by an option of its own: `{name}=`")
        if name not in (*of_model, *of_training):
            raise ValueError(
                f"no setting is called {name!r}; of the model there are {', '.join(of_model)}; of training "
                f"{', '.join(of_training)}"
            )
    return (
        apply_settings(config, {name: value for name, value in values.items() if name in of_model}),
        apply_settings(training, {name: value for name, value in values.items() if name in of_training}),
    )


def settings_lines(config: Any, training: TrainConfig | None) -> list[str]:
    """List what `--set` takes, with its type, default and meaning."""
    if config is None or training is None:
        return ["nothing to set"]
    return ["of the model:", *settings_table(config), "", "of its training:", *settings_table(training)]


def _names(config: Any) -> list[str]:
    fixed = (*_ELSEWHERE, *getattr(type(config), "FIXED", ()))
    return [item.name for item in fields(config) if item.name not in fixed]
