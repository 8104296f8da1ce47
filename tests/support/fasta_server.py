"""FASTA files to read in tests, and the places where they may lie: a disk, memory, a web server that can fail.

Belongs here: the server, the places, one text. Does not: tests; fixtures (`tests/catalog/fasta/conftest.py`).
"""

import hashlib
import io
import itertools
import re
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import pytest
from Bio import bgzf as bio

from catalog.fasta.bgzf import END
from featurestore.testing import random_sequences

biopython: Any = bio  # it has no annotations
names = (f"genome-{number}" for number in itertools.count())

SEQUENCES = random_sequences({"chr1": 400_000, "chr2": 3_000}, seed=8)
TEXT = "".join(
    f">{name}\n" + "".join(f"{sequence[at : at + 60]}\n" for at in range(0, len(sequence), 60))
    for name, sequence in SEQUENCES.items()
).encode()


class Request(NamedTuple):
    method: str
    path: str
    sent: int
    """Bytes of the body."""


class FastaServer(ThreadingHTTPServer):
    """Files over HTTP, by ranges. Logs the requests, and injects faults on request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.times: dict[str, float] = {}
        self.log: list[Request] = []
        self.faults: list[str] = []
        """What goes wrong with the next requests, one each; the last one stays."""
        self.afterwards: Callable[[Request], None] = lambda request: None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take_requests(self) -> list[Request]:
        """Return the requests since the last call."""
        log, self.log = self.log, []
        return log

    def next_fault(self) -> str:
        return self.faults.pop(0) if len(self.faults) > 1 else next(iter(self.faults), "")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each reply waits 40 ms for the acknowledgement of its headers
    server: FastaServer

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def _serve(self, *, with_body: bool) -> None:
        fault = self.server.next_fault()
        body = self.server.files.get(self.path)
        if fault == "hang up":
            self.close_connection = True
            return
        if body is None or fault.isdigit():
            self._answer(int(fault) if fault.isdigit() else 404, b"", with_body=with_body)
            return
        size, status, extra = len(body), 200, {"ETag": f'"{hashlib.sha256(body).hexdigest()[:8]}"'}
        if fault == "no ETag":
            extra = {}
        if self.path in self.server.times:
            extra["Last-Modified"] = formatdate(self.server.times[self.path], usegmt=True)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted and fault != "no ranges":
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, size)
            body, status = body[start:end], 206
            extra["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        assert self.headers["Accept-Encoding"] == "identity"
        self._answer(status, body, with_body=with_body, kept=0.5 if fault == "cut" else 1, extra=extra)

    def _answer(
        self, status: int, body: bytes, *, with_body: bool, kept: float = 1, extra: dict[str, str] | None = None
    ) -> None:
        sent = body[: int(len(body) * kept)] if with_body else b""
        request = Request(self.command, self.path, len(sent))
        self.server.log.append(request)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = kept < 1
        self.server.afterwards(request)


# Ways to put a file where it can be read


def on_disk(name: str, content: bytes, folder: Path, _: FastaServer) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def in_memory(name: str, content: bytes, _: Path, __: FastaServer) -> str:
    fsspec.filesystem("memory").pipe_file(f"/{name}", content)
    return f"memory://{name}"


def on_the_web(name: str, content: bytes, _: Path, server: FastaServer) -> str:
    server.files[f"/{name}"] = content
    return f"{server.url}/{name}"


PLACES = [
    pytest.param(on_disk, id="disk"),
    pytest.param(in_memory, id="memory"),
    pytest.param(on_the_web, id="web"),
]
Place = Callable[[str, bytes, Path, FastaServer], str]


def bgzip(text: bytes, block_bytes: int = 1 << 16) -> bytes:
    out = io.BytesIO()
    writer = biopython.BgzfWriter(fileobj=out)
    for start in range(0, len(text), block_bytes):
        writer.write(text[start : start + block_bytes])
        writer.flush()
    return out.getvalue() + END
