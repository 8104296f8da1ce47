"""The KV cache in tiers: on the device, in the host's memory, on disk.

Belongs here: in which tier a record is looked for and kept, bringing records to the device, hits. Does not: a tier
itself (`model.language.prefixes.memory`, `model.language.prefixes.disk`), when records are brought
(`model.language.prefixes.prefetch`), computing them (`model.language.prefixes.cache`).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from model.language.prefixes.disk import DiskTier
from model.language.prefixes.memory import MemoryTier

Tier = Literal["device", "host", "disk", "computed"]
TIERS: tuple[Tier, ...] = ("device", "host", "disk", "computed")


class Found(NamedTuple):
    """A record, and where it was."""

    tier: Tier
    record: Tensor
    """Shape `(tokens, width)`, on the device."""


class Tiers:
    """Records by key, each in the fastest tier that has room when it is first seen.

    Parameters
    ----------
    device
        The tier where the model is.
    host
        That in the host's memory; of a GPU it is pinned.
    disk
        That on disk, if there is one.
    """

    def __init__(self, device: MemoryTier, host: MemoryTier, disk: DiskTier | None) -> None:
        self.device = device
        self.host = host
        self.disk = disk
        self.hits: Counter[Tier] = Counter()
        """How often a prompt was found in each tier, or had to be computed."""

    @property
    def held_bytes(self) -> int:
        """Of the records in memory (bytes)."""
        return self.device.held_bytes + self.host.held_bytes

    def is_at_hand(self, key: bytes) -> bool:
        """Tell whether a record can be used as it lies, so that there is nothing to bring."""
        return key in self.device or (self.device.device.type == "cpu" and key in self.host)

    def fetch(self, tokens: Mapping[bytes, int]) -> dict[bytes, Found]:
        """Find records, and bring them to the device; those that no tier has are left out.

        On a GPU the copies are queued on the current stream.

        Parameters
        ----------
        tokens
            Tokens of each record, by key.
        """
        found: dict[bytes, Found] = {}
        for key, length in tokens.items():
            if (record := self.device.get(key)) is not None:
                found[key] = Found("device", record)
            elif (record := self.host.get(key)) is not None:
                found[key] = Found("host", record)
            elif self.disk is not None and (record := self.disk.get(key, length)) is not None:
                found[key] = Found("disk", record)
        return found if self.device.device.type == "cpu" else self._brought(found)

    def keep(self, key: bytes, found: Found) -> None:
        """Put a record that was computed, or read from disk, into the first tier that has room, and on disk."""
        if found.tier in ("device", "host"):
            return
        is_in_memory = self.device.put(key, found.record) or self.host.put(key, found.record)
        if self.disk is not None and found.tier == "computed":
            self.disk.put(key, found.record, is_in_memory=is_in_memory)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _brought(self, found: Mapping[bytes, Found]) -> dict[bytes, Found]:
        away = {key: one.record for key, one in found.items() if one.tier != "device"}
        if not away:
            return dict(found)
        first = next(iter(away.values()))
        # One piece of memory for all: it is handed from stream to stream once a batch, not once a prompt.
        room = torch.empty(sum(map(len, away.values())), first.shape[1], dtype=first.dtype, device=self.device.device)
        places = dict(zip(away, torch.split(room, [len(record) for record in away.values()]), strict=True))
        for key, record in away.items():
            # From pinned memory, so that the host need not wait; torch keeps it until the copy is done.
            places[key].copy_(record if record.is_pinned() else record.pin_memory(), non_blocking=True)
        return {key: Found(one.tier, places.get(key, one.record)) for key, one in found.items()}
