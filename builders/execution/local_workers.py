"""Worker processes of this machine, replaced when they die.

Belongs here: starting them under Dask's nannies, and how one that dies, or is interrupted, is quiet about it. Does not:
the cluster that is joined, and handing out tasks (`builders.execution.cluster`).
"""

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any, Self

import dask
from distributed import Client, Future, LocalCluster, Nanny, Status, Worker
from tornado.ioloop import PeriodicCallback

from builders.execution.cluster import SchedulerLost
from builders.execution.worker import gpu_count

_REPLACE_EVERY_S = 0.5
_MOST_DEATHS = 8
"""Deaths, one after the other with no worker alive, after which none is started any more."""
_DIED = (
    f"{_MOST_DEATHS} worker processes died one after the other while they started: the machine may be out of memory, "
    "or a limit may kill them; free some or take fewer (`workers=1`), and run the same command again. In a script of "
    'your own, what builds stands below `if __name__ == "__main__":`, since each worker imports the script'
)


class WorkersDied(RuntimeError):
    """Workers that die whenever they are started."""


@contextmanager
def local_cluster(workers: int | None, *, one_core_each: bool, device: str) -> Iterator[Client]:
    """Start workers on this machine, one process each; give the client once the first is up.

    Parameters
    ----------
    workers
        Worker processes; None for one a GPU, else one a core for a source that uses one core, else one.
    one_core_each
        Whether a worker's mathematics keeps to one core.
    device
        As in `CommonOptions`; `cpu` looks for no GPU.

    Raises
    ------
    WorkersDied
        If all die while they start or make the source, again and again.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers is None:
        gpus = 0 if device == "cpu" or one_core_each else gpu_count()
        workers = gpus or (cores if one_core_each else 1)
    threads = 1 if one_core_each else max(1, cores // workers)
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "2s"}),
        LocalCluster(
            n_workers=0,  # scaled below, where the death of one at its start is no error
            threads_per_worker=1,
            worker_class=_Nanny,
            memory_limit=0,  # a shard bounds the memory; Dask would pause workers with large weights for good
            dashboard_address="127.0.0.1:0",  # any free port: None means 8787, which a second build finds taken
            silence_logs=logging.CRITICAL,
            env=dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        ) as cluster,
        Client(cluster) as client,
        _kept_at(workers, cluster, client),
    ):
        yield client


class _Worker(Worker):
    """Ends its process without a traceback where scheduler or nanny went first: the client says what happened."""

    async def close(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().close(*args, **kwargs)
        except Exception:
            logging.getLogger("distributed.worker").debug("closing failed", exc_info=True)
            os._exit(1)


class _Nanny(Nanny):
    """Reports a worker that dies while it starts by its status only, for `_kept_at` to replace it."""

    def __init__(self, scheduler: str, **kwargs: Any) -> None:
        super().__init__(scheduler, **kwargs, worker_class=_Worker)

    async def start_unsafe(self) -> Self:
        try:
            await super().start_unsafe()  # type: ignore[no-untyped-call]  # Dask is typed in part
        except Exception:  # whatever the process died of; the nanny is closed then
            logging.getLogger("distributed.nanny").debug("a worker did not start", exc_info=True)
            await self.close()
        return self


@contextmanager
def _kept_at(workers: int, cluster: LocalCluster, client: Client) -> Iterator[None]:
    """Start the workers, wait for the first, and replace each whose nanny gives up, until none at all stays alive."""
    crew = _Crew(workers, cluster, client)
    cluster.sync(crew.begin)
    try:
        while not client.nthreads():
            if crew.all_died:
                raise WorkersDied(_DIED)
            time.sleep(0.02)
        yield
    except SchedulerLost as error:  # how a cancelled task ends
        if crew.all_died:
            raise WorkersDied(_DIED) from error
        raise
    finally:
        cluster.sync(crew.end)


class _Crew:
    """Workers whose number is kept. All but `all_died` runs in the event loop of the cluster."""

    def __init__(self, workers: int, cluster: LocalCluster, client: Client) -> None:
        self._workers = workers
        self._cluster = cluster
        self._client = client
        self._deaths = 0
        self._callback = PeriodicCallback(self._replace, 1000 * _REPLACE_EVERY_S)

    @property
    def all_died(self) -> bool:
        return self._deaths >= _MOST_DEATHS

    async def begin(self) -> None:
        # Ctrl-C at a terminal reaches the whole process group, but it is the client that ends the build. Processes
        # inherit the mask of the thread that starts them; starting the resource tracker would take it off again.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._cluster.scale(self._workers)
        self._callback.start()

    async def end(self) -> None:
        self._callback.stop()

    async def _replace(self) -> None:
        nannies = dict(self._cluster.workers)
        given_up = [name for name, nanny in nannies.items() if nanny.status in (Status.failed, Status.closed)]
        self._deaths += len(given_up)
        if any(nanny.status == Status.running for nanny in nannies.values()):
            self._deaths = 0
        if self.all_died:
            tasks: list[Future[Any]] = [Future(key, self._client) for key in self._client.futures]
            await self._client.cancel(tasks, asynchronous=True, force=True)
            return
        for name in given_up:
            del self._cluster.workers[name]
        self._cluster.scale(self._workers)
