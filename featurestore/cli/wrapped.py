"""What every verb is wrapped in, ours and those of plug-ins: paths made absolute, and errors that Typer would swallow.

Belongs here: what happens between parsing and a verb's function. Does not: any one verb, how errors are shown
(`featurestore.cli.errors`).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from catalog.runtime.locations import required_path


def wrap_verbs(command: Any) -> None:
    """Wrap the function of each verb below a click command, in place.

    A verb gets its paths absolute, with `~` expanded (a shell expands it in neither `--out=~/x` nor quotes), so that
    none changes its meaning with the working directory, or in another process.
    """
    for verb in getattr(command, "commands", {}).values():
        wrap_verbs(verb)
    if command.callback is not None:
        command.callback = partial(_called, command.callback)


def _called(verb: Callable[..., Any], /, **given: Any) -> Any:
    try:
        return verb(**{name: _absolute(value) for name, value in given.items()})
    except EOFError as error:  # Typer takes it for the end of its own input
        raise OSError(f"a file ends too early ({error}); it is truncated: fetch it or make it again") from error


def _absolute(value: Any) -> Any:
    if isinstance(value, Path):
        return required_path(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_absolute, value))
    return value
