"""One global order of batches: decided by seed and epoch, dealt to ranks and workers, resumed on any number of them."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from loaders.batching.sampler import GlobalBatchSampler, Uneven, epoch_order
from loaders.counter_rng import draw, draw_within

SIZES = {"n_items": st.integers(1, 60), "batch_size": st.integers(1, 9), "world_size": st.integers(1, 5)}
SEEDS = st.integers(-5, 2**40)
UNEVEN = st.sampled_from(["repeat", "drop"])


def ranks(n_items: int, *, world_size: int, **settings: Any) -> list[GlobalBatchSampler]:
    return [GlobalBatchSampler(n_items, rank=rank, world_size=world_size, **settings) for rank in range(world_size)]


def rounds(samplers: list[GlobalBatchSampler], *, steps: int | None = None) -> list[list[int]]:
    """Let all ranks take their batches in step, and give these in the order of the global sequence."""
    passes = [iter(sampler) for sampler in samplers]
    taken = []
    for _ in range(len(samplers[0]) if steps is None else steps):
        taken.extend(list(map(next, passes)))
    return taken


def batches_of(order: NDArray[np.int64], batch_size: int) -> list[list[int]]:
    return [order[first : first + batch_size].tolist() for first in range(0, len(order), batch_size)]


# Orders


@given(st.integers(0, 80), SEEDS, st.integers(0, 5), st.integers(1, 12), st.integers(1, 5))
def test_an_order_holds_every_item_once(n: int, seed: int, epoch: int, n_blocks: int, buffer_blocks: int) -> None:
    blocks = np.arange(n) % n_blocks
    for order in (
        epoch_order(n, seed=seed, epoch=epoch),
        epoch_order(n, seed=seed, epoch=epoch, blocks=blocks, buffer_blocks=buffer_blocks),
    ):
        assert sorted(order.tolist()) == list(range(n))


@given(SEEDS, st.integers(0, 5), st.integers(1, 6), st.integers(1, 9), st.integers(1, 8))
def test_blocks_come_whole_a_buffer_of_them_at_a_time(
    seed: int, epoch: int, buffer_blocks: int, n_blocks: int, size: int
) -> None:
    blocks = np.repeat(np.arange(n_blocks), size)
    order = epoch_order(len(blocks), seed=seed, epoch=epoch, blocks=blocks, buffer_blocks=buffer_blocks)
    for buffer in batches_of(blocks[order], buffer_blocks * size):
        assert len(set(buffer)) == len(buffer) // size <= buffer_blocks


def test_an_order_is_that_of_its_seed_and_epoch_and_mixes() -> None:
    orders = [epoch_order(500, seed=seed, epoch=epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    assert epoch_order(500, seed=1, epoch=2).tolist() == orders[5]
    for order in orders:
        assert abs(np.corrcoef(order, np.arange(500))[0, 1]) < 0.15
        assert sum(abs(one - other) == 1 for one, other in pairwise(order)) < 12


def test_orders_are_the_same_on_every_machine_and_for_ever() -> None:
    # Written down once: a run that is resumed with a later version must go on in the same order.
    assert epoch_order(8, seed=0, epoch=0).tolist() == [2, 1, 5, 7, 0, 3, 4, 6]
    assert epoch_order(8, seed=7, epoch=3, blocks=np.arange(8) // 2, buffer_blocks=2).tolist() == [
        4,
        0,
        5,
        1,
        2,
        7,
        6,
        3,
    ]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20), SEEDS, st.integers(0, 9), st.integers(0, 50))
def test_a_draw_depends_on_its_own_index_alone_and_stays_within(
    indices: list[int], seed: int, epoch: int, most: int
) -> None:
    arguments: dict[str, Any] = {"seed": seed, "epoch": epoch, "purpose": "jitter_bp"}
    together = draw_within(np.asarray(indices), most, **arguments)
    alone = [int(draw_within(np.asarray([index]), most, **arguments)[0]) for index in indices]
    assert together.tolist() == alone
    assert np.abs(together).max() <= most


def test_draws_are_even_and_differ_by_seed_epoch_and_purpose() -> None:
    indices = np.arange(30_000)
    drawn = draw_within(indices, 2, seed=0, epoch=0, purpose="jitter_bp")
    assert np.abs(np.bincount(drawn + 2) / 6_000 - 1).max() < 0.05
    one = draw(indices, seed=0, epoch=0, purpose="order")
    others = [
        draw(indices, seed=1, epoch=0, purpose="order"),
        draw(indices, seed=0, epoch=1, purpose="order"),
        draw(indices, seed=0, epoch=0, purpose="blocks"),
    ]
    for other in others:
        assert not np.intersect1d(one, other).size
        assert abs(np.corrcoef(one % 1000, other % 1000)[0, 1]) < 0.03


# Ranks and workers


@given(**SIZES, seed=SEEDS, uneven=UNEVEN, shuffle=st.booleans(), drop_last=st.booleans())
def test_all_ranks_together_take_the_global_sequence_and_equally_many_each(
    n_items: int, batch_size: int, world_size: int, seed: int, uneven: Uneven, shuffle: bool, drop_last: bool
) -> None:
    arguments: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "uneven": uneven, "shuffle": shuffle}
    order = epoch_order(n_items, seed=seed, epoch=0) if shuffle else np.arange(n_items)
    whole = batches_of(order, batch_size)
    if drop_last and len(whole[-1]) < batch_size:
        whole.pop()
    lost = len(whole) % world_size if uneven == "drop" else 0
    kept = whole[: len(whole) - lost]
    if not kept:
        with pytest.raises(ValueError, match="too few for"):
            ranks(n_items, world_size=world_size, drop_last=drop_last, **arguments)
        return
    samplers = ranks(n_items, world_size=world_size, drop_last=drop_last, **arguments)
    assert len({len(list(iter(sampler))) for sampler in samplers}) == 1
    samplers = ranks(n_items, world_size=world_size, drop_last=drop_last, **arguments)
    taken = rounds(samplers)
    assert taken[: len(kept)] == kept
    assert len(taken) == world_size * len(samplers[0])
    again = [kept[index % len(kept)] for index in range(len(taken) - len(kept))]
    assert taken[len(kept) :] == again, "a batch that is repeated is one of the epoch's first"
    assert len(again) < world_size


@given(**SIZES, n_workers=st.integers(1, 4))
def test_the_workers_of_a_rank_take_its_batches_in_turn(
    n_items: int, batch_size: int, world_size: int, n_workers: int
) -> None:
    for sampler in ranks(n_items, world_size=world_size, batch_size=batch_size, shuffle=True):
        begun = sampler.begin()
        shares = [list(begun.batches(worker=worker, n_workers=n_workers)) for worker in range(n_workers)]
        asked = [shares[step % n_workers][step // n_workers] for step in range(begun.n_batches)]
        assert asked == list(begun.batches())
        assert sum(map(len, shares)) == begun.n_batches


# States


@given(
    n_items=SIZES["n_items"],
    worlds=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=4),
    seed=SEEDS,
    uneven=UNEVEN,
    n_blocks=st.integers(0, 6),
)
@settings(max_examples=200)
def test_an_epoch_goes_on_exactly_where_it_stopped_on_any_number_of_ranks(
    n_items: int, worlds: list[tuple[int, int, int]], seed: int, uneven: Uneven, n_blocks: int
) -> None:
    blocks = np.arange(n_items) % n_blocks if n_blocks else None
    order = epoch_order(n_items, seed=seed, epoch=0, blocks=blocks)
    had: list[int] = []
    state: dict[str, Any] | None = None
    steps_before = 0
    for world_size, batch_size, steps in worlds:
        # A world that is too large at the start of an epoch is refused; that is another test.
        if uneven == "drop" and world_size > -(-n_items // batch_size):
            continue
        samplers = ranks(
            n_items,
            world_size=world_size,
            batch_size=batch_size,
            shuffle=True,
            seed=seed,
            blocks=blocks,
            uneven=uneven,
        )
        if state is not None:
            for sampler in samplers:
                sampler.load_state_dict(state)
        left = len(samplers[0]) - steps_before
        if steps >= left:
            break  # the end of an epoch: the test above
        for batch in rounds(samplers, steps=steps):
            had.extend(batch)
        steps_before += steps
        states = [json.loads(json.dumps(sampler.state_dict())) for sampler in samplers]
        assert all(other == states[0] for other in states)
        state = states[0]
        assert (state["epoch"], state["position"], state["steps"]) == (0, len(had), steps_before)
    assert had == order[: len(had)].tolist()


@given(**SIZES, uneven=UNEVEN, steps=st.integers(0, 70))
def test_a_state_is_that_after_the_batches_the_consumer_had(
    n_items: int, batch_size: int, world_size: int, uneven: Uneven, steps: int
) -> None:
    if uneven == "drop" and world_size > -(-n_items // batch_size):
        return
    counting, ahead = (
        GlobalBatchSampler(n_items, batch_size=batch_size, world_size=world_size, uneven=uneven) for _ in range(2)
    )
    steps = min(steps, len(counting))
    list(ahead)  # as a prefetcher, which has them all already
    batches = iter(counting)
    for _ in range(steps):
        next(batches)
    assert counting.state_dict() == ahead.state_dict(taken=steps)


def test_each_pass_is_the_next_epoch_also_after_one_that_was_left_or_resumed() -> None:
    def epochs(epoch: int) -> list[list[int]]:
        return batches_of(epoch_order(10, seed=3, epoch=epoch), 4)

    sampler = GlobalBatchSampler(10, batch_size=4, shuffle=True, seed=3)
    assert list(sampler) == epochs(0)
    assert sampler.state_dict()["epoch"] == 1
    assert list(sampler) == epochs(1)
    left = iter(sampler)
    assert next(left) == epochs(2)[0]
    resumed = GlobalBatchSampler(10, batch_size=4, shuffle=True, seed=3)
    resumed.load_state_dict(sampler.state_dict())
    assert list(sampler) == epochs(3)
    assert len(resumed) == 3
    assert list(resumed) == epochs(2)[1:]
    assert list(resumed) == epochs(3)


def test_setting_the_epoch_goes_to_its_start_but_keeps_a_place_that_was_loaded() -> None:
    sampler = GlobalBatchSampler(10, batch_size=4, shuffle=True)
    first = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first
    left = iter(sampler)
    next(left)
    state = sampler.state_dict()
    for epoch, expected in ((1, 2), (0, 3)):
        sampler.load_state_dict(state)
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == expected
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_an_iterator_that_is_never_asked_takes_no_epoch() -> None:
    sampler = GlobalBatchSampler(10, batch_size=4, shuffle=True)
    iter(sampler)
    assert list(sampler) == batches_of(epoch_order(10, seed=0, epoch=0), 4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_items": 11}, "saved with n_items=10, but the loader has n_items=11"),
        ({"seed": 1}, "seed=0, but the loader has seed=1"),
        ({"shuffle": False}, "resume with the dataset, seed and shuffle"),
        ({"blocks": np.arange(10) // 2}, "buffer_blocks=None, but the loader has buffer_blocks=16"),
    ],
)
def test_the_state_of_another_order_is_refused(changed: dict[str, Any], message: str) -> None:
    state = GlobalBatchSampler(10, batch_size=4, shuffle=True).state_dict()
    arguments = {"n_items": 10, "batch_size": 4, "shuffle": True} | changed
    with pytest.raises(ValueError, match=message):
        GlobalBatchSampler(**arguments).load_state_dict(state)


def test_the_state_of_other_blocks_is_refused() -> None:
    arguments: dict[str, Any] = {"n_items": 10, "batch_size": 4, "shuffle": True}
    state = GlobalBatchSampler(**arguments, blocks=np.arange(10) // 2).state_dict()
    with pytest.raises(ValueError, match="blocks_crc32"):
        GlobalBatchSampler(**arguments, blocks=np.arange(10) // 3).load_state_dict(state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_items": 0}, "the dataset is empty; name at least one window"),
        ({"batch_size": 0}, "count from 1; got batch_size=0"),
        ({"buffer_blocks": 0}, "count from 1; .* buffer_blocks=0"),
        ({"rank": 2, "world_size": 2}, "from 0 to world_size - 1; got rank=2 of world_size=2"),
        ({"rank": -1}, "got rank=-1"),
        ({"world_size": 0}, "world_size=0"),
        ({"uneven": "pad"}, "uneven is 'repeat' or 'drop', got 'pad'"),
        ({"blocks": np.zeros(3, dtype=np.int64)}, r"expected shape \(10,\), got \(3,\)"),
        ({"world_size": 4, "uneven": "drop"}, "10 items make 3 batches of 4, too few for 4 ranks .*smaller batch_size"),
        ({"batch_size": 11, "drop_last": True}, "make 0 batches of 11, .* or drop_last=False"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_mend(settings: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"n_items": 10, "batch_size": 4} | settings
    with pytest.raises(ValueError, match=message):
        GlobalBatchSampler(**arguments)
