from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.language.backbone import Backbone
from model.language.prompt_lengths import bucketed_order, prompt_lengths, truncated_rows
from model.testing import PROMPTS, Family, write_tiny_backbone


@given(lengths=st.lists(st.integers(0, 500), max_size=300), batch_size=st.integers(1, 40), seed=st.integers(0, 1 << 32))
def test_every_gene_comes_once_in_an_order_that_the_seed_decides(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    order = bucketed_order(lengths, batch_size, seed)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert order.dtype == np.int64
    assert order.tolist() == bucketed_order(lengths, batch_size, seed).tolist()


def _padding(lengths: np.ndarray, order: np.ndarray, batch_size: int) -> float:
    batches = [lengths[order[start : start + batch_size]] for start in range(0, len(order), batch_size)]
    return 1 - lengths.sum() / sum(len(batch) * batch.max() for batch in batches)


def test_batches_are_of_like_length_in_random_order_and_others_in_the_next_epoch() -> None:
    lengths = np.random.default_rng(0).integers(20, 600, size=4000)
    order = bucketed_order(lengths, 16, 0)
    assert _padding(lengths, np.random.default_rng(1).permutation(4000), 16) > 0.4
    assert _padding(lengths, order, 16) < 0.05
    means = lengths[order].reshape(-1, 16).mean(axis=1)
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.2, "no course from short to long"
    batches = {frozenset(batch) for batch in order.reshape(-1, 16).tolist()}
    assert not batches & {frozenset(batch) for batch in bucketed_order(lengths, 16, 1).reshape(-1, 16).tolist()}


def test_lengths_are_those_of_what_the_backbone_reads(tmp_path: Path) -> None:
    backbone = Backbone(write_tiny_backbone(tmp_path, "bert"))
    prompts = [*PROMPTS, "heart " * 200]
    for n_data in (0, 5):
        expected = backbone.encode_prompts(prompts, n_data).mask.sum(dim=1).tolist()
        assert prompt_lengths(backbone, prompts, n_data=n_data).tolist() == expected


GENE = "# Task: say\n# Symbol: MYH7\n# Summary: myosin heavy chain of the heart, in seven exons\n# Data:"


class _WithoutOffsets:
    """A tokenizer of Python, which does not tell where in the text a token ends."""

    is_fast = False

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, *texts: Any, **options: Any) -> Any:
        assert "return_offsets_mapping" not in options
        return self._tokenizer(*texts, **options)


@pytest.mark.parametrize("is_fast", [True, False], ids=["with offsets", "without"])
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_truncation_takes_the_end_of_what_stands_before_the_last_line(
    tmp_path: Path, family: Family, is_fast: bool
) -> None:
    tokenizer = Backbone(write_tiny_backbone(tmp_path, family)).tokenizer
    tokenizer = tokenizer if is_fast else _WithoutOffsets(tokenizer)
    body, _, last = GENE.rpartition("\n")
    first = body.partition("\n")[0]
    shorter = [f"{body[:n].rstrip()}\n{last}" for n in range(len(first), len(body))]
    rows = [tokenizer(text)["input_ids"] for text in (*shorter, GENE)]
    for room in range(len(rows[0]), len(rows[-1]) + 3):
        (cut,) = truncated_rows(tokenizer, [GENE], room)
        assert cut in rows, "the same prompt with a shorter text"
        assert room - 2 <= len(cut) <= room or cut == rows[-1]
    with pytest.raises(ValueError, match=f"the first and the last line of a prompt take {len(rows[0])} tokens"):
        truncated_rows(tokenizer, [GENE], len(rows[0]) - 1)


def test_a_prompt_that_ends_in_words_loses_its_end(tmp_path: Path) -> None:
    tokenizer = Backbone(write_tiny_backbone(tmp_path, "llama")).tokenizer
    for text in (GENE.removesuffix("\n# Data:"), GENE.replace("\n", " ")):
        (cut,), whole = truncated_rows(tokenizer, [text], 12), tokenizer(text)["input_ids"]
        assert cut == whole[:12]


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"counts from 1, got 0"):
        bucketed_order([1, 2], 0, 0)
