"""Workers follow what is set on their dataset, spawned or forked; a fork before the first read works."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from catalog import Grid
from featurestore.testing import built_store
from loaders import StackedDataset, WindowDataset, aligned_dataset
from loaders.windows.shared_numbers import SharedNumbers

CENTRES = [100, 500, 900, 1300]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return built_store(tmp_path_factory.mktemp("s"), {"chr1": 2000}, Grid(bin_size=16)).url


def loader_of(dataset: Any, how: str) -> "DataLoader[Any]":
    return DataLoader(dataset, batch_size=4, num_workers=1, multiprocessing_context=how, persistent_workers=True)


def follows(url: str, how: str) -> None:
    """Change what can change between passes of persistent workers, and compare with this process's own reading."""
    jittered: dict[str, Any] = {"contigs": "chr1", "centres": CENTRES, "n_bins": 9, "jitter_bins": 20, "seed": 1}
    dataset = WindowDataset(url, "demo", residence="stream", **jittered)
    loader = loader_of(dataset, how)
    passes = []
    for n_bins, epoch in ((9, 0), (3, 0), (5, 2)):
        dataset.n_bins = n_bins
        dataset.set_epoch(epoch)
        passes.append(next(iter(loader)))
    own = WindowDataset(url, "demo", residence="stream", **jittered)  # read last: a fork comes before the first read
    for (n_bins, epoch), batch in zip(((9, 0), (3, 0), (5, 2)), passes, strict=True):
        own.n_bins = n_bins
        own.set_epoch(epoch)
        assert batch.equal(own[list(range(4))]), (how, n_bins, epoch)
        assert own.settings.n_bins == n_bins


def test_spawned_workers_follow_the_number_of_bins_and_the_epoch(url: str) -> None:
    follows(url, "spawn")


def test_forked_workers_read_before_this_process_did_and_follow(url: str) -> None:
    # In a process of its own: this one has read already.
    script = "import sys; from test_workers import follows; follows(sys.argv[1], 'fork')"
    command = [sys.executable, "-c", script, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_changed_copy_leaves_the_dataset_as_it_was(url: str) -> None:
    dataset = WindowDataset(url, "demo", contigs="chr1", centres=CENTRES, n_bins=9)
    stacked = StackedDataset(aligned_dataset(url, ["demo"], contigs="chr1", centres=CENTRES, n_bins=9))
    for one in (dataset, stacked):
        copies = (copy.copy(dataset), copy.deepcopy(dataset), one.subset([0]), one.unjittered(), one.with_n_bins(9))
        for copied in (*copies, pickle.loads(pickle.dumps(dataset))):
            copied.n_bins = 3
            copied.set_epoch(7)
            assert (one.n_bins, one.settings.n_bins, dataset.epoch) == (9, 9, 0)
            assert (copied.n_bins, copied.settings.n_bins) == (3, 3)


def test_shared_numbers_are_kept_where_they_are_sent() -> None:
    numbers = SharedNumbers([5, 2**62])
    sent = pickle.loads(pickle.dumps(numbers))
    assert [sent[0], sent[1]] == [numbers[0], numbers[1]] == [5, 2**62]
    numbers[0] = 6
    assert (numbers[0], copy.copy(numbers)[0], copy.deepcopy(numbers)[1]) == (6, 6, 2**62)
