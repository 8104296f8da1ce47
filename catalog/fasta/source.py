"""Byte-range reads of a file: on a disk, or at any URL that fsspec reads.

Belongs here: range reads, the version of a file, its sibling files; a FASTA file's unless another `FileKind` is named.
Does not: what the bytes mean (`catalog.fasta.file`, `builders.tracks.bigwig`).
"""

import errno
import io
import os
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit, urlunsplit

from catalog.runtime.locations import local_path
from catalog.runtime.retry import RETRY_VARIABLE, Backoff, is_mistake, is_transient_status, retry_s

T = TypeVar("T")

STEP_BYTES = 1 << 24
"""Block size of sequential reads (bytes): memory, and the size of a request."""
LARGEST_SIBLING_BYTES = 1 << 26
"""A `.fai` of more than a million sequences, or a `.gzi` of 250 GB, is not read."""
_REQUEST_BYTES = 1 << 27
"""Largest range of one request (bytes): a shard of 67 Mbp is one request, a whole chromosome is two."""
_BOTOCORE_CONNECTION_ERRORS = {
    f"botocore.exceptions.{name}" for name in ("ConnectionError", "HTTPClientError", "IncompleteReadError")
}
_TIMES = ("LastModified", "Last-Modified", "last_modified", "mtime", "modified", "updated", "modify", "created")
_STAMPS = ("md5Hash", "Content-MD5", "Digest", "ETag", "etag", *_TIMES)
"""Fields of file systems that identify the version of a file, the most reliable first."""


class FastaError(ValueError):
    """A file that cannot be read as FASTA."""


class FastaChanged(FastaError):
    """A file that changed since it was opened or indexed."""


class FileKind(NamedTuple):
    """What a file is to be: words for messages, and the error of one that cannot be read as that."""

    noun: str
    wanted: str
    """What to give the path or URL of."""
    error: type[ValueError]


FASTA = FileKind("FASTA file", "a .fa or a bgzipped .fa.gz", FastaError)


class Source(ABC):
    """One file. Reads may come from several threads."""

    kind: FileKind
    shown: str
    """Path or URL for messages: without user, password or query."""
    size: int
    """Size when it was opened (bytes)."""
    version: str
    """Version when it was opened."""
    changed_ns: int = 0
    """When its content or its name last changed (ns since 1970), on a disk: no program sets that back."""

    @abstractmethod
    def read(self, start: int, end: int) -> bytes:
        """Read bytes `[start, end)`, all of them; FastaError (at a URL: OSError) if fewer come."""

    @abstractmethod
    def current_version(self) -> str:
        """Request the version of the file as it is now; FileNotFoundError if it is gone."""

    @abstractmethod
    def sibling(self, suffix: str) -> bytes | None:
        """Read the file at this path plus `suffix`; None if it does not exist, is older, or is far too large."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def stream(self) -> Iterator[bytes]:
        """Read the whole file in blocks of `STEP_BYTES`."""
        for start in range(0, self.size, STEP_BYTES):
            yield self.read(start, min(start + STEP_BYTES, self.size))

    def _whole(self, data: bytes, start: int, end: int) -> bytes:
        if len(data) != end - start:
            raise self.kind.error(
                f"{self.shown} gave {len(data)} of bytes {start} to {end}: it is truncated, or changed; fetch the "
                "file again"
            )
        return data


class _LocalSource(Source):
    """A file on a disk, shared or not.

    It stays open: if its name is given to another file, reads continue from the one that was opened.
    """

    def __init__(self, path: Path, *, shown: str, kind: FileKind) -> None:
        self._path = path
        self.kind = kind
        self.shown = shown
        self._file = path.open("rb")
        self._lock = threading.Lock()
        stat = os.fstat(self._file.fileno())
        self.size, self.version, self.changed_ns = stat.st_size, _local_version(stat), stat.st_ctime_ns

    def read(self, start: int, end: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            data = self._file.read(end - start)
        return self._whole(data, start, end)

    def current_version(self) -> str:
        # The open file may have been rewritten in place, and its name may now be that of another file.
        with suppress(OSError):  # NFS: the open file was deleted
            own = _local_version(os.fstat(self._file.fileno()))
            if own != self.version:
                return own
        # Opened, not only stat-ed: NFS answers from its cache until a file is opened.
        with self._path.open("rb") as file:
            return _local_version(os.fstat(file.fileno()))

    def sibling(self, suffix: str) -> bytes | None:
        path = Path(f"{self._path}{suffix}")
        if not path.is_file() or path.stat().st_mtime_ns < self._path.stat().st_mtime_ns:
            return None
        return path.read_bytes() if path.stat().st_size <= LARGEST_SIBLING_BYTES else None

    def close(self) -> None:
        self._file.close()


class _RemoteSource(Source):
    """A file at a URL, read by ranges; transient errors are retried by the policy of `catalog.runtime.retry`."""

    def __init__(self, fs: Any, path: str, *, shown: str, kind: FileKind) -> None:
        self.kind = kind
        self._fs = fs
        self._path = path
        self.shown = shown
        info = self._info(path)
        if info.get("type") == "directory":
            raise FileNotFoundError(f"{shown} is a folder; give the URL of {kind.wanted}")
        if info.get("size") is None:
            raise kind.error(
                f"the server does not tell the size of {shown}; download it, and give the path of the copy"
            )
        self.size, self.version = int(info["size"]), _remote_version(info)
        self._modified = _modified(info)
        self._sends_parts = "http" not in fs.protocol or self.size < 2

    def read(self, start: int, end: int) -> bytes:
        parts = [self._request(low, min(low + _REQUEST_BYTES, end)) for low in range(start, end, _REQUEST_BYTES)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _request(self, start: int, end: int) -> bytes:
        if not self._sends_parts:
            self._require_parts()
            self._sends_parts = True

        def ask() -> bytes:
            # Not through a file object of fsspec, which would prefetch 5 MB, and which threads cannot share.
            data = bytes(self._fs.cat_file(self._path, start=start, end=end))
            if len(data) < end - start:
                raise ConnectionError(f"{len(data)} of {end - start} bytes came")
            return data

        return self._whole(self._retried(ask), start, end)

    def _require_parts(self) -> None:
        """Request the last byte: a web server that answers with the whole file would do so at each read."""
        file = self._fs.open(self._path, "rb", size=self.size, cache_type="none")
        file.seek(self.size - 1)
        try:
            self._retried(lambda: file.read(1))
        except ValueError as error:
            raise self.kind.error(
                f"the server of {self.shown} sends no parts of a file (HTTP ranges), so it cannot be read in place; "
                "download it and give the path of the copy"
            ) from error

    def current_version(self) -> str:
        return _remote_version(self._info(self._path))

    def sibling(self, suffix: str) -> bytes | None:
        if "?" in self._path:
            return None  # a query, and often a signature for this one file
        path = f"{self._path}{suffix}"
        try:
            info = self._info(path)
            modified = _modified(info)
            if (info.get("size") or 0) > LARGEST_SIBLING_BYTES:
                return None
            if modified is not None and self._modified is not None and modified < self._modified:
                return None
            return self._retried(lambda: bytes(self._fs.cat_file(path)))
        except (FileNotFoundError, PermissionError):
            return None  # for an absent object, S3 answers 403 without the permission to list

    def close(self) -> None:
        """Do nothing: nothing stays open between reads."""

    def _info(self, path: str) -> Mapping[str, Any]:
        def ask() -> Mapping[str, Any]:
            self._fs.invalidate_cache(path)
            info: Mapping[str, Any] = self._fs.info(path)
            return info

        return self._retried(ask)

    def _retried(self, ask: Callable[[], T]) -> T:
        """Make a request, retried after transient errors."""
        backoff = Backoff()
        while True:
            try:
                return ask()
            except Exception as error:  # each file system raises what its client library does
                if is_mistake(error) or isinstance(error, ValueError):
                    raise
                final, is_transient = self._explained(error)
                wait_s = backoff.wait_s() if is_transient else None
                if wait_s is None:
                    raise final from error
                time.sleep(wait_s)

    def _explained(self, error: Exception) -> tuple[OSError, bool]:
        """Translate the error of any file system, and tell whether it is transient."""
        # fsspec reports whatever goes wrong with a web address as a missing file.
        is_hidden = isinstance(error, FileNotFoundError) and "http" in self._fs.protocol
        cause = (error.__cause__ if is_hidden else None) or error
        status = getattr(cause, "status", None)
        if status in (404, 410) or isinstance(cause, FileNotFoundError):
            absent = f"no {self.kind.noun} at {self.shown}; give the URL of {self.kind.wanted}"
            return FileNotFoundError(absent), False
        reason = f"HTTP {status} {getattr(cause, 'message', '')}" if status else f"{type(cause).__name__}: {cause}"
        if _is_bad_request(cause):
            reason = f"{reason}; S3 answers so for a session token that has expired"
        message = (
            f"{self.shown} cannot be read ({reason.strip()}); see that its server answers and lets this machine in "
            "(storage options: key, secret, endpoint_url, anon), then start again, or try longer "
            f"({RETRY_VARIABLE}, now {retry_s():g} s)"
        )
        if status in (401, 403) or isinstance(cause, PermissionError):
            return PermissionError(message), False
        return OSError(message), is_transient_status(status) if status is not None else _may_reach(cause)


def _is_bad_request(cause: BaseException) -> bool:
    """Tell whether s3fs met HTTP 400: without a body, as to HEAD, S3 does not say what is wrong."""
    return type(cause) is OSError and cause.errno == errno.EINVAL


def _may_reach(cause: BaseException) -> bool:
    """Tell whether a failure without an HTTP status is transient."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return False
    if type(cause).__module__ == "builtins":
        # Plain OSError: what s3fs makes of codes such as SlowDown.
        return (type(cause) is OSError and not _is_bad_request(cause)) or isinstance(
            cause, (ConnectionError, TimeoutError)
        )
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(cause).__mro__}
    # Botocore also raises for missing credentials and invalid settings, which are not transient.
    return "botocore.exceptions.BotoCoreError" not in kinds or not kinds.isdisjoint(_BOTOCORE_CONNECTION_ERRORS)


class _ChunkFile(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._held = memoryview(chunk)
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size


def as_file(chunks: Iterator[bytes]) -> io.BufferedReader:
    """Wrap chunks of bytes as a file, to be read once."""
    return io.BufferedReader(_ChunkFile(chunks), 1 << 20)


def open_local(path: Path, *, shown: str | None = None, kind: FileKind = FASTA) -> Source:
    """Open a file on a disk; `shown` is its name in messages, by default its path."""
    return _LocalSource(path, shown=shown or str(path), kind=kind)


def open_source(
    path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None, *, kind: FileKind = FASTA
) -> Source:
    """Open a local path, or a URL that fsspec reads.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If its server cannot be reached, or refuses.
    """
    local = local_path(path)
    if local is None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        text, options = os.fspath(path), dict(storage_options or {})
        if text.startswith(("http://", "https://")):
            # A server that compresses what it sends answers a request for a part with the whole.
            options["headers"] = {**options.get("headers", {}), "Accept-Encoding": "identity"}
        fs, inner = url_to_fs(text, **options)
        if not isinstance(fs, LocalFileSystem):
            return _RemoteSource(fs, inner, shown=_shown(text), kind=kind)
        local = Path(inner)  # `local://`, as fsspec also calls a disk
    if local.exists() and not local.is_file() and not local.is_dir():
        raise kind.error(
            f"{local} is a pipe or a device, which is read once and in order, and a {kind.noun} is read in many "
            f"places; write it to a file first (`cat {local} > FILE`)"
        )
    local = local.resolve()
    if not local.is_file():
        what = ", which is a folder" if local.is_dir() else ""
        raise FileNotFoundError(f"no {kind.noun} at {local}{what}; give the path of {kind.wanted}")
    return open_local(local, kind=kind)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _local_version(stat: os.stat_result) -> str:
    return f"{stat.st_size} bytes, mtime {stat.st_mtime_ns} ns"


def _remote_version(info: Mapping[str, Any]) -> str:
    stamp = next((f", {name} {info[name]}" for name in _STAMPS if info.get(name)), "")
    return f"{info['size']} bytes{stamp}"


def _modified(info: Mapping[str, Any]) -> float | None:
    """Modification time of a file (seconds since 1970); None if the server does not give it."""
    value = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(value, str):
        try:
            value = parsedate_to_datetime(value) if "," in value else datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else None
