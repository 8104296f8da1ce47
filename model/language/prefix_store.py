"""What a model makes of prompts, kept in a folder between runs.

Belongs here: tensors by name in a bounded folder, damage found. Does not: what the tensors and names are
(`model.language.prefix_cache`).

Each tensor is a safetensors file that appears whole (written beside, then renamed) and carries a checksum of what it
holds, so that several processes may share a folder and a crash leaves nothing that would be believed.
"""

import contextlib
import hashlib
import os
import time
import uuid
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

_SUFFIX, _PARTIAL = ".prefix.safetensors", ".prefix.partial"
_STALE_S = 3600.0
"""A file that has been half written for so long was left by a crash."""
_SLACK = 16
"""Look at the whole folder after adding 1/16 of what it may hold, and free as much where it is full."""


class PrefixStore:
    """Tensors by name in a folder, within a budget of bytes.

    The least recently used go first. Several processes may share the folder; each of them looks at its size now and
    then, so together they may exceed the budget by 1/16 a process for a moment.

    Parameters
    ----------
    folder
        Made if need be. Only files of ours in it are counted or removed.
    max_bytes
        That the files may take together.

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
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self._broken = False
        self._room = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(f"{uuid.uuid4().hex}{_PARTIAL}", b"").unlink()
            self._look(0)
        except OSError as error:
            raise OSError(
                f"prefixes cannot be kept in {self.folder} ({error}); give a folder that can be written to, or leave "
                "the store out"
            ) from error

    @property
    def held_bytes(self) -> int:
        """Bytes of all the tensors in the folder, by whichever process (one listing)."""
        return sum(size for _, size, _ in self._files())

    def get(self, name: str) -> Tensor | None:
        """Give the tensor of that name, on the CPU; None if there is none. A damaged file is removed."""
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        try:
            held = load(content)
            value = held["value"]
            whole = bytes(held["checksum"].tolist()) == _checksum(name, value)
        except (SafetensorError, KeyError, ValueError, TypeError):
            whole = False
        # Another process may have removed it, or another user own it.
        with contextlib.suppress(OSError):
            if whole:
                os.utime(path)
            else:
                path.unlink()
        return value if whole else None

    def put(self, name: str, value: Tensor) -> None:
        """Keep a tensor; one that the folder has no room for, even empty, or that cannot be written, is not kept."""
        if self._broken or self._path(name).exists():
            return
        value = value.detach().cpu().contiguous()
        checksum = torch.tensor(list(_checksum(name, value)), dtype=torch.uint8)
        content = save({"value": value, "checksum": checksum})
        if len(content) > self.max_bytes:
            return
        partial = f"{name}.{uuid.uuid4().hex}{_PARTIAL}"
        try:
            if len(content) > self._room:
                self._look(len(content))
            self._write(partial, content).replace(self._path(name))
        except OSError as error:
            (self.folder / partial).unlink(missing_ok=True)
            self._broken = True
            warnings.warn(
                f"prefixes are no longer kept in {self.folder} ({error}); free space there, or lower max_bytes",
                stacklevel=2,
            )
            return
        self._room -= len(content)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_SUFFIX}"

    def _write(self, file_name: str, content: bytes) -> Path:
        path = self.folder / file_name
        path.write_bytes(content)
        return path

    def _files(self) -> list[tuple[float, int, str]]:
        """List the tensors: when each was last used, its bytes, its path."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX):
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue  # another process has removed it
                    found.append((status.st_mtime, status.st_size, entry.path))
        return found

    def _look(self, incoming: int) -> None:
        """Find how much may be added before the next look; remove what was used longest ago where it is too little."""
        for partial in self.folder.glob(f"*{_PARTIAL}"):
            try:
                if time.time() - partial.stat().st_mtime > _STALE_S:
                    partial.unlink()
            except FileNotFoundError:
                continue  # another process has finished or removed it
        files = sorted(self._files())
        free = self.max_bytes - sum(size for _, size, _ in files)
        wanted = max(incoming, self.max_bytes // _SLACK)
        if free < incoming:
            for _, size, path in files:
                Path(path).unlink(missing_ok=True)
                free += size
                if free >= wanted:
                    break
        self._room = min(free, wanted)


def _checksum(name: str, value: Tensor) -> bytes:
    total = hashlib.blake2b(f"{name} {value.dtype} {list(value.shape)}".encode(), digest_size=16)
    total.update(value.view(-1).view(torch.uint8).numpy().data)
    return total.digest()
