"""Settings as they are written on a command line: `layers=8`, `distance_position=learned`.

Belongs here: reading them into the dataclasses that hold them. Does not: what they mean (`model.networks.gta`,
`model.networks.bin_models`, `model.training.config`).
"""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from model.networks.bin_models import BinModelConfig
from model.networks.gta_config import GtaConfig
from model.training.config import TrainConfig

ModelConfig = TypeVar("ModelConfig", GtaConfig, BinModelConfig)
_ELSEWHERE = {
    "kind": "--model",
    "tasks": "--targets-columns",
    "seed": "--seed",
    "device": "--device",
    "devices": "--devices",
    "log": "--log",
}
"""Names that an option of their own sets."""


def apply_settings(
    config: ModelConfig, training: TrainConfig, settings: Sequence[str]
) -> tuple[ModelConfig, TrainConfig]:
    """Change what is named, each as `NAME=VALUE`; a value is JSON, or text that is none.

    Raises
    ------
    ValueError
        If a name is not known (the known ones are listed), or a value is of another type or out of range.
    """
    of_model, of_training = _names(config), _names(training)
    current = {**getattr(config, "RENAMED", {}), **training.RENAMED}
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"a setting is NAME=VALUE, such as layers=4; got {setting!r}")
        name = current.get(name, name)
        if name in _ELSEWHERE:
            raise ValueError(f"{name} is set by {_ELSEWHERE[name]}")
        if name not in {**of_model, **of_training}:
            raise ValueError(
                f"no setting is called {name!r}; of the model there are {', '.join(of_model)}; of training "
                f"{', '.join(of_training)}"
            )
        changes[name] = _value(name, text, {**of_training, **of_model}[name])
    return (
        replace(config, **{name: value for name, value in changes.items() if name in of_model}),
        replace(training, **{name: value for name, value in changes.items() if name in of_training}),
    )


def _names(config: Any) -> dict[str, Any]:
    """Give the present value of each setting."""
    return {item.name: getattr(config, item.name) for item in fields(config) if item.name not in _ELSEWHERE}


def _value(name: str, text: str, present: Any) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if isinstance(present, str):
        return text
    kinds: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), dict: (dict,)}
    # `lora_alpha`, the only one that may be None, is a number.
    wanted = kinds.get(type(present), (int, float, type(None)))
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        example = "true or false" if isinstance(present, bool) else f"like {json.dumps(present)}"
        raise ValueError(f"{name} is {example}; got {text!r}")
    return value
