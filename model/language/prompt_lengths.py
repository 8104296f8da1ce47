"""Lengths of prompts: truncation that keeps the last line, and length bucketing.

Belongs here: cutting a prompt to so many tokens, counting tokens, an order of the genes in which a batch has prompts of
like length; pure functions. Does not: reading genes in that order (`loaders`), padding (`model.language.backbone`).
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:  # which cuts its prompts with this module
    from model.language.backbone import Backbone

_POOL_BATCHES = 32
"""Batches are cut from so many batches' worth of genes, drawn at random and sorted. The whole set, sorted, would batch
each gene with the same others in every epoch; of 32 batches, each keeps to 1/32 of the lengths."""


def truncated_rows(tokenizer: Any, prompts: Sequence[str], room: int) -> list[list[int]]:
    """Tokenise prompts, each cut to at most `room` tokens, special tokens included.

    Where the last line is a heading (`# Data:`, which the bins follow), it and the first line stay whole, and what
    comes between loses its end, so the summary first. Any other prompt loses its end.

    Raises
    ------
    ValueError
        If those two lines alone are longer than that.
    """
    rows: list[list[int]] = tokenizer(list(prompts), truncation=True, max_length=room)["input_ids"]
    for place, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        if len(row) == room and prompt.endswith(":") and "\n" in prompt:
            rows[place] = _without_the_middle(tokenizer, prompt, room)
    return rows


def _without_the_middle(tokenizer: Any, prompt: str, room: int) -> list[int]:
    """Cut characters before the last line until the prompt fits."""
    body, _, last = prompt.rpartition("\n")
    first = body.partition("\n")[0]
    fixed = tokenizer(f"{first}\n{last}", verbose=False)["input_ids"]
    if len(fixed) > room:
        raise ValueError(f"the first and the last line of a prompt take {len(fixed)} tokens: {first[:60]!r}, {last!r}")

    def row_of(n_characters: int) -> list[int]:
        # One token too many tells that it is too long.
        text = prompt if n_characters == len(body) else f"{body[:n_characters].rstrip()}\n{last}"
        row: list[int] = tokenizer(text, truncation=True, max_length=room + 1)["input_ids"]
        return row

    if tokenizer.is_fast:  # which tell where in the text a token ends
        n_last = len(tokenizer(f"\n{last}", add_special_tokens=False)["input_ids"])
        most = max(room - n_last, tokenizer.num_special_tokens_to_add() + 1)
        ends = tokenizer(body, truncation=True, max_length=most, return_offsets_mapping=True)["offset_mapping"]
        kept = max([len(first), *(end for _, end in ends)])
    else:
        lengths = range(len(first), len(body) + 1)
        kept = lengths[bisect_right(lengths, room, key=lambda count: len(row_of(count))) - 1]
    # Tokens of the shorter text may be others: a word that is whole is often one token.
    while len(row := row_of(kept)) > room:
        kept -= 1
    return row


def prompt_lengths(backbone: "Backbone", prompts: Sequence[str], *, n_data: int = 0) -> NDArray[np.int64]:
    """Count the tokens of each prompt as the backbone reads it, cut to what `n_data` data tokens leave."""
    return np.array([len(row) for row in backbone.token_rows(prompts, n_data)], dtype=np.int64)


def bucketed_order(lengths: ArrayLike, batch_size: int, seed: int) -> NDArray[np.int64]:
    """Give an order of the genes in which each run of `batch_size` has prompts of like length.

    Parameters
    ----------
    lengths
        Tokens of each prompt, shape `(genes,)`.
    batch_size
        Genes a batch.
    seed
        The same seed gives the same order; take another one in each epoch.

    Returns
    -------
    Each index once, shape `(genes,)`, int64. Batches follow each other at random; the incomplete one comes last.

    Raises
    ------
    ValueError
        If `batch_size` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size counts from 1, got {batch_size}")
    known = np.asarray(lengths)
    generator = np.random.default_rng(seed)
    drawn = generator.permutation(len(known))
    size = batch_size * _POOL_BATCHES
    pools = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    order = np.concatenate([pool[np.argsort(known[pool], kind="stable")] for pool in pools] or [drawn])
    whole = len(order) // batch_size * batch_size
    batches = generator.permutation(order[:whole].reshape(-1, batch_size))
    return np.concatenate([batches.ravel(), order[whole:]])
