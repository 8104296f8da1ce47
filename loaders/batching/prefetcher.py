"""Prefetch: a thread makes the next batches while the consumer works on this one.

Belongs here: the thread, its end, its errors, and how long the consumer waited. No torch. Does not: moving batches to a
GPU (`loaders.batching.device_prefetch`).
"""

import atexit
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from catalog.runtime.whole_numbers import whole_number
from loaders.stats import Stats

T = TypeVar("T")


def unchanged(batch: T) -> Callable[[], T]:
    """Hand a batch over unchanged."""
    return lambda: batch


class Prefetcher(Generic[T]):
    """Prefetches batches of a loader in a background thread.

    The batches and their order are those of the loader. An error comes where its batch would have come. The thread ends
    with the iteration: at the loader's end, or when the consumer stops early.

    Parameters
    ----------
    loader
        Anything that can be iterated over: once, each time that this is.
    prepare
        Called in the thread with each batch; what it gives is called in the consumer's thread and gives the batch.
    depth
        Most batches that are prefetched, in addition to the one that the consumer has.

    Raises
    ------
    ValueError
        If `depth` is below 1.
    """

    def __init__(
        self, loader: Iterable[T], prepare: Callable[[T], Callable[[], T]] = unchanged, *, depth: int = 2
    ) -> None:
        depth = whole_number(depth, name="depth")
        if depth < 1:
            raise ValueError(f"at least 1 batch is prefetched, got depth={depth}; iterate over the loader for none")
        self._loader = loader
        self._prepare = prepare
        self._depth = depth
        self._wait_s = 0.0
        self._busy_s = 0.0
        self._taken = 0

    @property
    def stats(self) -> Stats:
        """The counters of the loader or its dataset, if it has any, with the consumer's waiting and working time."""
        dataset = getattr(self._loader, "dataset", None)
        read = getattr(self._loader, "stats", None) or getattr(dataset, "stats", None) or Stats()
        return replace(read, wait_s=self._wait_s, busy_s=self._busy_s)

    def state_dict(self) -> dict[str, Any]:
        """Give the place of the consumer, for a loader that has one; prefetched, unconsumed batches are not counted."""
        state: dict[str, Any] = self._loader.state_dict(taken=self._taken)  # type: ignore[attr-defined]
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where a state was taken, with the next pass."""
        self._loader.load_state_dict(state)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]  # a TypeError for a loader without a length

    def __iter__(self) -> Generator[T, None, None]:
        run = _Run(self._loader, self._prepare, self._depth)
        self._taken = 0
        try:
            while True:
                waiting = time.perf_counter()
                take = run.next()
                if take is None:
                    return
                batch = take()
                given = time.perf_counter()
                self._wait_s += given - waiting
                self._taken += 1
                del take  # it holds the batch, which is the consumer's to keep or let go
                yield batch
                del batch
                self._busy_s += time.perf_counter() - given
        finally:
            run.stop()


class _Run(Generic[T]):
    """One pass over a loader, in a thread of its own."""

    def __init__(self, loader: Iterable[T], prepare: Callable[[T], Callable[[], T]], depth: int) -> None:
        self._loader = loader
        self._prepare = prepare
        self._made: queue.SimpleQueue[Callable[[], T] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(depth)
        self._is_stopped = False
        self._thread = threading.Thread(target=self._make, name="prefetch", daemon=True)
        # A thread that is inside a library while the interpreter goes down can take the process with it.
        atexit.register(self.stop)
        self._thread.start()

    def next(self) -> Callable[[], T] | None:
        """Give what gives the next batch, or raises its error; None after the last."""
        take = self._made.get()
        self._room.release()
        return take

    def stop(self) -> None:
        """End the thread once it is done with the batch in its hands."""
        self._is_stopped = True
        self._room.release()
        self._thread.join()
        atexit.unregister(self.stop)

    def _make(self) -> None:
        try:
            batches = iter(self._loader)
            while self._may_go_on():
                try:
                    self._made.put(self._prepare(next(batches)))
                except StopIteration:
                    self._made.put(None)
                    return
            if isinstance(batches, Generator):
                batches.close()  # in the thread where it ran
        except BaseException as error:
            self._made.put(_raiser(error))

    def _may_go_on(self) -> bool:
        self._room.acquire()
        return not self._is_stopped


def _raiser(error: BaseException) -> Callable[[], Any]:
    def take() -> Any:
        raise error

    return take
