"""Budgets: what one reply may hold, what all may, and who waits for how long."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import client_of

from catalog import Grid
from featurestore.store import Store
from featurestore.testing.fixtures import built_store
from featurestore.web.serving.budget import Gate
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
    monkeypatch.setattr("featurestore.web.serving.budget.Gate.take", refuse)
    with client_of(store) as client:
        reply = client.get("/v1/window?at=chr1:100&bins=3")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")


async def refuse(self: Gate, units: int = 1) -> None:
    raise Busy("no room")


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
