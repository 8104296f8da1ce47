"""Raw objects of a server that fails: transient errors go unnoticed, and the final error names the mend.

The object store here is a few lines of HTTP; `tests/builders/test_faults.py` uses a real one.
"""

import errno
import pickle
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import ROOT
from tiny_s3 import TinyS3

import featurestore
from catalog import Grid
from featurestore import Objects, ZarrRows, connect
from featurestore.objects.errors import StoreUnavailable
from featurestore.objects.s3_access import Keys, S3Access
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
)

TROUBLES: list[Fault] = [Trouble.RESET_BEFORE, Trouble.RESET_AFTER, Trouble.CUT]
PASSING: list[Fault] = [INTERNAL_ERROR, SLOW_DOWN, *TROUBLES]


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
        with pytest.raises(kind, match=mend) as raised:
            read_rows(opened, requests, 3)
        assert not isinstance(raised.value, DamagedChunk)


# --- a real server ----------------------------------------------------------------------------------------------------


def test_the_server_script_says_which_packages_it_lacks(tmp_path: Path) -> None:
    script = ROOT / "tests/support/s3_server.py"
    command = [sys.executable, str(script), "start", str(tmp_path / "s3"), "9300"]
    done = subprocess.run(command, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "apt-get install --no-install-recommends ceph-common ceph-mon ceph-osd radosgw" in done.stderr
    assert not (tmp_path / "s3").exists()


def test_a_panic_of_the_client_is_an_error_that_says_what_was_tried(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A line break that our own check of keys has missed: obstore's client cannot put it into a header.
    monkeypatch.setattr(S3Access, "keys", lambda self: Keys("k\ney", "secret", ""))
    objects = connect("s3://bucket/a")
    started = time.monotonic()
    for ask in (
        lambda: objects.get("x"),
        lambda: objects.put("x", b"1"),
        lambda: objects.create("x", b"1"),
        lambda: objects.folders(""),
        lambda: list(objects.walk("")),
    ):
        with pytest.raises(StoreUnavailable, match=r"could not \w+ s3://bucket/a.*Panic.*check the URL"):
            ask()
    assert time.monotonic() - started < 5, "nothing is tried again"


@pytest.mark.parametrize(
    "url", ["s3://", "gs://", "s3://bu cket/x", "http://a b/c", "http://[::1", "nonsense://x", "https:///x"]
)
def test_a_url_of_no_form_is_named_with_one_that_has_it(url: str, proxy: FaultProxy) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(url)} cannot be opened \(.*write a path, or a URL as in s3://"):
        connect(url)


def test_an_empty_place_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"'' is no path: it is empty .* is a variable of the shell unset"):
        connect("", make=True)
