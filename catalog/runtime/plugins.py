"""Plug-ins: what installed distributions add to this one through entry points; and installing optional parts of ours.

Belongs here: finding and loading them, and the errors for one that cannot be loaded or lacks something. Does not: what
a group's plug-ins are (`catalog.genes.format_plugins`, `builders.extractors.base`).

A plug-in that cannot be imported is an error only where it is requested by name; everything else works without it.
"""

import warnings
from importlib.metadata import EntryPoint, entry_points
from typing import Any


class PluginError(ImportError):
    """A plug-in that cannot be loaded."""


class UnfitPlugin(PluginError, TypeError):
    """A plug-in that lacks what its kind must have."""


def how_to_install(extra: str) -> str:
    """Name the command that installs an extra; no package index has this distribution, so it is one for a checkout."""
    return f"pip install '.[{extra}]' in the checkout of genomic-featurestore"


def plugins(group: str) -> dict[str, EntryPoint]:
    """List the plug-ins of a group by name, sorted; nothing is imported."""
    return {entry.name: entry for entry in sorted(entry_points(group=group), key=lambda entry: entry.name)}


def load_plugin(entry: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises
    ------
    PluginError
        If that fails for any reason; the message names the plug-in, its distribution and the original error.
    """
    try:
        return entry.load()
    except Exception as error:  # a plug-in's code may raise anything
        origin = f" of {entry.dist.name}" if entry.dist is not None else ""
        raise PluginError(
            f"the plug-in {entry.name!r}{origin} ({entry.group}: {entry.value}) cannot be loaded: "
            f"{type(error).__name__}: {error}; mend or uninstall it"
        ) from error


def load_plugins(group: str) -> dict[str, Any]:
    """Import all plug-ins of a group; one that cannot be loaded is warned about and left out."""
    loaded = {}
    for name, entry in plugins(group).items():
        try:
            loaded[name] = load_plugin(entry)
        except PluginError as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
    return loaded


def require_members(made: object, protocol: type, *, name: str) -> None:
    """Check that an object has every member of a protocol; none of its properties is evaluated.

    Parameters
    ----------
    name
        Of what made it, for the error.

    Raises
    ------
    UnfitPlugin
        If it lacks some; the message lists them.
    """
    members = {*getattr(protocol, "__annotations__", {}), *vars(protocol)}
    wanted = sorted(member for member in members if not member.startswith("_") or member == "__call__")
    of_class = {member for base in type(made).__mro__ for member in vars(base)}
    lacking = [member for member in wanted if member not in of_class and not hasattr(made, member)]
    if lacking:
        kind = protocol.__name__
        raise UnfitPlugin(
            f"{name} makes a {type(made).__name__}, which is no {kind.lower()}: it lacks {', '.join(lacking)}; add "
            f"what {protocol.__module__}.{kind} says of them"
        )
