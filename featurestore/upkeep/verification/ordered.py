"""Reading many objects, several at once, with results in order.

Belongs here: that, and the digests of objects. Does not: what they should be (`featurestore.upkeep.verify`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from featurestore.format.manifest import SealedObject, sealed_as
from featurestore.objects.objects import Objects

REQUESTS_AT_ONCE = 16
Item = TypeVar("Item")
Result = TypeVar("Result")


def sha256_of(
    objects: Objects, keys: Iterable[str], *, threads: int = REQUESTS_AT_ONCE
) -> Iterator[tuple[str, SealedObject]]:
    """Compute size and sha256 of objects, several concurrently, in the order of the keys."""

    def read(key: str) -> tuple[str, SealedObject]:
        return key, sealed_as(objects.get(key))

    return in_order(read, keys, threads=threads)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """Map in threads, with results in order and a bounded number of prefetched items."""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= 4 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
