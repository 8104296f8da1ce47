"""Settings of a plug-in or a model: frozen dataclasses that are set by `NAME=VALUE` and describe themselves.

Belongs here: from a dataclass to the list of its settings, from text or plain JSON values to an instance of it, and
back. Does not: what any setting means (the dataclass next to the code that reads it), command lines.

A field's documentation is the string literal below it, as in all dataclasses here, or `doc` of its metadata.
Types are whatever pydantic reads: numbers, `bool`, `str`, `Path`, `Literal`, `Enum`, `X | None`, tuples and mappings.
"""

import ast
import inspect
import json
import textwrap
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import JsonValue, TypeAdapter, ValidationError

Settings = TypeVar("Settings")
_NONE = ("none", "null")
_KINDS: dict[Any, str] = {
    bool: "true|false",
    int: "int",
    float: "float",
    str: "text",
    Path: "path",
    type(None): "none",
    Any: "JSON",
    Ellipsis: "...",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a dataclass of settings, described for people."""

    name: str
    kind: str
    """Type of its values: `int`, `float`, `text`, `path`, `true|false`, `a|b`, `float|none`, `[int, ...]`."""
    default: str
    """As written on a command line; empty for a required setting."""
    doc: str
    """What it means, with its unit: the string literal below the field."""

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return not self.default


def describe_settings(settings: Any) -> tuple[Setting, ...]:
    """Describe the settings of a dataclass, in the order of its fields.

    Parameters
    ----------
    settings
        The class, or an instance whose values are then the defaults.
    """
    cls = _class_of(settings)
    docs, hints = _docs(cls), _hints(cls)
    docs |= {item.name: item.metadata["doc"] for item in _settable(cls) if "doc" in item.metadata}
    return tuple(
        Setting(item.name, _kind(hints[item.name]), _default(settings, item, hints[item.name]), docs.get(item.name, ""))
        for item in _settable(cls)
    )


def settings_table(settings: Any) -> list[str]:
    """Format the settings as lines: name, type, default and documentation."""
    lines = []
    for item in describe_settings(settings):
        default = "required" if item.is_required else f"default {item.default}"
        lines.append(f"{item.name}  {item.kind}  [{default}]")
        lines += textwrap.wrap(item.doc, 100, initial_indent="    ", subsequent_indent="    ")
    return lines or ["nothing to set"]


def split_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Split `NAME=VALUE` texts; the last value of a repeated name counts."""
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise ValueError(f"a setting is NAME=VALUE, as in alpha=0.5; got {assignment!r}")
        values[name.strip()] = text
    return values


def library_options(options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Read options of another library, such as `anon=true` for s3fs: `true` and `false` are no texts; None for none."""
    as_written = {"true": True, "false": False}
    return {key: as_written.get(value, value) for key, value in (options or {}).items()} or None


def apply_settings(settings: "type[Settings] | Settings", values: Mapping[str, object]) -> Settings:
    """Make an instance from values by name, or a changed copy of an instance.

    Parameters
    ----------
    settings
        The dataclass, or an instance of it.
    values
        Texts, as they are written on a command line (`"8"`, `"true"`, `"none"`, `"1,2"`, `'{"a": 1}'`), or values of
        the field's own type or its JSON.

    Raises
    ------
    ValueError
        If a name is not known (the known ones are listed), one without a default is missing, a value is of another
        type, or the dataclass itself refuses it.
    """
    cls = _class_of(settings)
    hints = _hints(cls)
    known = [item.name for item in _settable(cls)]
    for name in values:
        if name not in known:
            raise ValueError(f"no setting is called {name!r}; there {_listed(known)}")
    changes = {name: read_value(name, value, hints[name]) for name, value in values.items()}
    if not isinstance(settings, type):
        changed: Settings = replace(settings, **changes)  # type: ignore[type-var]  # a dataclass, as `_class_of` saw
        return changed
    for item in describe_settings(cls):
        if item.is_required and item.name not in changes:
            raise ValueError(f"{item.name} has to be set ({item.kind}): {item.doc or 'it has no default'}")
    return cls(**changes)  # type: ignore[no-any-return]


def plain_settings(settings: Any) -> dict[str, JsonValue]:
    """Return the values as plain JSON, which `apply_settings` reads back."""
    cls = _class_of(settings)
    hints = _hints(cls)
    return {
        item.name: TypeAdapter(hints[item.name]).dump_python(getattr(settings, item.name), mode="json")
        for item in _settable(cls)
    }


def _class_of(settings: Any) -> Any:
    cls = settings if isinstance(settings, type) else type(settings)
    if not is_dataclass(cls):
        raise TypeError(f"settings are a dataclass, and {cls.__name__} is none; decorate it with @dataclass")
    return cls


def _settable(cls: Any) -> list[Field[Any]]:
    return [item for item in fields(cls) if item.init]


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def read_value(name: str, value: object, hint: Any) -> Any:
    """Parse one value: as plain text, JSON, or a comma-separated list, whichever fits the type first."""
    if isinstance(value, str) and value.strip().lower() in _NONE and type(None) in get_args(hint):
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(hint)
    with suppress(ValidationError):
        return adapter.validate_python(value)
    if isinstance(value, str):
        with suppress(ValidationError):
            return adapter.validate_json(value, strict=True)  # strict: `true` is not a number
        with suppress(ValidationError):
            return adapter.validate_python([part.strip() for part in value.split(",") if part.strip()])
    raise ValueError(f"{name} is {_kind(hint)}; got {value!r}")


def _kind(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if hint in _KINDS:
        return _KINDS[hint]
    if origin is Literal:
        return "|".join(str(value) for value in inner)
    if origin in (Union, types.UnionType):
        return "|".join(_kind(part) for part in inner)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{{{_kind(inner[0])}: {_kind(inner[1])}}}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"[{', '.join(_kind(part) for part in inner)}]"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "|".join(str(member.value) for member in hint)
    return getattr(hint, "__name__", str(hint))


def _default(settings: Any, item: Field[Any], hint: Any) -> str:
    if not isinstance(settings, type):
        value = getattr(settings, item.name)
    elif item.default is not MISSING:
        value = item.default
    elif item.default_factory is not MISSING:
        value = item.default_factory()
    else:
        return ""
    if value is None:
        return "none"
    plain = TypeAdapter(hint).dump_python(value, mode="json", warnings=False)
    if plain == "":
        return '""'
    return plain if isinstance(plain, str) else json.dumps(plain)


@cache
def _docs(cls: type) -> dict[str, str]:
    """Read the string literals below the fields of a class and of those it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not is_dataclass(base):
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError, SyntaxError):  # created at run time, or installed without source
            continue
        assert isinstance(body, ast.ClassDef)
        for field_node, doc_node in zip(body.body, body.body[1:], strict=False):
            if not isinstance(field_node, ast.AnnAssign) or not isinstance(field_node.target, ast.Name):
                continue
            if isinstance(doc_node, ast.Expr) and isinstance(doc_node.value, ast.Constant):
                found[field_node.target.id] = " ".join(str(doc_node.value.value).split())
    return found


def _listed(known: Sequence[str]) -> str:
    return f"are {', '.join(known)}" if known else "is none to set"
