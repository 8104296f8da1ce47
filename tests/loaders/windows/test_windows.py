"""Windows as tensors: the same wherever the rows live and however they are asked for."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_windows import CENTRES, GRID, LENGTHS, STRANDS, expected, windows

import featurestore
from catalog import Grid, UnknownContig
from featurestore import NotBuilt, RowRequest, RowSource
from featurestore.testing import (
    built_store,
    grids,
)
from loaders import (
    Residence,
    WindowDataset,
)

RESIDENCES: tuple[Residence, ...] = get_args(Residence)


class Counting:
    """Rows of another source, and how often they were asked for."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self.reads = 0

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[NDArray[np.float16]]) -> None:
        self.reads += 1
        self._source.read_into(requests, outputs)


def counted(dataset: WindowDataset) -> Counting:
    counting = Counting(dataset.reader.source)
    dataset.reader.source = counting
    return counting


@pytest.mark.parametrize("residence", RESIDENCES)
def test_the_tensors_are_the_windows_of_the_reader(url: str, residence: Residence) -> None:
    dataset = windows(url, residence=residence)
    assert len(dataset) == len(CENTRES)
    assert dataset.channel_names == ("channel0", "channel1", "channel2")
    assert dataset.fingerprint == "f0"
    assert dataset.contigs == ("chr1", "chr2", "chr1", "chr2", "chr1", "chr1")
    assert torch.equal(dataset[range(len(dataset))], expected(url))
    assert torch.equal(torch.stack([dataset[index] for index in range(len(dataset))]), expected(url))


@given(grids(max_bin_size=20), st.integers(1, 400), st.integers(1, 40), st.data())
@settings(max_examples=25, deadline=None)
def test_memory_cache_and_stream_give_identical_tensors(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, length: int, n_bins: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any")
    built_store(folder / "s", {"a": length, "b": 9}, grid, shard_bins=2 * data.draw(st.integers(1, 3)))
    places = st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 0.999), st.sampled_from("+-."))
    drawn = data.draw(st.lists(places, min_size=1, max_size=8))
    contigs = [contig for contig, _, _ in drawn]
    centres = [int(share * (length if contig == "a" else 9)) for contig, share, _ in drawn]
    found = [
        WindowDataset(
            folder / "s",
            "demo",
            contigs=contigs,
            centres=centres,
            strands=[strand for _, _, strand in drawn],
            orient="gene",
            n_bins=n_bins,
            residence=residence,
            cache_dir=folder / "mirror",
            cache_bytes=data.draw(st.integers(2_000, 9_000)),
        )[range(len(drawn))]
        for residence in RESIDENCES
    ]
    values = featurestore.open(folder / "s")["demo"].windows(contigs, centres, n_bins).values.astype(np.float32)
    for tensor in found:
        for window, (_, _, strand) in enumerate(drawn):
            turned = values[window, ::-1] if strand == "-" else values[window]
            np.testing.assert_array_equal(tensor[window].numpy(), turned)


@given(st.lists(st.integers(-len(CENTRES), len(CENTRES) - 1), min_size=1, max_size=9))
@settings(deadline=None)
def test_one_window_or_many_are_the_same(url: str, indices: list[int]) -> None:
    dataset = windows(url)
    many = dataset[indices]
    assert many.shape == (len(indices), 7, 3)
    assert torch.equal(many, torch.stack(dataset.__getitems__(indices)))
    assert torch.equal(many, torch.stack([dataset[index] for index in indices]))
    assert torch.equal(many, dataset[np.asarray(indices)])
    assert torch.equal(many, expected(url)[indices])


def test_setting_n_bins_reads_nothing_until_the_next_item(url: str) -> None:
    dataset = windows(url, residence="stream")
    counting = counted(dataset)
    for n_bins in (1, 4, 31):
        before = counting.reads
        dataset.n_bins = n_bins
        assert counting.reads == before
        assert torch.equal(dataset[range(len(dataset))], expected(url, n_bins))
        assert counting.reads == before + 1


def test_a_contig_in_memory_is_read_once_for_all_windows_and_lengths(url: str) -> None:
    dataset = windows(url)
    for n_bins in (3, 31, 8):
        dataset.n_bins = n_bins
        _ = dataset[range(len(dataset))]
    assert dataset.stats.cache_misses <= len(LENGTHS) * len(GRID.offsets)
    assert dataset.stats.windows == 3 * len(dataset)


@pytest.mark.parametrize("n_bins", [0, -3])
def test_a_window_has_a_bin_at_least(url: str, n_bins: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 bin, got n_bins={n_bins}"):
        windows(url, n_bins=n_bins)
    dataset = windows(url)
    with pytest.raises(ValueError, match="at least 1 bin"):
        dataset.n_bins = n_bins
    assert dataset.n_bins == 7


def test_orient_gene_turns_the_windows_of_the_minus_strand_and_no_other(url: str) -> None:
    forward = windows(url, strands=STRANDS)[range(len(CENTRES))]
    assert torch.equal(forward, expected(url))
    turned = windows(url, strands=STRANDS, orient="gene")[range(len(CENTRES))]
    for window, strand in enumerate(STRANDS):
        assert torch.equal(turned[window], forward[window].flip(0) if strand == "-" else forward[window])
    with pytest.raises(ValueError, match=r"needs the strand of each of the 6 windows: strands=\['\+', '-', \.\.\.\]"):
        windows(url, orient="gene")
    with pytest.raises(ValueError, match="needs the strand of each"):
        windows(url, orient="gene", strands=["+"])
    with pytest.raises(ValueError, match="orient is one of forward, gene; got 'reverse'"):
        windows(url, orient="reverse")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_tensors_have_the_type_asked_for(url: str, dtype: torch.dtype) -> None:
    tensor = windows(url, dtype=dtype)[[0, 1]]
    assert tensor.dtype == dtype
    assert torch.equal(tensor, expected(url)[[0, 1]].to(dtype))


def test_writing_to_a_tensor_changes_nothing_but_it(url: str) -> None:
    dataset = windows(url, dtype=torch.float16)
    dataset[0].zero_()
    dataset[[0, 1]].zero_()
    assert torch.equal(dataset[range(len(dataset))].float(), expected(url))


@pytest.mark.parametrize("indices", [[6], [-7], [0, 6, 1]])
def test_an_index_outside_the_dataset_is_refused(url: str, indices: list[int]) -> None:
    dataset = windows(url)
    with pytest.raises(IndexError, match=r"has 6 windows, 0 to 5; got index (6|-7)$"):
        _ = dataset[indices]
    with pytest.raises(IndexError, match=r"got index (0|6|-7)$"):
        _ = dataset.subset([])[indices[0]]
    with pytest.raises(IndexError, match="got no index"):
        _ = dataset[[]]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        pytest.param({"contigs": "chr9"}, UnknownContig, "no contig 'chr9'; it has chr1, chr2", id="unknown contig"),
        pytest.param({"contigs": "chr2"}, ValueError, "bases are 0 to 76", id="outside its contig"),
        pytest.param({"contigs": ["chr1"]}, ValueError, "1 contigs and 6 centres", id="too few contigs"),
        pytest.param({"centres": [0.5] * 6}, ValueError, "integer positions", id="half a base"),
        pytest.param(
            {"residence": "disk"}, ValueError, "memory, device, cache, stream; got 'disk'", id="unknown residence"
        ),
    ],
)
def test_windows_that_cannot_be_read_are_refused_when_the_dataset_is_made(
    url: str, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        windows(url, **settings)


@pytest.mark.parametrize("residence", RESIDENCES)
def test_a_set_or_shard_that_was_never_built_is_refused(tmp_path: Path, residence: Residence) -> None:
    built_store(tmp_path, LENGTHS, GRID, contigs=["chr1"])
    with pytest.raises(NotBuilt, match="has no feature set 'sei'; it has demo"):
        WindowDataset(tmp_path, "sei", contigs="chr1", centres=[5], residence=residence)
    dataset = WindowDataset(tmp_path, "demo", contigs=["chr1", "chr2"], centres=[5, 5], n_bins=3, residence=residence)
    assert torch.isfinite(dataset[0]).all()
    with pytest.raises(NotBuilt, match=r"featurestore build .* --contigs chr2"):
        _ = dataset[1]


def test_a_subset_is_those_windows_and_shares_what_was_read(url: str) -> None:
    dataset = windows(url, strands=STRANDS, orient="gene")
    whole = dataset[range(len(dataset))]
    counting = counted(dataset)
    chosen = dataset.subset([4, 1])
    assert (len(chosen), chosen.contigs, chosen.centres.tolist()) == (2, ("chr1", "chr2"), [500, 76])
    assert torch.equal(chosen[[0, 1]], whole[[4, 1]])
    assert counting.reads == 1, "the subset opened a reader of its own"
    chosen.n_bins = 3
    assert dataset.n_bins == 7
    assert len(dataset.subset([])) == 0


@pytest.mark.parametrize("residence", RESIDENCES)
def test_a_pickled_dataset_gives_the_same_tensors_and_carries_no_rows(url: str, residence: Residence) -> None:
    dataset = windows(url, residence=residence, strands=STRANDS, orient="gene", channels=["channel1"])
    unread = len(pickle.dumps(dataset))
    whole = dataset[range(len(dataset))]
    pickled = pickle.dumps(dataset)
    assert len(pickled) == unread
    for again in (pickle.loads(pickled), copy.deepcopy(dataset)):
        assert torch.equal(again[range(len(dataset))], whole)
        assert again.channel_names == dataset.channel_names


@pytest.mark.parametrize("residence", RESIDENCES)
def test_a_dataset_of_a_relative_path_is_read_in_a_process_with_another_working_directory(
    url: str, residence: Residence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = windows(url)[range(6)]
    (tmp_path / "home").symlink_to(Path(url).parent)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    for place in (f"home/{Path(url).name}", f"~/{Path(url).name}"):
        monkeypatch.chdir(tmp_path)
        pickled = pickle.dumps(windows(place, residence=residence, cache_dir="mirror"))
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert torch.equal(pickle.loads(pickled)[range(6)], whole)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_comes_to_another_process_is_opened_there_and_so_are_its_subsets(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = windows(url)
    _ = dataset[0]
    pickled = pickle.dumps(dataset)
    monkeypatch.setattr("os.getpid", lambda: -1)
    chosen = pickle.loads(pickled).subset([4, 1]).unjittered()
    assert chosen.placed([0, 1]).centres.tolist() == [500, 76]
    assert chosen.fingerprint == "f0"


FORKED = """
import sys
from torch.utils.data import DataLoader
from loaders import WindowDataset

dataset = WindowDataset(sys.argv[1], "demo", contigs="chr1", centres=[5, 500], n_bins=3, residence=sys.argv[2])
dataset[[0, 1]]
try:
    list(DataLoader(dataset, num_workers=1, multiprocessing_context="fork"))
except RuntimeError as error:
    print(error)
"""


@pytest.mark.parametrize("residence", ["memory", "stream"])
def test_a_worker_that_was_forked_after_use_refuses_with_the_mend(url: str, residence: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORKED, url, residence], capture_output=True, text=True, timeout=120, check=True
    )
    assert "spawn' or 'forkserver'" in ended.stdout
    assert "num_workers=0" in ended.stdout
