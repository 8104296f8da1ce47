"""Write the tree of rooms and modules into docs/architecture.md.

    python docs/draw_tree.py

Belongs here: the tree as text, from the folders themselves. Does not: what the rooms are for (`docs/architecture.md`).
"""

import re
import textwrap
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "architecture.md"
PACKAGES = ("catalog", "featurestore", "builders", "loaders", "model")
_BLOCK = re.compile(r"(?<=```text\n).*?(?=```)", re.DOTALL)


def tree(root: Path = DOCS.parent) -> str:
    """Give a line a room: its name and its modules."""
    return "".join(line for package in PACKAGES for line in _room(root / package, 0))


def _room(folder: Path, depth: int) -> list[str]:
    modules = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    name = f"{'  ' * depth}{folder.name}/".ljust(18)
    lines = textwrap.wrap(" ".join(modules), 100, initial_indent=name, subsequent_indent=" " * len(name)) or [name]
    rooms = sorted(path for path in folder.iterdir() if (path / "__init__.py").exists())
    return [f"{line}\n" for line in lines] + [line for room in rooms for line in _room(room, depth + 1)]


if __name__ == "__main__":
    PAGE.write_text(_BLOCK.sub(lambda _: tree(), PAGE.read_text(encoding="utf-8"), count=1), encoding="utf-8")
