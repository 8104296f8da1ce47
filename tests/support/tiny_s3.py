"""A few lines of S3 in memory, which check no signature.

Belongs here: the server. Does not: what goes wrong on the way to it (`featurestore.testing.fault_proxy`), a real server
(`s3_server`).
"""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class TinyS3(ThreadingHTTPServer):
    """One bucket in memory. `paths` are those requested."""

    daemon_threads = True
    page = 60

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _TinyS3Handler)
        self.objects: dict[str, bytes] = {}
        self.paths: list[str] = []
        self.hosts: set[str] = set()
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _TinyS3Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: TinyS3

    def do_GET(self) -> None:
        key = self._key()
        if "list-type" in self.path:
            return self._answer(200, self._listing())
        if self.path == "/in-chunks":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            return None
        data = self.server.objects.get(key)
        if data is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        byte_range = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if byte_range is None:
            return self._answer(200, data)
        first = int(byte_range[1]) if byte_range[1] else max(0, len(data) - int(byte_range[2]))
        last = min(int(byte_range[2]), len(data) - 1) if byte_range[1] and byte_range[2] else len(data) - 1
        return self._answer(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def do_PUT(self) -> None:
        key, body = self._key(), self._body()
        with self.server.lock:
            is_taken = self.headers.get("If-None-Match") == "*" and key in self.server.objects
            if not is_taken:
                self.server.objects[key] = body
        self._answer(412 if is_taken else 200, b"")

    def do_POST(self) -> None:
        self._key()
        keys = re.findall(r"<Key>(.*?)</Key>", self._body().decode())
        for key in keys:
            self.server.objects.pop(key, None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    do_HEAD = do_GET  # noqa: N815

    def _listing(self) -> bytes:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        after = query.get("continuation-token") or query.get("start-after", "")
        prefix = query.get("prefix", "")
        keys = sorted(key for key in self.server.objects if key.startswith(prefix) and key > after)
        folders = sorted({prefix + key[len(prefix) :].partition("/")[0] + "/" for key in keys})
        shown = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(self.server.objects[key])}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in keys[: self.server.page]
        )
        if "delimiter" in query:
            shown = "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
        elif len(keys) > self.server.page:
            shown += f"<NextContinuationToken>{keys[self.server.page - 1]}</NextContinuationToken>"
        return f"<ListBucketResult>{shown}</ListBucketResult>".encode()

    def _key(self) -> str:
        self.server.paths.append(f"{self.command} {self.path}")
        self.server.hosts.add(self.headers["Host"])
        return unquote(urlsplit(self.path).path).removeprefix("/bucket/")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"ETag": '"e"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""
