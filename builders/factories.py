"""Find the factory of an extractor or a source by name, and the dataclass of its settings.

Belongs here: entry points, `module:factory`, and how a factory is called. Does not: what it makes
(`builders.extractors.base`, `builders.source`).

A factory takes the options that all have in common. If it has settings of its own, it takes a second argument that is
annotated with their frozen dataclass, whose field documentation is their help (`catalog.runtime.settings`):

    def from_options(options: ExtractorOptions, settings: SeiSettings) -> SeiExtractor: ...
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.metadata import EntryPoint
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import JsonValue

from catalog.runtime.locations import required_path
from catalog.runtime.plugins import UnfitPlugin, load_plugin, plugins
from catalog.runtime.settings import apply_settings, plain_settings


@dataclass(frozen=True, slots=True)
class Factory:
    """What makes an extractor or a source."""

    name: str
    """As requested: registered, or `module:factory`."""
    make: Callable[..., Any]
    settings: type[Any] | None
    """The dataclass of its own settings; None if it has none."""

    def __call__(self, options: Any, values: Mapping[str, object]) -> Any:
        """Make one from the common options, and from values of its own settings by name.

        Raises
        ------
        ValueError
            If a value does not fit its setting, or there is no such setting.
        UnfitPlugin
            If it cannot be called so.
        """
        if self.settings is None:
            self._refuse(values)
            return self._made(options)
        return self._made(options, apply_settings(self.settings, values))

    def plain(self, values: Mapping[str, object]) -> dict[str, JsonValue]:
        """Check values of its settings and give all settings as plain JSON, with files by their absolute paths.

        A process with another working directory then makes the same.
        """
        if self.settings is None:
            self._refuse(values)
            return {}
        made: Any = apply_settings(self.settings, values)
        return plain_settings(
            replace(made, **{item.name: _absolute(getattr(made, item.name)) for item in fields(made)})
        )

    def recorded(self, options: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Pick its settings out of the options that a feature set has on record."""
        names = {item.name for item in fields(self.settings)} if self.settings is not None else set()
        return {name: value for name, value in options.items() if name in names}

    def _made(self, *arguments: Any) -> Any:
        try:
            signature(self.make).bind(*arguments)
        except TypeError as error:
            raise UnfitPlugin(
                f"{self.name} cannot be called with the options that a factory gets ({error}); name a function or "
                "class that takes options, or options and a dataclass of settings"
            ) from error
        except ValueError:  # a builtin without a signature
            pass
        return self.make(*arguments)

    def _refuse(self, values: Mapping[str, object]) -> None:
        if values:
            raise ValueError(f"{self.name} has no settings of its own, but {', '.join(values)} was given; leave it out")


def _absolute(value: Any) -> Any:
    """Make a path absolute, or each of several; leave other values as they are."""
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    return required_path(value) if isinstance(value, Path) else value


def find_factory(group: str, name: str) -> Factory:
    """Find a factory by its registered name, or by `module:factory` for one that is not installed.

    Parameters
    ----------
    group
        Entry-point group.

    Raises
    ------
    ValueError
        If there is none of that name, or `module:factory` cannot be imported.
    PluginError
        If one that is installed cannot be loaded.
    """
    kind = group.rpartition(".")[2].removesuffix("s")
    if ":" in name:
        try:
            made = EntryPoint(name, name, group).load()
        except (AttributeError, ImportError, ValueError) as error:
            raise ValueError(
                f"{name} cannot be loaded as module:factory ({error}); is it on the Python path?"
            ) from error
        return Factory(name, made, _settings_of(made))
    known = plugins(group)
    if name not in known:
        raise ValueError(
            f"no {kind} is called {name!r}; installed are {', '.join(known) or 'none'}, and module:factory names one "
            "of your own"
        )
    made = load_plugin(known[name])
    return Factory(name, made, _settings_of(made))


def _settings_of(factory: Callable[..., Any]) -> type[Any] | None:
    """Find the dataclass that a factory's second parameter is annotated with."""
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = [item for item in signature(factory).parameters.values() if item.kind in positional]
    except (TypeError, ValueError):  # not callable, or a builtin without a signature
        return None
    if len(parameters) < 2:
        return None
    annotation = parameters[1].annotation
    if isinstance(annotation, str):
        annotated = vars(factory)["__init__"] if isinstance(factory, type) else factory
        annotation = get_type_hints(annotated).get(parameters[1].name)
    return annotation if isinstance(annotation, type) and is_dataclass(annotation) else None
