"""Raw objects of a store: get, put, create-if-absent, list, delete, on a local disk or in an object store.

Belongs here: `connect`, one adapter over obstore (S3, GCS, Azure, HTTP) and one over any other fsspec URL. Does not:
local disks (`featurestore.objects.local_disk`), what the objects mean (`featurestore.format.layout`,
`featurestore.format.commits`), how long to retry (`catalog.runtime.retry`), what an error means
(`featurestore.objects.errors`).
"""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import fsspec
import obstore
import obstore.exceptions
from obstore.store import from_url
from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, ObjectStore

from catalog.runtime.locations import local_path
from catalog.runtime.retry import Backoff, stall_s, waits
from featurestore.objects.base import MAX_OBJECT_BYTES, Objects, StorageOptions, upload_s
from featurestore.objects.errors import is_transient, wait_s
from featurestore.objects.local_disk import LocalObjects
from featurestore.objects.s3_access import S3Access

__all__ = ["Objects", "StorageOptions", "connect"]

T = TypeVar("T")

_SMALL_BYTES = 1 << 20
"""Uploads up to this size share one client."""
_NATIVE = {"s3", "gs", "az", "abfs", "http", "https"}


class _ObstoreObjects(Objects):
    def __init__(self, url: str, options: StorageOptions) -> None:
        self.url = url
        self._options = dict(options)
        self._s3 = S3Access(url, options) if urlsplit(url).scheme == "s3" else None
        self._stores: dict[float, Any] = {}
        with _url_in_errors(url):
            self._store: Any = self._try("open", "", self._connected)

    def _connected(self, *, upload_s: float = 0.0) -> Any:
        """Make a client whose timeout allows `upload_s` for sending a request (s)."""
        client: dict[str, Any] = {
            "connect_timeout": timedelta(seconds=stall_s()),
            # The timeout runs from the start of the request to the first byte of the answer, and again for each read.
            "read_timeout": timedelta(seconds=stall_s() + upload_s),
            "timeout": timedelta(hours=1),
        }
        # obstore's own retries are off: they miss a connection lost in an answer's body, and a create that they repeat
        # unseen finds the object that it wrote itself.
        settings: dict[str, Any] = {"client_options": client, "retry_config": {"max_retries": 0}}
        server = self.url
        if self._s3 is not None:
            settings |= self._s3.for_obstore()
            server = self._s3.endpoint or ""
        elif self._options:
            settings["config"] = self._options
        client["allow_http"] = server.startswith("http://")
        return from_url(self.url, **settings)

    def _store_for(self, data: bytes) -> Any:
        """Return a client whose timeout suits these bytes; few timeouts, so that connections are reused."""
        if len(data) <= _SMALL_BYTES:
            return self._store
        allowed_s = float(1 << int(upload_s(data)).bit_length())
        if allowed_s not in self._stores:
            self._stores[allowed_s] = self._connected(upload_s=allowed_s)
        return self._stores[allowed_s]

    def _get(self, key: str) -> bytes:
        found = obstore.get(self._store, key)
        if found.meta["size"] > MAX_OBJECT_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), key)
        return bytes(found.bytes())

    def _size(self, key: str) -> int:
        return int(obstore.head(self._store, key)["size"])

    def _get_part(self, key: str, start: int, length: int) -> bytes:
        return bytes(obstore.get_range(self._store, key, start=start, length=length))

    def _put(self, key: str, data: bytes) -> None:
        obstore.put(self._store_for(data), key, data, use_multipart=False)

    def _create(self, key: str, data: bytes) -> bool:
        try:
            # A single PUT, on which the condition is atomic: some servers ignore it on a multipart upload.
            obstore.put(self._store_for(data), key, data, mode="create", use_multipart=False)
        except obstore.exceptions.AlreadyExistsError as error:
            if is_transient(error):
                raise  # S3 answers 409 during another write of the key, which may fail
            return False
        return True

    def _delete(self, key: str) -> None:
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        stream: Iterator[Any] | None = None
        last: str | None = None

        def next_batch() -> list[Any]:
            nonlocal stream
            if stream is None:
                # Object stores list in the order of the keys, so an interrupted listing resumes after the last one.
                stream = iter(obstore.list(self._store, prefix=prefix, offset=last))
            try:
                return list(next(stream, []))
            except Exception:
                stream = None
                raise

        while batch := self._try("list", prefix, next_batch):
            for entry in batch:
                yield entry["path"], entry["size"]
            last = batch[-1]["path"]

    def _folders(self, prefix: str) -> list[str]:
        found = obstore.list_with_delimiter(self._store, prefix=prefix)
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])

    def zarr(self, *, read_only: bool) -> ZarrStore:
        return _RetryingStore(self._store, location=self.location, read_only=read_only)

    def kvstore(self) -> dict[str, Any] | None:
        parts = urlsplit(self.url)
        path = parts.path.strip("/")
        retries = {"max_retries": len(waits()), "initial_delay": "100ms", "max_delay": "10s"}
        # Without these tensorstore hangs on a silent server, and only the environment sets them.
        os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", str(round(stall_s())))
        os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")
        if parts.scheme == "gs" and not self._options:
            return {"driver": "gcs", "bucket": parts.netloc, "path": f"{path}/", "gcs_request_retries": retries}
        if self._s3 is not None:
            access = self._s3.for_tensorstore()
            if access is None:
                return None
            place = {"driver": "s3", "bucket": parts.netloc, "path": f"{path}/" if path else ""}
            return place | access | {"s3_request_retries": retries}
        if parts.scheme in {"http", "https"}:
            return {"driver": "http", "base_url": self.url.rstrip("/") + "/", "http_request_retries": retries}
        return None


class _RetryingStore(ObjectStore[Any]):
    """Zarr's store over obstore, with the retries and errors of `Objects`."""

    def __init__(self, store: Any, *, location: str, read_only: bool = False) -> None:
        super().__init__(store, read_only=read_only)
        self._location = location

    def __str__(self) -> str:
        return self._location

    def with_read_only(self, read_only: bool = False) -> Self:
        return type(self)(self.store, location=self._location, read_only=read_only)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        return await self._try("read", key, partial(super().get, key, prototype, byte_range))

    async def exists(self, key: str) -> bool:
        return await self._try("read", key, partial(super().exists, key))

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        listed = super().list_dir

        async def names() -> list[str]:
            return [name async for name in listed(prefix)]

        for name in await self._try("list", prefix, names):
            yield name

    async def _try(self, verb: str, key: str, action: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff()
        while True:
            try:
                return await action()
            except BaseException as error:
                await asyncio.sleep(wait_s(error, f"{verb} {self._location}/{key}", backoff))


class _FsspecObjects(Objects):
    def __init__(self, url: str, options: StorageOptions) -> None:
        self.url = url
        self._options = dict(options)
        with _url_in_errors(url):
            self._fs, self._root = fsspec.core.url_to_fs(url, **self._options)

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}"

    def _get(self, key: str) -> bytes:
        return bytes(self._fs.cat_file(self._path(key)))

    def _size(self, key: str) -> int:
        return int(self._fs.size(self._path(key)))

    def _get_part(self, key: str, start: int, length: int) -> bytes:
        return bytes(self._fs.cat_file(self._path(key), start=start, end=start + length))

    def _put(self, key: str, data: bytes) -> None:
        self._fs.makedirs(self._fs._parent(self._path(key)), exist_ok=True)
        self._fs.pipe_file(self._path(key), data)

    def _create(self, key: str, data: bytes) -> bool:
        self._fs.makedirs(self._fs._parent(self._path(key)), exist_ok=True)
        try:
            self._fs.pipe_file(self._path(key), data, mode="create")
        except OSError as error:
            if is_transient(error):
                raise
            # Some file systems raise a plain OSError where others raise FileExistsError.
            self._fs.invalidate_cache()
            if self._fs.exists(self._path(key)):
                return False
            raise
        return True

    def _delete(self, key: str) -> None:
        if self._fs.exists(self._path(key)):
            self._fs.rm_file(self._path(key))

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        start = len(self._fs._strip_protocol(self._root).rstrip("/")) + 1
        for path, entry in sorted(self._try("list", prefix, partial(self._find, prefix)).items()):
            yield path[start:], entry["size"]

    def _find(self, prefix: str) -> dict[str, Any]:
        self._fs.invalidate_cache()
        return dict(self._fs.find(self._path(prefix), detail=True))

    def _folders(self, prefix: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            entries = self._fs.ls(self._path(prefix), detail=True)
        except FileNotFoundError:
            return []
        return sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory")

    def zarr(self, *, read_only: bool) -> ZarrStore:
        return FsspecStore.from_url(self.url, storage_options=self._options, read_only=read_only)


def connect(
    url: str | os.PathLike[str], storage_options: StorageOptions | None = None, *, make: bool = False
) -> Objects:
    """Connect to the objects at a URL.

    Parameters
    ----------
    url
        A local path, `s3://bucket/prefix`, `gs://`, `https://`, or any other URL that fsspec reads.
    storage_options
        As fsspec and s3fs name them; defaults for S3 as in `featurestore.objects.s3_access`.
    make
        Create a missing local folder.

    Raises
    ------
    FileNotFoundError
        If a local folder is missing and `make` is false.
    NotADirectoryError
        If there is a file in its place.
    PermissionError
        If it cannot be created.
    ValueError
        If a URL or an option has another form.
    """
    text = os.fspath(url)
    options = storage_options or {}
    local = local_path(text)
    if local is not None:
        path = local.resolve()
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{path} is a file, and a store is a folder; name another place")
        if not make and not path.is_dir():
            raise FileNotFoundError(f"no store at {path}; `featurestore build {text} --fasta ...` makes one")
        return LocalObjects(path, make=make)
    with _url_in_errors(text):
        parts = urlsplit(text)
        if parts.scheme in _NATIVE and not parts.netloc:
            raise ValueError("it names no bucket or server")
    text = text.rstrip("/")
    return _ObstoreObjects(text, options) if parts.scheme in _NATIVE else _FsspecObjects(text, options)


@contextmanager
def _url_in_errors(url: str) -> Iterator[None]:
    """Name the URL where a library refuses its form."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{url} cannot be opened ({error}); write a path, or a URL as in s3://bucket/prefix and "
            "https://server/folder"
        ) from error
