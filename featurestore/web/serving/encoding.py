"""Replies as bytes: media types, compression, ranges, and replies that the client has already.

Belongs here: negotiation and encoding. Does not: reading windows (`featurestore.web.serving.stores`).
"""

import gzip
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl
from numcodecs import zstd

from featurestore.web.serving.problems import NotAcceptable, Unsatisfiable
from featurestore.web.serving.windows import Reading

JSON, TSV = "application/json", "text/tab-separated-values"
ARROW, NPY = "application/vnd.apache.arrow.stream", "application/x-npy"
WINDOW_TYPES = (JSON, ARROW, NPY, TSV)
"""Media types of windows; the first is that of a client that names none."""
BYTES_A_VALUE = {JSON: 120, TSV: 60, ARROW: 24, NPY: 16}
"""Most memory that a value takes while a reply is made (bytes), rounded up."""
HEADER = "Featurestore-"
_LEAST_COMPRESSED = 1024
_LEVEL = 1
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_PRINTABLE = "".join(map(chr, range(32, 127))).replace("%", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, whole."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What a client says of the reply that it wants."""

    media_type: str
    coding: str
    """`zstd`, `gzip` or `identity`."""
    known: frozenset[str]
    """Tags of the replies that it has; `*` for any."""
    range: str | None
    if_range: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str], offered: tuple[str, ...]) -> "Preferences":
        """Read the headers of a request.

        Raises
        ------
        NotAcceptable
            If it takes none of the media types that are offered.
        """
        tags = (tag.strip().removeprefix("W/").strip('"') for tag in headers.get("if-none-match", "").split(","))
        return cls(
            media_type=_media_type(headers.get("accept", ""), offered),
            coding=_coding(headers.get("accept-encoding", "")),
            known=frozenset(tag for tag in tags if tag),
            range=headers.get("range"),
            if_range=headers.get("if-range"),
        )

    def has(self, tag: str) -> bool:
        """Tell whether the client has the reply of a tag, in whatever coding."""
        return "*" in self.known or not self.known.isdisjoint({tag, f"{tag}-gzip", f"{tag}-zstd"})


def tag_of(tag: str, media_type: str) -> str:
    """Give the tag of one representation of what a tag stands for."""
    return f"{tag}-{media_type.rpartition('/')[2].rpartition('.')[2]}"


def unchanged(tag: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer that the client has the reply."""
    return Answer(304, {"ETag": f'"{tag}"', **_CACHING, **(headers or {})}, b"")


def answer(wanted: Preferences, tag: str, body_of: Callable[[], bytes], headers: Mapping[str, str]) -> Answer:
    """Answer with a body, a range of it, or that the client has it.

    Parameters
    ----------
    tag
        Of this representation, in identity coding.
    body_of
        Makes the body; not called if the client has it.
    """
    if wanted.has(tag):
        return unchanged(tag)
    body = body_of()
    sent = {"Content-Type": wanted.media_type, **_CACHING, **headers}
    part = None
    if wanted.range is not None and wanted.if_range in (None, f'"{tag}"'):
        part = byte_range(wanted.range, len(body))
    if part is not None:
        first, end = part
        sent |= {"ETag": f'"{tag}"', "Content-Range": f"bytes {first}-{end - 1}/{len(body)}"}
        return Answer(206, sent, body[first:end])
    if wanted.coding == "identity" or len(body) < _LEAST_COMPRESSED:
        return Answer(200, sent | {"ETag": f'"{tag}"', "Accept-Ranges": "bytes"}, body)
    packed = zstd.compress(body, _LEVEL) if wanted.coding == "zstd" else gzip.compress(body, _LEVEL)
    return Answer(200, sent | {"ETag": f'"{tag}-{wanted.coding}"', "Content-Encoding": wanted.coding}, bytes(packed))


_CACHING = {"Cache-Control": "private, no-cache", "Vary": "Accept, Accept-Encoding, Origin"}
"""A client may keep a reply, but asks each time whether it is still that: stores are written anew."""


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """Read a `Range` header as `[first, end)`; None for what is no single range of bytes, which is then ignored.

    Raises
    ------
    Unsatisfiable
        If it lies outside.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None or not any(match.groups()) or max(map(len, match.groups())) > 18:
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise Unsatisfiable(size)
    return start, end


def encode_windows(reading: Reading, media_type: str, *, is_single: bool) -> bytes:
    """Encode windows: all values exactly, in each media type.

    Parameters
    ----------
    is_single
        Whether it is the one window of `/v1/window`: its values have no axis for windows.
    """
    if media_type == JSON:
        values = reading.values[0] if is_single else reading.values
        places = reading.windows[0] if is_single else {"windows": reading.windows}
        document = reading.shared | places | {"values": values.tolist()}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if media_type == NPY:
        file = io.BytesIO()
        np.save(file, reading.values[0] if is_single else reading.values, allow_pickle=False)
        return file.getvalue()
    table = _table(reading)
    file = io.BytesIO()
    if media_type == ARROW:
        table.write_ipc_stream(file)
        return file.getvalue()
    file.write("".join(f"# {name}: {text}\n" for name, text in _said(reading).items()).encode())
    table.write_csv(file, separator="\t")
    return file.getvalue()


def window_headers(reading: Reading) -> dict[str, str]:
    """Say in headers what a reply of numbers alone does not."""
    return {f"{HEADER}{name}": quote(text, safe=_PRINTABLE) for name, text in _said(reading).items()}


def _said(reading: Reading) -> dict[str, str]:
    shared, windows = reading.shared, reading.windows

    def each(name: str) -> str:
        return ",".join(str(window[name]) for window in windows)

    return {
        "Set": shared["set"],
        "Assembly": shared["assembly"]["digest"],
        "Bin-Size": str(shared["bin_size"]),
        "Fingerprint": shared["fingerprint"],
        "Licence": " ".join(shared["licence"].split()),
        "Contig": each("contig"),
        "Centre": each("centre"),
        "Offset": each("offset"),
        "First-Start": each("first_start"),
        "Residual": each("residual"),
    }


def _table(reading: Reading) -> pl.DataFrame:
    """Lay windows out with a row a bin: window, contig, start, end (bp), then every channel."""
    n_windows, n_bins, n_channels = reading.values.shape
    bin_size, names = reading.shared["bin_size"], reading.shared["channels"]
    starts = np.concatenate(
        [window["first_start"] + np.arange(n_bins, dtype=np.int64) * bin_size for window in reading.windows]
    )
    contigs = pl.Series([window["contig"] for window in reading.windows], dtype=pl.String)
    numbers = np.repeat(np.arange(n_windows), n_bins)
    about = {"window": numbers, "contig": contigs.gather(numbers), "start": starts, "end": starts + bin_size}
    taken = set(names)
    columns: dict[str, Any] = {}
    for name, column in about.items():
        while name in taken:  # a channel has this name
            name += "_"
        columns[name] = column
    values = reading.values.reshape(-1, n_channels)
    stored = values.astype(np.float32) if values.dtype == np.float16 else values
    for column, name in enumerate(names):
        columns[name] = np.ascontiguousarray(stored[:, column])
    return pl.DataFrame(columns)


def _media_type(accept: str, offered: tuple[str, ...]) -> str:
    best = [(_quality(accept, media_type), media_type) for media_type in offered] if accept.strip() else []
    if not best:
        return offered[0]
    quality, media_type = max(best, key=lambda one: one[0])
    if quality <= 0:
        raise NotAcceptable(f"Accept names none of the media types of this reply: {', '.join(offered)}")
    return media_type


def _quality(accept: str, media_type: str) -> float:
    """Weight of a media type, by the most specific range of an `Accept` header (RFC 9110, 12.5.1)."""
    ranks = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}
    found = (0, 0.0)
    for item, quality in _weighted(accept):
        if ranks.get(item, 0) > found[0]:
            found = (ranks[item], quality)
    return found[1]


def _coding(accepted: str) -> str:
    weights = dict(_weighted(accepted))
    offered = [(weights.get(coding, 0.0), coding) for coding in ("zstd", "gzip")]
    quality, coding = max(offered, key=lambda one: one[0])
    return coding if quality > 0 else "identity"


def _weighted(header: str) -> list[tuple[str, float]]:
    found = []
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            found.append((name, float(weight)))
        except ValueError:
            found.append((name, 0.0))
    return found
