"""`featurestore.open` of a server's URL: the windows of the store itself, or the error that it would raise."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from range_server import serve as serve_folder
from served import served

import featurestore
from catalog import Grid, UnknownContig
from featurestore.format.layout import values_path
from featurestore.store import Store
from featurestore.testing.fixtures import build_set, built_store
from featurestore.upkeep.seal import seal
from featurestore.web.client import RemoteStore

LENGTHS = {"chr1": 500, "chr2": 90}
GRID = Grid(bin_size=8, offsets=(0, 4))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = built_store(tmp_path_factory.mktemp("client") / "store", LENGTHS, GRID, name="half")
    build_set(store, GRID, name="bytes", dtype="uint8")
    return store


@pytest.fixture(scope="module")
def remote(store: Store) -> Iterator[RemoteStore]:
    with served(store, max_values=4000) as url:
        yield of(featurestore.open(url))


def of(store: Any) -> RemoteStore:
    assert isinstance(store, RemoteStore)
    return store


places = st.sampled_from(sorted(LENGTHS)).flatmap(
    lambda contig: st.tuples(st.just(contig), st.integers(0, LENGTHS[contig] - 1))
)


@settings(max_examples=25)
@given(st.lists(places, min_size=1, max_size=40), st.integers(1, 70), st.sampled_from(["half", "bytes"]))
def test_windows_are_those_of_the_store_however_many_requests_they_take(
    remote: RemoteStore, store: Store, wanted: list[tuple[str, int]], n_bins: int, name: str
) -> None:
    contigs, centres = [contig for contig, _ in wanted], [centre for _, centre in wanted]
    found, expected = remote[name].windows(contigs, centres, n_bins), store[name].windows(contigs, centres, n_bins)
    for field in ("values", "first_starts", "phases", "residuals"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field), strict=True)
    assert found.bin_size == expected.bin_size
    one, own = (reader.window(*wanted[0], n_bins=n_bins) for reader in (remote[name], store[name]))
    assert (one.contig, one.centre, one.phase, one.residual) == (own.contig, own.centre, own.phase, own.residual)
    np.testing.assert_array_equal(one.values, own.values, strict=True)
    np.testing.assert_array_equal(one.starts, own.starts, strict=True)


def test_it_lists_what_the_store_has(remote: RemoteStore, store: Store) -> None:
    assert (list(remote), len(remote), "half" in remote) == (list(store), 2, True)
    assert remote["half"].channel_names == store["half"].channel_names
    assert remote["half"].fingerprint == store["half"].feature_set.fingerprint
    assert "half" in repr(remote)
    assert "channel0" in repr(remote["half"])


def test_what_the_store_would_refuse_is_refused_with_the_same_class(remote: RemoteStore) -> None:
    with pytest.raises(UnknownContig, match="chr9"):
        remote["half"].window("chr9", 3, n_bins=3)
    with pytest.raises(featurestore.NotBuilt, match="half"):
        remote["none"]
    with pytest.raises(featurestore.NotBuilt, match="S/1"):
        remote["half"].with_overlay("S/1").window("chr1", 3, n_bins=3)
    with pytest.raises(ValueError, match="0 to 499"):
        remote["half"].window("chr1", 500, n_bins=3)
    with pytest.raises(ValueError, match="at most 4,000"):
        remote["half"].window("chr1", 50, n_bins=4000)
    with pytest.raises(ValueError, match="one contig a centre"):
        remote["half"].windows(["chr1"], [1, 2], n_bins=3)


def test_damage_is_damage(tmp_path: Path) -> None:
    store = built_store(tmp_path / "store", {"chr1": 100}, GRID, name="half")
    key = f"{values_path('half', 'chr1')}/c/0/1/0"
    data = bytearray(store.objects.get(key))
    data[3] ^= 1
    store.objects.put(key, bytes(data))
    with served(store) as url, pytest.raises(featurestore.DamagedChunk, match="c/0/1/0"):
        featurestore.open(url)["half"].window("chr1", 50, n_bins=9)


def test_one_of_several_stores_is_named_by_its_url(store: Store, tmp_path: Path) -> None:
    other = built_store(tmp_path / "other", {"chrX": 90}, GRID, name="half")
    with served(store, other) as url:
        with pytest.raises(ValueError, match=f"{url}/stores/a, {url}/stores/b"):
            featurestore.open(url)
        with pytest.raises(ValueError, match="serves 2 stores"):
            featurestore.open(f"{url}/stores/c")
        found = of(featurestore.open(f"{url}/stores/b/"))["half"].window("X", 20, n_bins=3)
    np.testing.assert_array_equal(found.values, other["half"].window("chrX", 20, n_bins=3).values)


def test_the_token_is_sent_and_a_wrong_one_is_refused_with_the_mend(store: Store) -> None:
    with served(store, token="s3cret") as url:
        for options in (None, {"token": "wrong"}):
            with pytest.raises(PermissionError, match="storage_options="):
                featurestore.open(url, storage_options=options)
        assert list(featurestore.open(url, storage_options={"token": "s3cret"})) == ["bytes", "half"]


def test_a_static_folder_is_still_a_store_of_objects(tmp_path: Path) -> None:
    store = built_store(tmp_path / "store", {"chr1": 100}, GRID, name="half")
    seal(store)
    with serve_folder(tmp_path / "store") as folder:
        found = featurestore.open(folder.url)
        assert isinstance(found, Store)
        assert found["half"].window("chr1", 50, n_bins=3).values.shape == (3, 3)
        assert [path for path, _ in folder.asked].count("/v1/service-info") == 1


def test_a_sealed_store_behind_a_server_is_also_a_folder_of_objects(tmp_path: Path) -> None:
    store = built_store(tmp_path / "store", {"chr1": 100}, GRID, name="half")
    seal(store)
    with served(store) as url:
        found = featurestore.open_store(f"{url}/stores/a")
        expected = store["half"].window("chr1", 50, n_bins=9).values
        np.testing.assert_array_equal(found["half"].window("chr1", 50, n_bins=9).values, expected)


def test_a_reply_that_is_no_such_array_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((1, 3, 2), np.float16))
    monkeypatch.setattr("featurestore.web.serving.routes.encode_windows", lambda *_, **__: file.getvalue())
    with served(store) as url:
        reader = featurestore.open(url)["half"]
        with pytest.raises(ValueError, match="of shape"):
            reader.window("chr1", 50, n_bins=3)
        monkeypatch.setattr("featurestore.web.serving.routes.encode_windows", lambda *_, **__: b"x" * 10_000)
        with pytest.raises(ValueError, match="more than"):
            reader.window("chr1", 50, n_bins=3)
