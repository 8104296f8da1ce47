"""KV cache of prompts: keys and values that a frozen causal model computes once and reads in every step.

Belongs here: keeping keys and values by prompt, within a budget of memory. Does not: the model itself
(`model.language.backbone`), keeping them on disk (`model.language.prefix_store`).

A causal model reads the prompt before it has seen any data, and nothing trainable comes earlier: the keys and values of
the prompt are the same in every epoch. Predictions and gradients are those of the uncached path, up to rounding.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from model.language.backbone import Backbone
from model.language.directory import BackboneError
from model.language.prefix_store import PrefixStore

_FORMAT = 2
"""Of the entries of a store; another number invalidates all of them. Those of 1 were computed from embeddings without
the scale that Gemma and its kin give them."""


class PrefixCache:
    """Read prompts and data like the backbone, with each prompt computed once.

    Parameters
    ----------
    backbone
        A causal one, all of it frozen.
    max_bytes
        Stop adding prompts beyond this; those left out are computed each time. (Dropping the oldest instead would
        drop each prompt just before its next use, since an epoch visits all of them.)
    store
        The cache on disk: read before a prompt is computed, and written for the next run.

    Raises
    ------
    BackboneError
        If the backbone is no causal one, has adapters, or keeps another state than keys and values.
    """

    def __init__(self, backbone: Backbone, *, max_bytes: int = 2 << 30, store: PrefixStore | None = None) -> None:
        if not backbone.is_causal:
            raise BackboneError(
                f"{backbone.directory.name} reads in both directions, so keys and values of a prompt depend on the "
                "data; leave `prefix_cache=` out, or use a causal model"
            )
        self.backbone = backbone
        self.max_bytes = max_bytes
        self.store = store
        self.held_bytes = 0
        self._held: dict[bytes, Tensor] = {}
        self._names: bytes | None = None
        self._refuse_adapters()
        self._compute(backbone.token_rows(["gene"], 1))

    def __call__(self, data: Tensor, prompts: Sequence[str]) -> Tensor:
        """Do what `Backbone.forward` does."""
        self._refuse_adapters()
        n_data = data.shape[1]
        rows = self.backbone.token_rows(prompts, n_data)
        longest = max(len(row) for row in rows)
        if longest == 0:
            return self.backbone(data, prompts)  # type: ignore[no-any-return]  # torch types a call as Any
        prefixes = self._prefixes(rows)
        *before, _, components = prefixes[0].shape
        padded = prefixes[0].new_zeros(len(prefixes), *before, longest, components)
        for row, prefix in enumerate(prefixes):
            padded[row, ..., longest - prefix.shape[-2] :, :] = prefix
        past = DynamicCache([(padded[:, layer, 0], padded[:, layer, 1]) for layer in range(padded.shape[1])])
        known = self.backbone.pad(rows).mask
        mask = torch.cat([known, known.new_ones(data.shape[:2])], dim=1)
        hidden: Tensor = self.backbone.run(data.to(padded.dtype), mask, n_data=n_data, past=past).last_hidden_state
        return hidden.float()

    def _prefixes(self, rows: Sequence[NDArray[np.int32]]) -> list[Tensor]:
        """Give keys and values of each prompt, shape `(layers, 2, heads, tokens, components)`."""
        device = self.backbone.embeddings.device
        if self._held and next(iter(self._held.values())).device != device:
            self._held.clear()
            self.held_bytes = 0
        # By tokens, not by text: a prompt is the same in every context length, unless it was cut.
        keys = [row.tobytes() for row in rows]
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._held}
        fresh = {key: kept.to(device) for key in missing if (kept := self._from_store(key)) is not None}
        unknown = {key: row for key, row in missing.items() if key not in fresh}
        if unknown:
            for key, prefix in zip(unknown, self._compute(list(unknown.values())), strict=True):
                fresh[key] = prefix
                if self.store is not None:
                    self.store.put(self._name(key), prefix)
        for key, prefix in fresh.items():
            if self.held_bytes + prefix.nbytes <= self.max_bytes:
                self._held[key] = prefix
                self.held_bytes += prefix.nbytes
        return [fresh[key] if key in fresh else self._held[key] for key in keys]

    def _refuse_adapters(self) -> None:
        if self.backbone.is_adapted:
            raise BackboneError(
                f"{self.backbone.directory.name} has adapters (add_lora), so keys and values of a prompt change in "
                "training; leave `prefix_cache=` out, or train without adapters"
            )

    def _other_cache(self) -> BackboneError:
        return BackboneError(
            f"{self.backbone.directory.name} does not keep the same keys and values in each of its "
            f"{self.backbone.layers} blocks; set prefix_cache=False in the model's configuration"
        )

    def _from_store(self, key: bytes) -> Tensor | None:
        return None if self.store is None else self.store.get(self._name(key))

    def _name(self, key: bytes) -> str:
        """Give the key of a prompt in a store: equal for the same tokens and the same model only."""
        if self._names is None:
            backbone = self.backbone
            # The digest covers the tokenizer. How data see each other is no matter: a prompt never sees them.
            made_by = [_FORMAT, backbone.digest, backbone.layers, str(backbone.embeddings.dtype)]
            self._names = json.dumps(made_by).encode()
        return hashlib.sha256(self._names + key).hexdigest()

    @torch.no_grad()
    def _compute(self, rows: Sequence[NDArray[np.int32]]) -> list[Tensor]:
        # A model does not run on zero tokens; keys and values of this one are cut off below.
        tokens = self.backbone.pad(rows if any(map(len, rows)) else [np.zeros(1, dtype=np.int32)] * len(rows))
        past: Any = DynamicCache()
        try:
            self.backbone.run(self.backbone.embed(tokens.ids), tokens.mask, past=past)
            pairs = [torch.stack([layer.keys, layer.values], dim=1) for layer in past.layers if layer.is_initialized]
        except Exception as error:  # a family with a cache of its own may fail in any way
            raise self._other_cache() from error
        if len(pairs) != self.backbone.layers or len({pair.shape for pair in pairs}) > 1:
            raise self._other_cache()
        stacked = torch.stack(pairs, dim=1)
        # A slice would keep the whole padded batch in memory.
        return [
            prefix[..., prefix.shape[-2] - len(row) :, :].clone() for prefix, row in zip(stacked, rows, strict=True)
        ]
