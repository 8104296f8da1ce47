"""Options of a verb derived from the fields of a frozen dataclass: one field, one option.

Belongs here: from fields to Typer's parameters, and from parsed options to an instance. Does not: what the fields mean
(the dataclass next to the code that reads it).

A field's flag is its name, its help the string literal below it, its default the dataclass's. Its metadata may say:

- `flag`: another flag, such as `--set`;
- `old_flags`: hidden aliases, its former flags;
- `metavar`: placeholder of the value in the help;
- `is_distinct`: a name of a mapping may be given once only.

Numbers, texts, paths and booleans are Typer's. Tuples are written with commas, a mapping is a repeated `NAME=VALUE`,
and everything else is read as `catalog.runtime.settings` reads it.
"""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from catalog.runtime.settings import describe_settings, read_value, split_assignments

Verb = Callable[..., None]
_NATIVE = (bool, int, float, str, Path)


def takes(
    request: type, *, into: str = "request", without: Collection[str] = (), old_settings: Collection[str] = ()
) -> Callable[[Verb], Verb]:
    """Decorate a verb with an option for each field of a dataclass; the verb gets the instance as its parameter `into`.

    Parameters
    ----------
    request
        A frozen dataclass whose fields all have defaults, or are required options.
    into
        The verb's parameter; a verb may take several dataclasses, each as another parameter.
    without
        Fields that this verb does not offer; they keep their defaults.
    old_settings
        Settings that once had flags of their own: a hidden `--NAME VALUE` still means `NAME=VALUE` of the field
        `settings`.
    """
    offered = [item for item in fields(request) if item.init and item.name not in without]

    def decorate(verb: Verb) -> Verb:
        @functools.wraps(verb)
        def run(**given: Any) -> None:
            values = {}
            for item in offered:
                texts = [given.pop(name) for name in _names(item)]
                value = next((text for text in reversed(texts) if text not in (None, [])), texts[0])
                if value is not None and (value != [] or item.default is not None):
                    values[item.name] = _read(item, value, hints[item.name])
            once = {name: given.pop(name) for name in old_settings}
            if found := {name: text for name, text in once.items() if text is not None}:
                values["settings"] = found | values["settings"]
            verb(**given, **{into: request(**values)})

        hints = get_type_hints(request)
        docs = {setting.name: setting for setting in describe_settings(request)}
        derived = [made for item in offered for made in _parameters(item, hints[item.name], docs[item.name].doc)]
        derived += [
            _parameter(
                name,
                Annotated[str | None, typer.Option(f"--{name}", hidden=True, help=f"As --set {name}=VALUE.")],
                None,
            )
            for name in old_settings
        ]
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(verb, eval_str=True).parameters.values()
            if parameter.name != into
        ]
        arguments = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
        others = [parameter for parameter in own if parameter not in arguments]
        parameters = [*arguments, *derived, *others]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _names(item: Field[Any]) -> list[str]:
    """Parameter names of a field: its own, and one for each former flag."""
    return [item.name, *(f"{item.name}_{number}" for number, _ in enumerate(item.metadata.get("old_flags", ())))]


def _parameters(item: Field[Any], hint: Any, doc: str) -> list[inspect.Parameter]:
    kind, default = _typer_type(item, hint)
    flag = item.metadata.get("flag", "--" + item.name.replace("_", "-"))
    if kind is bool and default is True and "/" not in flag:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    metavar = item.metadata.get("metavar")
    shown = typer.Option(flag, help=doc, metavar=metavar)
    made = [_parameter(item.name, Annotated[kind, shown], default)]
    for name, old in zip(_names(item)[1:], item.metadata.get("old_flags", ()), strict=True):
        unset: list[str] | None = [] if get_origin(kind) is list else None
        kind_or_none = kind if unset == [] else kind | None
        made.append(
            _parameter(name, Annotated[kind_or_none, typer.Option(old, hidden=True, help=f"As {flag}.")], unset)
        )
    return made


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _typer_type(item: Field[Any], hint: Any) -> tuple[Any, Any]:
    """Type and default of a field for Typer."""
    default = item.default
    if item.default_factory is not MISSING:
        default = item.default_factory()
    if _is_mapping(hint):
        return list[str], []
    if _is_native(hint):
        return hint, inspect.Parameter.empty if default is MISSING else default
    if default is MISSING:
        return str, inspect.Parameter.empty
    if isinstance(default, tuple):
        return str, ",".join(str(part) for part in default)
    return (str | None, None) if default is None else (str, str(default))


def _is_native(hint: Any) -> bool:
    return hint in _NATIVE or any(hint == (kind | None) for kind in _NATIVE)


def _is_mapping(hint: Any) -> bool:
    kinds = get_args(hint) if type(None) in get_args(hint) else (hint,)
    origins = [get_origin(kind) for kind in kinds]
    return any(isinstance(origin, type) and issubclass(origin, Mapping) for origin in origins)


def _read(item: Field[Any], value: Any, hint: Any) -> Any:
    if not _is_mapping(hint):
        return value if _is_native(hint) else read_value(f"`{item.name}=`", value, hint)
    if item.metadata.get("is_distinct"):
        names = [text.partition("=")[0].strip() for text in value]
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise ValueError(f"`{item.name}=` names {', '.join(repeated)} more than once; give each another name")
    return split_assignments(value)


def lists_settings(lines_of: Callable[[Sequence[str]], list[str]]) -> type[TyperCommand]:
    """Make a command class whose `--help-options` lists the settings of `--set`, without the required arguments.

    Parameters
    ----------
    lines_of
        From the arguments of the command line to the lines to print; `value_of` finds an option among them.
    """

    class ListsSettings(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if "--help-options" in args:
                print("\n".join(lines_of(args)))
                ctx.exit()
            return super().parse_args(ctx, args)

    return ListsSettings


def value_of(words: Sequence[str], flag: str) -> str | None:
    """Find the value of an option among the arguments of a command line; None if it is absent."""
    found = None
    for word, following in pairwise([*words, ""]):
        if word == flag:
            found = following
        elif word.startswith(f"{flag}="):
            found = word.partition("=")[2]
    return found
