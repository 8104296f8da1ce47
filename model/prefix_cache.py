"""What a frozen causal model makes of a prompt, computed once and read in every step.

Belongs here: keeping keys and values by prompt, within a budget of memory. Does not: the model itself
(`model.backbone`).

A causal model reads the prompt before it has seen any data, and nothing trainable comes earlier: the keys and values of
the prompt are the same in every epoch. Predictions and gradients are those of the uncached path, up to rounding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from model.backbone import Backbone, BackboneError, PromptTokens


class PrefixCache:
    """Read prompts and data like the backbone, with each prompt computed once.

    Parameters
    ----------
    backbone
        A causal one.
    max_bytes
        Stop adding prompts beyond this; those left out are computed each time. (Dropping the oldest instead would
        drop each prompt just before its next use, since an epoch visits all of them.)

    Raises
    ------
    BackboneError
        If the backbone is no causal one, or keeps another state than keys and values.
    """

    def __init__(self, backbone: Backbone, *, max_bytes: int = 2 << 30) -> None:
        if not backbone.is_causal:
            raise BackboneError(
                f"{backbone.directory.name} reads in both directions, so what it makes of a prompt depends on the data;"
                " switch the prefix cache off (prefix_cache=False), or use a causal model"
            )
        self.backbone = backbone
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._held: dict[tuple[int, ...], Tensor] = {}
        self._compute(backbone.encode_prompts(["gene"], 1))

    def __call__(self, data: Tensor, prompts: Sequence[str]) -> Tensor:
        """Do what `Backbone.forward` does."""
        tokens = self.backbone.encode_prompts(prompts, data.shape[1])
        longest = tokens.ids.shape[1]
        if longest == 0:
            return self.backbone(data, prompts)  # type: ignore[no-any-return]  # torch types a call as Any
        prefixes = self._prefixes(tokens)
        *before, _, components = prefixes[0].shape
        padded = prefixes[0].new_zeros(len(prefixes), *before, longest, components)
        for row, prefix in enumerate(prefixes):
            padded[row, ..., longest - prefix.shape[-2] :, :] = prefix
        past = DynamicCache([(padded[:, layer, 0], padded[:, layer, 1]) for layer in range(padded.shape[1])])
        mask = torch.cat([tokens.mask, tokens.mask.new_ones(data.shape[:2])], dim=1)
        hidden: Tensor = self.backbone.run(data.to(padded.dtype), mask, past=past).last_hidden_state
        return hidden.float()

    def _prefixes(self, tokens: PromptTokens) -> list[Tensor]:
        """Give keys and values of each prompt, shape `(layers, 2, heads, tokens, components)`."""
        device = tokens.ids.device
        if self._held and next(iter(self._held.values())).device != device:
            self._held.clear()
            self.held_bytes = 0
        # By tokens, not by text: a prompt is the same in every context length, unless it was cut.
        keys = [tuple(ids[mask].tolist()) for ids, mask in zip(tokens.ids.cpu(), tokens.mask.cpu(), strict=True)]
        rows = {key: row for row, key in enumerate(keys) if key not in self._held}
        fresh: dict[tuple[int, ...], Tensor] = {}
        if rows:
            chosen = torch.tensor(list(rows.values()), device=device)
            computed = self._compute(PromptTokens(tokens.ids[chosen], tokens.mask[chosen]))
            fresh = dict(zip(rows, computed, strict=True))
        for key, prefix in fresh.items():
            if self.held_bytes + prefix.nbytes <= self.max_bytes:
                self._held[key] = prefix
                self.held_bytes += prefix.nbytes
        return [fresh[key] if key in fresh else self._held[key] for key in keys]

    @torch.no_grad()
    def _compute(self, tokens: PromptTokens) -> list[Tensor]:
        past: Any = DynamicCache()
        self.backbone.run(self.backbone.embeddings[tokens.ids], tokens.mask, past=past)
        pairs = [torch.stack([layer.keys, layer.values], dim=1) for layer in past.layers if layer.is_initialized]
        if len(pairs) != self.backbone.layers or len({pair.shape for pair in pairs}) > 1:
            raise BackboneError(
                f"{self.backbone.directory.name} does not keep the same keys and values in each of its "
                f"{self.backbone.layers} blocks; switch the prefix cache off (prefix_cache=False)"
            )
        stacked = torch.stack(pairs, dim=1)
        lengths = tokens.mask.sum(dim=1).tolist()
        # A slice would keep the whole padded batch in memory.
        return [row[..., row.shape[-2] - length :, :].clone() for row, length in zip(stacked, lengths, strict=True)]
