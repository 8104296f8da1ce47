"""Loaders: batches to iterate, with or without workers, and a state to resume from.

Belongs here: `BatchLoader`, and `data_loader`, which makes one. Does not: the order (`loaders.batching.sampler`),
reading (the datasets), moving to a GPU (`loaders.batching.device_prefetch`).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from torch.utils.data import DataLoader, Dataset

from catalog.runtime.whole_numbers import whole_number
from featurestore.display import Display, Displayed
from loaders.batching.sampler import Uneven
from loaders.batching.stream import BatchSource, WindowStream, read_batch
from loaders.stats import Stats


class BatchLoader(Displayed):
    """Iterates the batches of a stream; each pass is the next epoch.

    It counts what it hands over, so its state is right with workers too, which prefetch. Lightning stores the state
    in its checkpoints and resumes from it. It is no `DataLoader`: on several ranks Lightning would give that another
    sampler.

    Made by `data_loader`.
    """

    def __init__(
        self,
        stream: WindowStream,
        *,
        num_workers: int = 0,
        multiprocessing_context: Literal["spawn", "forkserver"] = "spawn",
        pin_memory: bool = False,
    ) -> None:
        if multiprocessing_context not in ("spawn", "forkserver"):
            raise ValueError(
                f"multiprocessing_context is 'spawn' or 'forkserver', got {multiprocessing_context!r}: a store that "
                "was opened does not survive a fork"
            )
        self._stream = stream
        self._num_workers = num_workers = whole_number(num_workers, name="num_workers", least=0)
        self._context = multiprocessing_context if num_workers else None
        self._pin_memory = pin_memory

    def _display(self) -> Display:
        readers = f"{self._num_workers} workers, by {self._context}" if self._num_workers else "this process"
        return Display(type(self).__name__, (*self._stream._display().rows, ("read by", readers)))

    @property
    def dataset(self) -> Any:
        """What is read from."""
        return self._stream.dataset

    @property
    def stats(self) -> Stats:
        """What the dataset has read in this process; workers count for themselves."""
        return getattr(self.dataset, "stats", None) or Stats()

    def __len__(self) -> int:
        """Count this rank's batches of an epoch, those before a resume included."""
        return len(self._stream)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; a resumed place in it that has not been used yet is kept."""
        self._stream.set_epoch(epoch)

    def state_dict(self, *, taken: int | None = None) -> dict[str, Any]:
        """Give the place in the epoch, in plain JSON values equal on all ranks.

        `taken` is for a consumer that prefetches: the batches of this pass that it has consumed.
        """
        return self._stream.state_dict(taken=taken)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where a state was taken; the number of ranks and the batch size may be others."""
        self._stream.load_state_dict(state)

    def __iter__(self) -> Iterator[Any]:
        begun = self._stream.begin()
        reads = _OfEpoch(self._stream.dataset, begun.epoch)
        for batch in self._read(reads, begun.batches()):
            self._stream.sampler.count(begun)
            yield batch

    def _read(self, reads: "_OfEpoch", indices: Iterator[list[int]]) -> Iterable[Any]:
        if not self._num_workers and not self._pin_memory:
            # A DataLoader would add 0.1 ms a batch, half of what reading one from memory takes.
            return map(reads.__getitem__, indices)
        return DataLoader(
            reads,
            sampler=indices,
            batch_size=None,
            num_workers=self._num_workers,
            multiprocessing_context=self._context,
            pin_memory=self._pin_memory,
        )


class _OfEpoch(Dataset[Any]):
    """What a worker needs of a pass: the dataset, without the order of a million windows."""

    def __init__(self, dataset: BatchSource, epoch: int) -> None:
        self._dataset = dataset
        self._epoch = epoch

    def __getitem__(self, indices: list[int]) -> Any:
        return read_batch(self._dataset, indices, epoch=self._epoch)


def data_loader(
    dataset: Any,
    *,
    batch_size: int = 64,
    shuffle: bool = False,
    seed: int = 0,
    drop_last: bool = False,
    buffer_blocks: int | None = None,
    uneven: Uneven = "repeat",
    rank: int | None = None,
    world_size: int | None = None,
    num_workers: int = 0,
    multiprocessing_context: Literal["spawn", "forkserver"] = "spawn",
    pin_memory: bool = False,
) -> BatchLoader:
    """Make a loader that reads each batch in one request.

    No workers by default: reading releases the interpreter lock.

    Parameters
    ----------
    dataset
        `WindowDataset`, `GeneDataset`, or any map-style dataset whose `[list of indices]` is a batch; or a
        `WindowStream`, which has its batches and order already, so that only the last three settings apply.
    shuffle, seed
        Each epoch has another order, and the same seed gives the same epochs.
    drop_last, uneven
        What becomes of a short last batch, and of batches that do not divide by the ranks (`GlobalBatchSampler`).
    buffer_blocks
        Shuffle in two levels, mixing so many shards at a time (`WindowStream`); None shuffles all at once.
    rank, world_size
        By default those of `torch.distributed` if its process group is there by now, else one rank.
    num_workers, multiprocessing_context
        Processes that prefetch, and how they start; never by fork, which an open store does not survive.
    pin_memory
        Put batches in page-locked memory, for copies to a GPU that do not block.
    """
    stream = (
        dataset
        if isinstance(dataset, WindowStream)
        else WindowStream(
            dataset,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            buffer_blocks=buffer_blocks,
            drop_last=drop_last,
            uneven=uneven,
            rank=rank,
            world_size=world_size,
        )
    )
    return BatchLoader(
        stream, num_workers=num_workers, multiprocessing_context=multiprocessing_context, pin_memory=pin_memory
    )
