"""Carry a build out on a Dask cluster: the shards that are not committed yet, and only those.

Belongs here: from a plan to committed shards. Does not: the work on one shard (`builders.worker`).
"""

import logging
import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from distributed import Client, LocalCluster, as_completed

from builders.extractors.base import ExtractorOptions, load_extractor
from builders.plan import BuildPlan, ShardTask, describe, existing_store, make_plan
from builders.worker import ExtractorPlugin, Job, Receipt, build_shard_on_worker, gpu_count, pad_rows_on_worker
from catalog import Assembly, FeatureSet, Grid
from featurestore import StorageOptions, Store, create

Progress = Callable[[int, int], None]
"""Called with the bins that are done and the bins that were to do."""


@dataclass(slots=True)
class BuildReport:
    """What a build did."""

    run: str
    planned: int = 0
    """Shards of the whole plan."""
    built: int = 0
    """Shards computed and committed by this run."""
    bins: int = 0
    """Bins computed by this run."""
    bytes: int = 0
    """Size of the objects that this run wrote (bytes)."""
    extractor_calls: int = 0
    seconds: float = 0.0
    """The whole run, workers' start included."""
    work_seconds: float = 0.0
    """From the first shard handed out to the last one back."""
    failed: dict[str, str] = field(default_factory=dict)
    """Shards that could not be built, tried twice, and why."""
    was_there: int = 0
    """Shards that were committed before."""

    @property
    def is_complete(self) -> bool:
        """Whether every planned shard is committed."""
        return self.was_there + self.built == self.planned

    @property
    def bins_per_second(self) -> float:
        """Speed of this run once its workers are up."""
        return self.bins / self.work_seconds if self.work_seconds else 0.0

    def to_json(self) -> dict[str, object]:
        """Give the report as plain JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "is_complete": self.is_complete,
            "bins_per_second": self.bins_per_second,
        }


def build(
    store_url: str,
    *,
    fasta: str | os.PathLike[str],
    extractor: str,
    options: ExtractorOptions | None = None,
    offsets: Sequence[int] = (0,),
    refine: bool = False,
    contigs: Sequence[str] | None = None,
    workers: int | None = None,
    shard_bins: int | None = None,
    storage_options: StorageOptions | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Compute features of a genome and write them into a store. Running it again does only what is missing.

    Parameters
    ----------
    store_url
        Where the store is, or is to be made: a local path or any fsspec URL.
    fasta
        The genome; the store remembers its digest and takes no other.
    extractor
        Name of an installed extractor, or `module:factory`.
    options
        How the extractor is set; its `bin_size` is that of the grid.
    offsets
        Phases to build (bp); those that the store has stay as they are.
    refine
        Build the phases that halve the distance between neighbouring bin edges of those that the store has, instead.
    contigs
        Contigs to build; None for all.
    workers
        Worker processes; None for one a GPU, or on a CPU one a core for extractors that use one core.
    progress
        Called whenever a shard is done.

    Raises
    ------
    FastaError, UnknownContig, AssemblyMismatch, FingerprintMismatch, ValueError
        If the input does not fit; nothing is written then.
    """
    options = options or ExtractorOptions()
    if workers is not None and workers < 1:
        raise ValueError(f"a build has at least 1 worker, got {workers}")
    grid = Grid(bin_size=options.bin_size, offsets=tuple(offsets))
    assembly = Assembly.from_fasta(fasta)
    chosen = [assembly.resolve(contig) for contig in contigs] if contigs else list(assembly.lengths)
    made = load_extractor(extractor, options)
    described = describe(made, grid, shard_bins=shard_bins)
    store = existing_store(store_url, assembly, described, storage_options=storage_options)
    if refine:
        grid = _refined(store, described, store_url)
        described = describe(made, grid, shard_bins=shard_bins)
    report = BuildReport(run=uuid.uuid4().hex[:12])
    started = time.perf_counter()
    with ExitStack() as stack:

        def start() -> Client:
            single = made.flops_per_bin == 0  # no network: one core is all that a worker uses
            cluster = stack.enter_context(_cluster(workers, one_core_each=single, device=options.device))
            client: Client = stack.enter_context(Client(cluster))
            client.register_plugin(ExtractorPlugin(extractor, options))
            return client

        client = None
        if store is None or not {item.name for item in described} <= set(store.feature_sets()):
            client = start()
            # On a worker, where the weights are used, and before anything is written: a bad file leaves no store.
            pads = client.submit(pad_rows_on_worker, pure=False).result()
            described = describe(made, grid, pads=pads, shard_bins=shard_bins)
        store = store or create(store_url, assembly, storage_options=storage_options)
        agreed = _declare(store, described, chosen)
        plan = make_plan(agreed, assembly, chosen, offsets=grid.offsets, store=store, flops_per_bin=made.flops_per_bin)
        report.planned, report.was_there = len(plan.tasks), len(plan.tasks) - len(plan.todo)
        job = Job(
            store_url=store_url,
            storage_options=tuple((storage_options or {}).items()),
            fasta=Path(fasta).resolve(),
            feature_sets=tuple(item.name for item in agreed),
            run=report.run,
        )
        if plan.todo:
            _carry_out(client or start(), plan, job, report, progress)
    report.seconds = time.perf_counter() - started
    return report


def _carry_out(client: Client, plan: BuildPlan, job: Job, report: BuildReport, progress: Progress | None) -> None:
    """Build what is to do; what failed is tried once more at the end, when a full disk or a busy server may be well."""
    started = time.perf_counter()
    failed = _one_round(client, plan.todo, plan.bins_todo, job, report, progress)
    if failed:
        failed = _one_round(client, list(failed), plan.bins_todo, job, report, progress)
    report.failed = {str(task): reason for task, reason in failed.items()}
    report.work_seconds = time.perf_counter() - started


def _one_round(
    client: Client, tasks: Sequence[ShardTask], whole: int, job: Job, report: BuildReport, progress: Progress | None
) -> dict[ShardTask, str]:
    """Hand the tasks out, add up their receipts, and give those that failed with the reason."""
    failed: dict[ShardTask, str] = {}
    futures = {client.submit(build_shard_on_worker, task, job, pure=False): task for task in tasks}
    for future in as_completed(futures):
        task = futures[future]
        error = future.exception()
        if error is None:
            receipt: Receipt = future.result()
            report.built += 1
            report.bins += task.n_bins
            report.bytes += receipt.bytes
            report.extractor_calls += receipt.extractor_calls
        else:
            failed[task] = f"{type(error).__name__}: {error}"
        future.release()
        if progress is not None:
            progress(report.bins, whole)
    return failed


def _refined(store: Store | None, feature_sets: Sequence[FeatureSet], url: str) -> Grid:
    known = store.feature_sets() if store is not None else []
    if store is None or feature_sets[0].name not in known:
        raise ValueError(f"{url} has no {feature_sets[0].name!r} to refine; build it without --refine first")
    return store.feature_set(feature_sets[0].name).grid.refined()


def _declare(store: Store, feature_sets: Sequence[FeatureSet], contigs: Sequence[str]) -> list[FeatureSet]:
    agreed = [store.declare(item, contigs) for item in feature_sets]
    if len({(item.offsets, item.shard_bins) for item in agreed}) > 1:
        raise ValueError(
            f"{store.url} has {', '.join(item.name for item in agreed)} with different phases or shards, so one pass "
            "cannot write them all; build them one by one with --outputs"
        )
    return agreed


def _cluster(workers: int | None, *, one_core_each: bool, device: str) -> LocalCluster:
    """Start workers on this machine: one process each, one task at a time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers is None:
        gpus = 0 if device == "cpu" else gpu_count()
        workers = gpus or (cores if one_core_each else 1)
    threads = 1 if one_core_each else max(1, cores // workers)
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,  # a shard bounds the memory; Dask would pause a worker that holds large weights, for ever
        dashboard_address="127.0.0.1:0",  # any free port: None means 8787, which a second build finds taken
        silence_logs=logging.ERROR,
        env=dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
    )
