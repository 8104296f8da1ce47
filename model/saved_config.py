"""Configurations as JSON, under today's names.

Belongs here: from a saved document to a frozen dataclass, old names included. Does not: the dataclasses themselves,
settings as a command line writes them (`model.runs.settings`).
"""

from collections.abc import Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")


def current_names(document: Mapping[str, Any], *classes: type) -> dict[str, Any]:
    """Give a saved document under today's names: those that `RENAMED` of the dataclasses says were other ones."""
    renamed = {old: new for cls in classes for old, new in getattr(cls, "RENAMED", {}).items()}
    return {renamed.get(name, name): value for name, value in document.items()}


def from_json(cls: type[Config], document: Mapping[str, Any]) -> Config:
    """Make a configuration of what `dataclasses.asdict` gave, now or in an earlier version.

    Raises
    ------
    TypeError
        If the document has a name that the dataclass never had.
    """
    # JSON has no tuples.
    return cls(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in current_names(document, cls).items()
        }
    )
