"""Bidirectional attention among the data tokens of a causal model.

Belongs here: which attention windows a model has, the masks, and whether a model obeys them. Does not: running the
model (`model.language.backbone`).

A decoder reads the bins of a window from left to right, so that the TSS in the middle never sees what lies downstream:
the limitation that the GTA paper (arXiv 2410.01858) states. The prompt stays causal and sees no data, so that its KV
cache still depends on nothing trainable.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_FULL, _SLIDING = "full_attention", "sliding_attention"


class OtherMasks(ValueError):
    """A model whose attention cannot be set by masks of ours."""


def attention_windows(config: Any, positions: int) -> dict[str, int | None]:
    """Give the window of each kind of block in a model: tokens that one sees back, itself included; None for all.

    Parameters
    ----------
    config
        Of a Transformers model.
    positions
        That will be used: a window as long as that hides nothing.

    Raises
    ------
    OtherMasks
        If some blocks are of a kind that has no such window.
    """
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or [_FULL if window is None else _SLIDING])
    unknown = sorted(kinds - {_FULL, _SLIDING})
    if unknown:
        raise OtherMasks(f"it has blocks of {', '.join(unknown)}")
    if window is None or window >= positions:
        return {_FULL: None}
    return {kind: window if kind == _SLIDING else None for kind in sorted(kinds)}


def data_mask(mask: Tensor, n_queries: int, n_data: int, *, window: int | None, dtype: torch.dtype) -> Tensor:
    """Make the additive attention mask: 0 where a token sees another, the least number of the dtype where not.

    Parameters
    ----------
    mask
        True where there is a token, shape `(batch, tokens)`, bool. The last `n_data` are data, the others the prompt.
    n_queries
        Query tokens, the last ones: the KV cache has those before them.
    window
        See `attention_windows`; a data token sees as far ahead as back.
    dtype
        Of the scores.

    Returns
    -------
    Shape `(batch, 1, n_queries, tokens)`.
    """
    place = torch.arange(mask.shape[1], device=mask.device)
    query = place[-n_queries:, None]
    seen = (place <= query) | (query >= mask.shape[1] - n_data)
    if window is not None:
        seen &= (place - query).abs() < window
    # Padding sees itself: a softmax over nothing is NaN.
    seen = (seen & mask[:, None, :]) | (place == query)
    least = torch.finfo(dtype).min
    return torch.zeros(seen.shape, dtype=dtype, device=mask.device).masked_fill_(~seen, least)[:, None]


def check_masks_are_obeyed(run: Callable[[Tensor, int], Tensor], embedded: Tensor, changed: Tensor) -> None:
    """Measure that a model sees what the masks say: some add one of their own, some have no attention at all.

    Parameters
    ----------
    run
        Gives the hidden states, shape `(tokens, width)`, of embeddings of which so many are data; with none, under the
        masks that the model makes itself.
    embedded, changed
        Embeddings that differ in the last token, shape `(1, tokens, width)`, at least four tokens.

    Raises
    ------
    OtherMasks
        If it does not.
    """
    plain = run(embedded, 0)
    # A sum in another order differs by rounding; a mask that is not obeyed, by as much as the numbers are large.
    rounding = 0.05 * float(plain.abs().max())
    # A single data token has no other to look ahead to, so our mask must give what the model's own does.
    if (run(embedded, 1) - plain).abs().max() > rounding:
        raise OtherMasks("it reads otherwise under the mask that should change nothing")
    before, after = run(embedded, 3), run(changed, 3)
    if (before - after)[:-3].abs().max() > rounding:
        raise OtherMasks("its prompt sees data")
    if torch.equal(before[-3], after[-3]):
        raise OtherMasks("its data do not see what follows")
