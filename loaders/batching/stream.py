"""Streams of batches, shuffled in two levels so that they read few shards at a time.

Belongs here: `WindowStream`, which joins a dataset to its sampler, on the rank that it runs on. Does not: the order
(`loaders.batching.sampler`), reading (the dataset).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import distributed
from torch.utils.data import ConcatDataset, IterableDataset, get_worker_info

from featurestore.display import Display, Displayed, heading
from loaders.batching.sampler import DEFAULT_BUFFER_BLOCKS, GlobalBatchSampler, Pass, Uneven


class BatchSource(Protocol):
    """A map-style dataset that gives a list of its items as one batch: `WindowDataset`, `GeneDataset`, ..."""

    def __len__(self) -> int:
        """Count the items."""
        ...

    def __getitem__(self, index: list[int]) -> Any:
        """Read some items as a batch."""
        ...


class WindowStream(Displayed, IterableDataset[Any]):
    """Batches of a dataset, each read in one request, in an order that reads little and mixes well.

    Windows are shuffled in two levels: the shards that they lie in are permuted, and windows are mixed within buffers
    of `buffer_blocks` shards. So a `cache` or `stream` residence touches few shards at a time; the price is that the
    windows of one batch come from those few. With rows in memory take `buffer_blocks=None`: one full shuffle costs
    nothing there.

    The same seed gives the same order on any number of ranks and workers: rank r of R takes batches r, r + R, ... of
    one global sequence, so all ranks work on the same shards at a time: good for a shared cache, while each rank on a
    machine of its own fetches them all. The next pass is the next epoch, jitter included.

    Use it as it is, in `data_loader(stream)`, or in `DataLoader(stream, batch_size=None)`. A plain DataLoader with
    workers iterates copies, so this object cannot count for it: call `set_epoch` before each epoch, and take the state
    with `state_dict(taken=batches consumed)`; `data_loader` does both.

    Parameters
    ----------
    dataset
        Map-style, where a list of indices gives a batch; its method `blocks()` gives the shard of each item.
    batch_size, shuffle, seed, drop_last, uneven
        As in `loaders.batching.sampler.GlobalBatchSampler`.
    buffer_blocks
        Shards that are mixed at a time; None for all.
    rank, world_size
        By default those of `torch.distributed` if its process group is there by now, else one rank.

    Raises
    ------
    TypeError
        If the dataset is torch's ConcatDataset, which takes no list of indices and checks no fingerprint.
    ValueError
        If the dataset is empty, or ranks and batches do not fit.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int = 64,
        shuffle: bool = True,
        seed: int = 0,
        buffer_blocks: int | None = DEFAULT_BUFFER_BLOCKS,
        drop_last: bool = False,
        uneven: Uneven = "repeat",
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if isinstance(dataset, ConcatDataset):
            raise TypeError(
                "ConcatDataset takes no list of indices and mixes stores unseen; use "
                "loaders.JoinedDataset([one, other]), which refuses other fingerprints"
            )
        if (rank is None) != (world_size is None):
            raise ValueError(
                f"rank and world_size are given both or neither; got rank={rank} and world_size={world_size}"
            )
        self.dataset = cast(BatchSource, dataset)
        self._is_rank_given = rank is not None
        own_rank, own_world = (rank, world_size) if rank is not None and world_size is not None else _process_group()
        blocks: NDArray[np.int64] | None = None
        if shuffle and buffer_blocks is not None and len(dataset):
            blocks = dataset.blocks()
        self.sampler = GlobalBatchSampler(
            len(dataset),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            blocks=blocks,
            buffer_blocks=DEFAULT_BUFFER_BLOCKS if buffer_blocks is None else buffer_blocks,
            drop_last=drop_last,
            uneven=uneven,
            rank=own_rank,
            world_size=own_world,
        )
        """Its order and its place."""

    def _display(self) -> Display:
        sampler = self.sampler
        order = f"shuffled, seed {sampler.seed}" if sampler.shuffle else "in order"
        return Display(
            type(self).__name__,
            (
                ("dataset", heading(self.dataset)),
                ("batches", f"{len(self):,} of {sampler.batch_size:,} a pass, {order}"),
                ("rank", f"{sampler.rank} of {sampler.world_size}"),
            ),
        )

    def __len__(self) -> int:
        """Count this rank's batches of an epoch, those before a resume included."""
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; a resumed place in it that has not been used yet is kept."""
        self.sampler.set_epoch(epoch)

    def state_dict(self, *, taken: int | None = None) -> dict[str, Any]:
        """Give the place in the epoch (`GlobalBatchSampler.state_dict`)."""
        return self.sampler.state_dict(taken=taken)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where a state was taken, on any number of ranks (`GlobalBatchSampler.load_state_dict`)."""
        self.sampler.load_state_dict(state)

    def begin(self) -> Pass:
        """Plan the next pass, and refuse one that would give every rank all batches."""
        here = (self.sampler.rank, self.sampler.world_size)
        if not self._is_rank_given and _is_distributed() and _process_group() != here:
            raise RuntimeError(
                "this stream was made before torch.distributed.init_process_group, so it does not know its rank; make "
                "it after, or pass rank and world_size"
            )
        return self.sampler.begin()

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, n_workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        begun = self.begin()
        for indices in begun.batches(worker=number, n_workers=n_workers):
            batch = read_batch(self.dataset, indices, epoch=begun.epoch)
            self.sampler.count(begun)
            yield batch


def read_batch(dataset: BatchSource, indices: list[int], *, epoch: int) -> Any:
    """Read a batch as in an epoch; another loader of the same dataset may be in another one."""
    set_epoch = getattr(dataset, "set_epoch", None)
    if set_epoch is not None:
        set_epoch(epoch)
    return dataset[indices]


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _process_group() -> tuple[int, int]:
    """Give rank and world size of this process."""
    return (distributed.get_rank(), distributed.get_world_size()) if _is_distributed() else (0, 1)
