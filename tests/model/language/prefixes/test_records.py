import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.language.prefixes.records import RecordLayout, padded_batch
from model.language.prefixes.shared_head import begins_with, common_head

LAYOUT = RecordLayout(layers=2, heads=3, components=4, dtype=torch.float32)
INT8 = RecordLayout(layers=2, heads=3, components=4, dtype=torch.float32, kind="int8")
ROWS = st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=6)


def _states(tokens: int, seed: int, scale: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, 2, 2, 3, 4, generator=generator) * scale


@given(tokens=st.integers(1, 5), seed=st.integers(0, 99), scale=st.sampled_from([0.0, 1e-20, 1.0, 1e20]))
def test_a_record_is_read_as_it_was_written_and_int8_within_1_254th_of_each_head(
    tokens: int, seed: int, scale: float
) -> None:
    states = _states(tokens, seed, scale)
    assert torch.equal(LAYOUT.decode(LAYOUT.encode(states)[None])[0], states)
    rows = INT8.encode(states)
    assert rows.shape == (tokens, INT8.width)
    assert rows.nbytes == tokens * INT8.token_bytes
    largest = states.abs().amax(dim=-1, keepdim=True)
    assert ((INT8.decode(rows[None])[0] - states).abs() <= largest / 254 * (1 + 1e-5)).all()


@given(lengths=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=5))
def test_a_batch_is_padded_on_the_left(lengths: list[tuple[int, int]]) -> None:
    prompts = [[torch.randn(first, 3), torch.randn(second, 3)] for first, second in lengths]
    longest = max(map(sum, lengths))
    if not longest:
        return
    expected = torch.zeros(len(prompts), longest, 3)
    for row, pieces in enumerate(prompts):
        for place, token in enumerate(reversed([token for piece in pieces for token in piece]), 1):
            expected[row, longest - place] = token
    assert torch.equal(padded_batch(prompts), expected)


@given(rows=ROWS)
def test_the_shared_head_is_the_longest_that_all_rows_but_empty_ones_begin_with(rows: list[list[int]]) -> None:
    head = common_head([np.array(row, dtype=np.int32) for row in rows]).tolist()
    distinct = {tuple(row) for row in rows if row}
    agreeing = [
        length
        for length in range(max(map(len, distinct), default=0) + 1)
        if len({row[:length] for row in distinct}) == 1 and min(map(len, distinct)) >= length
    ]
    assert len(head) == (max(agreeing) if len(distinct) > 1 else 0)
    assert all(list(row[: len(head)]) == head for row in distinct if len(distinct) > 1)


def test_a_row_begins_with_the_head_token_by_token() -> None:
    head = np.array([1, 2], dtype=np.int32)
    assert begins_with(np.array([1, 2, 3], dtype=np.int32), head)
    assert not begins_with(np.array([1], dtype=np.int32), head)
    assert not begins_with(np.array([2, 2], dtype=np.int32), head)
    assert not begins_with(head, head[:0])
