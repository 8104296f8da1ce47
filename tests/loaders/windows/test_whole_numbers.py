"""Windows asked for with numbers of any type are those asked for with Python's, or refused in a sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import featurestore
from catalog import Grid
from catalog.genes.anchors import Anchor
from featurestore.testing import build_anchored, built_store
from loaders import AlignedDataset, AnchoredWindows, JoinedDataset, WindowDataset, WindowSettings, data_loader, prefetch
from loaders.bench import measure_reading
from loaders.residence.open import open_reader

KINDS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.float32, np.float64]
BAD = [True, np.True_, 0.5, float("nan"), 10**18, "3", None]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> featurestore.Store:
    made = built_store(tmp_path_factory.mktemp("s"), {"chr1": 5000, "chr2": 77}, Grid(bin_size=16, offsets=(0, 8)))
    build_anchored(made, "demo", [Anchor("a", "chr1", 300), Anchor("b", "chr1", 900)], name="genes", n_bins=9)
    return made


@pytest.fixture(scope="module")
def dataset(store: featurestore.Store) -> WindowDataset:
    return WindowDataset(store, "demo", contigs="chr1", centres=[100, 2000, 4999], n_bins=9)


@given(st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(0, 126), st.integers(1, 120))
def test_windows_of_any_type_of_number_are_those_of_pythons(
    store: featurestore.Store, kind: Any, other: Any, centre: int, n_bins: int
) -> None:
    reader = store["demo"]
    expected, found = (
        reader.window("chr1", centre, n_bins=n_bins),
        reader.window("chr1", kind(centre), n_bins=other(n_bins)),
    )
    assert (found.centre, found.phase, found.residual) == (centre, expected.phase, expected.residual)
    np.testing.assert_array_equal(found.starts, expected.starts)
    np.testing.assert_array_equal(found.values, expected.values)
    many = reader.windows("chr1", np.asarray([centre, 63], dtype=kind), other(n_bins))
    np.testing.assert_array_equal(many.values[0], expected.values)
    assert reader.to_polars("chr1", kind(centre), other(127), offset=kind(8)).equals(
        reader.to_polars("chr1", centre, 127, offset=8)
    )


@given(st.sampled_from(KINDS[:-2]), st.lists(st.integers(0, 2), min_size=1, max_size=4))
def test_datasets_take_numbers_of_any_type(dataset: WindowDataset, kind: Any, indices: list[int]) -> None:
    typed = [kind(index) for index in indices]
    expected = dataset[indices]
    assert dataset[typed].equal(expected)
    assert dataset[np.asarray(typed)].equal(expected)
    assert dataset.subset(typed)[list(range(len(indices)))].equal(expected)
    assert dataset[typed[0]].equal(expected[0])
    assert dataset.with_n_bins(kind(5)).n_bins == 5
    loader = data_loader(dataset, batch_size=kind(2), seed=kind(3), shuffle=True)
    assert [batch.shape[0] for batch in loader] == [2, 1]


def test_settings_are_pythons_numbers_whatever_they_were() -> None:
    settings = WindowSettings(n_bins=np.int16(251), jitter_bins=np.int8(2), jitter_bp=2.0, seed=np.uint64(2**64 - 1))
    assert settings == WindowSettings(n_bins=251, jitter_bins=2, jitter_bp=2, seed=2**64 - 1)
    assert type(settings.n_bins) is type(settings.seed) is int


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_every_door_refuses_what_is_no_whole_number(
    store: featurestore.Store, dataset: WindowDataset, bad: Any
) -> None:
    reader = store["demo"]
    around = AnchoredWindows(store, "demo", "genes", settings=WindowSettings(n_bins=5))

    def set_n_bins(windows: Any) -> None:
        windows.n_bins = bad

    doors: list[Callable[[], Any]] = [
        lambda: reader.window("chr1", bad),
        lambda: reader.window("chr1", 5, n_bins=bad),
        lambda: reader.windows("chr1", [bad], 3),
        lambda: reader.windows("chr1", [5], bad),
        lambda: reader.to_polars("chr1", bad, 10),
        lambda: reader.to_polars("chr1", 0, bad),
        lambda: reader.to_polars("chr1", 0, 10, offset=bad),
        lambda: WindowDataset(store, "demo", contigs="chr1", centres=[bad]),
        *(
            lambda name=name: WindowDataset(store, "demo", contigs="chr1", centres=[5], **{name: bad})
            for name in ("n_bins", "jitter_bins", "jitter_bp", "memory_bytes", "cache_bytes", "stream_bytes")
            if not (name.endswith("bytes") and bad == 10**18)
        ),
        lambda: dataset.set_epoch(bad),
        lambda: dataset.with_n_bins(bad),
        lambda: set_n_bins(JoinedDataset([dataset.with_n_bins(3)])),
        lambda: set_n_bins(AlignedDataset({"demo": dataset.with_n_bins(3)})),
        lambda: set_n_bins(around.with_n_bins(3)),
        lambda: around.reader.windows(["a"], bad if bad is not None else 0.5),
        lambda: dataset.elsewhere(["chr1"], [bad]),
        *(
            lambda name=name: data_loader(dataset, shuffle=True, **{name: bad})
            for name in ("batch_size", "seed", "num_workers")
            if not (name == "seed" and bad == 10**18)
        ),
        lambda: prefetch([], depth=bad),
        lambda: measure_reading(open_reader(store.url, "demo"), n_bins=bad),
        lambda: measure_reading(open_reader(store.url, "demo"), batch_size=bad),
    ]
    for number, door in enumerate(doors):
        with pytest.raises((TypeError, ValueError), match="whole number"):
            pytest.fail(f"door {number} gave {door()!r}")


@pytest.mark.parametrize("bad", [[True, False, True], [0.5], ["a"], np.asarray([True, True, False]), 0.5, True, None])
def test_indices_that_are_no_whole_numbers_are_refused(dataset: WindowDataset, bad: Any) -> None:
    for windows in (dataset, JoinedDataset([dataset]), AlignedDataset({"demo": dataset})):
        with pytest.raises((TypeError, ValueError), match="whole number"):
            windows[bad]
        if isinstance(bad, list | np.ndarray):
            with pytest.raises((TypeError, ValueError), match="whole number"):
                windows.subset(bad)


def test_a_window_longer_than_any_genome_is_refused(store: featurestore.Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"longer than any genome; ask for 68,719,476,736 bins at the most"):
        store["demo"].window("chr1", 5, n_bins=2**37)
    with pytest.raises(ValueError, match="move windows further than any genome is long"):
        WindowDataset(store, "demo", contigs="chr1", centres=[5], jitter_bins=2**38)


def test_a_batch_that_no_memory_holds_is_refused_before_it_is_made(store: featurestore.Store) -> None:
    reader = store["demo"]
    for read in (
        lambda: reader.window("chr1", 5, n_bins=10**9),
        lambda: reader.windows("chr1", [5] * 1000, 10**6),
        lambda: open_reader(store.url, "demo", residence="stream").windows("chr1", [5], 10**10),
    ):
        with pytest.raises(ValueError, match=r"take [\d,]+ bytes, more than 4,294,967,296; read fewer at a time"):
            read()
