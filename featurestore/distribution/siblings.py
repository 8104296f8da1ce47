"""Detect a user's own `catalog.py` next to a script, which shadows a package of ours.

Belongs here: the check, before an import fails deep inside. Standard library only, since it runs before everything
else. Does not: the search path of the command (`featurestore_command`).
"""

from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Folder of the packages of this distribution."""


def hidden_by(package: str) -> Path | None:
    """Return the file that `import package` would run instead of ours, or None; nothing is imported."""
    try:
        spec = find_spec(package)
    except ValueError:  # put into sys.modules by hand, without a spec
        return None
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).resolve()
    return None if found == (ROOT / package / "__init__.py").resolve() else found


def require_own(*packages: str) -> None:
    """Raise if another file shadows a package of ours.

    Raises
    ------
    ImportError
        If one does; the message names it, and how to mend it.
    """
    for package in packages:
        if (found := hidden_by(package)) is not None:
            raise ImportError(
                f"{found} hides the package {package!r} of genomic-featurestore, which lies in {ROOT / package}: "
                "rename that file, or start Python where its folder is not first on the path",
                name=package,
                path=str(found),
            )
