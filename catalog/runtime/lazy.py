"""Lazy imports: the public names of a package, imported on first use.

    if not TYPE_CHECKING:
        __getattr__, __dir__ = lazy_names(__name__, door={"Grid": "catalog.grid"}, more={"Placement": "catalog.grid"})

Belongs here: how a package's `__init__` exposes names of its modules. Does not: which names (each `__init__`).
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, *, door: Mapping[str, str], more: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package whose names are imported on first use.

    Parameters
    ----------
    package
        Its name: `__name__` in its `__init__`.
    door
        Name to module, for the names that `dir()` and tab completion show; `"featurestore.store:open_store"` where the
        module has another name for it. No name may be that of a submodule, which Python would put in its place.
    more
        The same, for names that can be imported but are not shown.
    """
    homes = {**more, **door}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = homes[name].partition(":")
        found = getattr(import_module(module), attribute or name)
        setattr(sys.modules[package], name, found)  # the next time Python finds it without this function
        return found

    return find, lambda: sorted(door)
