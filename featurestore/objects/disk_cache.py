"""Bounded disk cache: entries by key, with checksums, and LRU eviction.

Belongs here: the files, their checksums, the budget, and how several processes share one folder. Does not: what the
bytes mean (`loaders.residence.mirror`, `model.language.prefixes.store`).

An entry is a file of equal pages, each followed by its crc32c, so that any part of it can be read and checked alone.
Reading takes no lock. A writer holds the folder's lock from updating the count of used bytes until the entries are
renamed: so the budget is shared by all processes, and a temporary file that the lock's holder finds is from a process
that died. The file `used` has the total size of all entries, never too low; each process's first write, and every
eviction, recounts it.
"""

import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import google_crc32c
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from catalog.runtime.files import PARTIAL, replacing

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_CRC_BYTES = 4
_SUFFIX = ".block"
_KEY = r"(?:[0-9a-f]{64}|[0-9a-f]{32}-\d+)"
_IS_KEY = re.compile(_KEY)
_ENTRY = re.compile(rf"{_KEY}{re.escape(_SUFFIX)}")
_HALF_WRITTEN = re.compile(rf"\.?{_KEY}{re.escape(_SUFFIX)}\..+{re.escape(PARTIAL)}")
_FREED_AT_ONCE = 0.05
"""Fraction of the budget that an eviction frees at least, so that not every write lists the folder."""
_TRIAL_BYTES = 1 << 20
_LOCK_WAIT_S = 10.0
_LOOK_AGAIN_S = 0.001


class DiskCache:
    """A folder of entries that several processes and threads may use at once.

    Keys are 64 hexadecimal digits, or 32 with `-` and a number. A damaged entry is a miss. A full or slow disk is no
    error: entries are then not kept, with one warning.

    Parameters
    ----------
    folder
        Created if absent. Other files in it are left alone, and not counted.
    max_bytes
        Budget for the total size of all entries (bytes); each process applies its own.
    setting
        Name of `max_bytes` in that warning.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, max_bytes: int, *, setting: str = "max_bytes") -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._setting = setting
        self._has_counted = False
        self._has_warned = False
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o666))

    def __contains__(self, key: str) -> bool:
        """Tell whether an entry exists, damaged or not."""
        return self._path(key).exists()

    @property
    def held_bytes(self) -> int:
        """Total size of the entries of all processes (one listing)."""
        return sum(size for _, size, _ in self._entries(sweep=False))

    def read(self, key: str) -> bytes | None:
        """Read an entry of `write`, and set the time of its last use.

        Returns
        -------
        None if there is no such entry, or it is damaged and was removed.
        """

        def take(file: int) -> bytes | None:
            size = os.fstat(file).st_size - _CRC_BYTES
            if size < 0:
                return None
            data = os.pread(file, size, 0)
            return data if _crc(_seed(key), data) == os.pread(file, _CRC_BYTES, size) else None

        return self._taken(key, take)

    def read_array(self, key: str) -> NDArray[np.uint8] | None:
        """Read an entry of `write` like `read`, into an array that may be written to, shape `(bytes,)`."""

        def take(file: int) -> NDArray[np.uint8] | None:
            framed = np.empty(os.fstat(file).st_size, dtype=np.uint8)
            if len(framed) < _CRC_BYTES or os.preadv(file, [framed.data], 0) != len(framed):
                return None
            data = framed[:-_CRC_BYTES]
            return data if _crc(_seed(key), data) == framed[-_CRC_BYTES:].tobytes() else None

        return self._taken(key, take)

    def read_head(self, key: str, n_bytes: int) -> bytes | None:
        """Read up to so many leading bytes of an entry, unchecked, and set the time of its last use; None if absent."""
        return self._taken(key, lambda file: os.pread(file, n_bytes, 0) or None)

    def read_pages(self, key: str, page_bytes: int, first: int, end: int) -> NDArray[np.uint8] | None:
        """Read pages `[first, end)` of an entry of `write_pages`, and set the time of its last use.

        Parameters
        ----------
        page_bytes
            Size of every page, as it was written (bytes).

        Returns
        -------
        The pages, shape `(end - first, page_bytes)`. None if there is no such entry, or it is damaged and was
        removed.
        """
        # No nested function: its annotations would be evaluated at every read.
        return self._taken(key, lambda file: _pages_of(file, key, page_bytes, first, end))

    def write(self, key: str, data: bytes) -> None:
        """Store an entry of one page, unless it is larger than the budget or the disk is full."""
        self._keep([(key, len(data) + _CRC_BYTES)], lambda key: [data, _crc(_seed(key), data)])

    def write_pages(self, entries: Mapping[str, NDArray[np.uint8]], page_bytes: int) -> None:
        """Store entries of pages, under one lock (which costs 0.15 ms, a third of writing 256 KiB).

        Parameters
        ----------
        entries
            By key, each of shape `(bytes,)`; the last page is padded with zeros. An entry larger than the budget is
            not kept, nor is any while the disk is full.
        page_bytes
            Size of every page (bytes).
        """
        sizes = [(key, entry_bytes(len(data), page_bytes)) for key, data in entries.items()]
        self._keep(sizes, lambda key: [_framed(key, entries[key], page_bytes).data.cast("B")])

    def require_room(self, n_bytes: int) -> None:
        """Write so many bytes into the folder, and remove them; OSError where the disk does not take them."""
        with tempfile.TemporaryFile(dir=self.folder) as file:
            for start in range(0, n_bytes, _TRIAL_BYTES):
                _write_all(file.fileno(), bytes(min(_TRIAL_BYTES, n_bytes - start)))

    def trim(self) -> None:
        """Evict entries over the budget, such as after it was lowered; otherwise the next write does."""
        with self._locked():
            self._set_count(self._make_room(0))

    def _taken(self, key: str, take: Callable[[int], T | None]) -> T | None:
        path = f"{self.folder}/{key}{_SUFFIX}"
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            found = take(file)
            with suppress(OSError):
                os.utime(file)
        except OSError:
            found = None  # a read error is a miss
        finally:
            os.close(file)
        if found is None:
            _LOG.warning("%s is damaged; it is removed, and fetched again", path)
            with suppress(OSError):
                os.unlink(path)
        return found

    def _keep(self, sizes: Sequence[tuple[str, int]], parts: Callable[[str], Sequence[bytes | memoryview]]) -> None:
        try:
            with self._locked():
                for key, size in sizes:
                    if size <= self.max_bytes:
                        self._reserve(size)
                        with replacing(self._path(key)) as partial, partial.open("wb", buffering=0) as file:
                            for part in parts(key):
                                _write_all(file.fileno(), part)
        except OSError as error:
            if not self._has_warned:
                _LOG.warning(
                    "nothing can be kept in the cache folder %s (%s), so it is fetched anew each time; free some space "
                    "there, or set a smaller %s",
                    self.folder,
                    error.strerror or error,
                    self._setting,
                )
                self._has_warned = True

    def _reserve(self, size: int) -> None:
        total = self._count()
        if total is None or not self._has_counted or total + size > self.max_bytes:
            total = self._make_room(size)
            self._has_counted = True
        # Counted before it is written: dying in between leaves a count that is too high, never too low.
        self._set_count(total + size)

    def _make_room(self, size: int) -> int:
        """Count the entries, and evict the least recently used if `size` more would exceed the budget.

        Returns
        -------
        Total size of the remaining entries (bytes).
        """
        entries = sorted(self._entries(sweep=True))
        total = sum(entry_bytes for _, entry_bytes, _ in entries)
        if total + size <= self.max_bytes:
            return total
        goal = self.max_bytes - max(size, int(self.max_bytes * _FREED_AT_ONCE))
        for _, entry_bytes, path in entries:
            if total <= goal:
                break
            Path(path).unlink(missing_ok=True)
            total -= entry_bytes
        return total

    def _entries(self, *, sweep: bool) -> Iterator[tuple[int, int, str]]:
        """Iterate over last use (ns), size (bytes) and path of the entries; `sweep` removes temporary files."""
        with os.scandir(self.folder) as found:
            for entry in found:
                if sweep and _HALF_WRITTEN.fullmatch(entry.name):
                    Path(entry.path).unlink(missing_ok=True)
                elif _ENTRY.fullmatch(entry.name) and entry.is_file():
                    with suppress(FileNotFoundError):  # damaged, and removed by another process
                        stat = entry.stat()
                        yield stat.st_mtime_ns, stat.st_size, entry.path

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock; OSError if another process holds it for seconds."""
        # A new lock object each time: it must not be inherited by a forked or spawned process.
        with FileLock(self._lock_file).acquire(timeout=_LOCK_WAIT_S, poll_interval=_LOOK_AGAIN_S):
            yield

    def _count(self) -> int | None:
        try:
            text = (self.folder / "used").read_bytes()
        except FileNotFoundError:
            return None
        return int(text) if text.isdigit() and len(text) == 20 else None

    def _set_count(self, total: int) -> None:
        file = os.open(self.folder / "used", os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.pwrite(file, b"%020d" % total, 0)  # of fixed length: a write interrupted here leaves a number
            os.ftruncate(file, 20)
        finally:
            os.close(file)

    @property
    def _lock_file(self) -> Path:
        return self.folder / ".lock"

    def _path(self, key: str) -> Path:
        assert _IS_KEY.fullmatch(key), f"{key!r} is no key"
        return self.folder / f"{key}{_SUFFIX}"


def _pages_of(file: int, key: str, page_bytes: int, first: int, end: int) -> NDArray[np.uint8] | None:
    """Read pages of an open entry; None if they are not whole."""
    stride = page_bytes + _CRC_BYTES
    framed = np.empty((end - first, stride), dtype=np.uint8)
    if os.preadv(file, [framed.data], first * stride) != framed.nbytes:
        return None
    seed = _seed(key)
    for page in framed:
        if _crc(seed, page[:page_bytes]) != page[page_bytes:].tobytes():
            return None
    return framed[:, :page_bytes]


def entry_bytes(n_bytes: int, page_bytes: int) -> int:
    """Return the file size of an entry of pages (bytes)."""
    return -(-n_bytes // page_bytes) * (page_bytes + _CRC_BYTES)


def _write_all(file: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _framed(key: str, data: NDArray[np.uint8], page_bytes: int) -> NDArray[np.uint8]:
    n_pages = -(-len(data) // page_bytes)
    pages = np.zeros((n_pages, page_bytes + _CRC_BYTES), dtype=np.uint8)
    seed = _seed(key)
    for index, page in enumerate(pages):
        piece = data[index * page_bytes : (index + 1) * page_bytes]
        page[: len(piece)] = piece
        page[page_bytes:] = np.frombuffer(_crc(seed, page[:page_bytes]), dtype=np.uint8)
    return pages


def _seed(key: str) -> int:
    """Return the start value of checksums, which include the key: a renamed file counts as damaged, too."""
    return int(google_crc32c.value(key.encode()))


def _crc(seed: int, page: NDArray[np.uint8] | bytes) -> bytes:
    return int(google_crc32c.extend(seed, page)).to_bytes(_CRC_BYTES, "little")
