"""The tier of the KV cache on disk.

Belongs here: names of records in a store, which of them are written, checks of what is read. Does not: the store's
files (`model.language.prefixes.store`).
"""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from model.language.backbone import Backbone
from model.language.directory import BackboneError
from model.language.prefixes.records import RecordLayout
from model.language.prefixes.store import PrefixStore

_FORMAT = 3
"""Of the records of a store; another number invalidates all of them. Those of 1 were computed from embeddings without
the scale that Gemma and its kin give them; those of 2 lay otherwise."""


class DiskTier:
    """Records by key in a store, under names that tell language models, precisions and layouts apart.

    Writing stops at the store's budget, where it would evict prompts that this training reads again. Where the budget
    does not hold all the prompts of a training, those that memory holds are not written.

    Parameters
    ----------
    head_length
        Leading tokens that records leave out.
    """

    def __init__(self, store: PrefixStore, backbone: Backbone, layout: RecordLayout, *, head_length: int = 0) -> None:
        self.store = store
        self.layout = layout
        self.head_length = head_length
        self._holds_all = True
        self._ours_bytes = 0
        # The digest covers the tokenizer. How data see each other is no matter: a prompt never sees them.
        arithmetic = backbone.arithmetic.identity
        made_by = [_FORMAT, backbone.digest, backbone.layers, arithmetic, layout.kind, head_length]
        self._made_by = json.dumps(made_by).encode()

    def plan(self, keys: Mapping[bytes, int]) -> None:
        """Look at what the store has of the prompts of a training, before its first step.

        Parameters
        ----------
        keys
            Tokens that the record of each prompt has, by key.

        Raises
        ------
        BackboneError
            If a file under one of their names is of another model or precision.
        OSError
            If the disk takes none of those that are missing.
        """
        there = {key: found for key in keys if (found := self.store.describe(self._name(key))) is not None}
        for key, found in there.items():
            self._check(found.type, found.shape, keys[key])
        self._ours_bytes = sum(keys[key] for key in there) * self.layout.token_bytes
        self._holds_all = sum(keys.values()) * self.layout.token_bytes <= self.store.max_bytes
        missing = [tokens for key, tokens in keys.items() if key not in there]
        if missing:
            self.store.require_room(max(missing) * self.layout.token_bytes)

    def get(self, key: bytes, tokens: int) -> Tensor | None:
        """Read a record of so many tokens; None if it is not there, or damaged.

        Raises
        ------
        BackboneError
            If it is of another model or precision.
        """
        record = self.store.get(self._name(key))
        if record is not None:
            self._check(record.dtype, tuple(record.shape), tokens)
        return record

    def put(self, key: bytes, record: Tensor, *, is_in_memory: bool) -> None:
        """Write a record, where there is room and reason."""
        if is_in_memory and not self._holds_all:
            return
        if self._ours_bytes + record.nbytes <= self.store.max_bytes:
            self._ours_bytes += record.nbytes
            self.store.put(self._name(key), record)

    def _check(self, dtype: torch.dtype | None, shape: tuple[int, ...], tokens: int) -> None:
        expected = (self.layout.stored_dtype, (tokens, self.layout.width))
        if (dtype, shape) != expected:
            raise BackboneError(
                f"{self.store.folder} holds keys and values of another model or precision under the name of a prompt "
                f"({dtype} {list(shape)}, and this model has {expected[0]} {list(expected[1])}); "
                "remove that folder, or give another with `prefix_cache=`"
            )

    def _name(self, key: bytes) -> str:
        """Give the name of a prompt in a store: equal for the same tokens and the same model only."""
        return hashlib.sha256(self._made_by + key).hexdigest()
