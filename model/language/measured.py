"""What is measured of a language model when it is loaded, since no configuration says it reliably.

Belongs here: how its embedding layer scales, whether it reads our embeddings as it reads tokens. Does not: running the
model (`model.language.backbone`), masks of ours (`model.language.data_attention`).

Families differ in what they do to a token before the first block: Gemma and BioGPT scale it within the embedding layer,
Falcon-H1 outside of it and only where it gets token ids, ESM by the share of masked tokens, Gemma 3n adds another
embedding in each block. One comparison on a few tokens finds them all.
"""

import torch
from torch import Tensor, nn

PROBE = "# Symbol: MYH7, # Summary: myosin heavy chain"
"""A prompt whose first tokens are read for it."""
N_TOKENS, N_PADDING = 5, 2
"""Tokens that are compared, and the padding before them."""
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.02}
"""What sums in another order may change, as a fraction of the whole. Families that read otherwise differ by 0.1 and
more."""


def embedding_scale(layer: nn.Module, ids: Tensor) -> float:
    """Measure by how much an embedding layer scales the rows of its table: 1 in most families.

    Parameters
    ----------
    layer
        From token ids to vectors, by a table `weight`.
    ids
        Tokens to measure it on, shape `(tokens,)`.

    Raises
    ------
    ValueError
        If it has no table, or does something else to its rows.
    """
    table = getattr(layer, "weight", None)
    if not isinstance(table, Tensor) or table.dim() != 2 or not table.is_floating_point():
        raise ValueError("its embedding layer has no table of vectors")
    rows, read = table[ids].float(), layer(ids).float()
    scale = float((rows * read).sum() / rows.square().sum())
    if not _relative(read - scale * rows, read) <= _ROUNDING[table.dtype]:
        raise ValueError("its embedding layer does more than to look tokens up and to scale them")
    return scale


def check_reading(as_tokens: Tensor, as_embeddings: Tensor, dtype: torch.dtype) -> None:
    """Refuse a model that reads our embeddings, after padding, otherwise than it reads the tokens by themselves.

    Parameters
    ----------
    as_tokens, as_embeddings
        Hidden states of the same tokens, shape `(tokens, width)`.
    dtype
        Of the arithmetic.

    Raises
    ------
    ValueError
        If they differ by more than rounding.
    """
    difference = _relative(as_embeddings.float() - as_tokens.float(), as_tokens.float())
    if not difference <= _ROUNDING[dtype]:
        raise ValueError(
            f"it reads embeddings otherwise than the tokens that they stand for: hidden states differ by "
            f"{difference:.2g} of their size"
        )


def _relative(difference: Tensor, whole: Tensor) -> float:
    return float(difference.norm() / whole.norm())
