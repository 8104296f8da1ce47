"""Keys and values of a prompt as one row of numbers a token, as they are or in int8.

Belongs here: from keys and values to records and back, padding of a batch. Does not: the model that computes them
(`model.language.prefixes.cache`), where records lie (`model.language.prefixes.tiers`).

A token's row holds the keys and values of all blocks, so that a prompt is one contiguous piece of memory, its leading
tokens can lie elsewhere, and a batch is one concatenation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

CacheDtype = Literal["model", "int8"]

_LARGEST = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLayout:
    """What a row holds."""

    layers: int
    heads: int
    """Heads of keys and values."""
    components: int
    """Of a head."""
    dtype: torch.dtype
    """In which the model reads keys and values."""
    kind: CacheDtype = "model"
    """`int8`: each head's key and value of a token as integers of 8 bits, times one float32 scale: rounding by at most
    1/254 of the largest component of that head."""

    @property
    def heads_of_token(self) -> int:
        """Keys and values of a token, over all blocks and heads."""
        return self.layers * 2 * self.heads

    @property
    def width(self) -> int:
        """Numbers a row."""
        numbers = self.heads_of_token * self.components
        return numbers if self.kind == "model" else numbers + self.heads_of_token * torch.float32.itemsize

    @property
    def stored_dtype(self) -> torch.dtype:
        """Type of the numbers of a row."""
        return self.dtype if self.kind == "model" else torch.int8

    @property
    def token_bytes(self) -> int:
        """Size of a row (bytes)."""
        return self.width * self.stored_dtype.itemsize

    def encode(self, states: Tensor) -> Tensor:
        """Turn keys and values `(tokens, layers, 2, heads, components)` into rows `(tokens, width)`."""
        if self.kind == "model":
            return states.flatten(1)
        scales = states.float().abs().amax(dim=-1, keepdim=True) / _LARGEST
        # A head of zeros has no scale; any will do.
        rounded = (states.float() / torch.where(scales > 0, scales, 1.0)).round().to(torch.int8)
        return torch.cat([rounded.flatten(1), scales.flatten(1).contiguous().view(torch.int8)], dim=1)

    def decode(self, rows: Tensor) -> Tensor:
        """Turn rows `(batch, tokens, width)` into keys and values `(batch, tokens, layers, 2, heads, components)`."""
        shape = (*rows.shape[:2], self.layers, 2, self.heads)
        n_numbers = self.heads_of_token * self.components
        numbers = rows[..., :n_numbers].reshape(*shape, self.components)
        if self.kind == "model":
            return numbers
        scales = rows[..., n_numbers:].contiguous().view(torch.float32).reshape(shape)
        return (numbers * scales[..., None]).to(self.dtype)


def padded_batch(prompts: Sequence[Sequence[Tensor]]) -> Tensor:
    """Put prompts into one batch, padded on the left with zeros, in one concatenation.

    Parameters
    ----------
    prompts
        Of each, the pieces that it is made of, `(tokens, width)` each, at least one.

    Returns
    -------
    Shape `(batch, longest, width)`.
    """
    lengths = [sum(map(len, pieces)) for pieces in prompts]
    longest = max(lengths)
    zeros = prompts[0][0].new_zeros(longest - min(lengths), prompts[0][0].shape[1])
    rows = [
        piece
        for length, pieces in zip(lengths, prompts, strict=True)
        for piece in (zeros[: longest - length], *pieces)
        if len(piece)
    ]
    return torch.cat(rows).view(len(prompts), longest, -1)
