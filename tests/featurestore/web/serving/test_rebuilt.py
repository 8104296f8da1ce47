"""A store that is built anew beneath the server: other tags, other values, never a mixture."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import client_of

from catalog import Grid
from featurestore.format.layout import ContigLayout, commit_key, values_path
from featurestore.format.writer import write_shard
from featurestore.reader import FeatureReader
from featurestore.store import Store
from featurestore.testing.fixtures import ORIGIN, build_set, built_store, values_of
from featurestore.web.serving.stores import ServedStore, rows_around

GRID = Grid(bin_size=8)
PATH = "/v1/window?at=chr1:100&bins=21"


def written(store: Store, *, seed: int) -> np.ndarray[Any, Any]:
    """Write every shard of the set anew, as `repair` and a build do: record, shard, record."""
    described = store.feature_set("demo")
    layout = ContigLayout(described, 200)
    values = values_of(described, 200, 0, seed=seed)
    for shard in range(layout.n_shards(0)):
        first, end = layout.shard_span(0, shard)
        store.objects.delete(commit_key("demo", "chr1", 0, shard))
        store.objects.delete(f"{values_path('demo', 'chr1')}/c/0/{shard}/0")
        write_shard(store.objects, layout, values[first:end], contig="chr1", phase=0, shard=shard, origin=ORIGIN)
    return values[2:23]


def test_other_values_are_served_under_another_tag_also_from_a_warm_cache(tmp_path: Path) -> None:
    store = built_store(tmp_path / "store", {"chr1": 200}, GRID)
    with client_of(store) as client:
        before = client.get(PATH)
        after = written(store, seed=1)
        reply = client.get(PATH, headers={"If-None-Match": before.headers["etag"]})
        assert reply.status_code == 200
        assert reply.headers["etag"] != before.headers["etag"]
        np.testing.assert_array_equal(np.asarray(reply.json()["values"], np.float16), after)


def test_a_store_that_is_replaced_whole_is_opened_again(tmp_path: Path) -> None:
    store = built_store(tmp_path / "store", {"chr1": 200}, GRID, fingerprint="old")
    with client_of(store) as client:
        assert client.get(PATH).json()["fingerprint"] == "old"
        shutil.rmtree(tmp_path / "store")
        assert client.get(PATH).status_code in {404, 503}
        built_store(tmp_path / "store", {"chr1": 240}, GRID, fingerprint="new", n_channels=5, dtype="float32")
        reply = client.get(PATH).json()
        assert (reply["fingerprint"], len(reply["channels"]), reply["dtype"]) == ("new", 5, "float32")


def test_a_store_that_changes_during_a_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the shards are written anew between the first and the second half of a read."""
    store = built_store(tmp_path / "store", {"chr1": 200}, GRID)
    planned, after = FeatureReader.planned, []

    def half_old(self: FeatureReader, plan: Any) -> np.ndarray[Any, Any]:
        found = planned(self, plan)
        if not after:
            after.append(written(store, seed=2))
            found[:, 10:] = after[0][None, 10:]  # what a slow read would have seen
        return found

    monkeypatch.setattr(FeatureReader, "planned", half_old)
    with client_of(store) as client:
        found = np.asarray(client.get(PATH).json()["values"], np.float16)
    np.testing.assert_array_equal(found, after[0])


@pytest.mark.parametrize("beside", [(), ("demo",)], ids=["not relied on", "relied on"])
def test_what_is_made_of_several_sets_is_of_one_state_of_all_of_them(tmp_path: Path, beside: tuple[str, ...]) -> None:
    """The second set is written anew after the first was read."""
    store = built_store(tmp_path / "store", {"chr1": 200}, GRID)
    build_set(store, GRID, name="other")
    served = ServedStore("a", store, genes=None, cache_bytes=0)
    calls = 0

    def make(reader: FeatureReader, _: Any) -> list[np.ndarray[Any, Any]]:
        nonlocal calls
        calls += 1
        first = reader.window("chr1", 100, n_bins=21).values
        if calls == 1:
            written(store, seed=4)
        return [first, served.store["demo"].window("chr1", 100, n_bins=21).values]

    _, second = served.steady("other", lambda reader: rows_around(reader, "chr1", 0, 200), make, beside=beside)
    assert calls == (2 if beside else 1)
    np.testing.assert_array_equal(second, store["demo"].window("chr1", 100, n_bins=21).values)


def test_a_store_that_never_rests_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = built_store(tmp_path / "store", {"chr1": 200}, GRID)
    planned, seeds = FeatureReader.planned, iter(range(3, 100))

    def restless(self: FeatureReader, plan: Any) -> np.ndarray[Any, Any]:
        found = planned(self, plan)
        written(store, seed=next(seeds))
        return found

    monkeypatch.setattr(FeatureReader, "planned", restless)
    with client_of(store) as client:
        reply = client.get(PATH)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")


def test_a_new_phase_and_a_new_set_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurestore.web.serving.stores._DOCUMENTS_S", 0.0)
    store = built_store(tmp_path / "store", {"chr1": 200}, GRID)
    with client_of(store) as client:
        assert residuals(client.get(PATH + "&set=demo").json()) == [0]
        assert residuals(client.get("/v1/windows?set=demo&at=chr1:104&bins=2").json()) == [0]
        moved = client.get("/v1/windows?set=demo&at=chr1:104&bins=21").json()
        assert residuals(moved) != [0]
        build_set(store, Grid(bin_size=8, offsets=(0, 4)))
        build_set(store, GRID, name="other")
        again = client.get("/v1/windows?set=demo&at=chr1:104&bins=21").json()
        assert residuals(again) == [store_residual(store, 104)]
        assert [one["name"] for one in client.get("/v1/sets").json()] == ["demo", "other"]


def residuals(reply: dict[str, Any]) -> Sequence[int]:
    return [one["residual"] for one in reply.get("windows", [reply])]


def store_residual(store: Store, centre: int) -> int:
    from featurestore.store import open_store

    return open_store(store.url)["demo"].window("chr1", centre, n_bins=21).residual
