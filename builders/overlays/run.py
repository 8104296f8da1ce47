"""Build an overlay: the bins of one haplotype that differ from the reference.

Belongs here: from a VCF to committed shards. Does not: which bins (`builders.overlays.plan`), what all builds share
(`builders.run`).
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from builders.execution.report import BuildReport
from builders.execution.scheduling import Progress, Stage
from builders.execution.shard import Job
from builders.execution.source_spec import recorded_request
from builders.extractors.base import load_extractor
from builders.overlays.genome import HaplotypePlace
from builders.overlays.genotypes import Haplotype, HaplotypeRules, read_haplotype
from builders.overlays.haplotype import Edits
from builders.overlays.plan import Input, plan_contig, touched_bins, without_committed
from builders.overlays.request import OverlayRequest
from builders.plan import chosen_contigs
from builders.request import FeaturesRequest
from builders.run import Started, Work, carry_out, silent, start_job
from builders.variants.read import VariantFile
from catalog import Fasta, FeatureSet
from featurestore import FingerprintMismatch, Store, open_store
from featurestore.rows.overlays.declare import declare_overlay, require_agreement
from featurestore.rows.overlays.layout import Overlay, touched_of

_NONE = Edits.of([])


@dataclass(slots=True)
class OverlayReport(BuildReport):
    """What a build of an overlay did, or would do."""

    overlay: str = ""
    """Its name, such as `NA12878/1`."""
    counts: dict[str, int] = field(default_factory=dict)
    """Alleles that were applied, and that were not, by reason."""
    touched: int = 0
    """Bins with a variant within their input."""
    total: int = 0
    """Bins of the chosen contigs."""
    patch_bytes: int = 0
    """Size of the touched bins before compression (bytes)."""

    def to_json(self) -> dict[str, object]:
        """Give the report as plain JSON."""
        own = {name: getattr(self, name) for name in ("overlay", "counts", "touched", "total", "patch_bytes")}
        return BuildReport.to_json(self) | own


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayPlan:
    """An overlay whose input is checked; nothing is written yet."""

    store: Store
    feature_set: FeatureSet
    request: FeaturesRequest
    started: Started
    """The job, with the reference for its genome."""
    overlay: Overlay
    edits: Mapping[str, Edits]
    """Of the chosen contigs."""
    bins: Mapping[str, list[NDArray[np.int64]]]
    """Touched bins of each phase of each chosen contig."""

    @property
    def job(self) -> Job:
        """The job, with the haplotype for its genome."""
        job = self.started.job
        assert job.source.genome is not None
        return replace(job, source=replace(job.source, genome=HaplotypePlace(job.source.genome, self.edits)))

    @property
    def n_touched(self) -> int:
        """Bins to compute."""
        return sum(len(bins) for phases in self.bins.values() for bins in phases)

    @property
    def n_total(self) -> int:
        """Bins of the chosen contigs."""
        grid, lengths = self.feature_set.grid, self.store.assembly.lengths
        return sum(grid.n_bins(lengths[contig], phase) for contig in self.bins for phase in range(len(grid.offsets)))

    def report(self) -> OverlayReport:
        """Give the figures that are known before anything is computed."""
        row_bytes = len(self.feature_set.channels) * self.feature_set.value_type.item_bytes
        return OverlayReport(
            run=self.started.job.run,
            notes=self.started.job.source.notes,
            source_notes=self.started.notes,
            overlay=self.overlay.name,
            counts=dict(self.overlay.counts),
            touched=self.n_touched,
            total=self.n_total,
            patch_bytes=self.n_touched * row_bytes,
        )


def plan_overlay(store_url: str, request: OverlayRequest, *, stage: Stage | None = None) -> OverlayPlan:
    """Read the variants and find the bins that they touch; nothing is computed or written.

    Raises
    ------
    The errors of `build_overlay`.
    """
    say = stage or silent
    store = open_store(store_url, storage_options=request.storage_options)
    feature_set = store.feature_set(request.feature_set)
    chosen = chosen_contigs(store.assembly, request.contigs or store.contigs(feature_set.name))
    features = recorded_request(
        feature_set,
        fasta=request.fasta,
        extractor=request.extractor,
        settings=request.settings,
        device=request.device,
        workers=request.workers,
        scheduler=request.scheduler,
        storage_options=request.storage_options,
        fasta_options=request.fasta_options,
    )
    if features.source is not None:
        raise ValueError(
            f"{feature_set.name!r} was made by {feature_set.extractor}, which reads no sequence, so no variant changes "
            "it; name a set that an extractor made"
        )
    started = start_job(store_url, features, stage=say)
    store.require_assembly(started.job.source.assembly)
    if started.job.fingerprint != feature_set.fingerprint:
        raise FingerprintMismatch(
            f"{feature_set.name!r} of {store.url} has fingerprint {feature_set.fingerprint}, and {features.extractor} "
            f"with these settings has {started.job.fingerprint}; give the files, settings and version of the set"
        )
    say(f"reading {request.vcf}")
    sample, haplotype = _read(request, store)
    overlay = Overlay(
        feature_set=feature_set.name,
        extractor=feature_set.fingerprint,
        assembly=store.assembly.digest,
        sample=sample,
        haplotype=request.haplotype,
        variants=haplotype.variants,
        rules=_rules(request).recorded(),
        offsets=feature_set.offsets,
        counts=haplotype.counts,
    )
    require_agreement(store.objects, overlay)
    spec = started.job.source
    seen = Input.of(load_extractor(spec.name, spec.options, spec.settings), feature_set.bin_size)
    edits = {contig: haplotype.edits.get(contig, _NONE) for contig in chosen}
    lengths = store.assembly.lengths
    return OverlayPlan(
        store=store,
        feature_set=feature_set,
        request=features,
        started=started,
        overlay=overlay,
        edits=edits,
        bins={contig: touched_bins(feature_set, lengths[contig], edits[contig], seen) for contig in chosen},
    )


def build_overlay(
    store_url: str, request: OverlayRequest, *, progress: Progress | None = None, stage: Stage | None = None
) -> OverlayReport:
    """Compute the bins of one haplotype that differ from the reference, and write them as an overlay of a set.

    Idempotent: a second run does only what is missing. Bin j is the extractor on the haplotype's bases around the
    lifted centre of bin j, so that it is no bin of a build of the personal FASTA, whose grid slides after an indel.

    Raises
    ------
    FileNotFoundError, NotBuilt
        If there is no store, set, or file.
    VcfError, FastaError, AssemblyMismatch, FingerprintMismatch, OverlayMismatch, ValueError
        If the input does not fit; nothing is written then.
    SchedulerLost, BuildStopped
        As in `builders.run.run_build`.
    """
    return carry_out_overlay(plan_overlay(store_url, request, stage=stage), progress=progress, stage=stage)


def carry_out_overlay(
    plan: OverlayPlan, *, progress: Progress | None = None, stage: Stage | None = None
) -> OverlayReport:
    """Build what was planned; see `build_overlay`."""
    report = plan.report()
    carry_out(
        plan.started._replace(job=plan.job),
        plan.request,
        store=plan.store,
        declare_and_plan=lambda pads: declare_and_list(plan),
        report=report,
        progress=progress,
        stage=stage or silent,
    )
    return report


def declare_and_list(plan: OverlayPlan) -> Work:
    """Declare the overlay, and list its shards and those that are not committed."""
    feature_set, overlay = plan.feature_set, plan.overlay
    tables = {contig: touched_of(contig, bins) for contig, bins in plan.bins.items()}
    declare_overlay(plan.store.objects, feature_set, overlay, tables)
    tasks = [
        task
        for contig, (touched, _) in tables.items()
        for task in plan_contig(feature_set, overlay, touched, plan.bins[contig], plan.edits[contig])
    ]
    return Work(plan.store, tasks, without_committed(plan.store, overlay, tasks))


def _rules(request: OverlayRequest) -> HaplotypeRules:
    return HaplotypeRules(haplotype=request.haplotype, unphased=request.unphased, mismatches=request.mismatches)


def _read(request: OverlayRequest, store: Store) -> tuple[str, Haplotype]:
    """Read the sample's variants; give its name, too."""
    sample = request.sample
    if sample is None:
        there = VariantFile(request.vcf).samples
        if len(there) != 1:
            named = ", ".join(there[:5]) or "none, so that no haplotype is known"
            raise ValueError(f"{request.vcf} has the samples {named}; say whose genome it is: `sample=`")
        (sample,) = there
    records = VariantFile(request.vcf, samples=(sample,))
    with closing(Fasta(request.fasta, storage_options=request.fasta_options)) as fasta:
        return sample, read_haplotype(records, store.assembly, _rules(request), fasta.fetch)
