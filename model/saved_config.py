"""Configurations as JSON, under today's names.

Belongs here: from a saved document to a frozen dataclass, old names included. Does not: the dataclasses themselves,
settings as a command line writes them (`model.runs.settings`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from catalog.runtime.settings import apply_settings

Config = TypeVar("Config")
_MOST = 1 << 14
"""Largest width or count in a configuration: a square of it is 1 GiB of float32."""


def current_names(document: Mapping[str, Any], *classes: type) -> dict[str, Any]:
    """Give a saved document under today's names: those that `RENAMED` of the dataclasses says were other ones."""
    renamed = {old: new for cls in classes for old, new in getattr(cls, "RENAMED", {}).items()}
    return {renamed.get(name, name): value for name, value in document.items()}


def with_defaults(document: Mapping[str, Any], *classes: type, names: Iterable[str]) -> dict[str, Any]:
    """Add to a saved document those of `names` that it lacks: the fields of the dataclasses that are newer than it.

    They get their defaults, which is what was done before there was a choice.
    """
    known = [item for cls in classes if is_dataclass(cls) for item in fields(cls)]
    defaults = {item.name: item.default for item in known if item.default is not MISSING}
    return {name: defaults[name] for name in names if name in defaults} | dict(document)


def from_json(cls: type[Config], document: Mapping[str, Any]) -> Config:
    """Make a configuration of what `dataclasses.asdict` gave, now or in an earlier version.

    Raises
    ------
    ValueError
        If the document has a name that the dataclass never had, or a value of another type.
    """
    # mypy does not tell a class that is a type variable from an instance of one.
    made: Config = apply_settings(cls, current_names(document, cls))  # type: ignore[arg-type]
    return made


def check_counts(config: object, names: Iterable[str], *, most: int = _MOST) -> None:
    """Refuse, with a ValueError, a configuration whose counts are not from 1 to `most`."""
    for name in names:
        if not 1 <= getattr(config, name) <= most:
            raise ValueError(f"{name} counts from 1 to {most:,}, got {getattr(config, name)}")
