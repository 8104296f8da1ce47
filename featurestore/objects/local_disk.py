"""Objects in a folder of a local disk. No operation leaves the folder.

Belongs here: files as objects, and links, which are refused. Does not: object stores (`featurestore.objects.objects`).

Plain system calls, on purpose: they work after a fork, which obstore's threads do not survive, and they can be kept
from following links. A file or folder that is a link has no object: reading or writing through it is an error, and
listings leave it out. The root itself may be a link.
"""

import errno
import os
import random
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from zarr.abc.store import Store as ZarrStore
from zarr.storage import LocalStore

from featurestore.objects.base import MAX_OBJECT_BYTES, Objects
from featurestore.objects.errors import LinkInStore, link_error

_HALF_WRITTEN = re.compile(r".*#\d+")
"""Names of files that are being written, or that a killed process left; those of earlier versions are alike."""


class LocalObjects(Objects):
    """The files below a folder.

    Parameters
    ----------
    folder
        Absolute, without links.
    make
        Whether to create it.
    """

    def __init__(self, folder: Path, *, make: bool) -> None:
        self.url = folder.as_uri()
        self._root = os.fspath(folder)
        if make:
            self._try("open", "", lambda: folder.mkdir(parents=True, exist_ok=True))

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Iterate over key and size (bytes) of every object below the folder `prefix`, in the order of the keys."""
        found = self._try("list", prefix, lambda: [entry for entry in self._entries(prefix) if entry[1] is not None])
        return ((key, size) for key, size in sorted(found) if size is not None)

    def links(self, prefix: str) -> list[str]:
        """List the keys of the links below the folder `prefix`."""
        return self._try("list", prefix, lambda: sorted(key for key, size in self._entries(prefix) if size is None))

    def zarr(self, *, read_only: bool) -> ZarrStore:
        """Return a Zarr store over the same folder; it follows links (`links` finds them)."""
        return LocalStore(self._root, read_only=read_only)

    def kvstore(self) -> dict[str, Any]:
        """Return tensorstore's specification of the same folder; it follows links (`links` finds them)."""
        return {"driver": "file", "path": f"{self._root}/"}

    def _entries(self, prefix: str) -> Iterator[tuple[str, int | None]]:
        """Iterate over the key of every file, with its size (bytes), and of every link, with None."""
        folders = [prefix]
        while folders:
            folder = folders.pop()
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._path(folder)) as entries:
                for entry in entries:
                    key = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_symlink():
                        yield key, None
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(key)
                    elif entry.is_file(follow_symlinks=False) and not _HALF_WRITTEN.fullmatch(entry.name):
                        with suppress(FileNotFoundError):  # removed meanwhile
                            yield key, entry.stat(follow_symlinks=False).st_size

    def _folders(self, prefix: str) -> list[str]:
        try:
            with os.scandir(self._path(prefix)) as entries:
                return sorted(entry.name for entry in entries if entry.is_symlink() or entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _get(self, key: str) -> bytes:
        with self._opened(key) as file:
            if os.fstat(file.fileno()).st_size > MAX_OBJECT_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), key)
            return file.read()

    def _size(self, key: str) -> int:
        with self._opened(key) as file:
            return os.fstat(file.fileno()).st_size

    def _get_part(self, key: str, start: int, length: int) -> bytes:
        with self._opened(key) as file:
            file.seek(start)
            return file.read(length)

    def _opened(self, key: str) -> BinaryIO:
        # Not blocking: a named pipe would wait for a writer.
        handle = os.open(self._path(key), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = open(handle, "rb")  # noqa: SIM115  # the caller closes it
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            file.close()
            raise FileNotFoundError(errno.ENOENT, "no file", key)
        return file

    def _put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        partial = self._write_aside(path, data)
        try:
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise

    def _create(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        if os.path.lexists(path):
            return False
        partial = self._write_aside(path, data)
        try:
            os.link(partial, path)  # fails if another process was faster
        except FileExistsError:
            return False
        finally:
            os.unlink(partial)
        return True

    def _delete(self, key: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._path(key))

    def _write_aside(self, path: str, data: bytes) -> str:
        """Write a file next to the one that it is to become, which appears whole or not at all."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        partial = f"{path}#{random.getrandbits(63)}"
        try:
            with open(partial, "xb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(partial)
            raise
        return partial

    def _path(self, key: str) -> str:
        """Return the path of a key; LinkInStore if it would lead out of the folder."""
        path = self._root
        for part in key.split("/") if key else ():
            if part in ("", ".", ".."):
                raise LinkInStore(f"{key!r} is no key of {self._root}: none has an empty part, '.' or '..'")
            path = f"{path}/{part}"
            if os.path.islink(path):
                raise link_error(path)
        return path
