"""KV cache of prompts on disk, kept between runs.

Belongs here: tensors by name in a bounded folder. Does not: the folder's files (`featurestore.disk_cache`), what the
tensors and names are (`model.language.prefix_cache`).
"""

import hashlib
import os

from safetensors.torch import load, save
from torch import Tensor

from catalog.runtime.locations import required_path
from featurestore.disk_cache import DiskCache


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


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
