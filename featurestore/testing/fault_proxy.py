"""Fault-injecting proxy for object stores: the errors of networks and busy servers, on purpose.

    with FaultProxy("http://127.0.0.1:9300", rule=sometimes(0.05, [SLOW_DOWN, Trouble.CUT]), latency_s=0.02) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.url

Belongs here: the proxy and its faults, for tests and benchmarks here and in other distributions; standard library only.
Does not: how a client handles a fault (`catalog.runtime.retry`).

It speaks HTTP/1.1 to plain `http://` servers that are addressed by path (Ceph, MinIO). The Host header, which a
signature covers, is passed on as it came. One thread a connection, connections kept alive on both sides.
"""

import random
import select
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from io import BufferedIOBase
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

_BLOCK_BYTES = 1 << 18
_HEAD_BYTES = 1 << 16


class Trouble(Enum):
    """Faults of a connection."""

    RESET_BEFORE = "reset before the server has seen the request"
    RESET_AFTER = "reset after the server has done what was asked: only the answer is lost"
    CUT = "closed half way through the body of the answer, or through its head if it has no body"
    STALL = "left open, without an answer"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error reply of the proxy; the server does not see the request."""

    status: int
    code: str
    """As S3 names it."""


INTERNAL_ERROR = Refusal(500, "InternalError")
SLOW_DOWN = Refusal(503, "SlowDown")
ACCESS_DENIED = Refusal(403, "AccessDenied")
EXPIRED_TOKEN = Refusal(400, "ExpiredToken")

Fault = Trouble | Refusal


class Request(NamedTuple):
    """A request, as a rule sees it."""

    number: int
    """Number of earlier requests."""
    method: str
    path: str
    """With its query."""


Rule = Callable[[Request], Fault | None]
"""Chooses the fault of a request; None for none. May be called by several threads concurrently."""


def sometimes(rate: float, faults: Sequence[Fault], *, seed: int = 0) -> Rule:
    """Inject one of several faults into a fraction of the requests; reproducible by seed."""

    def rule(request: Request) -> Fault | None:
        draw = random.Random(f"{seed} {request.number}")  # noqa: S311
        return draw.choice(faults) if draw.random() < rate else None

    return rule


def at_first(n: int, fault: Fault, *methods: str) -> Rule:
    """Inject a fault into the first `n` requests, or the first `n` of some methods."""
    left = iter(range(n))

    def rule(request: Request) -> Fault | None:
        if methods and request.method not in methods:
            return None
        return fault if next(left, None) is not None else None

    return rule


@dataclass(slots=True)
class Traffic:
    """Counts of a proxy's traffic."""

    requests: Counter[str] = field(default_factory=Counter)
    """By method."""
    faults: Counter[Fault] = field(default_factory=Counter)
    """Injected faults."""
    sent_bytes: int = 0
    """Bodies of forwarded requests."""
    received_bytes: int = 0
    """Bodies of the server's answers."""


class FaultProxy:
    """A reverse proxy on 127.0.0.1, in threads of this process, from entry to exit of a `with` block.

    Parameters
    ----------
    endpoint
        `http://host:port` of the server behind it.
    rule
        Chooses the fault of each request; may be replaced while the proxy runs.
    latency_s
        Added latency of each request (s).

    Raises
    ------
    ValueError
        If the endpoint is not plain HTTP.
    """

    def __init__(self, endpoint: str, *, rule: Rule | None = None, latency_s: float = 0.0) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"the proxy stands before a plain http://host:port, got {endpoint}; https it cannot read")
        self.server_address = (parts.hostname, parts.port or 80)
        self.rule = rule
        self.latency_s = latency_s
        self.traffic = Traffic()
        self._lock = threading.Lock()
        self._listener = _Listener(self)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """URL for clients, in place of the server's."""
        return f"http://127.0.0.1:{self._listener.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._listener.hang_up()
        self._listener.server_close()
        self._thread.join()

    def _arrived(self, method: str, path: str) -> Fault | None:
        """Count a request and choose its fault."""
        with self._lock:
            request = Request(self.traffic.requests.total(), method, path)
            self.traffic.requests[method] += 1
        fault = self.rule(request) if self.rule is not None else None
        if fault is not None:
            with self._lock:
                self.traffic.faults[fault] += 1
        return fault

    def _passed(self, sent_bytes: int, received_bytes: int) -> None:
        with self._lock:
            self.traffic.sent_bytes += sent_bytes
            self.traffic.received_bytes += received_bytes


class _Listener(socketserver.ThreadingTCPServer):
    """Accepts connections, and closes those still open when the proxy stops."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Connection)

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # no graceful shutdown first: it would reach the client before a reset

    def hang_up(self) -> None:
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it was closed meanwhile


class _Connection(socketserver.StreamRequestHandler):
    """One client's connection, with its connection to the server."""

    server: _Listener
    disable_nagle_algorithm = True
    rbufsize = _BLOCK_BYTES

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.request)
        self._upstream: _Upstream | None = None

    def finish(self) -> None:
        self.server.open.discard(self.request)
        if self._upstream is not None:
            self._upstream.close()
        try:
            super().finish()
        except OSError:
            return  # the client has gone

    def handle(self) -> None:
        try:
            while self._serve_one():
                pass
        except (OSError, _Broken):
            self._reset()  # a broken connection on one side breaks the other

    def _serve_one(self) -> bool:
        """Answer one request; False if the connection must be closed."""
        head = _Head.read(self.rfile)
        if head is None:
            return False
        proxy = self.server.proxy
        method, path, _ = head.first.split(" ", 2)
        if head.values.get("expect", "").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        fault = proxy._arrived(method, path)
        if fault is Trouble.RESET_BEFORE:
            raise _Broken
        if fault is Trouble.STALL:
            _skip(_body(self.rfile, head))
            self.connection.recv(1)  # returns when the client gives up
            return False
        time.sleep(proxy.latency_s)
        if isinstance(fault, Refusal):
            _skip(_body(self.rfile, head))
            self.connection.sendall(_refusal(fault, path, with_body=method != "HEAD"))
            return not head.is_last
        upstream = self._fresh_upstream()
        sent = upstream.send(head, _body(self.rfile, head))
        answer = upstream.receive_head()
        body = _body(upstream.file, answer, of_answer_to=method)
        if fault is not None:
            whole = b"".join(body)
            if fault is Trouble.CUT:
                cut = answer.raw + whole[: len(whole) // 2] if whole else answer.raw[: len(answer.raw) // 2]
                self.connection.sendall(cut)
                return False
            raise _Broken
        received = _send(self.connection, answer.raw, body)
        proxy._passed(sent, received)
        return not (head.is_last or answer.is_last)

    def _fresh_upstream(self) -> "_Upstream":
        """Return the connection to the server, a new one if the server has closed it meanwhile."""
        if self._upstream is not None and self._upstream.is_closed():
            self._upstream.close()
            self._upstream = None
        if self._upstream is None:
            self._upstream = _Upstream(self.server.proxy.server_address)
        return self._upstream

    def _reset(self) -> None:
        # SO_LINGER of 0: the following close sends a reset instead of a graceful end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Upstream:
    """A connection to the server."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self._socket.makefile("rb")

    def is_closed(self) -> bool:
        """Tell whether the server has closed the connection: between requests it sends nothing else."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def send(self, head: "_Head", body: Iterator[bytes]) -> int:
        return _send(self._socket, head.without("expect"), body)

    def receive_head(self) -> "_Head":
        while True:
            head = _Head.read(self.file)
            if head is None:
                raise _Broken
            if not head.first.split(" ", 2)[1].startswith("1"):  # 100 Continue: the answer follows
                return head

    def close(self) -> None:
        self.file.close()
        self._socket.close()


class _Broken(Exception):
    """The connection must be reset."""


class _Head(NamedTuple):
    """First line and headers of a message."""

    first: str
    values: dict[str, str]
    """By name in lower case."""
    raw: bytes

    @classmethod
    def read(cls, file: BufferedIOBase) -> "_Head | None":
        """Read a head; None if the sender has closed the connection."""
        lines = []
        while (line := file.readline(_HEAD_BYTES)) not in (b"\r\n", b"\n"):
            if not line:
                return None
            lines.append(line)
        fields = (line.decode("latin-1").partition(":") for line in lines[1:])
        values = {name.strip().lower(): value.strip() for name, _, value in fields}
        return cls(lines[0].decode("latin-1").rstrip(), values, b"".join([*lines, b"\r\n"]))

    @property
    def is_last(self) -> bool:
        """Whether the sender closes the connection after this message."""
        return "HTTP/1.0" in self.first or self.values.get("connection", "").lower() == "close"

    def without(self, name: str) -> bytes:
        """Return the bytes without one header."""
        if name not in self.values:
            return self.raw
        lines = self.raw.split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.lower().startswith(f"{name}:".encode()))


def _body(file: BufferedIOBase, head: _Head, *, of_answer_to: str = "") -> Iterator[bytes]:
    """Read the body of a message as it is on the wire, block by block."""
    status = head.first.split(" ", 2)[1] if of_answer_to else ""
    if of_answer_to == "HEAD" or status in ("204", "304"):
        return
    if head.values.get("transfer-encoding", "").lower() == "chunked":
        yield from _chunks(file)
    else:
        yield from _exactly(file, int(head.values.get("content-length", 0)))


def _chunks(file: BufferedIOBase) -> Iterator[bytes]:
    while True:
        line = file.readline(_HEAD_BYTES)
        yield line
        size = int(line.partition(b";")[0], 16)
        yield from _exactly(file, size)
        yield file.readline(_HEAD_BYTES)  # no trailers: S3 servers send none
        if size == 0:
            return


def _exactly(file: BufferedIOBase, n_bytes: int) -> Iterator[bytes]:
    while n_bytes:
        block = file.read1(min(n_bytes, _BLOCK_BYTES))
        if not block:
            raise _Broken
        n_bytes -= len(block)
        yield block


def _send(connection: socket.socket, head: bytes, body: Iterator[bytes]) -> int:
    """Send a message and return the size of its body (bytes). Head and first block share one packet if small."""
    first = next(body, b"")
    connection.sendall(head + first)
    size = len(first)
    for block in body:
        connection.sendall(block)
        size += len(block)
    return size


def _skip(body: Iterator[bytes]) -> None:
    for _ in body:
        pass


def _refusal(refusal: Refusal, path: str, *, with_body: bool) -> bytes:
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{refusal.code}</Code><Message>by the fault proxy</Message>"
        f"<Resource>{escape(urlsplit(path).path)}</Resource></Error>"
    ).encode()
    head = (
        f"HTTP/1.1 {refusal.status} {refusal.code}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(document)}\r\n\r\n"
    ).encode()
    return head + document if with_body else head
