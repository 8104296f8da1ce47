"""Windows that are gathered where the model is are those that are read from memory; here the device is a CPU."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from window_kinds import LENGTHS, SOURCES, built, of_genes, source

import featurestore
from catalog import Grid
from featurestore.testing import assembly_of, build_set, random_sequences
from loaders import MemoryBudgetExceeded, Projection, WindowDataset, data_loader

EVERY = [0, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return built(tmp_path_factory.mktemp("device") / "s")


@given(
    st.sampled_from(SOURCES),
    st.integers(0, 3),
    st.integers(0, 40),
    st.sampled_from(["forward", "gene"]),
    st.sampled_from(["float16", "bfloat16", "float32", "float64"]),
    st.sampled_from([None, ["channel1"], ["channel1", "channel0"]]),
    st.lists(st.integers(0, 4), min_size=1, max_size=9),
    st.integers(0, 5),
)
@settings(max_examples=30, deadline=None)
def test_windows_on_the_device_are_those_from_memory(
    url: str,
    kind: str,
    reach: int,
    jitter_bp: int,
    orient: str,
    dtype: str,
    channels: list[str] | None,
    numbers: list[int],
    epoch: int,
) -> None:
    changes: dict[str, Any] = {"orient": orient, "dtype": dtype, "channels": channels, "n_bins": 2 * reach + 1}
    if kind != "anchored":
        changes["jitter_bp"] = jitter_bp
    found = []
    for residence in ("device", "memory"):
        windows = source(url, kind, residence=residence, **changes)
        windows.set_epoch(epoch)
        part = windows.subset(numbers)
        found.append([windows[numbers], part[range(len(numbers))], part.with_n_bins(1)[[0]], part.unjittered()[[0]]])
    for gathered, read in zip(*found, strict=True):
        assert gathered.dtype == read.dtype
        assert torch.equal(gathered, read)


def test_an_epoch_and_a_number_of_bins_that_change_are_followed(url: str) -> None:
    here, there = (of_genes(url, residence=residence, jitter_bp=40).windows for residence in ("device", "memory"))
    for epoch, n_bins in ((0, 9), (1, 9), (1, 4), (0, 4)):
        for windows in (here, there):
            windows.set_epoch(epoch)
            windows.n_bins = n_bins
        assert torch.equal(here[EVERY], there[EVERY])


@pytest.mark.parametrize("orient", ["forward", "gene"])
def test_sums_of_channels_are_the_same_to_the_last_bit(url: str, orient: str) -> None:
    matrix = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    projection = Projection(names=("a", "b"), matrix=matrix)
    here, there = (
        of_genes(url, residence=residence, projection=projection, orient=orient).windows
        for residence in ("device", "memory")
    )
    assert torch.equal(here[EVERY], there[EVERY])


def test_small_integers_stay_what_they_are(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = featurestore.create(tmp_path_factory.mktemp("device") / "uint8", assembly_of(random_sequences(LENGTHS)))
    build_set(store, Grid(bin_size=16, offsets=(0, 8)), name="counts", n_channels=2, dtype="uint8")
    here, there = (
        WindowDataset(store, "counts", contigs="chr1", centres=[2, 990], n_bins=9, residence=residence)
        for residence in ("device", "memory")
    )
    assert here[[0, 1]].dtype == torch.uint8
    assert torch.equal(here[[0, 1]], there[[0, 1]])


def test_rows_are_read_once_for_all_copies_of_a_dataset(url: str) -> None:
    windows = of_genes(url, residence="device").windows
    _ = windows[EVERY]
    read = windows.stats.cache_misses
    assert read > 0
    _ = windows.subset([3, 1]).with_n_bins(3)[[0, 1]], windows[EVERY]
    assert windows.stats.cache_misses == read
    assert torch.equal(pickle.loads(pickle.dumps(windows))[EVERY], windows[EVERY])


def test_rows_that_do_not_fit_the_device_are_an_error_with_bytes_and_mend(url: str) -> None:
    with pytest.raises(MemoryBudgetExceeded, match=r"take [\d,]+ bytes on cpu, and 100 may.*residence='memory'"):
        _ = of_genes(url, residence="device", memory_bytes=100).windows[EVERY]


@pytest.mark.slow
def test_workers_of_a_loader_are_sent_back(url: str) -> None:
    loader = data_loader(of_genes(url, residence="device").windows, batch_size=2, num_workers=1)
    with pytest.raises(ValueError, match=r"gathered by the process of the model.*num_workers=0"):
        list(loader)


def test_windows_that_were_never_built_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = featurestore.create(tmp_path_factory.mktemp("device") / "part", assembly_of(random_sequences(LENGTHS)))
    build_set(store, Grid(bin_size=16), name="demo", n_channels=2, contigs=["chr1"])
    windows = WindowDataset(store, "demo", contigs=["chr1", "chr2"], centres=[5, 5], n_bins=3, residence="device")
    with pytest.raises(featurestore.NotBuilt, match="chr2"):
        _ = windows[[1]]
