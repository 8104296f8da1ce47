"""Bringing the records of the next batches to the device while a step runs.

Belongs here: the thread, its CUDA stream, looking ahead in a loader. Does not: where records lie
(`model.language.prefixes.tiers`).
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from model.language.prefixes.tiers import Found, Tiers

T = TypeVar("T")

AHEAD = 2
"""Batches whose records are brought before they are used."""
_MOST_WAITING = 4 * AHEAD
"""Announced batches that are remembered: those of an epoch that was broken off are never asked for."""


class _Brought(NamedTuple):
    found: dict[bytes, Found]
    copied: Any
    """Event of the stream that copied; None on a CPU."""


class PrefixFetcher:
    """Fetches records of announced batches in a thread, on a GPU over a stream of its own."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._waiting: OrderedDict[frozenset[bytes], Future[_Brought]] = OrderedDict()
        self._thread: ThreadPoolExecutor | None = None
        self._stream: Any = None

    def announce(self, tokens: Mapping[bytes, int]) -> None:
        """Begin to bring the records of a batch, unless all lie where they are used."""
        batch = frozenset(tokens)
        if batch in self._waiting or all(map(self._tiers.is_at_hand, tokens)):
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefixes")
        self._waiting[batch] = self._thread.submit(self._bring, dict(tokens))
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popitem(last=False)

    def take(self, tokens: Mapping[bytes, int]) -> dict[bytes, Found]:
        """Give the records of a batch, announced or not; those that no tier has are left out."""
        brought = self._waiting.pop(frozenset(tokens), None)
        if brought is None:
            return self._tiers.fetch(tokens)
        found, copied = brought.result()
        if copied is not None:
            consumer = torch.cuda.current_stream(self._tiers.device.device)
            consumer.wait_event(copied)
            for one in found.values():
                # Its memory belongs to the copying stream, which must not reuse it before the consumer is done with it.
                if one.tier != "device":
                    one.record.record_stream(consumer)
        return found

    def _bring(self, tokens: Mapping[bytes, int]) -> _Brought:
        device = self._tiers.device.device
        if device.type == "cpu":
            return _Brought(self._tiers.fetch(tokens), None)
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        with torch.cuda.stream(self._stream):
            return _Brought(self._tiers.fetch(tokens), self._stream.record_event())


class LookAhead(Generic[T]):
    """Iterates over the batches of a loader, and announces each of them before it is used.

    Parameters
    ----------
    loader
        Anything that can be iterated over.
    announce
        Called with each batch when it is read, `AHEAD` batches before it is handed over.
    """

    def __init__(self, loader: Iterable[T], announce: Callable[[T], None]) -> None:
        self._loader = loader
        self._announce = announce

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]  # a TypeError for a loader without a length

    def __iter__(self) -> Iterator[T]:
        waiting: deque[T] = deque()
        for batch in self._loader:
            self._announce(batch)
            waiting.append(batch)
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        yield from waiting
