"""Prefetch to a GPU: the next batches are copied while the present one is computed.

    for batch in prefetch(loader, "cuda"):
        ...

Belongs here: pinning, copying, and waiting for a copy. Does not: the thread (`loaders.batching.prefetcher`).
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

from loaders.batching.prefetcher import Prefetcher, unchanged

T = TypeVar("T")


def prefetch(loader: Iterable[T], device: torch.device | str = "cpu", *, depth: int = 2) -> Prefetcher[T]:
    """Prefetch batches to a device in a background thread.

    Batches are what the loader gives: tensors, or tuples, named tuples, lists and dictionaries of them, nested in any
    way; what is no tensor comes through as it is. To a CUDA device they are copied from pinned memory on a stream of
    their own; the consumer's current stream waits for the copy, its thread does not. On the CPU, reading overlaps with
    computing.

    Parameters
    ----------
    loader
        A DataLoader, or anything that can be iterated over.
    depth
        Most batches that are prefetched, in addition to the one in use: so many more are on the device.

    Returns
    -------
    An iterable of the same batches. Its `stats` are those of the loader, and the time that the consumer waited.

    Raises
    ------
    ValueError
        If `depth` is below 1.
    RuntimeError
        If this is to be a CUDA device and there is none.
    """
    place = torch.device(device)
    if place.type != "cuda":
        return Prefetcher(
            loader, lambda batch: unchanged(_each_tensor(batch, lambda tensor: tensor.to(place))), depth=depth
        )
    if not torch.cuda.is_available():
        raise RuntimeError(f"there is no CUDA device here for {device!r}; prefetch(loader, 'cpu') prefetches as well")
    return Prefetcher(loader, _CudaCopies(place), depth=depth)


class _CudaCopies:
    """Copies batches to a CUDA device on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._device = self._stream.device

    def __call__(self, batch: T) -> Callable[[], T]:
        with torch.cuda.stream(self._stream):
            copies: T = _each_tensor(batch, self._copy)
            copied = self._stream.record_event()

        def take() -> T:
            consumer = torch.cuda.current_stream(self._device)
            consumer.wait_event(copied)
            # Its memory belongs to the copying stream, which must not reuse it before the consumer's is done with it.
            _each_tensor(copies, lambda tensor: tensor.record_stream(consumer))
            return copies

        return take

    def _copy(self, tensor: Tensor) -> Tensor:
        # torch keeps the pinned memory until the copy is done.
        pinned = tensor.pin_memory() if tensor.device.type == "cpu" else tensor
        return pinned.to(self._device, non_blocking=True)


def _each_tensor(batch: Any, change: Callable[[Tensor], Any]) -> Any:
    """Give a batch of the same nesting with every tensor changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, dict):
        return {name: _each_tensor(value, change) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_each_tensor(value, change) for value in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(_each_tensor(value, change) for value in batch)
    return batch
