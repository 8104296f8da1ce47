"""Run a build of anchored arrays: windows that are centred exactly on chosen positions.

Belongs here: from a table of anchors to committed shards. Does not: what is to be built (`builders.anchored.anchors`),
what all builds share (`builders.run`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from builders.anchored.anchors import AnchorTask, plan_anchors, sources_of
from builders.execution.report import BuildReport
from builders.execution.scheduling import Progress, Stage
from builders.execution.shard import Job, Receipt
from builders.extractors.base import ExtractorOptions
from builders.plan import default_shard_bins, describe, existing_store
from builders.request import AnchorRequest
from builders.run import Pads, Work, carry_out, silent, start_job
from builders.source import Source
from catalog import FeatureSet, Grid
from catalog.genes.anchors import read_anchors
from catalog.value_type import Dtype
from featurestore import StorageOptions, Store, create
from featurestore.anchored.declare import declare_anchored, present_anchored
from featurestore.anchored.layout import AnchorLayout, describe_anchored


@dataclass(slots=True)
class AnchorReport(BuildReport):
    """What a build of anchored arrays did; `bins` are those stored by this run, wherever they came from."""

    anchors: int = 0
    """Of the table that lie on the assembly, and on the contigs chosen."""
    outside: int = 0
    """Bins outside their contig, which take the pad row."""
    from_grid: int = 0
    """Bins that the store had on its grid."""
    shared: int = 0
    """Bins that another window of the shard has too."""
    computed: int = 0
    """Bins that the source computed."""

    def add(self, receipt: Receipt) -> None:
        """Count one shard."""
        BuildReport.add(self, receipt)
        assert isinstance(receipt.task, AnchorTask)
        if receipt.was_there:
            return
        sources = sources_of(receipt.task)
        self.outside += int(sources.is_outside.sum())
        self.from_grid += int(sources.is_in_grid.sum())
        self.computed += sources.to_compute.shape[1]
        self.shared += int((sources.rows >= 0).sum()) - sources.to_compute.shape[1]

    def to_json(self) -> dict[str, object]:
        """Give the report as plain JSON."""
        own = {name: getattr(self, name) for name in ("anchors", "outside", "from_grid", "shared", "computed")}
        return BuildReport.to_json(self) | own


def build_anchors(
    store_url: str,
    *,
    anchors: str | os.PathLike[str],
    name: str,
    n_bins: int = 251,
    fasta: str | os.PathLike[str],
    extractor: str = "motif",
    options: ExtractorOptions | None = None,
    dtype: Dtype = "float16",
    settings: Mapping[str, object] = MappingProxyType({}),
    contigs: Sequence[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    shard_anchors: int | None = None,
    storage_options: StorageOptions | None = None,
    fasta_options: StorageOptions | None = None,
    progress: Progress | None = None,
) -> AnchorReport:
    """Have an extractor compute windows around anchors: `run_anchor_build` with its most used options spelt out.

    Parameters
    ----------
    options
        What all extractors have in common.
    settings
        Of the extractor's own, by name.
    anchors, name, n_bins, shard_anchors
        As in `builders.request.AnchorRequest`.
    fasta, extractor, dtype, contigs, workers, scheduler, storage_options, fasta_options
        As in `builders.request.FeaturesRequest`.
    store_url, progress
        As in `run_anchor_build`, and so are the errors.
    """
    common = options or ExtractorOptions()
    request = AnchorRequest(
        anchors=Path(anchors),
        name=name,
        n_bins=n_bins,
        fasta=os.fspath(fasta),
        extractor=extractor,
        settings=settings,
        outputs=common.outputs,
        bin_size=common.bin_size,
        dtype=dtype,
        device=common.device,
        contigs=None if contigs is None else tuple(contigs),
        workers=workers,
        scheduler=scheduler,
        shard_anchors=shard_anchors,
        storage_options=storage_options,
        fasta_options=fasta_options,
    )
    return run_anchor_build(store_url, request, progress=progress)


def run_anchor_build(
    store_url: str,
    request: AnchorRequest,
    *,
    progress: Progress | None = None,
    stage: Stage | None = None,
    in_process: bool = False,
) -> AnchorReport:
    """Compute windows around anchors and write them into a store. Idempotent: a second run does only what is missing.

    The store need not have a grid, nor exist. Contigs that were chosen are part of what the anchors' name stands for.

    Parameters
    ----------
    in_process
        Compute here, without workers.

    Raises
    ------
    The errors of `builders.run.run_build`, and
    TableError
        If the table cannot be read.
    AnchorsMismatch
        If the store has other anchors of that name.
    """
    say = stage or silent
    started = start_job(store_url, request, stage=say)
    source, assembly = started.source, started.job.source.assembly
    table = read_anchors(request.anchors, assembly, contigs=request.contigs)
    grid = Grid(bin_size=request.bin_size)
    described = describe(source, grid, dtype=request.dtype)
    row_bytes = max(len(item.channels) * item.value_type.item_bytes for item in described)
    shard_anchors = request.shard_anchors or max(
        1, default_shard_bins(source, grid.bin_size, row_bytes) // max(request.n_bins, 1)
    )

    def lay_out(feature_sets: Sequence[FeatureSet]) -> list[AnchorLayout]:
        return describe_anchored(
            feature_sets,
            table,
            name=request.name,
            n_bins=request.n_bins,
            assembly=assembly.digest,
            shard_anchors=shard_anchors,
        )

    store = existing_store(store_url, assembly, described, storage_options=request.storage_options)
    for array in lay_out(described):
        if store is not None:
            present_anchored(store, array)

    def declare_and_plan(pads: Pads | None) -> Work:
        into = store or create(store_url, assembly, storage_options=request.storage_options)
        declared = _declare(into, describe(source, grid, pads=pads, dtype=request.dtype))
        arrays = [declare_anchored(into, array, table) for array in lay_out(declared)]
        if len({array.anchored.shard_anchors for array in arrays}) > 1:
            raise ValueError(
                f"{into.url} has {', '.join(str(array.key) for array in arrays)} in different shards, so one pass "
                "cannot write them all; build them one by one with `outputs=`"
            )
        return Work(into, *plan_anchors(into, arrays, table))

    report = AnchorReport(
        run=started.job.run, notes=started.job.source.notes, source_notes=started.notes, anchors=len(table)
    )
    carry_out(
        started,
        request,
        store=store,
        declare_and_plan=declare_and_plan,
        report=report,
        progress=progress,
        stage=say,
        here=_source_here(started.job, request.n_bins) if in_process else None,
    )
    return report


def _source_here(job: Job, n_bins: int) -> Source:
    """Make the source in this process; of lone bins a tile would compute neighbours that nobody asks for."""
    return job.source.make(tile_bins=1 if n_bins == 1 else None)


def _declare(store: Store, feature_sets: Sequence[FeatureSet]) -> list[FeatureSet]:
    """Make room for the feature sets that the store lacks; those that it has keep their phases."""
    known = set(store.feature_sets())
    return [store.feature_set(item.name) if item.name in known else store.declare(item, ()) for item in feature_sets]
