"""Blocks of bytes on the local disk, up to a budget; the least recently used go first.

Belongs here: the files, their checksums, and how several processes share one folder. Does not: what the bytes mean
(`loaders.residence.mirror`).

A block is a file of equal pages, each followed by its crc32c. It appears whole or not at all: it is written under
another name, under a lock that its writer's death releases, and then renamed. So a file of that kind without a lock is
what a dead process left behind. A file `used` says how many bytes all blocks take together; who wants to write a block
first adds it there, under a lock, and makes room if it is too much. What `used` says is never too little, so the budget
holds for all processes together; it is counted anew by each process's first write and whenever room is made.
"""

import fcntl
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import google_crc32c
import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)
_CRC_BYTES = 4
_OURS = re.compile(r"^[0-9a-f]{32}-\d+\.block(?P<partial>\..+\.partial)?$")
_LEFT_AFTER_EVICTION = 0.95
"""Share of the budget: a little room is made at a time, so that not every write has to list the folder."""


class BlockFolder:
    """A folder of blocks that several processes and threads may use at once.

    Parameters
    ----------
    folder
        Made if absent. Files in it that are not blocks are left alone, and not counted.
    max_bytes
        Most that all blocks in it take together (bytes); of several processes each keeps to its own.

    Raises
    ------
    PermissionError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._has_counted = False
        self._has_warned = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                pass
        except OSError as error:
            raise PermissionError(
                f"the cache folder {folder} cannot be written ({error.strerror}); name one that can (cache_dir=, or "
                "the environment's FEATURESTORE_CACHE), or keep nothing on disk (residence='stream')"
            ) from error

    def read(self, name: str, page_bytes: int, first: int, end: int) -> NDArray[np.uint8] | None:
        """Read pages `[first, end)` of a block and set the time of its last use.

        Parameters
        ----------
        name
            As it was written: 32 hexadecimal digits, `-` and a number.
        page_bytes
            Size of every page (bytes).

        Returns
        -------
        The pages, shape `(end - first, page_bytes)`. None if there is no such block, or it is damaged: it is then
        removed.
        """
        path = self._path(name)
        stride = page_bytes + _CRC_BYTES
        framed = np.empty((end - first, stride), dtype=np.uint8)
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            is_whole = os.preadv(file, [framed.data], first * stride) == framed.nbytes
            with suppress(OSError):
                os.utime(file)
        except OSError:
            is_whole = False  # a disk that cannot read it is no reason to stop: the store has the same bytes
        finally:
            os.close(file)
        seed = google_crc32c.value(name.encode())
        if is_whole and all(_crc(seed, page[:page_bytes]) == page[page_bytes:].tobytes() for page in framed):
            return framed[:, :page_bytes]
        _LOG.warning("%s is damaged; it is removed, and read from the store again", path)
        with suppress(OSError):
            path.unlink()
        return None

    def write(self, name: str, data: NDArray[np.uint8], page_bytes: int) -> bool:
        """Keep a block, whose last page is filled up with zeros.

        Parameters
        ----------
        data
            Shape `(bytes,)`.

        Returns
        -------
        False if it was not kept, since it is larger than the budget or the disk is full.
        """
        pages = _framed(name, data, page_bytes)
        try:
            begun = self._begin(name, pages.nbytes)
            if begun is None:
                return False
            self._finish(name, pages, *begun)
        except OSError as error:
            if not self._has_warned:
                _LOG.warning(
                    "nothing can be kept in the cache folder %s (%s), so rows are read from the store each time; free "
                    "some space there, or set a smaller cache_bytes",
                    self.folder,
                    error.strerror,
                )
                self._has_warned = True
            return False
        return True

    def _begin(self, name: str, size: int) -> tuple[int, str] | None:
        """Reserve space: give an open, locked file of the size under another name, or None if there is no room."""
        with self._locked() as used:
            total = _count(used)
            if total is None or not self._has_counted or total + size > self.max_bytes:
                total = self._make_room(size)
                self._has_counted = True
            fits = total + size <= self.max_bytes
            _set_count(used, total + size if fits else total)
            if not fits:
                return None
            file, partial = tempfile.mkstemp(dir=self.folder, prefix=f"{name}.block.", suffix=".partial")
            fcntl.flock(file, fcntl.LOCK_EX)
            os.truncate(file, size)  # so that whoever counts meanwhile counts all of it
            return file, partial

    def _finish(self, name: str, pages: NDArray[np.uint8], file: int, partial: str) -> None:
        try:
            with os.fdopen(file, "wb", buffering=0) as raw:
                view = pages.data.cast("B")
                while view:
                    view = view[raw.write(view) :]
                with self._locked():  # names hold still while somebody counts
                    os.replace(partial, self._path(name))
        except OSError:
            Path(partial).unlink(missing_ok=True)
            raise

    def _make_room(self, size: int) -> int:
        """Count the blocks, sweep what dead writers left, and remove old blocks if `size` more would be too much.

        Returns
        -------
        What is left (bytes).
        """
        blocks = []
        total = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                match = _OURS.match(entry.name)
                if match is None or not entry.is_file() or (match["partial"] and _swept(entry.path)):
                    continue
                with suppress(FileNotFoundError):  # a block that was damaged, removed by another process
                    stat = entry.stat()
                    total += stat.st_size
                    if not match["partial"]:
                        blocks.append((stat.st_mtime_ns, stat.st_size, entry.path))
        if total + size <= self.max_bytes:
            return total
        goal = max(0, int(self.max_bytes * _LEFT_AFTER_EVICTION) - size)
        for _, block_bytes, path in sorted(blocks):
            if total <= goal:
                break
            Path(path).unlink(missing_ok=True)
            total -= block_bytes
        return total

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the folder's lock; gives the file that says how much is used."""
        used = os.open(self.folder / "used", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(used, fcntl.LOCK_EX)
            yield used
        finally:
            os.close(used)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.block"


def file_bytes(n_bytes: int, page_bytes: int) -> int:
    """Give the size of the file of a block (bytes)."""
    return -(-n_bytes // page_bytes) * (page_bytes + _CRC_BYTES)


def _count(used: int) -> int | None:
    text = os.pread(used, 20, 0)
    return int(text) if text.isdigit() else None


def _set_count(used: int, total: int) -> None:
    os.pwrite(used, b"%020d" % total, 0)  # always as long: one that is stopped here leaves a number


def _swept(partial: str) -> bool:
    """Remove a file that nobody writes any more; False if somebody does."""
    try:
        file = os.open(partial, os.O_RDWR)
    except OSError:
        return False  # its writer has just removed it, or is another user
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        Path(partial).unlink(missing_ok=True)
        return True
    finally:
        os.close(file)


def _framed(name: str, data: NDArray[np.uint8], page_bytes: int) -> NDArray[np.uint8]:
    n_pages = -(-len(data) // page_bytes)
    pages = np.zeros((n_pages, page_bytes + _CRC_BYTES), dtype=np.uint8)
    seed = google_crc32c.value(name.encode())
    for index, page in enumerate(pages):
        piece = data[index * page_bytes : (index + 1) * page_bytes]
        page[: len(piece)] = piece
        page[page_bytes:] = np.frombuffer(_crc(seed, page[:page_bytes]), dtype=np.uint8)
    return pages


def _crc(seed: int, page: NDArray[np.uint8]) -> bytes:
    """Checksum a page on top of its block's name: a file that was given another's name is damaged too."""
    return int(google_crc32c.extend(seed, page)).to_bytes(_CRC_BYTES, "little")
