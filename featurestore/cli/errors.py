"""Error messages of the command line: one line, with options in place of Python parameters.

Errors below the command line name the parameters of Python, as `` `n_bins=` `` or `` `dtype="float32"` `` in
backquotes; here these become the options of the verb that ran, `--n-bins` and `--dtype float32`.

Belongs here: the message of a verb that fails, and the names of extras. Does not: raising errors.
"""

import ast
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from typer.core import TyperOption

_EXTRA_OF = dict.fromkeys(("dask", "distributed"), "build") | dict.fromkeys(
    ("lightning", "matplotlib", "safetensors", "scipy", "torch", "transformers"), "model"
)
"""Extra that installs a library, by its module."""
_OPTIONS_OF = {
    "pairs": ("feature_set_a", "feature_set_b"),
    "place": ("catalog",),
    "storage_options": ("storage_option",),
}
"""Option by Python parameter, where the names differ."""
_PARAMETER = re.compile(r"`(\w+)=([^`]*)`")


class Verb(Protocol):
    """A click command or group; Typer bundles its own click, or uses the one installed."""

    params: list[Any]


def explain(error: Exception, verb: Verb) -> str:
    """Describe an error in one line, in terms of the verb's options."""
    missing = _missing_library(error)
    if missing in _EXTRA_OF:
        return f"this verb needs {missing}: pip install 'genomic-featurestore[{_EXTRA_OF[missing]}]'"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return in_options(text, verb) or type(error).__name__


def in_options(text: str, verb: Verb) -> str:
    """Replace the parameters that a message names by the options of a verb, where it has such options."""
    options = {option.name: option for option in verb.params if isinstance(option, TyperOption)}

    def typed(match: re.Match[str]) -> str:
        name, value = match.groups()
        flags = [_flag(options[one], value) for one in (name, *_OPTIONS_OF.get(name, ())) if one in options]
        return " and ".join(f"`{flag}`" for flag in flags) or match.group()

    return _PARAMETER.sub(typed, text)


def verb_of(command: Verb, words: Sequence[str]) -> Verb:
    """Find the verb that the arguments of a command line run."""
    for word in words:
        commands: Mapping[str, Verb] = getattr(command, "commands", {})
        if word not in commands:
            break
        command = commands[word]
    return command


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Show warnings as `warning: message`, without file and line."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def warn(text: str) -> None:
    """Print a warning to stderr, on one line."""
    print(f"warning: {' '.join(text.split())}", file=sys.stderr)


def _missing_library(error: BaseException | None) -> str:
    """Name of the missing library, if that is the cause, also within a plug-in."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__ if isinstance(error, ImportError) else None
    return ("" if error is None else error.name or "").split(".")[0]


def _flag(option: TyperOption, value: str) -> str:
    """Format an option as typed; `value` is a Python literal, and may be empty."""
    flag = max(option.opts, key=len)
    read: Any = value
    with suppress(ValueError, SyntaxError):  # a placeholder, or no value
        read = ast.literal_eval(value)
    if option.is_flag:
        return flag if read is not False else max(option.secondary_opts, key=len, default=flag)
    if read is None:
        return f"no {flag}"
    if isinstance(read, list | tuple):
        read = ",".join(map(str, read))
    return f"{flag} {read}".rstrip()
