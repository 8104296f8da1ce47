"""Atomic writes: a file appears whole or not at all.

Belongs here: writing a file beside its place and renaming it. Does not: which folder is whose
(`catalog.runtime.folders`), objects of a store (`featurestore.objects.objects`).

What is written lies under a name that no other process has, in the same folder, until it is renamed: of two processes
that write one file at once the later one wins, and readers see one or the other. A process that is killed leaves the
former file as it was, and what it had written so far as `.NAME.<digits>.partial`.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"
"""How the name of a file ends that is not whole yet."""


@contextmanager
def replacing(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """Give the path of a file to make; it takes its name when the block ends without an error.

    Parameters
    ----------
    path
        The file to write, over one that is there; its folder exists.
    durable
        Whether it is on the disk when this ends, also after a power cut (fsync: some milliseconds).

    Raises
    ------
    OSError
        If it cannot be written; nothing is left of it then.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        yield partial
        if durable:
            _flush(partial)
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable and hasattr(os, "O_DIRECTORY"):
        _flush(target.parent)


def write_atomic(path: str | os.PathLike[str], data: bytes | memoryview, *, durable: bool = False) -> None:
    """Write a whole file, as `replacing` does."""
    with replacing(path, durable=durable) as partial:
        partial.write_bytes(data)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
