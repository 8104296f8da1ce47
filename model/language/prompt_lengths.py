"""Length bucketing: batches of prompts of like length, so that little of a batch is padding.

Belongs here: lengths of prompts, and an order of the genes; pure functions. Does not: reading genes in that order
(`loaders`), padding (`model.language.backbone`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.language.backbone import Backbone

_POOL_BATCHES = 32
"""Batches are cut from so many batches' worth of genes, drawn at random and sorted. The whole set, sorted, would batch
each gene with the same others in every epoch; of 32 batches, each keeps to 1/32 of the lengths."""


def prompt_lengths(backbone: Backbone, prompts: Sequence[str], *, n_data: int = 0) -> NDArray[np.int64]:
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
