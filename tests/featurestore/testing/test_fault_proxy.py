"""The proxy that makes faults does what each is called, and else passes everything on as it came."""

import http.client
import time
from collections.abc import Callable

import numpy as np
import pytest
from tiny_s3 import TinyS3

from featurestore.testing.fault_proxy import (
    SLOW_DOWN,
    Fault,
    FaultProxy,
    Request,
    Trouble,
    at_first,
    sometimes,
)

TROUBLES: list[Fault] = [Trouble.RESET_BEFORE, Trouble.RESET_AFTER, Trouble.CUT]


def send(proxy: FaultProxy, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
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
        return lambda: send(proxy, "PUT", "/bucket/k", b"abc")

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
        send(proxy, "GET", "/bucket/k")
    assert cut.value.partial == b"a"
    assert set(proxy.traffic.faults.elements()) == {SLOW_DOWN, *TROUBLES, Trouble.STALL}


def test_a_proxy_adds_the_latency_asked_for(proxy: FaultProxy) -> None:
    started = time.perf_counter()
    send(proxy, "PUT", "/bucket/k", b"abc")
    undelayed = time.perf_counter() - started
    proxy.latency_s = 0.1
    send(proxy, "PUT", "/bucket/k", b"abc")
    assert time.perf_counter() - started - undelayed >= 0.1


def test_rules_draw_the_same_requests_each_time() -> None:
    requests = [Request(number, "GET", "/x") for number in range(2000)]
    faults = [sometimes(0.2, TROUBLES, seed=5)(request) for request in requests]
    assert faults == [sometimes(0.2, TROUBLES, seed=5)(request) for request in requests]
    assert faults != [sometimes(0.2, TROUBLES, seed=6)(request) for request in requests]
    assert 300 < sum(fault is not None for fault in faults) < 500
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
