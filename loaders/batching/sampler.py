"""Global-batch sampler: the items of each batch on each rank, and the place in an epoch.

Belongs here: orders, their split over ranks and workers, and the state that resumes them: pure, no tensors. Does not:
reading the items (`loaders.batching.stream`, `loaders.batching.loader`).

An epoch has one global sequence of batches, decided by seed and epoch alone. Of R ranks, rank r takes batches r, r + R,
r + 2R, ... of it. So the place in an epoch is one number, the items that all ranks have consumed, and any number of
ranks, or another batch size, resumes from there.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from catalog.runtime.whole_numbers import MOST_SEED, whole_number
from loaders.counter_rng import draw

Uneven = Literal["repeat", "drop"]
DEFAULT_BUFFER_BLOCKS = 16


def epoch_order(
    n_items: int,
    *,
    seed: int,
    epoch: int,
    blocks: NDArray[np.int64] | None = None,
    buffer_blocks: int = DEFAULT_BUFFER_BLOCKS,
) -> NDArray[np.int64]:
    """Shuffle the items of an epoch, in two levels if they are in blocks.

    The blocks are permuted, and dealt into buffers of `buffer_blocks`; items are then shuffled within each buffer. So
    neighbouring batches touch the same few blocks, and what was fetched for one serves the next.

    Parameters
    ----------
    blocks
        Block of each item, shape `(n_items,)`; those of one block are cheap to read at once. None shuffles all.
    buffer_blocks
        More blocks mix better, fewer read less: a batch touches at most this many. At least 10 are wise.

    Returns
    -------
    A permutation of the items, shape `(n_items,)`; equal for equal arguments on every machine.
    """
    items = np.arange(n_items, dtype=np.int64)
    keys = draw(items, seed=seed, epoch=epoch, purpose="order")
    if blocks is None:
        return np.argsort(keys, kind="stable")
    distinct, members = np.unique(blocks, return_inverse=True)
    turn = np.empty(len(distinct), dtype=np.int64)
    numbers = np.arange(len(distinct), dtype=np.int64)
    turn[np.argsort(draw(numbers, seed=seed, epoch=epoch, purpose="blocks"), kind="stable")] = numbers
    return np.lexsort((keys, turn[members] // buffer_blocks))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pass:
    """One rank's way through an epoch, or through what is left of it."""

    epoch: int
    order: NDArray[np.int64] = field(repr=False)
    """Order of the whole epoch."""
    start: int
    """Items of the epoch that were consumed before."""
    n_batches: int
    """Batches of this rank in this pass; equal on all ranks."""
    n_global: int
    """Batches from `start` to the end, of all ranks."""
    n_repeatable: int
    """Batches of the whole epoch: its first ones are repeated by the ranks that have none left."""
    batch_size: int
    rank: int
    world_size: int

    def indices(self, step: int) -> list[int]:
        """Give the items of one batch of this rank."""
        batch = self.rank + step * self.world_size
        if batch < self.n_global:
            first = self.start + batch * self.batch_size
        else:
            first = (batch - self.n_global) % self.n_repeatable * self.batch_size
        return self.order[first : first + self.batch_size].tolist()  # type: ignore[no-any-return]  # of an int64 array

    def batches(self, *, worker: int = 0, n_workers: int = 1) -> Iterator[list[int]]:
        """Give the batches of one worker: of W workers, worker w takes each W-th, as a DataLoader asks them in turn."""
        return (self.indices(step) for step in range(worker, self.n_batches, n_workers))


class GlobalBatchSampler:
    """Batches of indices from one global order, dealt to the ranks; it knows its place and resumes there.

    Iterating makes one pass over the rest of the epoch; the next pass is the next epoch. Give it to a DataLoader as
    `DataLoader(dataset, sampler=sampler, batch_size=None)`; `loaders.data_loader` does so and counts for it.

    Parameters
    ----------
    n_items
        Size of the dataset, >= 1.
    batch_size
        Items a batch, on each rank.
    shuffle, seed, blocks, buffer_blocks
        As `epoch_order` shuffles; `blocks=None` is one full shuffle.
    drop_last
        Leave out the last batch of the epoch if it is short.
    uneven
        Every rank gives equally many batches, otherwise the other ranks deadlock. Where
        the batches do not divide by the ranks, `repeat` lets some give one of the epoch's first batches again, and
        `drop` leaves out the remainder, at most `world_size - 1` batches.
    rank, world_size
        Of this process: 0 <= rank < world_size.

    Raises
    ------
    ValueError
        If there are no items, or so few that a rank would get no batch.
    """

    def __init__(
        self,
        n_items: int,
        *,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int = 0,
        blocks: NDArray[np.int64] | None = None,
        buffer_blocks: int = DEFAULT_BUFFER_BLOCKS,
        drop_last: bool = False,
        uneven: Uneven = "repeat",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        n_items, batch_size = whole_number(n_items, name="n_items"), whole_number(batch_size, name="batch_size")
        rank, world_size = whole_number(rank, name="rank"), whole_number(world_size, name="world_size")
        buffer_blocks = whole_number(buffer_blocks, name="buffer_blocks")
        _check_counts(n_items, batch_size=batch_size, buffer_blocks=buffer_blocks, blocks=blocks)
        if not 0 <= rank < world_size:
            raise ValueError(f"ranks are numbered from 0 to world_size - 1; got rank={rank} of world_size={world_size}")
        if uneven not in get_args(Uneven):
            raise ValueError(f"uneven is 'repeat' or 'drop', got {uneven!r}")
        self.n_items = n_items
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = whole_number(seed, name="seed", least=-MOST_SEED, most=MOST_SEED)
        self.drop_last = drop_last
        self.uneven = uneven
        self.rank = rank
        self.world_size = world_size
        self._blocks = blocks if shuffle else None
        self._buffer_blocks = buffer_blocks
        self._epoch = 0
        self._start = 0
        self._steps_before = 0
        self._taken = 0
        self._pass: Pass | None = None
        if self._n_batches(0) == 0:
            raise ValueError(
                f"{n_items} items make {self._n_global(0)} batches of {batch_size}, too few for {world_size} ranks "
                f"with drop_last={drop_last} and uneven={uneven!r}; take a smaller batch_size, or drop_last=False and "
                "uneven='repeat'"
            )

    @property
    def epoch(self) -> int:
        """The epoch of the present pass, or of the next one if none was begun."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; a resumed place in it that has not been used yet is kept."""
        epoch = whole_number(epoch, name="epoch")
        if epoch != self._epoch or self._pass is not None:
            self._go_to(epoch, start=0, steps_before=0)

    def __len__(self) -> int:
        """Count this rank's batches of the epoch, those before a resume included."""
        return self._steps_before + self._n_batches(self._start)

    def begin(self) -> Pass:
        """Plan a pass: the rest of the epoch for the first one, then the next epoch each time."""
        if self._pass is not None or not self._n_batches(self._start):
            self._go_to(self._epoch + 1, start=0, steps_before=0)
        self._pass = Pass(
            epoch=self._epoch,
            order=self._order(),
            start=self._start,
            n_batches=self._n_batches(self._start),
            n_global=self._n_global(self._start),
            n_repeatable=self._n_global(0),
            batch_size=self.batch_size,
            rank=self.rank,
            world_size=self.world_size,
        )
        return self._pass

    def count(self, begun: Pass) -> None:
        """Note that the consumer has one more batch; only the newest pass counts."""
        if begun is self._pass:
            self._taken += 1

    def __iter__(self) -> Iterator[list[int]]:
        begun = self.begin()
        for indices in begun.batches():
            self.count(begun)
            yield indices

    def state_dict(self, *, taken: int | None = None) -> dict[str, Any]:
        """Give the place in the epoch; plain JSON values, equal on all ranks.

        Parameters
        ----------
        taken
            Batches of the present pass that were consumed. None for those counted here: right unless something
            prefetches (workers, a prefetcher).
        """
        taken = self._taken if taken is None else taken
        place = {"epoch": self._epoch, "position": self._start, "steps": self._steps_before}
        if taken >= self._n_batches(self._start):
            place = {"epoch": self._epoch + 1, "position": 0, "steps": 0}
        elif taken:
            consumed = self._start + taken * self.world_size * self.batch_size
            place |= {"position": consumed, "steps": self._steps_before + taken}
        return place | self._identity()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where a state was taken, whatever its world size and batch size were.

        Raises
        ------
        ValueError
            If the state is of other items or another order: it would not go on where it stopped.
        """
        for name, own in self._identity().items():
            if state[name] != own:
                raise ValueError(
                    f"this state was saved with {name}={state[name]}, but the loader has {name}={own}: its order is "
                    "another; resume with the dataset, seed and shuffle of the run that was saved"
                )
        self._go_to(state["epoch"], start=state["position"], steps_before=state["steps"])

    def _identity(self) -> dict[str, Any]:
        """Everything that decides the order of an epoch."""
        return {
            "n_items": self.n_items,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "buffer_blocks": None if self._blocks is None else self._buffer_blocks,
            "blocks_crc32": None if self._blocks is None else zlib.crc32(self._blocks.tobytes()),
        }

    def _go_to(self, epoch: int, *, start: int, steps_before: int) -> None:
        self._epoch, self._start, self._steps_before, self._taken, self._pass = epoch, start, steps_before, 0, None

    def _order(self) -> NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(self.n_items, dtype=np.int64)
        return epoch_order(
            self.n_items, seed=self.seed, epoch=self._epoch, blocks=self._blocks, buffer_blocks=self._buffer_blocks
        )

    def _n_global(self, start: int) -> int:
        left = self.n_items - start
        return left // self.batch_size if self.drop_last else -(-left // self.batch_size)

    def _n_batches(self, start: int) -> int:
        batches = self._n_global(start)
        return batches // self.world_size if self.uneven == "drop" else -(-batches // self.world_size)


def _check_counts(n_items: int, *, batch_size: int, buffer_blocks: int, blocks: NDArray[np.int64] | None) -> None:
    if n_items < 1:
        raise ValueError("there is nothing to make batches of: the dataset is empty; name at least one window")
    if batch_size < 1 or buffer_blocks < 1:
        raise ValueError(
            f"batch_size and buffer_blocks count from 1; got batch_size={batch_size}, buffer_blocks={buffer_blocks}"
        )
    if blocks is not None and blocks.shape != (n_items,):
        raise ValueError(f"blocks has one number an item: expected shape ({n_items},), got {blocks.shape}")
