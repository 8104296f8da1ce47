"""Where a file or folder lies, from what a user types: a path, a `file:` URL, or a URL of a server.

Belongs here: telling local places from others, `~`, absolute paths, decoding `file:` URLs (RFC 8089). Does not:
opening what lies there.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

_FILE_URL = re.compile(r"file:/", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")
"""Scheme of a URL, or first protocol of a chain as fsspec writes it (`simplecache::s3://...`)."""

_SERVER = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:(/|$)", re.IGNORECASE)


def local_path(place: str | os.PathLike[str]) -> Path | None:
    """Return the absolute path of a local place; None for a URL of another kind.

    `~` and `~user` are expanded. `file:///a%20b`, `file:/a%20b` and `file://localhost/a%20b` are all `/a b`; since
    `pathlib` joins slashes, `Path("file:///a")` is too.

    Raises
    ------
    ValueError
        If a `file:` URL names another machine, or no absolute path; if `place` is empty.
    """
    text = os.fspath(place)
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is no path: it is empty or holds a NUL; is a variable of the shell unset?")
    if _FILE_URL.match(text):
        return _decoded(text)
    if _URL.match(text):
        return None
    try:
        return Path(os.path.expanduser(text)).absolute()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{text} is relative, and the current folder is gone; change to another, or give an absolute path"
        ) from error


def absolute(place: str | os.PathLike[str]) -> str:
    """Name a place so that a process with another working directory finds it; a URL of a server stays as it is."""
    path = local_path(place)
    return os.fspath(place) if path is None else str(path)


def required_path(place: str | os.PathLike[str]) -> Path:
    """Return the absolute path of what must lie on a disk of this machine.

    Raises
    ------
    ValueError
        If `place` is a URL of a server, also as `pathlib` writes it: `Path("s3://a")` is `s3:/a`.
    """
    path = None if _SERVER.match(os.fspath(place)) else local_path(place)
    if path is None:
        raise ValueError(f"{place} is a URL, and a path on this machine is expected; fetch the file, or name a folder")
    return path


def _decoded(url: str) -> Path:
    rest = url[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost") or not slash:
            raise ValueError(
                f"{url} names the machine {host!r}, but a file: URL is read on this one; write the absolute path with "
                "three slashes, file:///folder/name, or give a plain path"
            )
        rest = f"/{path}"
    # Through bytes, so that a name which is not UTF-8 survives the round trip of `Path.as_uri`.
    return Path(os.fsdecode(unquote_to_bytes(os.fsencode(rest))))
