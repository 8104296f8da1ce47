"""Public files are fetched whole or not at all, from a server that cuts connections."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from featurestore.cli import main as cli
from featurestore.distribution.fetch import FetchFailed, fetch
from featurestore.distribution.public_files import PUBLIC_FILES, PublicFile

pytest.importorskip("pooch", reason="the extra fetch is not installed")
DATA = bytes(range(256)) * 1000


class Server:
    """Serves `DATA` with ranges; the first `cuts` replies end after `cut_after` bytes."""

    def __init__(self) -> None:
        self.data, self.cuts, self.cut_after, self.status = DATA, 0, 65_536, 200
        self.tag = '"one"'
        self.ranges: list[str | None] = []
        self.url = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "2")
    settings = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            settings.ranges.append(asked)
            if settings.status != 200:
                self.send_error(settings.status)
                return
            same = self.headers.get("If-Range") in (None, settings.tag)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and same else 0
            part = settings.data[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(settings.data) - 1}/{len(settings.data)}")
            self.send_header("ETag", settings.tag)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if settings.cuts > 0:
                settings.cuts -= 1
                part = part[: settings.cut_after]
            self.wfile.write(part)

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    settings.url = f"http://127.0.0.1:{httpd.server_port}/file"
    thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield settings
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def public(server: Server, **known: Any) -> PublicFile:
    digest = hashlib.sha256(DATA).hexdigest()
    made = PublicFile(name="file.bin", what="", address=server.url, licence="MIT", size=len(DATA), sha256=digest)
    return replace(made, **known)


def test_a_file_is_fetched_over_as_many_connections_as_it_takes(server: Server, tmp_path: Path) -> None:
    server.cuts = 2
    assert fetch(public(server), tmp_path).read_bytes() == DATA
    assert server.ranges == [None, "bytes=65536-", "bytes=131072-"]
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_the_same_command_goes_on_where_an_earlier_one_gave_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "0")
    server.cuts = 1
    with pytest.raises(FetchFailed, match=r"65,536 bytes are kept.*the same command goes on"):
        fetch(public(server), tmp_path)
    assert not (tmp_path / "file.bin").exists()
    assert fetch(public(server), tmp_path).read_bytes() == DATA
    assert server.ranges[-1] == "bytes=65536-"


def test_another_version_of_a_file_of_unknown_digest_begins_anew(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "0")
    server.cuts = 1
    file = public(server, sha256=None, size=None)
    with pytest.raises(FetchFailed):
        fetch(file, tmp_path)
    server.data, server.tag = DATA[::-1], '"two"'
    assert fetch(file, tmp_path).read_bytes() == DATA[::-1]


def test_a_file_of_another_digest_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.data = DATA[::-1]
    with pytest.raises(FetchFailed, match="as it was"):
        fetch(public(server), tmp_path)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "file.bin.partial.tag"])


def test_more_bytes_than_the_file_has_are_not_taken(server: Server, tmp_path: Path) -> None:
    server.data = DATA * 2
    with pytest.raises(FetchFailed, match="512,000 bytes"):
        fetch(public(server), tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_a_refusal_is_said_at_once(server: Server, tmp_path: Path) -> None:
    server.status = 403
    with pytest.raises(FetchFailed, match="403"):
        fetch(public(server), tmp_path)
    assert len(server.ranges) == 1


def test_what_is_there_is_checked_and_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(DATA)
    fetch(public(server), tmp_path)
    assert server.ranges == []
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(FetchFailed, match="move it away"):
        fetch(public(server), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b"mine"


def test_what_needs_a_person_is_said_so(tmp_path: Path) -> None:
    llama = next(file for file in PUBLIC_FILES if "Llama" in file.name)
    with pytest.raises(FetchFailed, match="accepted on that page"):
        fetch(llama, tmp_path)


def test_the_command_fetches_and_lists(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("featurestore.cli.fetch.PUBLIC_FILES", (public(server),))
    assert cli.main(["fetch", "file.bin", "--out", str(tmp_path)]) == 0
    assert "256,000 bytes, sha256 as it should be; licence: MIT" in capsys.readouterr().out
    assert cli.main(["fetch", "--list", "--json", "--out", str(tmp_path)]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["is_here"]
    assert listed["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert cli.main(["fetch", "no-such-file"]) == 2
    assert "fetch --list" in capsys.readouterr().err


def test_every_public_file_states_address_and_licence_and_a_whole_digest_or_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = [file.name for file in PUBLIC_FILES]
    assert len(set(names)) == len(names)
    for file in PUBLIC_FILES:
        assert file.address.startswith("https://")
        assert file.licence
        assert (file.sha256 is None) or (len(file.sha256) == 64 and set(file.sha256) <= set("0123456789abcdef"))
        assert (file.sha256 is None) == (file.size is None)
    assert cli.main(["fetch", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name[:12] in printed for name in names)
    assert "unknown" in printed
