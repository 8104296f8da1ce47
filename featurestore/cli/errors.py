"""Error messages of the command line: one short line, with options in place of Python parameters.

Errors below the command line name the parameters of Python, as `` `n_bins=` `` or `` `dtype="float32"` `` in
backquotes; here these become the options of the verb that ran, `--n-bins` and `--dtype float32`.

Errors of kinds that our code raises, and the operating system, are the user's to mend. Every other kind is a bug, ours
or a library's, and its message says where it arose and how to see the traceback.

Belongs here: the message of a verb that fails, and the names of extras. Does not: raising errors.
"""

import ast
import errno
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import PurePath
from typing import Any, Protocol

from obstore.exceptions import BaseError
from typer.core import TyperOption

from catalog.runtime.plugins import how_to_install
from featurestore.display import plain

DEBUG_VARIABLE = "FEATURESTORE_DEBUG"
"""Set in the environment, errors show their traceback."""

_MISTAKES = (OSError, ValueError, LookupError, RuntimeError, ImportError, MemoryError, BaseError)
"""Kinds of errors that the user can mend; the last is obstore's."""
_BUGS = (KeyError, IndexError, NotImplementedError, RecursionError)
"""Those among them that are bugs, unless a class of ours refines them."""
_MOST_CHARACTERS = 500
_LAST_CHARACTERS = 250
"""Of these, how many of the end are kept: there the mend stands."""
_NO_ROOM = "; make room there, or write elsewhere"
_NO_RIGHT = "; give this user the right to read and write there, or take another place"
_OS_MENDS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _NO_ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _NO_RIGHT),
    errno.ENOENT: "; check the path",
    errno.EISDIR: ", and a file is expected; name one",
    errno.ENOTDIR: "; a part of that path is a file: check it",
    errno.ENAMETOOLONG: "; give it a shorter name",
}
"""What helps where the operating system refuses."""
_EXTRAS = {
    "attribution": ("logomaker",),
    "build": ("dask", "distributed"),
    "keras": ("h5py",),
    "tracks": ("pybigtools",),
    "variants": ("cyvcf2",),
    "web": ("fastapi", "uvicorn"),
    "model": ("lightning", "matplotlib", "peft", "safetensors", "scipy", "torch", "transformers"),
}
_EXTRA_OF = {module: extra for extra, modules in _EXTRAS.items() for module in modules}
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


def explain(error: BaseException, verb: Verb) -> str:
    """Describe an error in one line of at most 500 characters or so, in terms of the verb's options."""
    missing = _missing_library(error)
    if missing in _EXTRA_OF:
        return f"this verb needs {missing}: {how_to_install(_EXTRA_OF[missing])}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, OSError) and error.errno and (error.filename is not None or text == _of_system(error.errno)):
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        text = f"{place}{error.strerror}{_OS_MENDS.get(error.errno, '')}"
    text = in_one_line(in_options(text, verb))
    kind = type(error).__name__
    if not is_bug(error):
        return text or kind
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({'/'.join(PurePath(frames[-1].filename).parts[-2:])}, line {frames[-1].lineno})" if frames else ""
    return (
        f"a bug, not a mistake of yours: {kind}{': ' if text else ''}{text}{where}; run the same command with "
        f"{DEBUG_VARIABLE}=1 in the environment for the traceback, and report that"
    )


def _of_system(number: int) -> str:
    """Return what the operating system alone says of an error."""
    return f"[Errno {number}] {os.strerror(number)}"


def is_bug(error: BaseException) -> bool:
    """Tell whether an error is of a kind that no input should raise, so that its message alone mends nothing."""
    return not isinstance(error, _MISTAKES) or type(error) in _BUGS


def in_one_line(text: str) -> str:
    """Put a message on one line without control characters, and cut the middle out of a long one."""
    line = plain(" ".join(text.split()))
    if len(line) <= _MOST_CHARACTERS:
        return line
    return f"{line[: _MOST_CHARACTERS - _LAST_CHARACTERS - 5]} ... {line[-_LAST_CHARACTERS:]}"


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
    warnings.formatwarning = lambda message, *_, **__: f"warning: {in_one_line(str(message))}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def warn(text: str) -> None:
    """Print a warning to stderr, on one line."""
    print(f"warning: {in_one_line(text)}", file=sys.stderr)


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
