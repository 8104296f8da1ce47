"""Inference in batches that fit the memory; on a GPU copies overlap with computing.

Belongs here: batch sizes, pinned memory, streams, CUDA graphs, the retry after running out of memory. Does not: what is
computed (`builders.extractors.sei.inference`), which set it is for (`builders.extractors.sei.extractor`).

Needs numpy and torch only.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Compute = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]
"""From bases `(n, length)`, uint8, on the device to values by name, each `(n, channels)`."""

_WARM_UP = 3
"""Calls before a graph is captured: libraries choose kernels and allocate in the first ones."""


def batch_that_fits(free_bytes: int, bytes_each: int, *, at_most: int) -> int:
    """Choose how many fit into four fifths of the free memory; the rest is for libraries."""
    return max(1, min(at_most, free_bytes * 4 // 5 // bytes_each))


def in_batches(total: int, size: int, step: Callable[[int, int], None], relieve: Callable[[], None]) -> int:
    """Call `step(first, end)` over `total` items; one that runs out of memory is halved and done again.

    Parameters
    ----------
    size
        Items a batch to begin with.
    relieve
        Called before each retry, to give back what memory is held.

    Returns
    -------
    The size that it ended with, to begin with next time.

    Raises
    ------
    MemoryError
        If even one item does not fit.
    """
    first = 0
    while first < total:
        end = min(first + size, total)
        try:
            step(first, end)
        except torch.cuda.OutOfMemoryError as error:
            if end - first == 1:
                raise MemoryError(
                    "the device has too little free memory for a single sequence; end other programs on it "
                    "(`nvidia-smi` lists them), or use device='cpu'"
                ) from error
            size = (end - first) // 2
        else:
            first = end
            continue
        relieve()  # not in the handler, where the traceback still holds the tensors of the failed batch
    return size


class Runner(Protocol):
    """Runs sequences through a device."""

    def __call__(self, sequences: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Compute values by name, each `(n, channels)`, of sequences `(n, length)`, uint8; any number of them."""
        ...


class HostRunner:
    """Runs batches one after the other on the CPU."""

    def __init__(self, compute: Compute, *, size: int, dtype: torch.dtype) -> None:
        self._compute = compute
        self._size = size
        self._dtype = dtype

    def __call__(self, sequences: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Compute values by name; see `Runner`."""
        bases = torch.tensor(np.ascontiguousarray(sequences))
        parts = [self._compute(bases[first : first + self._size]) for first in range(0, len(bases), self._size)]
        return {name: torch.cat([part[name] for part in parts]).to(self._dtype).numpy() for name in parts[0]}


class GpuRunner:
    """Runs batches on a GPU: bytes go in and results come out on streams of their own, while the next is computed.

    Parameters
    ----------
    compute
        What to compute. With `use_graph` it must launch the same kernels for every full batch, and copy nothing from
        the host.
    size
        Sequences a batch.
    dtype
        Type in which results leave the device.
    use_graph
        Whether to record the launches of a full batch once, and replay them.
    """

    def __init__(
        self, compute: Compute, *, device: torch.device, size: int, dtype: torch.dtype, use_graph: bool = True
    ) -> None:
        self._compute = compute
        self._device = device
        self.size = size
        self._dtype = dtype
        self._use_graph = use_graph
        self._graph: _Graph | None = None
        self._incoming = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._outgoing = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def __call__(self, sequences: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Compute values by name; see `Runner`."""
        total = len(sequences)
        bases = torch.empty(sequences.shape, dtype=torch.uint8, pin_memory=True)
        bases.numpy()[:] = sequences
        results: dict[str, torch.Tensor] = {}

        def step(first: int, end: int) -> None:
            for name, values in self._on_device(bases[first:end]).items():
                if name not in results:
                    results[name] = torch.empty((total, values.shape[1]), dtype=self._dtype, pin_memory=True)
                self._outgoing.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(self._outgoing):
                    results[name][first:end].copy_(values, non_blocking=True)
                values.record_stream(self._outgoing)

        with torch.cuda.device(self._device):
            self.size = in_batches(total, self.size, step, self._relieve)
            self._outgoing.synchronize()
        return {name: values.numpy() for name, values in results.items()}

    def _on_device(self, bases: torch.Tensor) -> dict[str, torch.Tensor]:
        """Launch one batch; nothing here waits for the device."""
        computing = torch.cuda.current_stream()
        with torch.cuda.stream(self._incoming):
            here = bases.to(self._device, non_blocking=True)
        computing.wait_stream(self._incoming)
        here.record_stream(computing)
        if self._use_graph and len(bases) == self.size:
            if self._graph is None:
                self._graph = _Graph(self._compute, here)
            computed = self._graph(here)
        else:
            computed = self._compute(here)
        # A copy in any case: the next replay overwrites what a graph has written.
        return {name: values.to(self._dtype, copy=True) for name, values in computed.items()}

    def _relieve(self) -> None:
        self._outgoing.synchronize()
        self._graph = None
        torch.cuda.empty_cache()


class _Graph:
    """The launches of one batch, recorded."""

    def __init__(self, compute: Compute, example: torch.Tensor) -> None:
        self._bases = example.clone()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                compute(self._bases)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._computed = compute(self._bases)
        except RuntimeError as error:
            # Running out of memory ends the capture with a second error, which hides the first.
            if isinstance(error.__context__, torch.cuda.OutOfMemoryError):
                raise error.__context__ from None
            raise

    def __call__(self, bases: torch.Tensor) -> Mapping[str, torch.Tensor]:
        self._bases.copy_(bases)
        self._graph.replay()
        return self._computed
