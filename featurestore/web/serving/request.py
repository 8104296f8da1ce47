"""What to serve, to whom, and within which budgets.

Belongs here: the request that the command line is derived from, and checks that need no store. Does not: the server
(`featurestore.web.serving.app`); nothing here imports FastAPI.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from catalog.runtime.locations import absolute

TOKEN_VARIABLE = "FEATURESTORE_TOKEN"  # noqa: S105  # a name, and no token
"""Environment variable with the token that a server demands."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ORIGIN = re.compile(r"https?://[^/?#\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeRequest:
    """A server; `featurestore.web.serving.app.serve` runs it."""

    genes: Path | None = None
    """Gene table, to find windows by symbol or gene id. [default: the genes that `featurestore explorer` put there]"""
    model: Path | None = field(default=None, metadata={"metavar": "RUN"})
    """Folder that `featurestore train` wrote, of windows of bins or of measured signals: predictions, attention and
    occlusion at /v1/predict. Needs the extra model."""
    annotations: Path | None = None
    """NCBI gene_info or a table of annotations, for the prompts of --model. [default: symbols alone]"""
    covariates: Path | None = None
    """Table of the covariates that --model reads beside measured signals. [default: where it was in training]"""
    device: str = "auto"
    """Where --model runs: auto, cpu or cuda."""
    host: str = "127.0.0.1"
    """Address to listen on. Other machines reach another than a loopback address; it then demands the token that the
    environment's FEATURESTORE_TOKEN holds."""
    port: int = 8000
    """Port to listen on; 0 for any that is free."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, comma-separated, under which clients reach this server, such as that of a proxy before it; localhost, IP
    addresses and --host are always allowed."""
    cors: tuple[str, ...] = ()
    """Origins, comma-separated, whose web pages may read replies, such as https://lab.org. [default: none]"""
    max_values: int = 1 << 23
    """Most values (windows x bins x channels) of one reply."""
    memory_bytes: int = 1 << 30
    """Memory for all replies that are being made or sent (bytes); more requests wait, then get 503."""
    cache_bytes: int = 1 << 28
    """Memory for decoded chunks, of all stores together (bytes)."""
    reads_at_once: int = 8
    """Requests that are worked on at the same time; others wait, then get 503."""

    def __post_init__(self) -> None:
        for name in ("max_values", "memory_bytes", "reads_at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}=` is at least 1, got {getattr(self, name)}")
        if self.cache_bytes < 0:
            raise ValueError(f"`cache_bytes=` is a number of bytes, or 0 for no cache; got {self.cache_bytes}")
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"`port=` is a number from 0 to 65535, got {self.port}")
        if self.annotations is not None and self.model is None:
            raise ValueError("`annotations=` are for the prompts of a model: give `model=` with them")
        if self.covariates is not None and self.model is None:
            raise ValueError("`covariates=` are those that a model reads: give `model=` with them")
        for origin in self.cors:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"`cors=` names origins: scheme, host and perhaps a port, as in https://lab.org; got {origin!r}"
                )


class NamedPlace(NamedTuple):
    """A store's name, under which clients ask for it, and where it lies."""

    name: str
    url: str
    """Also from another working directory."""


def named_places(stores: Sequence[str]) -> list[NamedPlace]:
    """Name the stores of a command line: `NAME=STORE`, or by the last part of the path without `.store`.

    Raises
    ------
    ValueError
        If two have one name, or a name has other characters than letters, digits, `.`, `_` and `-`.
    """
    found: dict[str, NamedPlace] = {}
    for text in stores:
        name, sign, url = text.partition("=")
        if not sign or not _NAME.fullmatch(name) or Path(text).exists():
            url = text
            name = urlsplit(text).path if "://" in text else str(Path(text).absolute())
            name = name.rstrip("/").rpartition("/")[2].removesuffix(".store")
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{url} has no plain name (letters, digits, '.', '_', '-'); write NAME={url} to give it one"
            )
        if name in found:
            raise ValueError(f"two stores are called {name!r}; write NAME={url} to give one another name")
        found[name] = NamedPlace(name, absolute(url))
    return list(found.values())
