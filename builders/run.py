"""Run a build: idempotent, it computes only the shards that are not committed yet.

Belongs here: from a plan to committed shards. Does not: the work on one shard (`builders.execution.shard`), scheduling
them (`builders.execution.scheduling`), options of a build (`builders.request`).
"""

import os
import platform
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from types import MappingProxyType
from typing import NamedTuple

from distributed import Client

from builders.execution.cluster import outcomes
from builders.execution.report import BuildReport
from builders.execution.scheduling import Progress, ShardScheduler, Stage, workers_of
from builders.execution.shard import Job, ShardBuilder
from builders.execution.source_spec import assembly_of, describe_source, fingerprinting
from builders.execution.tasks import Task
from builders.execution.worker import pad_rows_on_worker
from builders.extractors.base import ExtractorOptions
from builders.plan import chosen_contigs, describe, existing_store, make_plan
from builders.request import BuildRequest, FeaturesRequest
from builders.source import Source, notes_of, pad_rows
from catalog import FeatureSet, Grid
from catalog.runtime.locations import absolute
from catalog.value_type import Dtype
from featurestore import StorageOptions, Store, create

Pads = Mapping[str, Sequence[float]]
"""The pad row of each feature set."""


def build(
    store_url: str,
    *,
    fasta: str | os.PathLike[str],
    extractor: str = "motif",
    options: ExtractorOptions | None = None,
    dtype: Dtype = "float16",
    settings: Mapping[str, object] = MappingProxyType({}),
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
    """Have an extractor compute features of a genome into a store: `run_build` with its most used options spelt out.

    Parameters
    ----------
    options
        What all extractors have in common; its `bin_size` is that of the grid.
    settings
        Of the extractor's own, by name.
    fasta, extractor, dtype, offsets, refine, contigs, workers, scheduler, shard_bins, storage_options, fasta_options
        As in `builders.request.BuildRequest`.
    store_url, progress
        As in `run_build`, and so are the errors.
    """
    common = options or ExtractorOptions()
    request = BuildRequest(
        fasta=os.fspath(fasta),
        extractor=extractor,
        settings=settings,
        outputs=common.outputs,
        bin_size=common.bin_size,
        dtype=dtype,
        device=common.device,
        offsets=tuple(offsets),
        refine=refine,
        contigs=None if contigs is None else tuple(contigs),
        workers=workers,
        scheduler=scheduler,
        shard_bins=shard_bins,
        storage_options=storage_options,
        fasta_options=fasta_options,
    )
    return run_build(store_url, request, progress=progress)


def run_build(
    store_url: str, request: BuildRequest, *, progress: Progress | None = None, stage: Stage | None = None
) -> BuildReport:
    """Compute features of an assembly and write them into a store. Idempotent: a second run does only what is missing.

    Parameters
    ----------
    store_url
        Where the store is, or is to be made: a local path or any fsspec URL, the same for every worker.
    progress
        Called whenever a shard is done.
    stage
        Called with the name of each stage that begins.

    Raises
    ------
    FastaError, UnknownContig, AssemblyMismatch, FingerprintMismatch, ValueError
        If the input does not fit; nothing is written then.
    SchedulerLost
        If no scheduler answers, or it goes away; the same call goes on from there.
    BuildStopped
        If no shard can be built any more: the genome has changed, the disk is full, the credentials have expired.
    """
    say = stage or silent
    grid = Grid(bin_size=request.bin_size, offsets=request.offsets)
    started = start_job(store_url, request, stage=say)
    source, assembly = started.source, started.job.source.assembly
    chosen = chosen_contigs(assembly, request.contigs)
    described = describe(source, grid, shard_bins=request.shard_bins, dtype=request.dtype)
    store = existing_store(store_url, assembly, described, storage_options=request.storage_options)
    if request.refine:
        grid = _refined(store, described, store_url)

    def declare_and_plan(pads: Pads | None) -> Work:
        into = store or create(store_url, assembly, storage_options=request.storage_options)
        wanted = describe(source, grid, pads=pads, shard_bins=request.shard_bins, dtype=request.dtype)
        agreed = _declare(into, wanted, chosen)
        plan = make_plan(agreed, assembly, chosen, offsets=grid.offsets, store=into, flops_per_bin=source.flops_per_bin)
        return Work(into, plan.tasks, plan.todo)

    report = BuildReport(run=started.job.run, notes=started.job.source.notes, source_notes=started.notes)
    carry_out(
        started, request, store=store, declare_and_plan=declare_and_plan, report=report, progress=progress, stage=say
    )
    return report


class Started(NamedTuple):
    """A build whose input is checked; nothing is written yet."""

    job: Job
    source: Source
    """As this process makes it: for its channels, not for its values."""
    notes: tuple[str, ...]
    """Sentences of the source on what it lacks."""


class Work(NamedTuple):
    """The shards of a build, in a store that has room for them."""

    store: Store
    tasks: Sequence[Task]
    todo: Sequence[Task]
    """Those that are not committed."""


def start_job(store_url: str, request: FeaturesRequest, *, stage: Stage) -> Started:
    """Check the genome and the source, and make the configuration for the workers; nothing is written."""
    stage(f"making {request.source or request.extractor}")
    with fingerprinting(request) as extractor:
        spec = describe_source(request, assembly=assembly_of(store_url, request), stage=stage)
        stage(f"digesting what {spec.name} is made from")
    # Files that it opened to check them are closed again: only workers read.
    with closing(spec.make(extractor=extractor)) as source:
        fingerprint, notes = source.fingerprint, notes_of(source)
    job = Job(
        run=uuid.uuid4().hex[:12],
        store_url=absolute(store_url),
        storage_options=dict(request.storage_options or {}),
        source=spec,
        fingerprint=fingerprint,
        feature_sets=tuple(source.channels),
    )
    return Started(job, source, notes)


def carry_out(
    build: Started,
    request: FeaturesRequest,
    *,
    store: Store | None,
    declare_and_plan: Callable[[Pads | None], Work],
    report: BuildReport,
    progress: Progress | None,
    stage: Stage,
    here: Source | None = None,
) -> None:
    """Run a job, on workers that are started only if there is work.

    Parameters
    ----------
    store
        As it was found; None if there is none yet.
    declare_and_plan
        Given the pad rows, or None where the store has them, it declares the arrays and lists the work.
    report
        Updated in place.
    here
        A source to compute with in this process, without workers.
    """
    if here is not None:
        _carry_out_here(build.job, here, store, declare_and_plan, report, progress=progress, stage=stage)
        return
    job, source = build.job, build.source
    started = time.perf_counter()
    on_gpu = source.flops_per_bin > 0
    with ExitStack() as stack:
        client: Client | None = None

        def start() -> Client:
            stage("starting workers" if request.scheduler is None else f"joining {request.scheduler}")
            cluster = workers_of(job, source, workers=request.workers, scheduler=request.scheduler)
            return stack.enter_context(cluster)

        pads: Pads | None = None
        if store is None or not set(job.feature_sets) <= set(store.feature_sets()):
            client = start()
            stage("loading the source on a worker")
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
            licence = source.licence.strip()
            stage(f"computing {len(work.todo):,} shards" + (f"; licence: {licence}" if licence else ""))
            ShardScheduler(client, work.store, job, work.todo, report, on_gpu=on_gpu, progress=progress).carry_out()
    report.seconds = time.perf_counter() - started


def _carry_out_here(
    job: Job,
    made: Source,
    store: Store | None,
    declare_and_plan: Callable[[Pads | None], Work],
    report: BuildReport,
    *,
    progress: Progress | None,
    stage: Stage,
) -> None:
    """Run a job in this process: for little work, which starting a worker would outlast. The first error ends it."""
    started = time.perf_counter()
    with closing(made) as source:
        is_new = store is None or not set(job.feature_sets) <= set(store.feature_sets())
        pads = {name: row.tolist() for name, row in pad_rows(source).items()} if is_new else None
        work = declare_and_plan(pads)
        report.planned, report.was_there = len(work.tasks), len(work.tasks) - len(work.todo)
        if work.todo:
            work.store.unseal()
            stage(f"computing {len(work.todo):,} shards")
            builder = ShardBuilder(source, job, device=job.source.options.device, worker=platform.node())
            report.begin()
            whole = sum(task.n_bins for task in work.todo)
            for task in work.todo:
                report.add(builder.build(task))
                if progress is not None:
                    progress(report.bins_done, whole)
            report.end()
    report.seconds = time.perf_counter() - started


def silent(stage: str) -> None:
    """Say nothing."""


def _refined(store: Store | None, feature_sets: Sequence[FeatureSet], url: str) -> Grid:
    known = store.feature_sets() if store is not None else []
    if store is None or feature_sets[0].name not in known:
        raise ValueError(f"{url} has no {feature_sets[0].name!r} to refine; build it without `refine=True` first")
    return store.feature_set(feature_sets[0].name).grid.refined()


def _declare(store: Store, feature_sets: Sequence[FeatureSet], contigs: Sequence[str]) -> list[FeatureSet]:
    agreed = [store.declare(item, contigs) for item in feature_sets]
    if len({(item.offsets, item.shard_bins) for item in agreed}) > 1:
        raise ValueError(
            f"{store.url} has {', '.join(item.name for item in agreed)} with different phases or shards, so one pass "
            "cannot write them all; build them one by one with `outputs=`"
        )
    return agreed
