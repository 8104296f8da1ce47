"""The Dask cluster of a build: joining a running scheduler, and submitting tasks a few at a time (backpressure).

Belongs here: what holds for any cluster. Does not: workers of this machine (`builders.execution.local_workers`), what a
task is (`builders.execution.worker`), what is built (`builders.run`).
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker, as_completed
from distributed.comm.core import CommClosedError

_TASKS_A_WORKER = 6
"""Tasks in flight a worker: three in its pipeline, and some so that none waits for the scheduler."""
_LEAST_TASKS = 16
"""Tasks in flight while there are few workers: an adaptive cluster grows by its queue."""
_POLL_S = 2.0
_TIMEOUT_S = 30.0
"""For a scheduler to answer, or to reconnect."""
_GPU = "GPU"
_GONE = (
    "the Dask scheduler is gone, or has dropped a task; what was committed stays: start a scheduler if there is none, "
    "and run the same command again"
)
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_logger = logging.getLogger("featurestore.build")


class WorkerDied(RuntimeError):
    """A task whose worker died each time that it was tried."""


class SchedulerLost(ConnectionError):
    """The Dask scheduler does not answer, or answers no more."""


@contextmanager
def running_cluster(address: str) -> Iterator[Client]:
    """Join a cluster that runs already, and leave it running.

    Raises
    ------
    SchedulerLost
        If no scheduler answers there in time.
    """
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # we report a lost scheduler ourselves
    try:
        client = Client(address, timeout=_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise SchedulerLost(
            f"no Dask scheduler answers at {address} ({error or 'timed out'}); start one with `dask scheduler` and "
            "give the address that it prints, as in tcp://node1:8786"
        ) from error
    try:
        with client:
            if not client.nthreads():
                _logger.warning("no worker has joined %s yet; the build begins when one does", address)
            yield client
    except OSError as error:
        if is_lost(error):  # while a plugin was handed out, or in leaving
            raise SchedulerLost(_GONE) from error
        raise


def is_lost(error: OSError) -> bool:
    """Tell whether Dask cannot reach another process of the cluster: other errors of that kind are a store's."""
    return isinstance(error, CommClosedError) or (
        type(error) is OSError and str(error).startswith("Timed out trying to connect")
    )


def resources_of(client: Client) -> dict[str, float]:
    """Give the Dask resources of a shard: a part of a GPU where workers declare one, so that no other worker gets it.

    A part, since up to three shards of a worker are alive at once (read, computed, written) and one of them computes.
    """
    workers: dict[str, Any] = client.run_on_scheduler(_worker_resources)
    return {_GPU: 0.25} if any(_GPU in resources for resources in workers.values()) else {}


def _worker_resources(dask_scheduler: Any) -> dict[str, dict[str, float]]:
    return {address: dict(state.resources) for address, state in dask_scheduler.workers.items()}


def outcomes(
    client: Client,
    function: Callable[[_Task], _Result],
    tasks: Iterable[_Task],
    *,
    on_gpu: bool = False,
    at_once: int | None = None,
) -> Iterator[tuple[_Task, _Result | BaseException]]:
    """Submit tasks, a few a worker, and give each with its result, or its error, as it ends.

    Memory, here and in the scheduler, does not grow with the number of tasks. Workers may come and go. Closing the
    iterator cancels what has not begun.

    Parameters
    ----------
    on_gpu
        Whether tasks go to the workers that declare a GPU, where some do.
    at_once
        Most tasks in flight; None for what the workers can take.

    Raises
    ------
    SchedulerLost
        If the scheduler has gone; no more results come then.
    """
    # One group for all: a key of its own each would leave a group in the scheduler's memory for every task.
    group = f"shard-{uuid.uuid4().hex[:12]}"
    waiting = enumerate(tasks)
    running: dict[Future[Any], _Task] = {}
    ended = as_completed(loop=client.loop)
    workers = _Workers(client, on_gpu=on_gpu)

    def fill() -> None:
        workers.refresh()
        for number, task in islice(waiting, max(0, (at_once or workers.room) - len(running))):
            future = client.submit(function, task, key=(group, number), resources=workers.resources)
            running[future] = task
            ended.add(future)

    try:
        fill()
        for future in ended:
            task = running.pop(future)
            yield task, _outcome(future)
            future.release()
            fill()
    except SchedulerLost:
        raise
    except OSError as error:  # the connection broke, or could not be made again, while we polled or submitted
        raise SchedulerLost(_GONE) from error
    finally:
        if running:
            with suppress(OSError):
                client.cancel(list(running), force=True)


def _outcome(future: "Future[Any]") -> Any:
    try:
        return future.result()
    except KilledWorker as error:
        return WorkerDied(
            f"{1 + error.allowed_failures} workers died of it, one after the other: they ran out of memory, or the "
            f"source crashed; the last was {error.last_worker.name}"
        )
    except CancelledError as error:
        raise SchedulerLost(_GONE) from error
    except Exception as error:  # whatever a task may raise
        return error


class _Workers:
    """Capacity of the present workers; polled from the scheduler."""

    def __init__(self, client: Client, *, on_gpu: bool) -> None:
        self._client = client
        self._on_gpu = on_gpu
        self._polled_at = -_POLL_S
        self.room = _LEAST_TASKS
        """Most tasks in flight."""
        self.resources: dict[str, float] = {}
        """What a task needs."""

    def refresh(self) -> None:
        now = time.monotonic()
        if now - self._polled_at < _POLL_S:
            return
        self._polled_at = now
        self.room = max(_LEAST_TASKS, _TASKS_A_WORKER * len(self._client.nthreads()))
        if self._on_gpu and not self.resources:
            self.resources = resources_of(self._client)
