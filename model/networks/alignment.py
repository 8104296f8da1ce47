"""Turning the features of a bin into a token that a language model can read: equation (1) of GTA.

Belongs here: prototypes, and the cross-attention from bins to them. Does not: the language model
(`model.language.backbone`), what is made of its output (`model.networks.readout`).
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

ClassText = Literal["label-name", "name"]
Scale = Literal["total", "head"]


class MixedText(NamedTuple):
    """Something of which a prototype is mixed."""

    text: str
    """A token, or the name of a channel."""
    weight: float
    """Its weight in the mix, of either sign."""


@runtime_checkable
class AlignsBins(Protocol):
    """A model that turns bins into tokens by their attention to prototypes."""

    token_width: int
    """Components of a token."""

    def align(self, features: Tensor) -> Tensor:
        """Turn standardised features `(batch, bins, channels)` into tokens `(batch, bins, token_width)`."""
        ...

    def attention(self, features: Tensor) -> Tensor:
        """Give the attention of bins to prototypes, shape `(batch, bins, heads, prototypes)`; 1 in all a head."""
        ...

    def prototype_names(self) -> list[str]:
        """Name each prototype; none where the model, as it is set, reads no bins."""
        ...

    def prototype_tokens(self, top: int = 5) -> list[list[MixedText]]:
        """Give the `top` tokens that each prototype is mixed from."""
        ...

    def prototype_channels(self, top: int = 5) -> list[list[MixedText]]:
        """Give the `top` channels whose names each prototype is mixed from."""
        ...


class TextPrototypes(nn.Module):
    """Trainable mixes of frozen token embeddings.

    The first `of_vocabulary` prototypes mix all the tokens of the model, the other `of_names` the tokens of the channel
    names: the order of figure 7 of the paper.

    Parameters
    ----------
    vocabulary
        Tokens that the model embeds.
    name_tokens
        Token ids of the channel names; a token that occurs in several names counts once.
    of_vocabulary, of_names
        Prototypes of each kind.
    normalise
        Bring each prototype to mean 0 and variance 1. Mixes of a real model's embeddings are so short that
        attention to them starts, and may stay, uniform.
    """

    def __init__(
        self, vocabulary: int, name_tokens: Sequence[int], *, of_vocabulary: int, of_names: int, normalise: bool
    ) -> None:
        super().__init__()
        distinct = sorted(set(name_tokens))
        if not distinct:
            raise ValueError("the channel names give no token; name the channels in words that the tokenizer knows")
        self.register_buffer("name_tokens", torch.tensor(distinct), persistent=False)
        self.name_tokens: Tensor
        # Normalising takes off what a bias adds to all components alike, so it would never be trained.
        self.vocabulary_mix = nn.Linear(vocabulary, of_vocabulary, bias=not normalise)
        self.name_mix = nn.Linear(len(distinct), of_names, bias=not normalise)
        self.normalise = normalise

    def forward(self, embeddings: Tensor, *, scale: float = 1.0) -> Tensor:
        """Mix the frozen embeddings `(vocabulary, width)` into prototypes `(prototypes, width)`, float32.

        They are mixed as the language model reads them: times a scale (`Backbone.embedding_scale`).
        """
        # In the precision of the frozen embeddings: a float32 copy of 128,256 x 4,096 takes 2 GB.
        mixed = [
            self.vocabulary_mix.weight.to(embeddings.dtype) @ embeddings,
            self.name_mix.weight.to(embeddings.dtype) @ embeddings[self.name_tokens],
        ]
        prototypes = torch.cat(mixed).float()
        # Scaled when they are few.
        prototypes = prototypes if scale == 1 else prototypes * scale
        if not self.normalise:
            prototypes = prototypes + torch.cat([self.vocabulary_mix.bias, self.name_mix.bias])[:, None]
        # A mix of embeddings of 0.01 has a variance near 1e-5, which the usual epsilon would drown.
        return nn.functional.layer_norm(prototypes, prototypes.shape[-1:], eps=1e-12) if self.normalise else prototypes

    def strongest(self, top: int) -> list[list[tuple[int, float]]]:
        """Give the `top` token ids of each prototype by the size of their weights, with the weights."""
        of_vocabulary = _largest(self.vocabulary_mix.weight, top)
        of_names = _largest(self.name_mix.weight, top)
        tokens = self.name_tokens.tolist()
        return of_vocabulary + [[(tokens[index], weight) for index, weight in mix] for mix in of_names]

    def strongest_names(self, names: Sequence[Sequence[int]], top: int) -> list[list[tuple[int, float]]]:
        """Give the `top` names of each class-name prototype by the size of the mean weight of their tokens.

        Parameters
        ----------
        names
            Token ids of each name.

        Returns
        -------
        One list a class-name prototype, of places in `names` with the mean weights.
        """
        means = [
            self.name_mix.weight[:, torch.isin(self.name_tokens, torch.tensor(list(tokens)).to(self.name_tokens))].mean(
                1
            )
            for tokens in names
        ]
        return _largest(torch.stack(means, dim=1), top)


class TokenAlignment(nn.Module):
    """Cross-attention from the features of each bin to the prototypes.

    Each bin becomes a token on its own: no bin sees another here.

    Parameters
    ----------
    channels
        Features a bin.
    prototype_width
        Components of a prototype.
    token_width
        Components of the tokens that come out.
    width
        Components of queries, keys and values, over all heads (`d_k` of the paper).
    heads
        Attention heads; they share `width`.
    scale
        Scores are divided by the root of the `total` width, as eq. (1) prints, or of that of one `head`.
    normalise
        Bring each token to mean 0 and variance 1, times a trainable gain.
    """

    def __init__(
        self,
        channels: int,
        *,
        prototype_width: int,
        token_width: int,
        width: int,
        heads: int,
        scale: Scale,
        normalise: bool,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.divisor = math.sqrt(width if scale == "total" else width // heads)
        self.query = nn.Linear(channels, width)
        # A bias here would add the same to the scores of all prototypes, which softmax ignores.
        self.key = nn.Linear(prototype_width, width, bias=False)
        self.value = nn.Linear(prototype_width, width)
        self.out = nn.Linear(width, token_width)
        self.norm = nn.LayerNorm(token_width, bias=False) if normalise else nn.Identity()

    def forward(self, features: Tensor, prototypes: Tensor) -> Tensor:
        """Turn features `(batch, bins, channels)` into tokens `(batch, bins, token_width)`."""
        queries, keys = self._heads(self.query(features).flatten(0, 1)), self._heads(self.key(prototypes))
        # All bins of the batch are queries of one window: the weights, 100 a bin and head, are never written out.
        mixed = nn.functional.scaled_dot_product_attention(
            queries, keys, self._heads(self.value(prototypes)), scale=1 / self.divisor
        )
        tokens: Tensor = self.norm(self.out(mixed[0].transpose(0, 1).reshape(*features.shape[:2], -1)))
        return tokens

    def attention(self, features: Tensor, prototypes: Tensor) -> Tensor:
        """Give the weight of each prototype, shape `(batch, bins, heads, prototypes)`; they sum to 1 a head."""
        queries, keys = self._heads(self.query(features)), self._heads(self.key(prototypes))
        weights = (queries @ keys.mT / self.divisor).softmax(dim=-1)
        return weights.transpose(1, 2)

    def _heads(self, x: Tensor) -> Tensor:
        """Split `(..., rows, width)` into `(batch or 1, heads, rows, width of a head)`."""
        split = x.reshape(*x.shape[:-1], self.heads, -1)
        return (split if x.dim() == 3 else split[None]).transpose(1, 2)


def _largest(weights: Tensor, top: int) -> list[list[tuple[int, float]]]:
    """Give the columns of each row whose values are largest by size, with the values."""
    chosen = weights.detach().abs().topk(min(top, weights.shape[1]), dim=1).indices
    values = weights.detach().gather(1, chosen)
    return [list(zip(*row, strict=True)) for row in zip(chosen.tolist(), values.tolist(), strict=True)]
