"""KV cache of prompts on disk, kept between runs.

Belongs here: tensors by name in a bounded folder. Does not: the folder's files (`featurestore.disk_cache`), what the
tensors and names are (`model.language.prefixes.disk`).
"""

import hashlib
import json
import os
from typing import NamedTuple

from safetensors.torch import load, save
from torch import Tensor

from catalog.runtime.locations import required_path
from featurestore.disk_cache import DiskCache

_HEADER_BYTES = 8
"""safetensors: the length of the header, before it."""
_LONGEST_HEADER = 4096
"""Of one tensor it takes some 70 bytes."""


class Described(NamedTuple):
    """What a file says of its tensor."""

    dtype: str
    """As safetensors writes it, such as `BF16`."""
    shape: tuple[int, ...]


class PrefixStore:
    """Tensors by name in a folder, within a budget of bytes that holds for all processes that share it.

    The least recently used are evicted first. A damaged tensor is removed, and computed again.

    Parameters
    ----------
    folder
        Made if need be. Only files of ours in it are counted or removed.
    max_bytes
        Budget of all its files.

    Raises
    ------
    ValueError
        If `max_bytes` is not positive.
    OSError
        If the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str], *, max_bytes: int) -> None:
        if max_bytes < 1:
            raise ValueError(f"a prefix store holds at least 1 byte, got max_bytes={max_bytes}; leave the store out")
        self.folder = required_path(folder)
        self.max_bytes = max_bytes
        try:
            self._cache = DiskCache(self.folder, max_bytes, setting="prefix_bytes")
            for former in self.folder.glob("*.prefix.safetensors"):
                former.unlink(missing_ok=True)  # of an earlier version, with checksums of another kind
            self._cache.trim()
        except OSError as error:
            raise OSError(
                f"prefixes cannot be kept in {self.folder} ({error}); give a folder that can be written to, or leave "
                "the store out"
            ) from error

    @property
    def held_bytes(self) -> int:
        """Bytes of all the tensors in the folder, by whichever process (one listing)."""
        return self._cache.held_bytes

    def get(self, name: str) -> Tensor | None:
        """Give the tensor of that name, on the CPU; None if there is none, or it is damaged."""
        content = self._cache.read(_key(name))
        return None if content is None else load(content)["value"]

    def put(self, name: str, value: Tensor) -> None:
        """Keep a tensor; one that is larger than the budget, or that the disk does not take, is not kept."""
        key = _key(name)
        if key not in self._cache:
            self._cache.write(key, save({"value": value.detach().cpu().contiguous()}))

    def describe(self, name: str) -> Described | None:
        """Give type and shape of the tensor of that name, from the first bytes of its file; None if there is none.

        It counts as used then. The checksum is not looked at, and a file that says nothing is as none.
        """
        head = self._cache.read_head(_key(name), _HEADER_BYTES + _LONGEST_HEADER)
        if head is None:
            return None
        length = int.from_bytes(head[:_HEADER_BYTES], "little")
        try:
            about = json.loads(head[_HEADER_BYTES : _HEADER_BYTES + length])["value"]
            return Described(str(about["dtype"]), tuple(int(size) for size in about["shape"]))
        except (ValueError, KeyError, TypeError):
            return None

    def require_room(self, n_bytes: int) -> None:
        """Write so many bytes, and remove them again, unless the budget is used up and old tensors give way.

        Raises
        ------
        OSError
            If the disk does not take them.
        """
        if self.held_bytes + n_bytes > self.max_bytes:
            return
        try:
            self._cache.require_room(n_bytes)
        except OSError as error:
            raise OSError(
                f"the disk of {self.folder} does not take {n_bytes / 1e6:,.1f} MB, which one prompt needs "
                f"({error.strerror or error}); make room there, or give another folder with `prefix_cache=`"
            ) from error


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
