"""Where the command `featurestore` begins: it sees to it that its own packages are found.

A `catalog.py` or `model.py` in a folder on PYTHONPATH would come before ours, so our folder goes before it. The current
folder is searched last, for a `module:factory` of the user's.

Belongs here: the standard streams, and the search path, which also the worker processes get. Alone outside the packages
and of the standard library only, since importing a package is what it makes safe. Does not: the verbs
(`featurestore.cli.main`).
"""

import os
import sys
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

_ROOT = Path(__file__).resolve().parent
_PACKAGES = ("catalog", "featurestore", "builders", "loaders", "model")


def main() -> int:
    """Run one command and return its exit status."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller; else the next file that is opened takes its number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # until the process ends
    if any(_is_hidden(package) for package in _PACKAGES):
        sys.path.insert(0, str(_ROOT))
    with suppress(FileNotFoundError):  # the current folder is gone
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.append(here)
    try:
        from featurestore.cli.main import main as run

        return run()
    except KeyboardInterrupt:  # while modules are imported: no verb has begun
        return 130


def _is_hidden(package: str) -> bool:
    spec = PathFinder.find_spec(package)
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve().parent.parent != _ROOT
