"""A static web server on loopback, with what hosts differ in: ranges, CORS."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


@dataclass
class RangeServer:
    """One folder, served; `asked` has the path of each GET that was answered, with its range."""

    url: str = ""
    ranges: bool = True
    cors: bool = False
    suffixes: bool = True
    """Whether `bytes=-n` is answered; npm's http-server says 416."""
    missing: int = 404
    """Status of what is not there; S3 says 403 to whoever may not list."""
    policy: str = ""
    """Its own Content-Security-Policy."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serve(
    folder: Path,
    *,
    ranges: bool = True,
    cors: bool = False,
    suffixes: bool = True,
    missing: int = 404,
    policy: str = "",
) -> Iterator[RangeServer]:
    server = RangeServer(ranges=ranges, cors=cors, suffixes=suffixes, missing=missing, policy=policy)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, server, directory=str(folder)))
    server.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, settings: RangeServer, *args: object, directory: str) -> None:
        self._settings = settings
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        pass

    def send_error(self, code: int, *words: str | None) -> None:
        super().send_error(self._settings.missing if code == 404 else code, *words)

    def end_headers(self) -> None:
        if self._settings.policy:
            self.send_header("Content-Security-Policy", self._settings.policy)
        if self._settings.cors:
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "Range")
        super().end_headers()

    def do_OPTIONS(self) -> None:  # http.server's own spelling
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self._settings.asked.append((self.path, wanted))
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
        path = Path(self.translate_path(self.path))
        if not self._settings.ranges or match is None or not path.is_file():
            super().do_GET()
            return
        if not self._settings.suffixes and not match[1]:
            self.send_error(416)
            return
        size = path.stat().st_size
        first, last = match.groups()
        start = int(first) if first else max(size - int(last), 0)
        with path.open("rb") as file:  # not the whole of it: a shard may have 256 MB
            file.seek(start)
            part = file.read(int(last) + 1 - start if first and last else -1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{size}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)
