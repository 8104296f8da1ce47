"""Batches made ahead: the loader's own, in order, from a thread that comes to an end."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from loaders.batching.device_prefetch import prefetch
from loaders.stats import Stats

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@given(st.lists(st.integers(), max_size=20), st.integers(1, 5))
@settings(deadline=None)
def test_batches_are_the_loaders_in_its_order_in_every_pass(batches: list[int], depth: int) -> None:
    ahead = prefetch(batches, depth=depth)
    assert len(ahead) == len(batches)
    for _ in range(2):
        assert list(ahead) == batches
    assert prefetch_threads() == []


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_no_more_batches_than_the_depth_are_made_ahead(depth: int) -> None:
    made = 0

    def loader() -> Iterator[int]:
        nonlocal made
        for number in range(20):
            made += 1
            yield number

    for number in prefetch(loader(), depth=depth):
        time.sleep(0.005)
        assert made <= number + 1 + depth
    assert made == 20


def test_an_error_comes_where_its_batch_would_have_come() -> None:
    def loader() -> Iterator[int]:
        yield 0
        yield 1
        raise OSError("the disk is gone")

    batches = iter(prefetch(loader()))
    assert next(batches) == 0
    time.sleep(0.05)  # the error has happened by now
    assert next(batches) == 1
    with pytest.raises(OSError, match="the disk is gone") as caught:
        next(batches)
    assert "loader" in [entry.name for entry in caught.traceback]
    assert prefetch_threads() == []


def test_a_loader_that_cannot_begin_says_so_to_the_consumer() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        list(prefetch(3))  # type: ignore[arg-type]


def test_a_consumer_that_stops_early_ends_the_thread_and_the_loader() -> None:
    closed_in: list[str] = []

    def loader() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            closed_in.append(threading.current_thread().name)

    for batch in prefetch(loader()):
        if batch == 3:
            break
    assert prefetch_threads() == []
    assert closed_in == ["prefetch"]


ABANDONS = """
import itertools, time
import numpy as np
from loaders.batching.prefetcher import Prefetcher

def loader():
    for number in itertools.count():
        time.sleep(0.01)
        yield np.ones(1 << 20).sum()

batches = iter(Prefetcher(loader()))
next(batches)
{ending}
"""


@pytest.mark.parametrize(
    ("ending", "status"), [("", 0), ("raise SystemExit(3)", 3), ("raise ValueError", 1)], ids=["end", "exit", "error"]
)
def test_the_interpreter_ends_in_the_middle_of_an_iteration(ending: str, status: int) -> None:
    ended = subprocess.run([sys.executable, "-c", ABANDONS.format(ending=ending)], timeout=60, capture_output=True)
    assert ended.returncode == status, ended.stderr
    assert b"Fatal" not in ended.stderr


class Pair(NamedTuple):
    features: Tensor
    prompts: list[str]
    more: dict[str, Any]


def pair(number: int) -> Pair:
    values = torch.arange(6.0).reshape(2, 3) + number
    return Pair(values, [f"gene {number}"], {"targets": (values.sum(), [values.long()]), "n": number})


def assert_same(found: Pair, expected: Pair) -> None:
    assert type(found) is Pair
    assert torch.equal(found.features.cpu(), expected.features)
    assert found.prompts == expected.prompts
    assert found.more["n"] == expected.more["n"]
    total, [whole] = found.more["targets"]
    assert torch.equal(total.cpu(), expected.more["targets"][0])
    assert torch.equal(whole.cpu(), expected.more["targets"][1][0])


def test_batches_of_any_nesting_come_through() -> None:
    for number, batch in enumerate(prefetch([pair(0), pair(1), pair(2)])):
        assert_same(batch, pair(number))


def test_every_tensor_goes_to_the_device() -> None:
    (batch,) = prefetch([pair(0)], "meta")
    total, [whole] = batch.more["targets"]
    assert {batch.features.device.type, total.device.type, whole.device.type} == {"meta"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_the_error_names_what_works_as_well() -> None:
    with pytest.raises(RuntimeError, match=r"no CUDA device here for 'cuda'; prefetch\(loader, 'cpu'\)"):
        prefetch([1], "cuda")


@needs_gpu
def test_batches_reach_the_gpu_whole_while_it_is_busy() -> None:
    square = torch.randn(2048, 2048, device="cuda")
    sums = []
    for number, batch in enumerate(prefetch((torch.full((1 << 22,), float(n)) for n in range(40)), "cuda")):
        assert batch.device.type == "cuda"
        for _ in range(10):
            square = torch.tanh(square @ square)
        sums.append((number, batch.min(), batch.max()))
        del batch  # its memory must not be taken for a later batch before the work above is done
    assert all(low.item() == number == high.item() for number, low, high in sums)


@needs_gpu
def test_nested_batches_reach_the_gpu() -> None:
    for number, batch in enumerate(prefetch([pair(n) for n in range(5)], "cuda")):
        assert batch.features.is_cuda
        assert_same(batch, pair(number))


def test_a_depth_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 batch is prefetched, got depth=0; iterate over the loader"):
        prefetch([1], depth=0)


class Counted:
    """A loader with counters, slow or not."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.stats = Stats()

    def __iter__(self) -> Iterator[int]:
        for number in range(10):
            time.sleep(self.seconds)
            self.stats = Stats(windows=number + 1)
            yield number


@pytest.mark.parametrize(("loader_s", "consumer_s", "stalls"), [(0.03, 0.0, True), (0.0, 0.03, False)])
def test_the_stall_share_tells_a_slow_loader_from_a_slow_consumer(
    loader_s: float, consumer_s: float, stalls: bool
) -> None:
    ahead = prefetch(Counted(loader_s))
    for _ in ahead:
        time.sleep(consumer_s)
    assert (ahead.stats.stall_share > 0.5) is stalls
    assert ahead.stats.windows == 10


def test_the_counters_of_a_loaders_dataset_are_found() -> None:
    class Windows(torch.utils.data.Dataset[Tensor]):
        stats = Stats(windows=7)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Tensor:
            return torch.zeros(1)

    assert prefetch(DataLoader(Windows())).stats.windows == 7


def test_a_state_is_of_what_the_consumer_has_had_and_not_of_what_is_made_ahead() -> None:
    class Resumable:
        def __iter__(self) -> Iterator[int]:
            return iter(range(10))

        def state_dict(self, *, taken: int) -> dict[str, Any]:
            return {"taken": taken}

    ahead = prefetch(Resumable(), depth=4)
    for batch in ahead:
        assert ahead.state_dict() == {"taken": batch + 1}
