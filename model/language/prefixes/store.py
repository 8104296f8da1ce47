"""KV cache of prompts on disk, kept between runs.

Belongs here: tensors by name in a bounded folder. Does not: the folder's files (`featurestore.objects.disk_cache`),
what the tensors and names are (`model.language.prefixes.disk`).
"""

import hashlib
import json
import math
import os
from typing import NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from catalog.runtime.locations import required_path
from featurestore.objects.disk_cache import DiskCache

_HEADER_BYTES = 8
"""safetensors: the length of the header, before it."""
_LONGEST_HEADER = 4096
"""Of one tensor it takes some 70 bytes."""
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
    "U8": torch.uint8,
}
"""By the names of safetensors."""


class Described(NamedTuple):
    """What a file says of its tensor."""

    dtype: str
    """As safetensors writes it, such as `BF16`."""
    shape: tuple[int, ...]
    start: int
    """Where its numbers begin in the file (bytes)."""

    @property
    def type(self) -> torch.dtype | None:
        """The type as torch has it; None if it is none of those that are kept here."""
        return _DTYPES.get(self.dtype)


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
        content = self._cache.read_array(_key(name))
        # Without safetensors' own `load`, which copies: 3 ms of 12 MB, in which no other thread runs.
        about = None if content is None else _described(content[: _HEADER_BYTES + _LONGEST_HEADER].tobytes())
        if content is None or about is None or about.type is None:
            return None
        numbers = content[about.start :]
        if about.start % about.type.itemsize or len(numbers) != math.prod(about.shape) * about.type.itemsize:
            return None
        return torch.from_numpy(numbers).view(about.type).view(about.shape)

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
        return None if head is None else _described(head)

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


def _described(head: bytes) -> Described | None:
    """Read the header of a file of one tensor; None if there is none."""
    length = int.from_bytes(head[:_HEADER_BYTES], "little")
    try:
        about = json.loads(head[_HEADER_BYTES : _HEADER_BYTES + length])["value"]
        shape = tuple(int(size) for size in about["shape"])
        return Described(str(about["dtype"]), shape, _HEADER_BYTES + length)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
