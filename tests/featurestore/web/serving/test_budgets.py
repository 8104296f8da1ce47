"""Budgets: what one reply may hold, what all may, and who waits for how long."""

import asyncio
import io
import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import client_of, served

from catalog import Grid
from featurestore.reader import FeatureReader
from featurestore.store import Store
from featurestore.testing.fixtures import built_store
from featurestore.web.serving.budget import Gate
from featurestore.web.serving.encoding import BYTES_A_VALUE, NPY
from featurestore.web.serving.problems import Busy


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return built_store(tmp_path_factory.mktemp("budgets") / "store", {"chr1": 800}, Grid(bin_size=8))


def test_a_reply_of_more_values_than_allowed_is_413_before_it_is_read(store: Store) -> None:
    with client_of(store, max_values=30) as client:
        assert client.get("/v1/window?at=chr1:100&bins=10").status_code == 200
        for path in ("window?at=chr1:100&bins=11", "windows?at=chr1:9&at=chr1:100&bins=6"):
            reply = client.get(f"/v1/{path}")
            assert reply.status_code == 413
            assert "at most 30" in reply.json()["detail"]
        assert client.get("/rnaget/continuous/a~demo/bytes?chr=chr1&start=0&end=11").status_code == 413


def test_a_reply_of_more_memory_than_there_is_is_413_and_names_the_type_that_takes_less(store: Store) -> None:
    with client_of(store, memory_bytes=1 << 23) as client:
        path = "/v1/window?at=chr1:100&bins=60000"
        reply = client.get(path)
        assert reply.status_code == 413
        assert "application/x-npy" in reply.json()["detail"]
        assert client.get(path, headers={"Accept": "application/x-npy"}).status_code == 200


def test_a_request_that_finds_no_room_in_time_is_503_with_retry_after(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request is held in the middle of its read; the next finds the only place taken."""
    monkeypatch.setattr("featurestore.web.serving.budget._PATIENCE_S", 0.05)
    planned, is_reading, may_go_on = FeatureReader.planned, Event(), Event()

    def held(self: FeatureReader, plan: Any) -> Any:
        is_reading.set()
        assert may_go_on.wait(20)
        return planned(self, plan)

    monkeypatch.setattr(FeatureReader, "planned", held)
    path = "/v1/window?at=chr1:100&bins=3"
    with client_of(store, reads_at_once=1) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.get, path)
        assert is_reading.wait(20)
        refused = client.get(path)
        may_go_on.set()
        assert first.result().status_code == 200
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert client.get(path).status_code == 200


def test_a_client_that_takes_nothing_is_cut_off_and_its_memory_is_free_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurestore.web.serving.budget._LEAST_SEND_S", 0.5)
    monkeypatch.setattr("featurestore.web.serving.budget._SLOWEST_BYTES_PER_S", 1 << 30)
    path = f"/v1/window?at=chr1:100&bins={1 << 20}"
    memory_bytes = 3 * (1 << 20) * BYTES_A_VALUE[NPY]  # one such reply
    with served(store, memory_bytes=memory_bytes) as url, socket.socket() as idle:
        host, _, port = url.removeprefix("http://").partition(":")
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.connect((host, int(port)))
        idle.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {NPY}\r\n\r\n".encode())
        idle.recv(1)
        with urlopen(Request(f"{url}{path}", headers={"Accept": NPY}), timeout=20) as reply:
            assert np.load(io.BytesIO(reply.read())).shape == (1 << 20, 3)


def test_requests_wait_in_turn_and_a_late_one_is_turned_away() -> None:
    async def scenario() -> list[str]:
        gate, said = Gate(2, patience_s=0.2), []
        first = await gate.take(2)

        async def ask(name: str, units: int) -> None:
            try:
                give_back = await gate.take(units)
            except Busy:
                said.append(f"{name} busy")
                return
            said.append(name)
            await asyncio.sleep(0.01)
            give_back()

        waiting = [asyncio.create_task(ask(name, units)) for name, units in (("a", 2), ("b", 1), ("c", 1))]
        await asyncio.sleep(0.01)
        first()
        first()  # a second time gives nothing
        await asyncio.gather(*waiting)
        held = await gate.take(2)
        await ask("d", 1)
        held()
        await ask("e", 2)
        return said

    assert asyncio.run(scenario()) == ["a", "b", "c", "d busy", "e"]


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=12))
def test_no_more_units_are_out_than_there_are_and_all_come_back(requests: list[tuple[int, bool]]) -> None:
    async def scenario() -> None:
        gate, out = Gate(4, patience_s=1), []

        async def ask(units: int) -> None:
            give_back = await gate.take(units)
            out.append(units)
            assert sum(out) <= 4
            await asyncio.sleep(0)
            out.remove(units)
            give_back()

        first = await gate.take(4)
        tasks = [asyncio.create_task(ask(units)) for units, _ in requests]
        await asyncio.sleep(0)
        for task, (_, is_cancelled) in zip(tasks, requests, strict=True):
            if is_cancelled:
                task.cancel()
        first()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [error for error in ended if isinstance(error, Exception)]
        await asyncio.wait_for(gate.take(4), 1)

    asyncio.run(scenario())


def test_memory_is_given_back_when_a_reply_is_sent(store: Store) -> None:
    with client_of(store, memory_bytes=1 << 22, reads_at_once=1) as client:
        for _ in range(20):
            assert client.get("/v1/window?at=chr1:100&bins=3").status_code == 200
            assert client.get("/v1/window?at=chr9:100&bins=3").status_code == 404
            assert client.get("/stores/a/zarr.json").status_code == 200
