"""Raw objects when disks fill, folders are read-only and connections break: what passes is unnoticed, the rest is told.

The object store here is a few lines of HTTP that check no signature; `tests/builders/test_faults.py` uses a real one.
"""

import errno
import http.client
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
import numpy as np
import pytest
from checkout import ROOT
from fsspec.implementations.memory import MemoryFileSystem

import featurestore
from catalog import Grid
from featurestore import Objects, ZarrRows, connect
from featurestore.objects.errors import StoreUnavailable
from featurestore.rows.row_requests import RowRequest
from featurestore.rows.source import DamagedChunk, read_rows
from featurestore.testing import built_store
from featurestore.testing.fault_proxy import (
    ACCESS_DENIED,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    SLOW_DOWN,
    Fault,
    FaultProxy,
    Refusal,
    Request,
    Trouble,
    at_first,
    sometimes,
)

TROUBLES: list[Fault] = [Trouble.RESET_BEFORE, Trouble.RESET_AFTER, Trouble.CUT]
PASSING: list[Fault] = [INTERNAL_ERROR, SLOW_DOWN, *TROUBLES]


# --- a few lines of S3 ------------------------------------------------------------------------------------------------


class TinyS3(ThreadingHTTPServer):
    """One bucket in memory. `paths` are those asked for."""

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
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._answer(200, data)
        first = int(asked[1]) if asked[1] else max(0, len(data) - int(asked[2]))
        last = min(int(asked[2]), len(data) - 1) if asked[1] and asked[2] else len(data) - 1
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
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        after = asked.get("continuation-token") or asked.get("start-after", "")
        prefix = asked.get("prefix", "")
        keys = sorted(key for key in self.server.objects if key.startswith(prefix) and key > after)
        folders = sorted({prefix + key[len(prefix) :].partition("/")[0] + "/" for key in keys})
        shown = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(self.server.objects[key])}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in keys[: self.server.page]
        )
        if "delimiter" in asked:
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


@pytest.fixture
def s3() -> Iterator[TinyS3]:
    with TinyS3() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(s3: TinyS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "2")
    with FaultProxy(s3.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def objects(proxy: FaultProxy) -> Objects:
    return connect("s3://bucket/a")


# --- the proxy --------------------------------------------------------------------------------------------------------


def asked(proxy: FaultProxy, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=0.3)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_proxy_without_a_rule_passes_everything_on_as_it_came(s3: TinyS3, proxy: FaultProxy) -> None:
    big = np.random.default_rng(0).bytes(3_000_000)
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=5)
    for number in range(3):
        connection.request("PUT", f"/bucket/{number}", big[: number * 1_000_000], {"Expect": "100-continue"})
        assert connection.getresponse().read() == b""
        connection.request("GET", f"/bucket/{number}", headers={"Host": "named.elsewhere:1"})
        assert connection.getresponse().read() == big[: number * 1_000_000]
        connection.request("HEAD", f"/bucket/{number}")
        answer = connection.getresponse()
        assert (answer.read(), answer.headers["Content-Length"]) == (b"", str(number * 1_000_000))
    assert "named.elsewhere:1" in s3.hosts
    assert proxy.traffic.requests == {"PUT": 3, "GET": 3, "HEAD": 3}
    assert proxy.traffic.sent_bytes == proxy.traffic.received_bytes == 3_000_000
    for _ in range(2):
        connection.request("GET", "/in-chunks")
        assert connection.getresponse().read() == b"abcde"
    connection.close()


def test_each_fault_does_what_it_is_called(s3: TinyS3, proxy: FaultProxy) -> None:
    def put(fault: Fault) -> Callable[[], tuple[int, bytes]]:
        s3.paths.clear()
        proxy.rule = lambda request: fault
        return lambda: asked(proxy, "PUT", "/bucket/k", b"abc")

    refused = put(SLOW_DOWN)()
    assert refused[0] == 503
    assert b"<Code>SlowDown</Code>" in refused[1]
    assert s3.paths == []
    with pytest.raises(ConnectionResetError):
        put(Trouble.RESET_BEFORE)()
    assert s3.paths == []
    with pytest.raises(ConnectionResetError):
        put(Trouble.RESET_AFTER)()
    assert s3.paths == ["PUT /bucket/k"]
    with pytest.raises(TimeoutError):
        put(Trouble.STALL)()
    assert s3.paths == []
    proxy.rule = lambda request: Trouble.CUT
    with pytest.raises(http.client.IncompleteRead) as cut:
        asked(proxy, "GET", "/bucket/k")
    assert cut.value.partial == b"a"
    assert set(proxy.traffic.faults.elements()) == {SLOW_DOWN, *TROUBLES, Trouble.STALL}


def test_a_proxy_adds_the_latency_asked_for(proxy: FaultProxy) -> None:
    started = time.perf_counter()
    asked(proxy, "PUT", "/bucket/k", b"abc")
    undelayed = time.perf_counter() - started
    proxy.latency_s = 0.1
    asked(proxy, "PUT", "/bucket/k", b"abc")
    assert time.perf_counter() - started - undelayed >= 0.1


def test_rules_draw_the_same_requests_each_time() -> None:
    requests = [Request(number, "GET", "/x") for number in range(2000)]
    drawn = [sometimes(0.2, TROUBLES, seed=5)(request) for request in requests]
    assert drawn == [sometimes(0.2, TROUBLES, seed=5)(request) for request in requests]
    assert drawn != [sometimes(0.2, TROUBLES, seed=6)(request) for request in requests]
    assert 300 < sum(fault is not None for fault in drawn) < 500
    first = at_first(2, SLOW_DOWN, "PUT")
    assert [first(Request(0, method, "/")) for method in ("GET", "PUT", "GET", "PUT", "PUT")] == [
        None,
        SLOW_DOWN,
        None,
        SLOW_DOWN,
        None,
    ]


def test_a_proxy_stands_only_before_plain_http() -> None:
    with pytest.raises(ValueError, match=r"plain http://host:port, got https"):
        FaultProxy("https://s3.amazonaws.com")


# --- what passes ------------------------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Objects], object]] = {
    "get": lambda objects: objects.get("there/one"),
    "put": lambda objects: objects.put("there/one", b"other"),
    "create": lambda objects: objects.create("there/two", b"2" * 1_100_000),
    "create what is there": lambda objects: objects.create("there/one", b"other"),
    "delete": lambda objects: objects.delete("there/one"),
    "delete what is absent": lambda objects: objects.delete("there/none"),
    "walk": lambda objects: list(objects.walk("there")),
    "folders": lambda objects: objects.folders(""),
}


def fresh(s3: TinyS3) -> dict[str, bytes]:
    s3.objects = {"a/there/one": b"1" * 1000, "a/else": b""}
    return s3.objects


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: getattr(fault, "code", getattr(fault, "name", "")))
def test_a_fault_that_passes_changes_neither_the_result_nor_the_store(
    s3: TinyS3, proxy: FaultProxy, objects: Objects, operation: str, fault: Fault
) -> None:
    fresh(s3)
    expected = OPERATIONS[operation](objects)
    left = s3.objects
    fresh(s3)
    proxy.rule = at_first(1, fault)
    assert OPERATIONS[operation](objects) == expected
    assert s3.objects == left
    assert proxy.traffic.faults == {fault: 1}


@pytest.mark.parametrize("operation", ["get", "create"])
def test_a_server_that_falls_silent_is_asked_again(
    s3: TinyS3, proxy: FaultProxy, objects: Objects, operation: str
) -> None:
    fresh(s3)
    expected = OPERATIONS[operation](objects)
    proxy.rule = at_first(1, Trouble.STALL)
    assert OPERATIONS[operation](objects) == expected


def test_a_create_whose_answer_was_lost_is_ours_unless_another_came_first(
    s3: TinyS3, proxy: FaultProxy, objects: Objects
) -> None:
    proxy.rule = at_first(1, Trouble.RESET_AFTER)
    assert objects.create("k", b"ours")
    assert proxy.traffic.requests == {"PUT": 2, "GET": 1}

    def another_is_first(request: Request) -> Fault | None:
        if s3.objects.setdefault("a/l", b"another's") and request.number == 3:
            return Trouble.RESET_BEFORE
        return None

    proxy.rule = another_is_first
    assert not objects.create("l", b"ours")
    assert s3.objects == {"a/k": b"ours", "a/l": b"another's"}


def test_a_create_is_tried_again_when_another_write_of_the_key_was_under_way(
    s3: TinyS3, proxy: FaultProxy, objects: Objects
) -> None:
    proxy.rule = at_first(1, Refusal(409, "ConditionalRequestConflict"))
    assert objects.create("k", b"ours")
    assert s3.objects == {"a/k": b"ours"}


def test_a_listing_that_breaks_off_goes_on_after_the_last_key(s3: TinyS3, proxy: FaultProxy, objects: Objects) -> None:
    s3.objects = {f"a/many/{number:03}": b"x" * number for number in range(200)}
    proxy.rule = lambda request: Trouble.CUT if request.number in (1, 2, 4) else None
    assert list(objects.walk("many")) == [(f"many/{number:03}", number) for number in range(200)]
    assert len(proxy.traffic.faults) == 1
    assert proxy.traffic.requests.total() < 10


# --- what does not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["get", "put", "create", "walk"])
def test_a_store_that_stays_away_ends_in_a_clear_error_within_the_budget(
    s3: TinyS3, proxy: FaultProxy, objects: Objects, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "0.5")
    before = dict(fresh(s3))
    proxy.rule = lambda request: SLOW_DOWN
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"could not \w+ s3://bucket/a/.*503 SlowDown, tried for") as found:
        OPERATIONS[operation](objects)
    assert time.monotonic() - started < 5
    assert proxy.traffic.requests.total() > 1
    assert "run the same command again when the store answers" in str(found.value)
    assert "larger FEATURESTORE_RETRY_S (seconds to try, now 0.5)" in str(found.value)
    assert s3.objects == before


def test_a_server_that_is_not_there_ends_in_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "0.3")
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    objects = connect("s3://bucket/a", {"endpoint_url": url, "key": "k", "secret": "s"})
    with pytest.raises(StoreUnavailable, match=r"could not read s3://bucket/a/k: no connection, Connection refused"):
        objects.get("k")


@pytest.mark.parametrize(
    ("refusal", "kind", "mend"),
    [
        (ACCESS_DENIED, PermissionError, "set AWS_ACCESS_KEY_ID"),
        (EXPIRED_TOKEN, PermissionError, "AWS_SESSION_TOKEN"),
        (Refusal(403, "RequestTimeTooSkewed"), PermissionError, "clock is wrong: set it"),
        (Refusal(403, "QuotaExceeded"), OSError, "raise the quota"),
        (Refusal(404, "NoSuchBucket"), StoreUnavailable, "there is no such bucket: make it, or mend the URL"),
        (Refusal(501, "NotImplemented"), StoreUnavailable, "check the URL, its endpoint and region"),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_a_refusal_is_told_at_once_with_its_mend(
    s3: TinyS3, proxy: FaultProxy, objects: Objects, refusal: Refusal, kind: type[OSError], mend: str
) -> None:
    fresh(s3)
    proxy.rule = lambda request: refusal
    for operation in OPERATIONS.values():
        with pytest.raises(OSError, match=rf"could not \w+ s3://bucket/a/.*{refusal.status} {refusal.code}") as found:
            operation(objects)
        assert type(found.value) is kind
        assert mend in str(found.value)
        assert found.value.errno == (errno.ENOSPC if refusal.code == "QuotaExceeded" else None)
        # It travels from a worker to the client.
        travelled = pickle.loads(pickle.dumps(found.value))
        assert (type(travelled), str(travelled), travelled.errno) == (kind, str(found.value), found.value.errno)
    assert proxy.traffic.requests.total() == len(OPERATIONS)


def test_an_absent_object_is_a_file_not_found(objects: Objects) -> None:
    with pytest.raises(FileNotFoundError, match=r"could not read s3://bucket/a/none"):
        objects.get("none")


def test_a_web_server_that_only_gives_says_so(s3: TinyS3) -> None:
    s3.objects["k"] = b"given"
    objects = connect(f"{s3.url}/bucket")
    assert objects.get("k") == b"given"
    for attempt in (lambda: objects.create("l", b""), lambda: objects.folders("")):
        with pytest.raises(
            StoreUnavailable, match="check the URL, its endpoint and region, and whether the server can"
        ):
            attempt()


def test_a_budget_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "2 minutes")
    with pytest.raises(ValueError, match=r"set it to a number of seconds, such as 120, or unset it"):
        connect(tmp_path).get("k")


def test_the_server_script_says_which_packages_it_lacks(tmp_path: Path) -> None:
    script = ROOT / "tests/support/s3_server.py"
    command = [sys.executable, str(script), "start", str(tmp_path / "s3"), "9300"]
    done = subprocess.run(command, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "apt-get install --no-install-recommends ceph-common ceph-mon ceph-osd radosgw" in done.stderr
    assert not (tmp_path / "s3").exists()


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_zarr", [False, True], ids=["tensorstore", "zarr"])
def test_windows_survive_what_passes_and_never_call_an_outage_damage(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, *, with_zarr: bool
) -> None:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "1")

    def source() -> Any:
        store = featurestore.open("s3://bucket/windows")  # anew: nothing of the array is known yet
        return ZarrRows(store.objects.zarr(read_only=True), "demo") if with_zarr else store.rows("demo")

    built_store("s3://bucket/windows", {"c": 500}, Grid(bin_size=16))
    requests = [RowRequest("c", 0, 3, 9), RowRequest("c", 0, 20, 31)]
    expected = read_rows(source(), requests, 3)
    for fault in PASSING:
        opened = source()
        proxy.rule = at_first(2, fault)
        for found, rows in zip(read_rows(opened, requests, 3), expected, strict=True):
            np.testing.assert_array_equal(found, rows)
    staying: list[tuple[Fault, type[OSError], str]] = [
        (Trouble.CUT, StoreUnavailable, "when the store answers"),
        (EXPIRED_TOKEN, PermissionError, "set AWS_ACCESS_KEY_ID"),
    ]
    for fault, kind, mend in staying:
        proxy.rule = None
        opened = source()
        proxy.rule = lambda request, fault=fault: fault
        with pytest.raises(kind, match=mend) as told:
            read_rows(opened, requests, 3)
        assert not isinstance(told.value, DamagedChunk)


# --- any other file system --------------------------------------------------------------------------------------------


class LibraryError(Exception):
    """As an HTTP library raises of its own."""


class FlakyFileSystem(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Memory that fails first."""

    protocol = "flaky"
    failures: ClassVar[list[Exception]] = []

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def cat_file(self, *args: Any, **settings: Any) -> Any:
        self._fail()
        return super().cat_file(*args, **settings)

    def pipe_file(self, *args: Any, **settings: Any) -> Any:
        self._fail()
        return super().pipe_file(*args, **settings)

    def find(self, *args: Any, **settings: Any) -> Any:
        self._fail()
        return super().find(*args, **settings)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "1")
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    yield connect("flaky://some/where")
    FlakyFileSystem.failures.clear()
    MemoryFileSystem.store.clear()


def test_other_file_systems_are_tried_again_too(flaky: Objects) -> None:
    FlakyFileSystem.failures += [ConnectionResetError("gone"), TimeoutError("slow"), LibraryError("closed")]
    assert flaky.create("k", b"ours")
    FlakyFileSystem.failures += [LibraryError("closed")]
    assert not flaky.create("k", b"another's")
    FlakyFileSystem.failures += [ConnectionResetError("gone")]
    assert flaky.get("k") == b"ours"
    FlakyFileSystem.failures += [LibraryError("closed")]
    assert list(flaky.walk("")) == [("k", 4)]
    with pytest.raises(FileNotFoundError, match=r"could not read flaky://some/where/none"):
        flaky.get("none")


def test_other_file_systems_fail_with_the_same_errors(flaky: Objects) -> None:
    FlakyFileSystem.failures += [LibraryError("closed for the day")] * 50
    with pytest.raises(StoreUnavailable, match=r"flaky://some/where/k: LibraryError closed for the day, tried for"):
        flaky.get("k")
    FlakyFileSystem.failures[:] = [PermissionError(errno.EACCES, "no")]
    with pytest.raises(PermissionError, match=r"could not write flaky://some/where/k.*give this user the right"):
        flaky.put("k", b"")
    FlakyFileSystem.failures[:] = [OSError(errno.ENOSPC, "full")]
    with pytest.raises(OSError, match="make room there") as full:
        flaky.create("k", b"")
    assert full.value.errno == errno.ENOSPC
    FlakyFileSystem.failures[:] = [TypeError("a mistake in a program")]
    with pytest.raises(TypeError):
        flaky.get("k")


# --- local disks ------------------------------------------------------------------------------------------------------


def in_a_process(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_write_that_the_disk_does_not_take_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files fails the write half way, as a full disk does, and needs no right to mount one.
    script = """
import json, resource, signal, sys
from featurestore import connect
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
objects = connect(sys.argv[1])
for write in (objects.create, objects.put):
    try:
        write("a/b", b"x" * 1_000_000)
    except OSError as error:
        print(json.dumps([type(error).__name__, str(error)]))
print(json.dumps([list(objects.walk("a")), objects.create("a/b", b"x" * 1000)]))
"""
    *errors, left = map(json.loads, in_a_process(script, tmp_path).splitlines())
    for kind, text in errors:
        assert kind == "OSError"
        assert re.search(
            rf"could not (create|write) {tmp_path}/a/b: File too large; make room there.*run the same", text
        )
    assert len(errors) == 2
    assert left == [[], True]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["b"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_and_a_read_only_one_are_told_apart(small_disk: Path) -> None:
    objects = connect(small_disk)
    for write in (objects.create, objects.put):
        with pytest.raises(OSError, match=r"No space left on device; make room there, or raise the quota") as full:
            write("a/b", b"x" * 3_000_000)
        assert full.value.errno == errno.ENOSPC
    assert list(objects.walk("a")) == []
    assert objects.create("a/b", b"fits")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for attempt in (lambda: objects.create("c", b""), lambda: objects.put("c", b""), lambda: objects.delete("a/b")):
        with pytest.raises(PermissionError, match=r"Read-only file system; give this user the right") as told:
            attempt()
        assert told.value.errno == errno.EROFS
    with pytest.raises(PermissionError, match=r"could not open .*new/: Read-only"):
        connect(small_disk / "new", make=True)
    assert objects.get("a/b") == b"fits"


@pytest.mark.skipif(os.geteuid() == 0, reason="this user may write to every folder")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    objects = connect(tmp_path)
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match=r"Permission denied; give this user the right to write and read there"):
        objects.create("k", b"")
    tmp_path.chmod(0o755)


def test_a_writer_that_is_killed_leaves_no_half_object_under_its_key(tmp_path: Path) -> None:
    size = 24 << 20
    script = f"""
import sys
from featurestore import connect
objects, number = connect(sys.argv[1]), 0
while True:
    data = bytes({size})
    objects.create(f"many/{{sys.argv[2]}}-{{number}}", data) if number % 2 else objects.put("one", data)
    if not number:
        print("writing", flush=True)
    number += 1
"""
    with ExitStack() as stack:
        commands = [[sys.executable, "-c", script, str(tmp_path), str(number)] for number in range(4)]
        writers = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)) for command in commands]
        for number, writer in enumerate(writers):
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            time.sleep(0.02 * (1 + number))
            writer.send_signal(signal.SIGKILL)
    found = list(connect(tmp_path).walk(""))
    assert {n_bytes for _, n_bytes in found} == {size}
    assert all(re.fullmatch(r"one|many/\d-\d+", key) for key, _ in found)
    # What was half written lies under another name, which no listing gives and no later write minds.
    on_disk = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert all("#" in name for name in on_disk - {key for key, _ in found})
