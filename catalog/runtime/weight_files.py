"""Files of weights that are not what they seem.

Belongs here: pointers of git-lfs, and what to say of a file that is cut short. Does not: reading weights (`model`,
`builders.extractors`).
"""

import os
from pathlib import Path

_POINTER = b"version https://git-lfs.github.com/spec/"


def refuse_pointer(path: str | os.PathLike[str]) -> None:
    """Refuse, with a ValueError, a file that git-lfs has not fetched yet: lines of text in place of the weights."""
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(len(_POINTER))
    if head == _POINTER:
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) is a git-lfs pointer, not the file that it stands for; run "
            "`git lfs pull` in its folder, or download the file itself"
        )


def cut_short(path: str | os.PathLike[str], reason: object) -> str:
    """Say that a file of weights cannot be read, with its size, which tells how much of it is there."""
    return f"{path} ({Path(path).stat().st_size:,} bytes) is cut short or damaged ({reason}); download it again"
