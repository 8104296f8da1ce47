"""Fetching a public file: resumed where it was cut, checked, and put in place whole.

Belongs here: the transfer. Does not: which files there are (`featurestore.distribution.public_files`).

What has arrived lies in `NAME.partial` until all of it has, beside `NAME.partial.tag`, which names the version that the
server sent: a range of another version would be refused by `If-Range`, and the file then begins anew.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from catalog.runtime.files import PARTIAL, write_atomic
from catalog.runtime.plugins import how_to_install
from catalog.runtime.retry import Backoff, is_transient_status, stall_s
from featurestore.distribution.public_files import PublicFile

Progress = Callable[[int, int], None]
"""Called with the bytes there are, and those there will be (0: unknown)."""
_PIECE = 1 << 16
_MOST_BYTES = 1 << 37
"""Most of a file whose size is not known: 137 GB."""


class FetchFailed(RuntimeError):
    """A public file that could not be fetched, or is not the one that was meant."""


def fetch(file: PublicFile, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch one file into a folder; one that is there already is checked, and left.

    Parameters
    ----------
    progress
        Told as bytes arrive.

    Returns
    -------
    Where it lies.

    Raises
    ------
    FetchFailed
        If it has to be got by hand, the server refuses, or what came has another digest; no such file is then there.
        What had arrived is kept where only the connection failed: the same command goes on.
    ModuleNotFoundError
        If the extra `fetch` is not installed.
    """
    if file.by_hand:
        raise FetchFailed(f"{file.name} is not fetched by this command: {file.by_hand} ({file.address})")
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"fetching needs pooch: {how_to_install('fetch')}") from error
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    pooch.get_logger().setLevel("ERROR")
    known = None if file.sha256 is None else f"sha256:{file.sha256}"
    if target.exists():  # with no digest there is nothing to compare it with: whoever put it there knows
        if known is None or pooch.hashes.hash_matches(str(target), known):
            return target
        raise FetchFailed(f"{target} is another file: its sha256 is not {file.sha256}; move it away, and fetch again")

    def download(url: str, output: str, _: Any) -> None:
        shutil.move(_arrived(file, url, target, progress), output)

    try:
        pooch.retrieve(file.address, known_hash=known, fname=file.name, path=folder, downloader=download)
    except ValueError as error:
        raise FetchFailed(f"{file.address} is not {file.name} as it was: {error}") from error
    return target


def _arrived(file: PublicFile, url: str, target: Path, progress: Progress | None) -> Path:
    """Receive all bytes into the partial file, over as many connections as it takes."""
    import requests

    partial, tag = (target.with_name(f"{target.name}{PARTIAL}{end}") for end in ("", ".tag"))
    backoff = Backoff()
    while True:
        before = _size(partial)
        try:
            _receive(file, url, partial, tag, progress)
        except requests.RequestException as error:
            if _size(partial) > before:
                backoff = Backoff()  # it goes on, however slowly
            wait = backoff.wait_s() if _is_transient(error) else None
            if wait is None:
                raise FetchFailed(
                    f"{url} does not answer as it should ({error}); {_size(partial):,} bytes are kept in {partial}, "
                    "and the same command goes on from there"
                ) from error
            time.sleep(wait)
            continue
        tag.unlink(missing_ok=True)
        return partial


def _receive(file: PublicFile, url: str, partial: Path, tag: Path, progress: Progress | None) -> None:
    """Append what one connection brings; an error of `requests` if it is not all."""
    import requests

    there = _size(partial) if tag.exists() or file.sha256 else 0
    if file.size is not None and there >= file.size:
        return
    headers = {"Accept-Encoding": "identity"}
    if there:
        headers["Range"] = f"bytes={there}-"
        if tag.exists():
            headers["If-Range"] = tag.read_text(encoding="utf-8")
    with requests.get(url, headers=headers, stream=True, timeout=stall_s()) as reply:
        reply.raise_for_status()
        resumed = reply.status_code == 206 and reply.headers.get("Content-Range", "").startswith(f"bytes {there}-")
        there = there if resumed else 0
        total = there + int(reply.headers.get("Content-Length", 0))
        if total > (file.size or _MOST_BYTES):
            raise FetchFailed(f"{url} has {total:,} bytes; {file.name} has {file.size or _MOST_BYTES:,} at the most")
        if version := reply.headers.get("ETag") or reply.headers.get("Last-Modified"):
            write_atomic(tag, version.encode())
        with partial.open("ab" if resumed else "wb") as out:
            for piece in reply.iter_content(_PIECE):
                out.write(piece)
                there += len(piece)
                if progress:
                    progress(there, total)
                if there > (file.size or _MOST_BYTES):
                    partial.unlink()
                    raise FetchFailed(f"{url} sends more than the {file.size or _MOST_BYTES:,} bytes of {file.name}")
    if there < total:
        raise requests.ConnectionError(f"cut after {there:,} of {total:,} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_transient(error: Any) -> bool:
    """Tell whether trying again may help: no reply at all, or one that says so."""
    return error.response is None or is_transient_status(error.response.status_code)
