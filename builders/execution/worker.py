"""A Dask worker of a build: it makes the source once and returns receipts.

Belongs here: the plug-in and tasks that run on a worker. Does not: the work on a shard (`builders.execution.shard`),
the cluster (`builders.execution.cluster`).
"""

import logging
import platform
from typing import Any

from distributed import WorkerPlugin, get_worker, secede

from builders.execution.shard import Job, Receipt, ShardBuilder
from builders.execution.tasks import Task
from builders.source import pad_rows


class BuildPlugin(WorkerPlugin):
    """Makes each worker, also one that joins later, ready for a job.

    Parameters
    ----------
    spread
        Workers are named 0, 1, ... on one host, and each takes the GPU of its number. Otherwise a worker takes the
        first GPU that it sees, as dask-cuda and SLURM arrange it.
    """

    def __init__(self, job: Job, *, spread: bool) -> None:
        self.name = plugin_name(job.run)
        self._job = job
        self._spread = spread
        self.builder: ShardBuilder | None = None
        self.failure: Exception | None = None
        """Why there is no builder: of a worker that joins later, Dask tells nobody."""

    def setup(self, worker: Any) -> None:
        """Make the source on this worker's own device."""
        # The client reports a shard that fails; its traceback here would say the same again.
        logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
        device = device_of(self._job.source.options.device, spread=self._spread, worker=worker)
        try:
            source = self._job.source.make(device=device)
        except Exception as error:
            self.failure = error
            raise
        self.builder = ShardBuilder(
            source,
            self._job,
            device=_device_name(device) if source.flops_per_bin else f"cpu {platform.machine()}",
            worker=f"{platform.node()}/{worker.name}",
        )

    def teardown(self, worker: Any) -> None:
        """Free the source and its weights."""
        if self.builder is not None:
            self.builder.source.close()
        self.builder = None


def device_of(device: str, *, spread: bool, worker: Any = None) -> str:
    """Give the device of a worker, by default the one that runs this task: `device`, or a GPU of its own.

    Parameters
    ----------
    spread
        As for `BuildPlugin`.
    """
    name = str((worker or get_worker()).name)
    if not spread or device not in ("auto", "cuda") or not name.isdigit():
        return device
    n_gpus = gpu_count()
    return f"cuda:{int(name) % n_gpus}" if n_gpus else device


def plugin_name(run: str) -> str:
    """Name the plugin of a run: two builds may share a cluster."""
    return f"featurestore-{run}"


def build_shard_on_worker(task: Task, run: str) -> Receipt:
    """Build one shard with this worker's own source."""
    # Seceding frees the worker's thread, so that one thread a worker is enough to read the next shard meanwhile.
    try:
        return _builder(run).build(task, admit_next=secede)
    except Exception as error:
        error.add_note(f"on worker {platform.node()}/{get_worker().name}")
        raise


def pad_rows_on_worker(run: str) -> dict[str, list[float]]:
    """Compute the pad rows with this worker's own source."""
    builder = _builder(run)
    builder.require_fingerprint()
    return {name: row.tolist() for name, row in pad_rows(builder.source).items()}


def _builder(run: str) -> ShardBuilder:
    plugin = get_worker().plugins[plugin_name(run)]
    assert isinstance(plugin, BuildPlugin)
    if plugin.builder is None:
        assert plugin.failure is not None
        raise plugin.failure
    return plugin.builder


def gpu_count() -> int:
    """Count the GPUs that torch sees; 0 where there is no torch."""
    try:
        import torch
    except ModuleNotFoundError:
        return 0
    return int(torch.cuda.device_count())


def _device_name(device: str) -> str:
    """Name what `device` stands for: the GPU's model, or the processor's kind."""
    if device == "cpu" or not gpu_count():
        return f"cpu {platform.machine()}"
    import torch

    return str(torch.cuda.get_device_name(None if device == "auto" else device))
