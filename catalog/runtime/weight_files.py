"""Files of weights: fetched from the Hub, digested once, and those that are not what they seem.

Belongs here: SHA-256 of a large file, and remembering it beside the user's other caches; pointers of git-lfs, and what
to say of a file that is cut short; folders of models by the id that they have on the Hugging Face Hub. Does not:
reading weights (`model`, `builders.extractors`).

A digest is remembered by what the operating system says of the file: path, device, inode, size, and when its content
was written and its inode changed. No program sets the last of these back, so that a file of the same size with its
former time stamp is another one here.
"""

import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from catalog.runtime.files import write_atomic
from catalog.runtime.folders import cache_directory
from catalog.runtime.locations import required_path

_POINTER = b"version https://git-lfs.github.com/spec/"
_REMEMBERED_FROM_BYTES = 1 << 26
"""A smaller file is read as fast as remembered."""
_SETTLED_S = 2.0
"""A file that changed a moment ago may change again within the same time stamp."""
_IS_DIGEST = re.compile(r"[0-9a-f]{64}")
_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model"]
"""Weights, configuration, vocabularies. No pickle and no Python file."""
_UNWANTED = ["*/*"]
"""Folders in a repository hold the same model again in other formats."""


def refuse_pointer(path: str | os.PathLike[str]) -> None:
    """Refuse, with a ValueError, a file that git-lfs has not fetched yet: lines of text in place of the weights."""
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(len(_POINTER))
    if head == _POINTER:
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) is a git-lfs pointer, not the file that it stands for; run "
            "`git lfs pull` in its folder, or download the file itself"
        )


def cut_short(path: str | os.PathLike[str], reason: object) -> str:
    """Say that a file of weights cannot be read, with its size, which tells how much of it is there."""
    return f"{path} ({Path(path).stat().st_size:,} bytes) is cut short or damaged ({reason}); download it again"


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Digest the content of a file, as 64 hexadecimal figures.

    A file of 64 MiB and more is read once (0.6 s a GB), by whichever process is first; later ones look it up, as long
    as the file is the same. The cache may be removed at any time.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    path = required_path(path).resolve()
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        kept = cache_directory() / "digests" / _key(path, before)
        if before.st_size >= _REMEMBERED_FROM_BYTES and (known := _remembered(kept)) is not None:
            return known
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    is_settled = time.time() - max(after.st_mtime, after.st_ctime) > _SETTLED_S
    if after.st_size >= _REMEMBERED_FROM_BYTES and is_settled and _key(path, after) == _key(path, before):
        with suppress(OSError):  # a cache that cannot be written costs the next one its time
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(kept, digest.encode())
    return digest


def _key(path: Path, found: os.stat_result) -> str:
    identity = (path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return hashlib.sha256("\n".join(map(str, identity)).encode(errors="surrogateescape")).hexdigest()


def _remembered(kept: Path) -> str | None:
    try:
        with kept.open("rb") as file:
            text = file.read(65).decode("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return text if _IS_DIGEST.fullmatch(text) else None


def is_hub_id(name: str | os.PathLike[str]) -> bool:
    """Say whether a name reads as `owner/model` and is no folder here, nor names a GGUF file."""
    place = Path(name)
    return _HUB_ID.fullmatch(os.fspath(name)) is not None and place.suffix.lower() != ".gguf" and not place.is_dir()


def fetch_model(name: str, *, revision: str | None = None, more: tuple[str, ...] = ()) -> Path:
    """Give the folder of a model of the Hub: from the local cache, downloaded first where need be.

    Parameters
    ----------
    name
        Its id, `owner/model`.
    revision
        Commit, branch or tag; None for the newest.
    more
        Patterns of further files to fetch, beside safetensors, configuration and vocabularies.

    Returns
    -------
    The folder; its name is the commit.

    Raises
    ------
    OSError
        If it is not in the cache and cannot be downloaded.
    """
    # Here, since it costs time to import, and a model in a folder needs none of it.
    from huggingface_hub import snapshot_download

    try:
        wanted = [*_WANTED, *more]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=_UNWANTED))
    except (OSError, ValueError) as error:
        raise OSError(
            f"{name} is no folder here, and as a model of the Hugging Face Hub it can neither be found in the local "
            f"cache nor be downloaded ({str(error).splitlines()[0]}); give the folder of a model, or, with access to "
            "the network, unset HF_HUB_OFFLINE and, where the model asks for it, `hf auth login`"
        ) from error
