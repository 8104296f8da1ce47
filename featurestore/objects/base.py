"""What all backends of objects share: get, put, create-if-absent, list, delete, with retries.

Belongs here: `Objects`, the base class. Does not: the backends (`featurestore.objects.local_disk`,
`featurestore.objects.objects`), how long to retry (`catalog.runtime.retry`), what an error means
(`featurestore.objects.errors`).
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from zarr.abc.store import Store as ZarrStore

from catalog.runtime.locations import local_path
from catalog.runtime.retry import Backoff
from featurestore.objects.errors import wait_s

T = TypeVar("T")

StorageOptions = Mapping[str, Any]
"""Options as fsspec and s3fs name them; those of S3 are listed at `S3Access`."""
MAX_OBJECT_BYTES = 8 << 30
"""Largest object that is read whole (bytes); shards have 256 MB, unless a bin is wider than that."""

_SLOWEST_BYTES_PER_S = 1 << 20
"""An upload slower than this times out."""


class Objects(ABC):
    """The objects below one URL. Keys are relative, with `/` between their parts.

    Failures of every backend are builtin errors that name the operation and the mend: PermissionError for credentials
    or a read-only place, OSError with `errno.ENOSPC` for a full disk, and `StoreUnavailable` once the retries of
    `catalog.runtime.retry` are exhausted.
    """

    url: str

    @property
    def location(self) -> str:
        """The URL for messages: a local folder is a path."""
        folder = self.local_folder
        return self.url if folder is None else str(folder)

    @property
    def local_folder(self) -> Path | None:
        """The folder on a local disk; None for objects elsewhere."""
        return local_path(self.url)

    def get(self, key: str) -> bytes:
        """Read an object; FileNotFoundError if it is absent."""
        return self._try("read", key, partial(self._get, key))

    def size(self, key: str) -> int:
        """Return the size of an object (bytes); FileNotFoundError if it is absent."""
        return self._try("read", key, partial(self._size, key))

    def get_part(self, key: str, start: int, length: int) -> bytes:
        """Read the bytes `[start, start + length)` of an object, all within it; FileNotFoundError if it is absent."""
        return self._try("read", key, partial(self._get_part, key, start, length))

    def put(self, key: str, data: bytes) -> None:
        """Write a whole object, replacing an existing one."""
        self._try("write", key, partial(self._put, key, data), allowed_s=upload_s(data))

    def create(self, key: str, data: bytes) -> bool:
        """Create an object if absent, atomically and in one request.

        Returns
        -------
        True if this call wrote it; False if one existed, to be compared with. Safe to retry: an attempt whose
        answer was lost may have written it, so after a failed attempt an object with the same bytes counts as written
        by this call.
        """
        tried, backoff = self._tried("create", key), Backoff(allowed_s=upload_s(data))
        is_first = True
        while True:
            try:
                is_ours = self._create(key, data)
            except BaseException as error:
                is_first = False
                time.sleep(wait_s(error, tried, backoff))
            else:
                return is_ours or (not is_first and self.get(key) == data)

    def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        self._try("delete", key, partial(self._delete, key))

    @abstractmethod
    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Iterate over key and size (bytes) of every object below the folder `prefix`."""

    def folders(self, prefix: str) -> list[str]:
        """List the names of the folders directly below the folder `prefix`, sorted (one listing)."""
        return self._try("list", prefix, partial(self._folders, prefix))

    def links(self, prefix: str) -> list[str]:
        """List the keys below the folder `prefix` that are links, which have no object; only local disks have any."""
        return []

    @abstractmethod
    def zarr(self, *, read_only: bool) -> ZarrStore:
        """Zarr store over the same objects."""

    def kvstore(self) -> dict[str, Any] | None:
        """Tensorstore's specification of the same place; None if tensorstore cannot read it."""
        return None

    @abstractmethod
    def _get(self, key: str) -> bytes: ...

    @abstractmethod
    def _size(self, key: str) -> int: ...

    @abstractmethod
    def _get_part(self, key: str, start: int, length: int) -> bytes: ...

    @abstractmethod
    def _put(self, key: str, data: bytes) -> None: ...

    @abstractmethod
    def _create(self, key: str, data: bytes) -> bool: ...

    @abstractmethod
    def _delete(self, key: str) -> None: ...

    @abstractmethod
    def _folders(self, prefix: str) -> list[str]: ...

    def _tried(self, verb: str, key: str) -> str:
        return f"{verb} {self.location}/{key}"

    def _try(self, verb: str, key: str, action: Callable[[], T], *, allowed_s: float = 0.0) -> T:
        """Retry an idempotent operation until it succeeds, fails for good, or the time budget is spent."""
        backoff = Backoff(allowed_s=allowed_s)
        while True:
            try:
                return action()
            except BaseException as error:
                time.sleep(wait_s(error, self._tried(verb, key), backoff))


def upload_s(data: bytes) -> float:
    """Time that an upload may take (s)."""
    return len(data) / _SLOWEST_BYTES_PER_S
