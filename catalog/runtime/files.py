"""Atomic writes: a file appears whole or not at all.

Belongs here: writing a temporary file and renaming it. Does not: the folders of caches and data
(`catalog.runtime.folders`), objects of a store (`featurestore.objects.objects`).

The temporary file has a name that no other process uses, in the same folder. Of two concurrent writers the later one
wins, and readers see one version or the other. A killed process leaves the former file as it was, and its partial one
as `.NAME.<digits>.partial`.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog.runtime.locations import required_path

PARTIAL = ".partial"
"""Suffix of temporary files."""


@contextmanager
def replacing(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path, which is renamed to `path` when the block ends without an error.

    Parameters
    ----------
    path
        The file to write or replace; its folder exists.
    durable
        Whether to call fsync (some milliseconds), so that the file survives a power cut.

    Raises
    ------
    OSError
        If it cannot be written; the error names `path`, and the temporary file is removed.
    """
    target = required_path(path)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        yield partial
        if durable:
            _flush(partial)
        os.replace(partial, target)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        # A full disk is told without any name, another trouble with that of the temporary file.
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(partial)):
            error.filename = str(target)
        raise
    if durable and hasattr(os, "O_DIRECTORY"):
        _flush(target.parent)


def write_atomic(path: str | os.PathLike[str], data: bytes | memoryview, *, durable: bool = False) -> None:
    """Write a whole file atomically, as `replacing` does."""
    with replacing(path, durable=durable) as partial:
        partial.write_bytes(data)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
