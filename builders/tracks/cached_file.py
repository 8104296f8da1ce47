"""A file at a URL as pybigtools wants one: `read` and `seek`, with a bounded copy of what was read on the disk.

Belongs here: blocks of a remote file, kept for all processes of a machine. Does not: requests (`catalog.fasta.source`),
the cache (`featurestore.objects.disk_cache`).

A bigWig is read in small pieces all over the file, and whole to digest it: each block is requested once a machine, as
long as the cache holds it.
"""

import hashlib

from catalog.fasta.source import Source
from catalog.runtime.folders import cache_directory
from featurestore.objects.disk_cache import DiskCache

_BLOCK_BYTES = 1 << 22
"""One request to the server."""
_CACHE_BYTES = 20 << 30
"""Of all tracks of all builds on a machine; the least recently used blocks go first."""
_HELD_BLOCKS = 4
"""Of them in memory: an index and the data are read in turn."""


class CachedFile:
    """A remote file, positioned as files are. For one thread at a time."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._cache = DiskCache(cache_directory() / "tracks", _CACHE_BYTES)
        # One version of one file: another content has another key.
        self._key = hashlib.sha256(f"{source.shown}\n{source.version}".encode()).hexdigest()
        self._held: dict[int, bytes] = {}
        self._position = 0
        self.failure: Exception | None = None
        """Why the last read failed: pybigtools, which called it, reports less."""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to `offset` from the start, the position or the end; give the position."""
        self._position = (0, self._position, self._source.size)[whence] + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes from the position on; the rest of the file if it is negative."""
        start = self._position
        end = self._source.size if size < 0 else min(start + size, self._source.size)
        self._position = max(start, end)
        return self.range(start, end)

    def range(self, start: int, end: int) -> bytes:
        """Read bytes `[start, end)`, all of which the file has."""
        parts = []
        while start < end:
            number, first = divmod(start, _BLOCK_BYTES)
            part = self._block(number)[first : first + end - start]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def digest(self) -> str:
        """Digest the content, SHA-256 in hexadecimal figures; remembered for this version of the file."""
        known = self._cache.read(self._key)
        if known is not None:
            return known.decode()
        digest = hashlib.sha256()
        for number in range(-(-self._source.size // _BLOCK_BYTES)):
            digest.update(self._block(number))
        self._cache.write(self._key, digest.hexdigest().encode())
        return digest.hexdigest()

    def _block(self, number: int) -> bytes:
        held = self._held.get(number)
        if held is not None:
            return held
        key = f"{self._key[:32]}-{number}"
        data = self._cache.read(key)
        if data is None:
            start = number * _BLOCK_BYTES
            try:
                data = self._source.read(start, min(start + _BLOCK_BYTES, self._source.size))
            except Exception as error:
                self.failure = error
                raise
            self._cache.write(key, data)
        while len(self._held) >= _HELD_BLOCKS:
            del self._held[next(iter(self._held))]
        self._held[number] = data
        return data
