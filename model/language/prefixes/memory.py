"""A tier of the KV cache in memory: on the device, or on the host.

Belongs here: records by key in large pieces of memory, within a budget. Does not: budgets
(`model.language.prefixes.budgets`), which tier a record goes to (`model.language.prefixes.tiers`).
"""

import contextlib
import logging

import torch
from torch import Tensor

_SLAB_BYTES = 64 << 20
"""Memory is taken in large pieces: one for each prompt would be rounded up, pinned ones to a power of two."""

_log = logging.getLogger(__name__)


class MemoryTier:
    """Records by key, kept for good; nothing is evicted.

    An epoch visits every prompt once, in another order each time. Dropping the least recently used would drop a prompt
    just before its next use, so that what is kept stays, and the rest goes to the next tier.

    Parameters
    ----------
    device
        Where its memory is.
    max_bytes
        Budget; may be raised later.
    pinned
        In page-locked memory, from which copies to a GPU need not be waited for.
    """

    def __init__(self, device: torch.device, max_bytes: int, *, pinned: bool = False) -> None:
        self.device = device
        self.max_bytes = max_bytes
        self.pinned = pinned
        self.held_bytes = 0
        """Of the records (bytes)."""
        self._allocated_bytes = 0
        self._held: dict[bytes, Tensor] = {}
        self._slab: Tensor | None = None
        self._used = 0
        # Cut out of what steps have freed, pieces that stay would leave holes too small for the next step: on an H100
        # training ran out of memory with 28 of 79 GB reserved and unused.
        self._pool = torch.cuda.MemPool() if device.type == "cuda" and not pinned else None

    def __contains__(self, key: bytes) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: bytes) -> Tensor | None:
        """Give a record, shape `(tokens, width)`; None if it is not here."""
        return self._held.get(key)

    # A record that was first read while predicting serves training, which takes no inference tensors.
    @torch.inference_mode(False)
    @torch.no_grad()
    def put(self, key: bytes, record: Tensor) -> bool:
        """Keep a copy of a record; False if the budget has no room for it."""
        if key in self._held:
            return True
        if (self._slab is None or len(self._slab) - self._used < len(record)) and not self._grow(record):
            return False
        assert self._slab is not None
        place = self._slab[self._used : self._used + len(record)]
        place.copy_(record)
        self._used += len(record)
        self._held[key] = place
        self.held_bytes += place.nbytes
        return True

    def _grow(self, record: Tensor) -> bool:
        """Take the next piece of memory, large enough for a record."""
        row_bytes = record.shape[1] * record.itemsize
        room = (self.max_bytes - self._allocated_bytes) // row_bytes
        rows = min(room, max(len(record), _SLAB_BYTES // row_bytes))
        if rows < len(record):
            return False
        try:
            with contextlib.nullcontext() if self._pool is None else torch.cuda.use_mem_pool(self._pool, self.device):
                slab = torch.empty(
                    rows, record.shape[1], dtype=record.dtype, device=self.device, pin_memory=self.pinned
                )
        except (RuntimeError, MemoryError) as error:
            # Others took it since the budget was set: what is held stays, and training goes on.
            _log.warning(
                "the KV cache of prompts stays at %.1f GB on %s (%s); a smaller budget leaves more to others",
                self.held_bytes / 1e9,
                f"the host (pinned for {self.device})" if self.pinned else self.device,
                " ".join(str(error).split())[:200],
            )
            self.max_bytes = self._allocated_bytes
            return False
        self._slab, self._used = slab, 0
        self._allocated_bytes += slab.nbytes
        return True
