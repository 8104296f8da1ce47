"""KV cache of prompts: keys and values that a frozen causal model computes once and reads in every step.

Belongs here: reading data after cached prompts, computing what no tier has. Does not: the model itself
(`model.language.backbone`), where keys and values are kept (`model.language.prefixes.tiers`).

A causal model reads the prompt before it has seen any data, and nothing trainable comes earlier: the keys and values of
the prompt are the same in every epoch. Predictions and gradients are those of the uncached path, up to rounding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from model.device import sent
from model.language.backbone import Backbone, PromptTokens
from model.language.directory import BackboneError
from model.language.prefixes.budgets import device_bytes, host_bytes, measured_bytes
from model.language.prefixes.disk import DiskTier
from model.language.prefixes.memory import MemoryTier
from model.language.prefixes.prefetch import AHEAD, PrefixFetcher
from model.language.prefixes.records import CacheDtype, RecordLayout, padded_batch
from model.language.prefixes.shared_head import Tokens, begins_with, common_head
from model.language.prefixes.store import PrefixStore
from model.language.prefixes.tiers import TIERS, Found, Tiers

_NO_TOKENS = np.zeros(0, dtype=np.int32)
_HEAD = b"head of all prompts: "
"""Before its tokens, in the key of its record: a prompt may consist of these tokens alone."""


class PrefixCache:
    """Read prompts and data like the backbone, with each prompt computed once.

    Keys and values lie in tiers: on the device, in the host's memory, on disk. A prompt goes to the first that has
    room, and stays there. What no tier has room for is computed each time.

    Parameters
    ----------
    backbone
        A causal one, all of it frozen.
    max_bytes
        Budget on the device. None takes half of what is free on a CPU; on a GPU what is free after a measured step,
        less a margin (`measure_step`), and at most 2 GB before that.
    host_bytes
        Budget in the host's memory. None takes half of what is free for a GPU, and nothing for a CPU, whose memory it
        is already.
    store
        The tier on disk, which serves the next run too.
    dtype
        `model` keeps keys and values as the model computes them; `int8` rounds each head of a token to 1/254 of its
        largest component, in every tier alike, for a half (bf16) or a quarter (fp32) of the bytes.

    Raises
    ------
    BackboneError
        If the backbone is no causal one, has adapters, or keeps another state than keys and values.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        max_bytes: int | None = None,
        host_bytes: int | None = None,
        store: PrefixStore | None = None,
        dtype: CacheDtype = "model",
    ) -> None:
        if not backbone.is_causal:
            raise BackboneError(
                f"{backbone.directory.name} reads in both directions, so keys and values of a prompt depend on the "
                "data; leave `prefix_cache=` out, or use a causal model"
            )
        self.backbone = backbone
        self.max_bytes = max_bytes
        self.host_bytes = host_bytes
        self.store = store
        self.dtype: CacheDtype = dtype
        self._refuse_adapters()
        (states,) = self._states(backbone.token_rows(["gene"], 1))
        _, layers, _, heads, components = states.shape
        self.layout = RecordLayout(layers=layers, heads=heads, components=components, dtype=states.dtype, kind=dtype)
        self._head = _NO_TOKENS
        self._head_record: Tensor | None = None
        self._longest = 0
        self._disk: DiskTier | None = None
        self._tiers: Tiers | None = None
        self._fetcher: PrefixFetcher | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what other processes make for themselves: memory, threads, streams."""
        return self.__dict__ | {"_tiers": None, "_fetcher": None, "_head_record": None}

    @property
    def held_bytes(self) -> int:
        """Of the prompts in memory (bytes), without their shared head."""
        return 0 if self._tiers is None else self._tiers.held_bytes

    @property
    def head_length(self) -> int:
        """Leading tokens that all prompts share, and that are kept once."""
        return len(self._head)

    def __call__(self, data: Tensor, prompts: Sequence[str]) -> Tensor:
        """Do what `Backbone.forward` does."""
        self._refuse_adapters()
        n_data = data.shape[1]
        rows = self.backbone.token_rows(prompts, n_data)
        if not any(map(len, rows)):
            return self.backbone(data, prompts)  # type: ignore[no-any-return]  # torch types a call as Any
        states = self.layout.decode(padded_batch(self._pieces(rows)))
        # (batch, tokens, layers, 2, heads, components), and a block takes (batch, heads, tokens, components).
        blocks = states.permute(2, 3, 0, 4, 1, 5)
        past = DynamicCache([(block[0], block[1]) for block in blocks])
        lengths, longest = np.array([[len(row)] for row in rows]), states.shape[1]
        # From the left, the padding of each prompt; then what is there, the prompt and the data.
        mask = sent(torch.from_numpy(np.arange(longest + n_data) >= longest - lengths), states.device)
        hidden: Tensor = self.backbone.run(data, mask, n_data=n_data, past=past).last_hidden_state
        return hidden.float()

    def plan(self, prompts: Sequence[str], n_data: int) -> str:
        """Get ready for a training: find what its prompts share, and look at the tier on disk.

        Parameters
        ----------
        prompts
            All that it will read.
        n_data
            Data tokens that follow each of them.

        Returns
        -------
        How many prompts of which size there are, in one line.

        Raises
        ------
        BackboneError
            If the store holds a file of another model or precision under a prompt's name.
        OSError
            If the disk takes no prompt.
        """
        rows = self.backbone.token_rows(list(dict.fromkeys(prompts)), n_data)
        self._longest = max(map(len, rows), default=0)
        # Records leave the head out, so that with another one none of those held would serve.
        if not self.held_bytes:
            self._head = common_head(rows)
            self._disk = self._tiers = None
        distinct = self._wanted(rows)
        disk = self._ready().disk
        if disk is not None:
            disk.plan(distinct)
        total = (sum(distinct.values()) + self.head_length) * self.layout.token_bytes
        shared = f", {self.head_length} leading tokens shared" if self.head_length else ""
        return f"KV cache of {len(distinct):,} prompts: {_in_gb(total)} in {self._precision()}{shared}"

    @property
    def is_planned(self) -> bool:
        """Whether `plan` was called."""
        return self._longest > 0

    def announce(self, prompts: Sequence[str], n_data: int) -> None:
        """Begin to bring the keys and values of a batch to the device, before it is read."""
        self._ready()
        assert self._fetcher is not None
        self._fetcher.announce(self._wanted(self.backbone.token_rows(prompts, n_data)))

    def measure_step(self, batch_size: int) -> bool:
        """Give the device's tier what a training step has left free, where no budget was given.

        Called after the first step: of a GPU its peak is known then. What lies on the host stays there.

        Returns
        -------
        Whether there was something to measure.
        """
        tiers = self._ready()
        device = tiers.device.device
        if self.max_bytes is not None or device.type == "cpu":
            return False
        # Those that are on their way, the one in use, and its copies in the model's own cache, all of them long.
        staged = (AHEAD + 4) * batch_size * self._longest * self.layout.token_bytes
        tiers.device.max_bytes = measured_bytes(device, held=tiers.device.held_bytes, staged=staged)
        return True

    def report(self) -> str:
        """Say where prompts were found since the last report, and what each tier holds of its budget, in one line."""
        tiers = self._ready()
        rates = ", ".join(f"{tier} {rate:.1%}" for tier, rate in self.hit_rates().items())
        parts = [f"device {_in_gb(tiers.device.held_bytes)} of {_in_gb(tiers.device.max_bytes)}"]
        if tiers.host.max_bytes:
            parts.append(f"host {_in_gb(tiers.host.held_bytes)} of {_in_gb(tiers.host.max_bytes)}")
        if self.store is not None:
            parts.append(f"disk {_in_gb(self.store.held_bytes)} of {_in_gb(self.store.max_bytes)}")
        return f"prompts read: {rates or 'none'}; their KV cache holds: {', '.join(parts)}"

    def hit_rates(self) -> dict[str, float]:
        """Give the share of prompts found in each tier, and of those computed, since the last call; empty if none."""
        hits = self._ready().hits
        total = hits.total()
        rates: dict[str, float] = {tier: hits[tier] / total for tier in TIERS if hits[tier]}
        hits.clear()
        return rates

    def _ready(self) -> Tiers:
        """Give the tiers for the device that the model is on."""
        device = self.backbone.embeddings.device
        if self._tiers is None or self._tiers.device.device != device:
            on_device = device_bytes(device) if self.max_bytes is None else self.max_bytes
            on_host = host_bytes(device) if self.host_bytes is None else self.host_bytes
            if self._disk is None and self.store is not None:
                self._disk = DiskTier(self.store, self.backbone, self.layout, head_length=self.head_length)
            self._tiers = Tiers(
                MemoryTier(device, on_device),
                MemoryTier(torch.device("cpu"), on_host, pinned=device.type == "cuda"),
                self._disk,
            )
            self._fetcher = PrefixFetcher(self._tiers)
            stored = None if self._disk is None else self._disk.get(_HEAD + self._head.tobytes(), self.head_length)
            self._head_record = None if stored is None else stored.to(device)
        return self._tiers

    def _pieces(self, rows: Sequence[Tokens]) -> list[list[Tensor]]:
        """Give the records of each prompt: the shared head, where it has it, and its own tokens."""
        tiers = self._ready()
        assert self._fetcher is not None
        wanted = self._wanted(rows)
        found = self._fetcher.take(wanted)
        missing = {key: row for row in rows if (key := row.tobytes()) not in found}
        if missing:
            computed = self._compute(list(missing.values()), skipped=list(map(self._skipped, missing.values())))
            found |= {key: Found("computed", record) for key, record in zip(missing, computed, strict=True)}
        for key, one in found.items():
            tiers.keep(key, one)
        keys = [row.tobytes() for row in rows]
        tiers.hits.update(found[key].tier for key in keys)
        return [
            [self._head_of(row), found[key].record] if self._skipped(row) else [found[key].record]
            for key, row in zip(keys, rows, strict=True)
        ]

    def _wanted(self, rows: Sequence[Tokens]) -> dict[bytes, int]:
        """Give the tokens of each prompt's record, by key."""
        # By tokens, not by text: a prompt is the same in every context length, unless it was cut.
        return {row.tobytes(): len(row) - self._skipped(row) for row in rows}

    def _skipped(self, row: Tokens) -> int:
        return self.head_length if begins_with(row, self._head) else 0

    def _head_of(self, row: Tokens) -> Tensor:
        if self._head_record is None:
            self._compute([row], skipped=[self.head_length])
        assert self._head_record is not None
        return self._head_record

    @torch.inference_mode(False)
    @torch.no_grad()
    def _compute(self, rows: Sequence[Tokens], skipped: Sequence[int]) -> list[Tensor]:
        """Give the records of prompts without their first tokens, as they will be read: rounded where they are kept so.

        The shared head is taken from the first that has it. A record that is computed while predicting serves training,
        which takes no inference tensors.
        """
        records = []
        for first, states in zip(skipped, self._states(rows), strict=True):
            if first and self._head_record is None:
                # Of a whole prompt: few tokens alone may be rounded otherwise, and a saved model predicts as it did.
                self._head_record = self.layout.encode(states[:first])
                if self._disk is not None:
                    self._disk.put(_HEAD + self._head.tobytes(), self._head_record, is_in_memory=False)
            records.append(self.layout.encode(states[first:]))
        return records

    @torch.inference_mode(False)
    @torch.no_grad()
    def _states(self, rows: Sequence[Tokens]) -> list[Tensor]:
        """Run the model: keys and values of each prompt, shape `(tokens, layers, 2, heads, components)`."""
        # Padded on the right, as none of them sees what follows it: then each token has the same place in every batch,
        # and its keys and values are rounded alike. A model does not run on zero tokens, so at least one is padding.
        ids = np.zeros((len(rows), max(1, *map(len, rows))), dtype=np.int64)
        mask = np.arange(ids.shape[1]) < np.array([[max(1, len(row))] for row in rows])
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        device = self.backbone.embeddings.device
        tokens = PromptTokens(sent(torch.from_numpy(ids), device), sent(torch.from_numpy(mask), device))
        past: Any = DynamicCache()
        try:
            # In the model's own precision, whoever asks first.
            with torch.autocast(tokens.ids.device.type, enabled=False):
                self.backbone.run(self.backbone.embed(tokens.ids), tokens.mask, past=past)
            pairs = [torch.stack([layer.keys, layer.values], dim=1) for layer in past.layers if layer.is_initialized]
        except Exception as error:  # a family with a cache of its own may fail in any way
            raise self._other_cache() from error
        if len(pairs) != self.backbone.layers or len({pair.shape for pair in pairs}) > 1:
            raise self._other_cache()
        # (batch, layers, 2, heads, tokens, components)
        stacked = torch.stack(pairs, dim=1)
        return [states[..., : len(row), :].permute(3, 0, 1, 2, 4) for states, row in zip(stacked, rows, strict=True)]

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

    def _precision(self) -> str:
        return "int8" if self.dtype == "int8" else str(self.layout.dtype).removeprefix("torch.")


def _in_gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:,.1f} MB"
