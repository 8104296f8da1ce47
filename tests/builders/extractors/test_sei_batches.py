"""Batches: each sequence once and in order, whatever runs out of memory."""

import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from checkout import ROOT
from hypothesis import given
from hypothesis import strategies as st

from builders.extractors.sei.batches import GpuRunner, HostRunner, batch_that_fits, in_batches


def squares(bases: torch.Tensor) -> Mapping[str, torch.Tensor]:
    return {"sums": bases.float().sum(1, keepdim=True), "squares": bases.float() ** 2}


def out_of_memory() -> torch.cuda.OutOfMemoryError:
    return torch.cuda.OutOfMemoryError("CUDA out of memory")


@given(st.integers(0, 200), st.integers(1, 64), st.integers(1, 64))
def test_each_sequence_is_computed_once_and_in_order_by_batches_that_fit(total: int, size: int, capacity: int) -> None:
    done: list[int] = []
    relieved = failures = 0

    def step(first: int, end: int) -> None:
        nonlocal failures
        if end - first > capacity:
            failures += 1
            raise out_of_memory()
        done.extend(range(first, end))

    def relieve() -> None:
        nonlocal relieved
        relieved += 1

    last = in_batches(total, size, step, relieve)
    assert done == list(range(total))
    assert relieved == failures
    assert last <= size
    if total >= size:
        assert last <= max(capacity, 1)
        assert last == size or last > capacity // 2 - 1  # halved no more often than it had to be


def test_one_sequence_that_does_not_fit_is_an_error_that_says_what_to_do() -> None:
    def step(first: int, end: int) -> None:
        raise out_of_memory()

    with pytest.raises(MemoryError, match=r"single sequence; end other programs .* or use device='cpu'"):
        in_batches(5, 4, step, lambda: None)


def test_another_error_is_not_taken_for_lack_of_memory() -> None:
    def step(first: int, end: int) -> None:
        raise RuntimeError("no kernel image")

    with pytest.raises(RuntimeError, match="no kernel image"):
        in_batches(5, 4, step, lambda: pytest.fail("nothing to relieve"))


@given(st.integers(0, 10**12), st.integers(1, 10**9), st.integers(1, 1000))
def test_a_batch_leaves_a_fifth_of_the_memory_free(free_bytes: int, bytes_each: int, at_most: int) -> None:
    size = batch_that_fits(free_bytes, bytes_each, at_most=at_most)
    assert 1 <= size <= at_most
    if size > 1:
        assert size * bytes_each <= 0.8 * free_bytes
    if size < at_most:
        assert (size + 1) * bytes_each * 5 > free_bytes * 4


@given(st.integers(1, 9), st.integers(1, 12))
def test_the_size_of_a_batch_on_the_host_changes_no_value(size: int, n: int) -> None:
    sequences = np.arange(n * 4, dtype=np.uint8).reshape(n, 4)
    results = HostRunner(squares, size=size, dtype=torch.float16)(sequences)
    assert {name: values.dtype for name, values in results.items()} == {"sums": np.float16, "squares": np.float16}
    np.testing.assert_array_equal(results["sums"], sequences.sum(1, keepdims=True).astype(np.float16))
    np.testing.assert_array_equal(results["squares"], np.square(sequences.astype(np.float16)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("use_graph", [True, False], ids=["graph", "launched one by one"])
def test_a_gpu_gives_what_the_host_gives_through_graphs_and_a_last_batch_that_is_smaller(use_graph: bool) -> None:
    sequences = np.random.default_rng(0).integers(0, 99, (23, 8), dtype=np.uint8)
    expected = HostRunner(squares, size=5, dtype=torch.float32)(sequences)
    runner = GpuRunner(squares, device=torch.device("cuda", 0), size=5, dtype=torch.float32, use_graph=use_graph)
    for _ in range(2):
        for name, values in runner(sequences).items():
            np.testing.assert_array_equal(values, expected[name])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_batch_that_fills_a_gpu_is_halved_and_the_smaller_size_kept() -> None:
    def compute(bases: torch.Tensor) -> Mapping[str, torch.Tensor]:
        if len(bases) > 3:
            raise out_of_memory()
        return squares(bases)

    sequences = np.random.default_rng(0).integers(0, 99, (23, 8), dtype=np.uint8)
    runner = GpuRunner(compute, device=torch.device("cuda", 0), size=8, dtype=torch.float32)
    np.testing.assert_array_equal(runner(sequences)["sums"], sequences.sum(1, keepdims=True))
    assert runner.size == 2


def test_all_that_the_benchmark_imports_needs_numpy_and_torch_alone() -> None:
    others = ["pydantic", "zarr", "safetensors", "scipy", "polars", "dask", "distributed", "tensorstore"]
    code = f"import sys; sys.modules.update(dict.fromkeys({others}, None)); import benchmarks.sei_forward"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
