"""Listing a store on a web server, which cannot list: the manifest has the keys.

Belongs here: objects with a known listing. Does not: the manifest (`featurestore.format.manifest`).
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from zarr.abc.store import Store as ZarrStore

from featurestore.format import layout
from featurestore.format.manifest import read_manifest
from featurestore.objects.objects import Objects


def listed(objects: Objects) -> Objects:
    """Make objects listable: over HTTP by the store's manifest; others are returned as they are.

    Raises
    ------
    OSError
        If the server does not list and the store is not sealed.
    """
    if urlsplit(objects.url).scheme not in {"http", "https"}:
        return objects
    manifest = read_manifest(objects)
    if manifest is not None:
        return ListedObjects(objects, {key: sealed.size for key, sealed in manifest.objects.items()})
    try:
        objects.folders(layout.FEATURES)  # WebDAV lists
    except OSError as error:
        raise OSError(
            f"{objects.location} is on a web server that does not list, and not sealed, so nothing says what it holds; "
            "`featurestore seal` it where it lies, or read it from its disk or bucket"
        ) from error
    return objects


class ListedObjects(Objects):
    """Objects with a known listing."""

    def __init__(self, objects: Objects, sizes: Mapping[str, int]) -> None:
        self.url = objects.url
        self._objects = objects
        self._sizes = sizes

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Iterate over key and size (bytes) of every object below the folder `prefix`."""
        start = f"{prefix}/" if prefix else ""
        return ((key, size) for key, size in self._sizes.items() if key.startswith(start))

    def zarr(self, *, read_only: bool) -> ZarrStore:
        """Return a Zarr store over the same objects."""
        return self._objects.zarr(read_only=read_only)

    def kvstore(self) -> dict[str, Any] | None:
        """Return tensorstore's specification of the same place."""
        return self._objects.kvstore()

    def _folders(self, prefix: str) -> list[str]:
        start = f"{prefix}/" if prefix else ""
        below = (key.removeprefix(start) for key, _ in self.walk(prefix))
        return sorted({key.partition("/")[0] for key in below if "/" in key})

    def _get(self, key: str) -> bytes:
        return self._objects._get(key)

    def _size(self, key: str) -> int:
        return self._objects._size(key)

    def _get_part(self, key: str, start: int, length: int) -> bytes:
        return self._objects._get_part(key, start, length)

    def _put(self, key: str, data: bytes) -> None:
        self._objects._put(key, data)

    def _create(self, key: str, data: bytes) -> bool:
        return self._objects._create(key, data)

    def _delete(self, key: str) -> None:
        self._objects._delete(key)
