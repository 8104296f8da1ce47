"""Raw objects of a store: get, put, create-if-absent, list, delete, on a local disk or in an object store.

Belongs here: one adapter over obstore (local, S3, GCS, Azure, HTTP) and one over any other fsspec URL.
Does not: what the objects mean (`featurestore.layout`, `featurestore.commits`).
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
import obstore
import obstore.exceptions
from obstore.store import from_url
from zarr.abc.store import Store as ZarrStore
from zarr.storage import FsspecStore, LocalStore, ObjectStore

_NATIVE = {"file", "s3", "gs", "az", "abfs", "http", "https"}
_S3_OPTIONS = {
    "key": "access_key_id",
    "secret": "secret_access_key",
    "token": "session_token",
    "endpoint_url": "endpoint",
    "region": "region",
    "anon": "skip_signature",
}

StorageOptions = Mapping[str, Any]
"""Options as fsspec and s3fs name them: `key`, `secret`, `token`, `endpoint_url`, `region`, `anon`."""


class Objects(ABC):
    """The objects below one URL. Keys are relative, with `/` between their parts."""

    url: str

    @property
    def location(self) -> str:
        """The URL as people write it: a local folder is a path."""
        return unquote(self.url.removeprefix("file://")) if self.url.startswith("file://") else self.url

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Read an object; FileNotFoundError if it is absent."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write an object whole, over one that is there."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Write an object if none is there, atomically and in one request; False if one was."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if it is absent."""

    @abstractmethod
    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Give key and size (bytes) of every object below the folder `prefix`."""

    @abstractmethod
    def folders(self, prefix: str) -> list[str]:
        """Give the names of the folders right below the folder `prefix`, sorted (one listing)."""

    @abstractmethod
    def zarr(self, *, read_only: bool) -> ZarrStore:
        """Give a Zarr store over the same objects."""

    def kvstore(self) -> dict[str, Any] | None:
        """Give tensorstore's specification of the same place, or None if tensorstore cannot read it."""
        return None


class _ObstoreObjects(Objects):
    def __init__(self, url: str, options: StorageOptions, *, make: bool) -> None:
        self.url = url
        self._options = dict(options)
        scheme = urlsplit(url).scheme
        settings: dict[str, Any] = {}
        if scheme == "file":
            settings["mkdir"] = make
        elif scheme == "s3":
            settings = _s3_settings(self._options)
        elif self._options:
            settings["config"] = self._options
        self._store: Any = from_url(url, **settings)

    def get(self, key: str) -> bytes:
        return bytes(obstore.get(self._store, key).bytes())

    def put(self, key: str, data: bytes) -> None:
        obstore.put(self._store, key, data)

    def create(self, key: str, data: bytes) -> bool:
        try:
            # One single PUT: the condition is atomic there, and ignored by some servers on a multipart upload.
            obstore.put(self._store, key, data, mode="create", use_multipart=False)
        except obstore.exceptions.AlreadyExistsError:
            return False
        return True

    def delete(self, key: str) -> None:
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        for batch in obstore.list(self._store, prefix=prefix):
            for entry in batch:
                yield entry["path"], entry["size"]

    def folders(self, prefix: str) -> list[str]:
        found = obstore.list_with_delimiter(self._store, prefix=prefix)
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])

    def zarr(self, *, read_only: bool) -> ZarrStore:
        parts = urlsplit(self.url)
        if parts.scheme == "file":
            # Not through obstore: a reply that reaches an interpreter on its way out aborts the process.
            return LocalStore(unquote(parts.path), read_only=read_only)
        return ObjectStore(self._store, read_only=read_only)

    def kvstore(self) -> dict[str, Any] | None:
        parts = urlsplit(self.url)
        path = parts.path.strip("/")
        if parts.scheme == "file":
            return {"driver": "file", "path": f"/{unquote(path)}/"}
        if parts.scheme == "gs" and not self._options:
            return {"driver": "gcs", "bucket": parts.netloc, "path": f"{path}/"}
        if parts.scheme == "s3" and not {"key", "secret", "token"} & set(self._options):
            spec: dict[str, Any] = {"driver": "s3", "bucket": parts.netloc, "path": f"{path}/" if path else ""}
            endpoint = self._options.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL")
            region = self._options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
            if endpoint:
                spec["endpoint"] = endpoint
            if endpoint or region:
                spec["aws_region"] = region or "us-east-1"
            # Named outright: a search through every place that may hold credentials writes to stderr on its way.
            if self._options.get("anon"):
                spec["aws_credentials"] = {"type": "anonymous"}
            elif "AWS_ACCESS_KEY_ID" in os.environ:
                spec["aws_credentials"] = {"type": "environment"}
            return spec
        if parts.scheme in {"http", "https"}:
            return {"driver": "http", "base_url": self.url.rstrip("/") + "/"}
        return None


class _FsspecObjects(Objects):
    def __init__(self, url: str, options: StorageOptions) -> None:
        self.url = url
        self._options = dict(options)
        self._fs, self._root = fsspec.core.url_to_fs(url, **self._options)

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}"

    def get(self, key: str) -> bytes:
        return bytes(self._fs.cat_file(self._path(key)))

    def put(self, key: str, data: bytes) -> None:
        self._fs.makedirs(self._fs._parent(self._path(key)), exist_ok=True)
        self._fs.pipe_file(self._path(key), data)

    def create(self, key: str, data: bytes) -> bool:
        self._fs.makedirs(self._fs._parent(self._path(key)), exist_ok=True)
        try:
            self._fs.pipe_file(self._path(key), data, mode="create")
        except OSError:
            # s3fs raises a plain OSError where others raise FileExistsError.
            self._fs.invalidate_cache()
            if self._fs.exists(self._path(key)):
                return False
            raise
        return True

    def delete(self, key: str) -> None:
        if self._fs.exists(self._path(key)):
            self._fs.rm_file(self._path(key))

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        self._fs.invalidate_cache()
        start = len(self._fs._strip_protocol(self._root).rstrip("/")) + 1
        for path, entry in sorted(self._fs.find(self._path(prefix), detail=True).items()):
            yield path[start:], entry["size"]

    def folders(self, prefix: str) -> list[str]:
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
    """Give the objects at a URL.

    Parameters
    ----------
    url
        A local path, `s3://bucket/prefix`, `gs://`, `https://`, or any other URL that fsspec knows.
    storage_options
        As fsspec and s3fs name them; what is absent is taken from the environment (`AWS_ENDPOINT_URL`, ...).
    make
        Make a local folder that is not there.

    Raises
    ------
    FileNotFoundError
        If a local folder is absent and not to be made.
    """
    text = os.fspath(url)
    options = storage_options or {}
    if "://" not in text:
        path = Path(text).expanduser().resolve()
        if not make and not path.is_dir():
            raise FileNotFoundError(f"no store at {path}; `featurestore build {text} --fasta ...` makes one")
        text = path.as_uri()
    text = text.rstrip("/")
    if urlsplit(text).scheme in _NATIVE:
        return _ObstoreObjects(text, options, make=make)
    return _FsspecObjects(text, options)


def _s3_settings(options: dict[str, Any]) -> dict[str, Any]:
    unknown = set(options) - set(_S3_OPTIONS)
    if unknown:
        raise ValueError(f"unknown storage options {sorted(unknown)}; s3:// takes {', '.join(_S3_OPTIONS)}")
    config = {_S3_OPTIONS[name]: value for name, value in options.items()}
    endpoint = config.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL")
    settings: dict[str, Any] = {"config": config}
    if endpoint:
        # Servers other than AWS (Ceph, MinIO) are addressed by path, and on a private network often by plain HTTP.
        config.setdefault("endpoint", endpoint)
        config.setdefault("region", os.environ.get("AWS_REGION", "us-east-1"))
        config["virtual_hosted_style_request"] = False
        settings["client_options"] = {"allow_http": endpoint.startswith("http://")}
    return settings
