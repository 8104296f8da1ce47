"""Carry a build out: the shards that are not committed yet, and only those.

Belongs here: from a plan to committed shards. Does not: the work on one shard (`builders.shard`), going over
them (`builders.scheduling`).
"""

import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from distributed import Client

from builders.cluster import outcomes
from builders.extractors.base import Extractor, ExtractorOptions, load_extractor
from builders.plan import describe, existing_store, make_plan
from builders.report import BuildReport
from builders.scheduling import Progress, ShardScheduler, workers_of
from builders.shard import Job
from builders.tasks import Task
from builders.worker import pad_rows_on_worker
from catalog import Assembly, Fasta, FeatureSet, Grid
from featurestore import StorageOptions, Store, create

Pads = Mapping[str, Sequence[float]]
"""The pad row of each feature set."""


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
    scheduler: str | None = None,
    shard_bins: int | None = None,
    storage_options: StorageOptions | None = None,
    fasta_options: StorageOptions | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Compute features of a genome and write them into a store. Running it again does only what is missing.

    Parameters
    ----------
    store_url
        Where the store is, or is to be made: a local path or any fsspec URL, the same for every worker.
    fasta
        The genome, a path or any fsspec URL; the store remembers its digest and takes no other.
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
        Worker processes on this machine; None for one a GPU, or on a CPU one a core for extractors that use one core.
    scheduler
        Address of a Dask scheduler whose workers do it instead, e.g. `tcp://node1:8786`.
    storage_options, fasta_options
        How the store and the genome are reached, as fsspec and s3fs name it; else from the environment.
    progress
        Called whenever a shard is done.

    Raises
    ------
    FastaError, UnknownContig, AssemblyMismatch, FingerprintMismatch, ValueError
        If the input does not fit; nothing is written then.
    SchedulerLost
        If no scheduler answers, or it goes away; the same call goes on from there.
    BuildStopped
        If no shard can be built any more: the genome has changed, the disk is full, the credentials have expired.
    """
    check_workers(workers, scheduler)
    options = options or ExtractorOptions()
    grid = Grid(bin_size=options.bin_size, offsets=tuple(offsets))
    job, made, assembly = start_job(
        store_url,
        fasta=fasta,
        extractor=extractor,
        options=options,
        storage_options=storage_options,
        fasta_options=fasta_options,
    )
    chosen = [assembly.resolve(contig) for contig in contigs] if contigs else list(assembly.lengths)
    described = describe(made, grid, shard_bins=shard_bins)
    store = existing_store(store_url, assembly, described, storage_options=storage_options)
    if refine:
        grid = _refined(store, described, store_url)

    def declare_and_plan(pads: Pads | None) -> Work:
        into = store or create(store_url, assembly, storage_options=storage_options)
        agreed = _declare(into, describe(made, grid, pads=pads, shard_bins=shard_bins), chosen)
        plan = make_plan(agreed, assembly, chosen, offsets=grid.offsets, store=into, flops_per_bin=made.flops_per_bin)
        return Work(into, plan.tasks, plan.todo)

    report = BuildReport(run=job.run)
    carry_out(
        job,
        made,
        store=store,
        declare_and_plan=declare_and_plan,
        report=report,
        workers=workers,
        scheduler=scheduler,
        progress=progress,
    )
    return report


class Work(NamedTuple):
    """The shards of a build, in a store that has room for them."""

    store: Store
    tasks: Sequence[Task]
    todo: Sequence[Task]
    """Those that are not committed."""


def check_workers(workers: int | None, scheduler: str | None) -> None:
    """Refuse numbers of workers that make no sense, before anything takes time."""
    if workers is not None and workers < 1:
        raise ValueError(f"a build has at least 1 worker, got {workers}")
    if workers is not None and scheduler is not None:
        raise ValueError("workers of this machine or those of a scheduler: give --workers or --scheduler, not both")


def start_job(
    store_url: str,
    *,
    fasta: str | os.PathLike[str],
    extractor: str,
    options: ExtractorOptions,
    storage_options: StorageOptions | None,
    fasta_options: StorageOptions | None,
) -> tuple[Job, Extractor, Assembly]:
    """Look at the genome and the extractor, and say what workers must know of them; nothing is written."""
    with Fasta(fasta, storage_options=fasta_options) as genome:
        assembly = Assembly.from_fasta(genome)
        index = genome.index
    options = options.absolute()
    made = load_extractor(extractor, options)
    job = Job(
        run=uuid.uuid4().hex[:12],
        store_url=_absolute(store_url),
        storage_options=dict(storage_options or {}),
        fasta=_absolute(os.fspath(fasta)),
        fasta_options=dict(fasta_options or {}),
        fasta_index=index,
        assembly_digest=assembly.digest,
        extractor=extractor,
        options=options,
        fingerprint=made.fingerprint,
        feature_sets=tuple(made.channels),
    )
    return job, made, assembly


def carry_out(
    job: Job,
    extractor: Extractor,
    *,
    store: Store | None,
    declare_and_plan: Callable[[Pads | None], Work],
    report: BuildReport,
    workers: int | None,
    scheduler: str | None,
    progress: Progress | None,
) -> None:
    """Do what a job has to do, with workers that are started when there is something for them.

    Parameters
    ----------
    store
        As it was found; None if there is none yet.
    declare_and_plan
        Given the pad rows, or None where the store has them, it makes room and says what is to be built.
    report
        What was done is added to it.
    """
    started = time.perf_counter()
    on_gpu = extractor.flops_per_bin > 0
    with ExitStack() as stack:
        client: Client | None = None

        def start() -> Client:
            return stack.enter_context(workers_of(job, extractor, workers=workers, scheduler=scheduler))

        pads: Pads | None = None
        if store is None or not set(job.feature_sets) <= set(store.feature_sets()):
            client = start()
            # On a worker, where the weights are used, and before anything is written: a bad file leaves no store.
            ((_, outcome),) = outcomes(client, pad_rows_on_worker, [job.run], on_gpu=on_gpu)
            if isinstance(outcome, BaseException):
                raise outcome
            pads = outcome
        work = declare_and_plan(pads)
        report.planned, report.was_there = len(work.tasks), len(work.tasks) - len(work.todo)
        if work.todo:
            client = client or start()
            work.store.unseal()
            ShardScheduler(client, work.store, job, work.todo, report, on_gpu=on_gpu, progress=progress).carry_out()
    report.seconds = time.perf_counter() - started


def _absolute(url: str) -> str:
    """Name a local path so that a process with another working directory finds it."""
    return url if "://" in url else os.path.abspath(os.path.expanduser(url))


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
