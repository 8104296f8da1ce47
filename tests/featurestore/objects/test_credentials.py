"""Credentials, endpoint and region of S3: found as users expect, and the same for both engines.

The server here says who asked; whether signatures are right is tested against a real one, if `AWS_ENDPOINT_URL` is set.
"""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pytest
import tensorstore as ts

import featurestore
from catalog import Grid
from featurestore import TensorStoreRows, ZarrRows, connect
from featurestore.objects.s3_access import S3Access
from featurestore.testing import built_store

ENDPOINT = os.environ.get("AWS_ENDPOINT_URL", "")
REAL = {name: os.environ.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


class Asker(NamedTuple):
    """Who a request says that it comes from."""

    key: str | None
    region: str | None
    token: str | None


class Doorman(ThreadingHTTPServer):
    """A bucket that is a folder, and notes who asks; `refused` is the one key that does not get in."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _DoormanHandler)
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.askers: list[Asker] = []
        self.refused = ""


class _DoormanHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Doorman

    def do_GET(self) -> None:
        signed = self.headers.get("Authorization", "")
        scope = signed.partition("Credential=")[2].split("/") if signed else [None] * 3
        asker = Asker(scope[0], scope[2], self.headers.get("x-amz-security-token"))
        self.server.askers.append(asker)
        path = self.server.folder / self.path.partition("?")[0].removeprefix("/bucket/")
        if asker.key == self.server.refused:
            return self._answer(403, b"<Error><Code>ExpiredToken</Code></Error>")
        if "list-type" in self.path:
            keys = sorted(
                path.relative_to(self.server.folder) for path in self.server.folder.rglob("commits/**/*.json")
            )
            dated = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            shown = "".join(f"<Contents><Key>{key}</Key><Size>9</Size>{dated}</Contents>" for key in keys)
            return self._answer(200, f"<ListBucketResult>{shown}</ListBucketResult>".encode())
        if not path.is_file():
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        data = path.read_bytes()
        first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not first and not last:
            return self._answer(200, data)
        low = int(first) if first else len(data) - int(last)
        high = min(int(last) + 1, len(data)) if first and last else len(data)
        return self._answer(206, data[low:high], f"bytes {low}-{high - 1}/{len(data)}")

    def _answer(self, status: int, body: bytes, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Doorman]:
    with Doorman(tmp_path / "bucket") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home of its own, in which nothing is set."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "30")
    folder = tmp_path / "home" / ".aws"
    folder.mkdir(parents=True)
    return folder


ENV = {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "s"}
PROFILES = "[default]\naws_access_key_id = usual\naws_secret_access_key = s\n" + (
    "[lab]\naws_access_key_id = lab\naws_secret_access_key = s\naws_session_token = t\n"
)
CONFIG = "[default]\nregion = eu-west-1\n[profile lab]\nregion = ap-south-1\n"
NAMED = {"key": "named", "secret": "s"}


@pytest.mark.parametrize(
    ("environment", "options", "expected"),
    [
        pytest.param(ENV, {}, Asker("env", "us-east-1", None), id="environment"),
        pytest.param(ENV | {"AWS_SESSION_TOKEN": "t"}, {}, Asker("env", "us-east-1", "t"), id="with a token"),
        pytest.param(ENV | {"AWS_REGION": "r1", "AWS_DEFAULT_REGION": "r2"}, {}, Asker("env", "r1", None), id="region"),
        pytest.param(ENV | {"AWS_DEFAULT_REGION": "r2"}, {}, Asker("env", "r2", None), id="default region"),
        pytest.param({"with": "profiles"}, {}, Asker("usual", "eu-west-1", None), id="default profile"),
        pytest.param({"with": "profiles", "AWS_PROFILE": "lab"}, {}, Asker("lab", "ap-south-1", "t"), id="AWS_PROFILE"),
        pytest.param({"with": "files"}, {}, Asker("usual", "eu-west-1", None), id="files named in the environment"),
        pytest.param({"with": "profiles"} | ENV, {}, Asker("env", "eu-west-1", None), id="environment before profile"),
        pytest.param(
            {"with": "profiles"} | ENV, {"profile": "lab"}, Asker("lab", "ap-south-1", "t"), id="profile option first"
        ),
        pytest.param(ENV | {"AWS_SESSION_TOKEN": "t"}, NAMED, Asker("named", "us-east-1", None), id="keys as options"),
        pytest.param(
            {"with": "profiles"}, NAMED | {"token": "u", "region": "r"}, Asker("named", "r", "u"), id="all as options"
        ),
        pytest.param(
            {}, NAMED | {"client_kwargs": {"region_name": "r"}}, Asker("named", "r", None), id="client_kwargs"
        ),
        pytest.param(ENV, {"anon": True}, Asker(None, None, None), id="anonymous"),
        pytest.param({"AWS_SKIP_SIGNATURE": "true"}, {}, Asker(None, None, None), id="anonymous by environment"),
    ],
)
def test_both_engines_ask_as_the_same_user(
    server: Doorman,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    environment: dict[str, str],
    options: dict[str, Any],
    expected: Asker,
) -> None:
    variables = dict(environment)
    if files := variables.pop("with", None):
        folder = home if files == "profiles" else home.parent / "elsewhere"
        folder.mkdir(exist_ok=True)
        for name, text, variable in (
            ("credentials", PROFILES, "AWS_SHARED_CREDENTIALS_FILE"),
            ("config", CONFIG, "AWS_CONFIG_FILE"),
        ):
            (folder / name).write_text(text)
            if files == "files":
                monkeypatch.setenv(variable, str(folder / name))
    for name, value in (variables | {"AWS_ENDPOINT_URL": server.url}).items():
        monkeypatch.setenv(name, value)
    objects = connect("s3://bucket/a", options)
    with pytest.raises(FileNotFoundError):
        objects.get("none")
    kvstore = objects.kvstore()
    assert kvstore is not None
    assert ts.KvStore.open(kvstore).result().read("none").result().state == "missing"
    assert set(server.askers) == {expected}
    assert len(server.askers) == 2
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        pytest.param({"AWS_ENDPOINT_URL": " http://mine/\n"}, {}, id="AWS_ENDPOINT_URL"),
        pytest.param(
            {"AWS_ENDPOINT_URL_S3": "http://mine", "AWS_ENDPOINT_URL": "http://other"}, {}, id="that of S3 first"
        ),
        pytest.param({"AWS_ENDPOINT_URL": "http://other"}, {"endpoint_url": "http://mine"}, id="option first"),
        pytest.param({}, {"client_kwargs": {"endpoint_url": "http://mine"}}, id="client_kwargs"),
        pytest.param({"config": "[default]\nendpoint_url = http://mine\n"}, {}, id="profile"),
        pytest.param(
            {"config": "[default]\nservices = mine\n[services mine]\ns3 =\n  endpoint_url = http://mine\n"},
            {},
            id="service",
        ),
    ],
)
def test_the_endpoint_is_found(
    home: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], options: dict[str, Any]
) -> None:
    variables = dict(environment)
    (home / "config").write_text(variables.pop("config", ""))
    for name, value in (ENV | variables).items():
        monkeypatch.setenv(name, value)
    assert S3Access("s3://bucket", options).endpoint == "http://mine"


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_endpoint_or_region_is_none(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    for name, value in (ENV | {"AWS_ENDPOINT_URL": blank, "AWS_REGION": blank}).items():
        monkeypatch.setenv(name, value)
    access = S3Access("s3://bucket", {})
    assert (access.endpoint, access.region) == (None, None)
    # Given whole, since obstore would take the blank ones of the environment, and panic.
    settings = access.for_obstore()["config"]
    assert settings == {"region": "us-east-1", "endpoint": "https://s3.us-east-1.amazonaws.com"}


def test_line_breaks_around_keys_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "k\n",
        "AWS_SECRET_ACCESS_KEY": " s\r\n",
        "AWS_SESSION_TOKEN": "\n",
    }.items():
        monkeypatch.setenv(name, value)
    assert S3Access("s3://bucket", {"endpoint_url": "http://mine"}).keys() == ("k", "s", "")


def test_keys_that_tensorstore_cannot_be_given_are_read_with_by_zarr(server: Doorman) -> None:
    odd = {"key": "named", "secret": "a # b", "endpoint_url": server.url}
    built_store(server.folder, {"c": 100}, Grid(bin_size=16))
    assert isinstance(featurestore.open("s3://bucket", storage_options=odd)["demo"].source, ZarrRows)
    assert {asker.key for asker in server.askers} == {"named"}


def test_keys_that_ran_out_are_renewed_in_the_midst_of_reading(server: Doorman) -> None:
    local = built_store(server.folder, {"c": 500}, Grid(bin_size=16))["demo"]
    options = {"key": "old", "secret": "s", "endpoint_url": server.url}
    old = connect("s3://bucket", options).kvstore()
    renewed = [connect("s3://bucket", options | {"key": "new"}).kvstore()]
    assert old is not None
    reader = local.with_source(TensorStoreRows(old, "demo", renewed=lambda: renewed[-1]))
    expected = local.windows("c", [100, 300], 5).values
    np.testing.assert_array_equal(reader.windows("c", [100, 300], 5).values, expected)
    server.refused = "old"
    server.askers.clear()
    np.testing.assert_array_equal(reader.windows("c", [100, 300], 5).values, expected)
    assert {asker.key for asker in server.askers} == {"old", "new"}
    server.refused = "new"
    with pytest.raises(PermissionError, match=r"403 ExpiredToken; .*AWS_SESSION_TOKEN"):
        reader.windows("c", [100, 300], 5)


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "options", "error", "message"),
    [
        pytest.param({}, {}, PermissionError, r"no credentials for s3://bucket/a: set AWS_ACC.*`anon`", id="none"),
        pytest.param(
            {"AWS_ACCESS_KEY_ID": "k"}, {}, PermissionError, r"cannot be had \(Partial.*set AWS_ACC", id="no secret"
        ),
        pytest.param(
            {"AWS_PROFILE": "gone"},
            {},
            PermissionError,
            r"\(The config profile \(gone\) could not",
            id="no such profile",
        ),
        pytest.param({}, {"key": "k"}, ValueError, "`key` and `secret` there is only one; give", id="half an option"),
        pytest.param(
            ENV, {"user": "k"}, ValueError, r"unknown storage options \['user'\]; s3:// takes k", id="unknown"
        ),
        pytest.param(
            ENV,
            {"client_kwargs": {"verify": False}},
            ValueError,
            r"\['verify'\]; .*endpoint_url and region_name",
            id="of a client",
        ),
        *(
            pytest.param(
                ENV | {"AWS_ENDPOINT_URL": url},
                {},
                ValueError,
                r"no URL of a server; write it as in https",
                id=repr(url),
            )
            for url in ("minio:9000", "//minio", "http://", "ftp://minio", "http://a b", "http://a\nb", "http://a:port")
        ),
        pytest.param(ENV | {"AWS_REGION": "eu\nx"}, {}, ValueError, r"the region 'eu\\nx' is no name", id="region"),
        pytest.param(
            ENV | {"AWS_ACCESS_KEY_ID": "k\ney"}, {}, PermissionError, r"access key for .* \(4 char.*copy it", id="key"
        ),
        pytest.param(
            ENV | {"AWS_SESSION_TOKEN": "t k"}, {}, PermissionError, r"the token for .* holds a line break", id="token"
        ),
    ],
)
def test_what_is_missing_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    environment: dict[str, str],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    started = time.monotonic()
    with pytest.raises(error, match=message):
        featurestore.open("s3://bucket/a", storage_options=options)
    assert time.monotonic() - started < 5
    assert capfd.readouterr().err == ""


# --- a real server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def real_store() -> Iterator[str]:
    if not ENDPOINT:
        pytest.skip("no S3 server: AWS_ENDPOINT_URL is not set")
    named = {"key": REAL["AWS_ACCESS_KEY_ID"], "secret": REAL["AWS_SECRET_ACCESS_KEY"], "endpoint_url": ENDPOINT}
    filesystem = fsspec.filesystem("s3", **named)
    bucket = f"featurestore-{uuid.uuid4().hex[:12]}"
    filesystem.mkdir(bucket)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in REAL.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", ENDPOINT)
        built_store(f"s3://{bucket}/a", {"c": 500}, Grid(bin_size=16))
    yield f"s3://{bucket}/a"
    filesystem.rm(bucket, recursive=True)


@pytest.mark.parametrize("way", ["environment", "profile", "options"])
def test_a_real_server_takes_the_signatures_of_both_engines(
    real_store: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], way: str
) -> None:
    options = {}
    if way == "environment":
        for name, value in (REAL | {"AWS_ENDPOINT_URL": ENDPOINT}).items():
            monkeypatch.setenv(name, value)
    elif way == "profile":
        lines = [f"{name.lower()} = {value}" for name, value in REAL.items()]
        (home / "credentials").write_text("\n".join(["[lab]", *lines]))
        (home / "config").write_text(f"[profile lab]\nendpoint_url = {ENDPOINT}\n")
        monkeypatch.setenv("AWS_PROFILE", "lab")
    else:
        options = dict(zip(("key", "secret"), REAL.values(), strict=True)) | {"endpoint_url": ENDPOINT}
    store = featurestore.open(real_store, storage_options=options)
    reader = store["demo"]
    assert isinstance(reader.source, TensorStoreRows)
    fast = reader.windows("c", [5, 100, 499], 5).values
    slow = (
        reader.with_source(ZarrRows(store.objects.zarr(read_only=True), "demo")).windows("c", [5, 100, 499], 5).values
    )
    np.testing.assert_array_equal(fast, slow)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("wrong", ["key", "secret", "anon"])
def test_a_real_server_refuses_who_it_does_not_know(
    real_store: str, capfd: pytest.CaptureFixture[str], wrong: str
) -> None:
    named = {"key": REAL["AWS_ACCESS_KEY_ID"], "secret": REAL["AWS_SECRET_ACCESS_KEY"]}
    options = {"endpoint_url": ENDPOINT, **({"anon": True} if wrong == "anon" else named | {wrong: "another"})}
    started = time.monotonic()
    with pytest.raises(PermissionError, match=r"could not read s3://.* 403 .*set AWS_ACCESS_KEY_ID"):
        featurestore.open(real_store, storage_options=options)
    rows = TensorStoreRows(connect(real_store, options).kvstore() or {}, "demo")
    with pytest.raises(PermissionError, match=r"could not read demo at s3://.* 403 .*set AWS_ACCESS_KEY_ID"):
        featurestore.read_rows(rows, [featurestore.RowRequest("c", 0, 0, 3)], 3)
    assert time.monotonic() - started < 10
    assert capfd.readouterr().err == ""
