"""Schedule the shards of a job until each is committed or has failed twice.

Belongs here: retries, notes of failures, and when to stop. Does not: planning (`builders.plan`), the cluster
(`builders.execution.cluster`).
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial

from distributed import Client

from builders.execution.cluster import SchedulerLost, WorkerDied, is_lost, outcomes, running_cluster
from builders.execution.local_workers import local_cluster
from builders.execution.report import BuildReport
from builders.execution.shard import Job, Receipt
from builders.execution.tasks import Task
from builders.execution.worker import BuildPlugin, build_shard_on_worker, plugin_name
from builders.source import Source, SourceChanged
from catalog import AssemblyMismatch
from featurestore import CommitConflict, Failure, FailureLog, FingerprintMismatch, Store, StoreUnavailable

Progress = Callable[[int, int], None]
"""Called with the bins that are done and the bins that were to do."""
Stage = Callable[[str], None]
"""Called with what a build does next, in a few words."""

_MOST_FAILURES_IN_A_ROW = 16
"""Consecutive failures before a build stops; fewer where the store does not answer: each then used up its retries."""
_FATAL = (SourceChanged, FingerprintMismatch, AssemblyMismatch, PermissionError)
"""Errors that every other shard would have too."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class BuildStopped(RuntimeError):
    """A build that cannot go on; what it has committed stays."""


@contextmanager
def workers_of(job: Job, source: Source, *, workers: int | None, scheduler: str | None) -> Iterator[Client]:
    """Give a cluster whose workers know the job."""
    if scheduler is None:
        cluster: AbstractContextManager[Client] = local_cluster(
            workers, one_core_each=source.flops_per_bin == 0, device=job.source.options.device
        )
    else:
        cluster = running_cluster(scheduler)
    with cluster as client:
        try:
            client.register_plugin(BuildPlugin(job, spread=scheduler is None))
        except OSError as error:
            if scheduler is not None or not is_lost(error):
                raise
            # A worker died while it made the source; the one in its place makes it when it joins.
        try:
            yield client
        except SchedulerLost:
            raise  # unregistering would time out after 30 s
        except BaseException:
            _leave(client, job, scheduler)
            raise
        _leave(client, job, scheduler)


def _leave(client: Client, job: Job, scheduler: str | None) -> None:
    if scheduler is not None:
        with suppress(OSError, TimeoutError):
            client.unregister_worker_plugin(plugin_name(job.run))


class ShardScheduler:
    """Runs over the shards to do. Failed ones are retried once at the end, when a transient error may have passed.

    Parameters
    ----------
    tasks
        The shards to do; `report` counts those that were there already.
    on_gpu
        Whether the source wants a GPU where workers declare one.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        job: Job,
        tasks: Sequence[Task],
        report: BuildReport,
        *,
        on_gpu: bool,
        progress: Progress | None = None,
    ) -> None:
        self._client = client
        self._run = job.run
        self._tasks = tasks
        self._report = report
        self._on_gpu = on_gpu
        self._progress = progress
        self._failed: dict[Task, str] = {}
        self._killers: set[Task] = set()
        self._conflicts: set[Task] = set()
        self._in_a_row = 0
        logs = {task.array_of(name): None for task in tasks[:1] for name in job.feature_sets}
        self._failures = [FailureLog(store.objects, name) for name in logs]
        self._noted = {(note.contig, note.phase, note.shard) for log in self._failures for note in log}

    def carry_out(self) -> None:
        """Build every shard that can be built.

        Raises
        ------
        BuildStopped
            If no other shard can be built either.
        SchedulerLost
            If the scheduler has gone.
        """
        self._report.begin()
        try:
            self._go_over(_rotated(self._tasks, self._run))
            self._in_a_row = 0
            self._go_over([task for task in self._failed if task not in self._killers | self._conflicts])
            # One at a time: Dask also blames the tasks that waited on the worker that died.
            self._go_over([task for task in self._failed if task in self._killers], at_once=1)
        finally:
            self._report.end()
            self._report.failed = {str(task): reason for task, reason in self._failed.items()}

    def _go_over(self, tasks: Sequence[Task], *, at_once: int | None = None) -> None:
        whole = sum(task.n_bins for task in self._tasks)
        function = partial(build_shard_on_worker, run=self._run)
        for task, outcome in outcomes(self._client, function, tasks, on_gpu=self._on_gpu, at_once=at_once):
            if isinstance(outcome, BaseException):
                self._note_failure(task, outcome)
            else:
                self._note_success(task, outcome)
            if self._progress is not None:
                self._progress(self._report.bins_done, whole)

    def _note_success(self, task: Task, receipt: Receipt) -> None:
        self._in_a_row = 0
        self._failed.pop(task, None)
        self._report.add(receipt)
        if task.place in self._noted:
            for log in self._failures:
                log.remove(*task.place)

    def _note_failure(self, task: Task, error: BaseException) -> None:
        self._in_a_row += 1
        attempts = 2 if task in self._failed else 1
        reason = "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        self._failed[task] = reason
        if isinstance(error, WorkerDied):
            self._killers.add(task)
        if isinstance(error, CommitConflict):  # a retry would find the shard committed, and succeed
            self._conflicts.add(task)
        self._noted.add(task.place)
        is_unavailable = isinstance(error, StoreUnavailable)
        for log in [] if is_unavailable else self._failures:  # a store that does not answer would take no note either
            note = Failure(
                feature_set=str(log.array),
                **task.place._asdict(),
                run=self._run,
                attempts=attempts,
                reason=reason,
            )
            with suppress(OSError):  # the report has it as well
                log.put(note)
        if isinstance(error, _FATAL) or getattr(error, "errno", None) in _FULL:
            raise self._stopped(f"{task} could not be built, and no other could: {reason}") from error
        if self._in_a_row >= max(4 if is_unavailable else _MOST_FAILURES_IN_A_ROW, 2 * len(self._client.nthreads())):
            raise self._stopped(
                f"{self._in_a_row} shards failed one after the other, the last, {task}, with: {reason}"
            ) from error

    def _stopped(self, what: str) -> BuildStopped:
        report = self._report
        return BuildStopped(
            f"{what}. {report.was_there + report.built} of {report.planned} shards are committed and stay; when this "
            "is mended, the same command goes on from there"
        )


def _rotated(tasks: Sequence[Task], run: str) -> list[Task]:
    """Begin elsewhere in each run, cyclically: two builds of one store then seldom compute the same shard."""
    first = int(run, 16) % len(tasks)
    return [*tasks[first:], *tasks[:first]]
