"""Verbs that compute features.

    featurestore plan genome.store --fasta genome.fa --extractor motif
    featurestore build genome.store --fasta genome.fa --extractor motif
    featurestore build-anchors genome.store --anchors genes.gtf.gz --name genes --fasta genome.fa --extractor motif
    featurestore build-sequence genome.store --fasta genome.fa
    featurestore build-viewpoints genome.store --table hic.npz --anchors genes.gtf.gz --name genes --bin-size 5000
    featurestore variants --vcf calls.vcf.gz --fasta genome.fa --extractor motif --out scores.parquet
    featurestore attribute --fasta genome.fa --region chr2:46,001-46,500 --extractor motif --out scores.parquet
    featurestore motif-effect --fasta genome.fa --region chr2:46,001-46,500 --motif TGACTCA --out effect.parquet
    featurestore build-overlay genome.store --feature-set motif --vcf NA12878.vcf.gz --fasta genome.fa
    featurestore build-tracks genome.store --track H3K27ac=h3k27ac.bw --track DNase=dnase.bw --bin-size 32

Belongs here: options of a build. Does not: logic that a Python user could not call (`builders.run`, `builders.plan`).
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from builders.anchored.viewpoint_request import ViewpointRequest
from builders.attribution.request import AttributionRequest, ImportanceRequest
from builders.overlays.request import OverlayRequest
from builders.request import AnchorRequest, BuildRequest, FeaturesRequest, SequenceRequest
from builders.tracks.request import TrackAnchorRequest, TrackRequest
from builders.variants.request import VariantsRequest
from catalog.runtime.files import replacing
from catalog.runtime.progress import bar, in_figures
from featurestore.cli.derived import lists_settings, takes, value_of
from featurestore.cli.errors import in_one_line
from featurestore.cli.options import AsJson

if TYPE_CHECKING:
    from builders.execution.report import BuildReport

app = typer.Typer(rich_markup_mode=None)

StoreUrl = Annotated[
    str, typer.Argument(metavar="STORE", help="Where the store is, or is to be made: a path or any fsspec URL.")
]
HelpOptions = Annotated[
    bool, typer.Option("--help-options", help="List what --set can set for this --extractor or --source, and exit.")
]
Speed = Annotated[
    float | None,
    typer.Option(
        help="Speed to estimate hours with (bins/s, all workers). [default: that of the last run in the store]"
    ),
]
Measure = Annotated[
    bool, typer.Option("--measure", help="Measure the source on this machine for 10 s, and estimate with that.")
]
_CHOSEN = ("extractor", "source", "settings", "outputs", "device")
"""Fields that a verb for one kind of features leaves out: it has chosen them."""
_OLD_SETTINGS = ("weights", "projector", "names", "precision")
"""Flags from the time when every extractor had those of one; they mean `--set NAME=VALUE`."""


def _takes(request: type[FeaturesRequest], *, without: tuple[str, ...] = ()) -> Callable[..., Callable[..., None]]:
    return takes(request, without=without, old_settings=_OLD_SETTINGS)


def _settings(words: Sequence[str]) -> list[str]:
    from builders.execution.source_spec import settings_of

    source, extractor = value_of(words, "--source"), value_of(words, "--extractor")
    return settings_of(source=source, extractor=extractor or BuildRequest.extractor)


_Command = lists_settings(_settings)


@app.command(cls=_Command)
@_takes(BuildRequest, without=("refine", "workers", "scheduler"))
def plan(
    store: StoreUrl,
    request: BuildRequest,
    bins_per_second: Speed = None,
    measure: Measure = False,
    help_options: HelpOptions = False,
    as_json: AsJson = False,
) -> None:
    """Dry run of a build: shards, bins, bytes, objects, operations and hours; writes nothing."""
    _plan(store, request, bins_per_second=bins_per_second, measure=measure, as_json=as_json)


@app.command(cls=_Command)
@_takes(BuildRequest)
def build(
    store: StoreUrl,
    request: BuildRequest,
    help_options: HelpOptions = False,
    as_json: AsJson = False,
) -> None:
    """Compute features of a genome into a store. Run it again to resume; exits 0 only when all is committed."""
    _build(store, request, as_json=as_json)


@app.command()
@takes(SequenceRequest, without=(*_CHOSEN, "bin_size", "dtype", "offsets", "refine"))
def build_sequence(store: StoreUrl, request: SequenceRequest, as_json: AsJson = False) -> None:
    """Put the sequence itself into a store, one byte a base, so that training needs no FASTA. Resumes as build does."""
    _build(store, request, as_json=as_json)


@app.command(cls=_Command)
@_takes(AnchorRequest)
def build_anchors(
    store: StoreUrl, request: AnchorRequest, help_options: HelpOptions = False, as_json: AsJson = False
) -> None:
    """Compute windows centred exactly on genes or other positions. Run it again to resume, as with build."""
    _build_anchors(store, request, as_json=as_json)


@app.command()
@takes(TrackRequest, without=(*_CHOSEN, "refine", "workers", "scheduler"))
def plan_tracks(
    store: StoreUrl,
    request: TrackRequest,
    bins_per_second: Speed = None,
    measure: Measure = False,
    as_json: AsJson = False,
) -> None:
    """Dry run of build-tracks: its shards, bytes and hours, beside those of windows around genes; writes nothing."""
    _plan(store, request, bins_per_second=bins_per_second, measure=measure, as_json=as_json)


@app.command()
@takes(TrackRequest, without=(*_CHOSEN, "refine"))
def build_tracks(store: StoreUrl, request: TrackRequest, as_json: AsJson = False) -> None:
    """Put measured signals (bigWig) into a store, one channel a file, at any bin size. Resumes as build does."""
    _build(store, request, as_json=as_json)


@app.command()
@takes(TrackAnchorRequest, without=_CHOSEN)
def build_track_anchors(store: StoreUrl, request: TrackAnchorRequest, as_json: AsJson = False) -> None:
    """Put measured signals (bigWig) of windows around genes into a store. Run it again to resume, as with build."""
    _build_anchors(store, request, as_json=as_json)


@app.command(name="build-viewpoints")
@takes(ViewpointRequest)
def viewpoints(store: StoreUrl, request: ViewpointRequest, as_json: AsJson = False) -> None:
    """Put a table of numbers around each gene's start site, such as Hi-C contacts, into a store, as windows."""
    from builders.anchored.viewpoints import build_viewpoints

    report = build_viewpoints(store, request)
    if as_json:
        print(json.dumps(report.to_json(), indent=1))
        return
    print(
        f"{report.genes:,} genes in {report.shards:,} shards, {report.built:,} written by this run "
        f"({report.bytes:,} bytes)"
    )
    print(
        f"masked: {report.masked_genes:,} genes without any number, {report.masked_bins:,} bins of all; left out: "
        f"{report.left_out:,} genes of the table that are not among the anchors"
    )


@app.command()
@takes(OverlayRequest)
def build_overlay(
    store: StoreUrl,
    request: OverlayRequest,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be computed, and its bytes; compute and write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compute the bins of a feature set that differ in one haplotype of a VCF. Run it again to resume, as build."""
    from builders.overlays.run import carry_out_overlay, plan_overlay

    with bar("build-overlay", unit="bins") as shown:
        planned = plan_overlay(store, request, stage=shown.stage)
        report = planned.report()
        if not as_json:
            shares = report.touched / report.total if report.total else 0.0
            alleles = ", ".join(f"{number:,} {what}" for what, number in report.counts.items())
            print(f"{report.overlay}: alleles of the haplotype: {alleles}")
            print(
                f"{report.touched:,} of {report.total:,} bins hold a variant in their input ({shares:.2%}): at most "
                f"{report.patch_bytes:,} bytes (before compression)"
            )
        if not dry_run:
            report = carry_out_overlay(planned, progress=shown, stage=shown.stage)
    if as_json:
        print(json.dumps(report.to_json(), indent=1))
    elif not dry_run:
        _show(report)
    raise typer.Exit(0 if dry_run or report.is_complete else 1)


@app.command()
def predict_xpresso(
    weights: Annotated[
        Path, typer.Option(help="Xpresso's network as Keras saved it (.h5), such as human_trainepoch.11-0.426.h5.")
    ],
    fasta: Annotated[str, typer.Option(help="The genome: a path or any fsspec URL, .fa or .fa.gz made by bgzip.")],
    genes: Annotated[Path, typer.Option(help="Gene table: MANE summary, GTF, GFF3, BED or TSV, gz or not.")],
    out: Annotated[Path, typer.Option(help="Table to write: tab-separated text, or Parquet if it ends so.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Promoters at a time.")] = 16,
) -> None:
    """Predict expression from promoter sequence with Xpresso's published weights: a baseline without a store.

    `featurestore evaluate --predictions` scores the table, beside those of `featurestore predict`.
    """
    from builders.extractors.xpresso.promoters import predict_expression
    from catalog import read_genes

    with bar("predict-xpresso", unit="genes") as shown:
        shown.stage(f"reading {fasta}")
        table = predict_expression(
            weights, fasta, read_genes(genes), device=device, batch_size=batch_size, progress=shown
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:
        if out.suffix == ".parquet":
            table.write_parquet(partial)
        else:
            table.write_csv(partial, separator="\t")
    print(f"{out}: {table.height:,} genes; Xpresso, Agarwal and Shendure 2020, standardised log expression")


@app.command()
@takes(VariantsRequest)
def variants(request: VariantsRequest, as_json: AsJson = False) -> None:
    """Score the effect of variants: each ALT allele of a VCF by the features of both alleles. Resumable."""
    from builders.variants.run import score_variants

    with bar("variants", unit="alleles", resumes=True) as shown:
        report = score_variants(request, progress=shown, stage=shown.stage)
    if as_json:
        print(json.dumps(asdict(report), indent=1))
        return
    counts = ", ".join(f"{count:,} {status}" for status, count in report.statuses.items())
    print(f"{report.out}: {report.alleles:,} ALT alleles: {counts or 'none'}")
    print(f"{report.computed:,} chunks computed by this run, {report.was_there:,} were there")
    for licence in report.licences:
        print(licence)


@app.command()
@takes(AttributionRequest)
def attribute(request: AttributionRequest, as_json: AsJson = False) -> None:
    """Score each base of a region by what an extractor's output owes to it; draw sequence logos."""
    from builders.attribution.run import attribute

    with bar("attribute", unit="bases") as shown:
        report = attribute(request, progress=shown, stage=shown.stage)
    if as_json:
        print(json.dumps(asdict(report), indent=1))
        return
    print(f"{report.out}: {report.bases:,} bases of {report.regions:,} regions, {len(report.columns):,} channels")
    if request.figure is not None:
        print(f"{request.figure}: the logo")
    if report.licence:
        print(report.licence)


@app.command()
@takes(ImportanceRequest)
def motif_effect(request: ImportanceRequest, as_json: AsJson = False) -> None:
    """Say what a motif does to an extractor's output, in the mean over shuffled sequence around it."""
    from builders.attribution.importance import motif_effect

    with bar("motif-effect", unit="backgrounds") as shown:
        report = motif_effect(request, progress=shown, stage=shown.stage)
    if as_json:
        print(json.dumps({"out": report.out, "channels": report.table.to_dicts()}, indent=1))
        return
    for row in report.table.iter_rows(named=True):
        print(f"{row['channel']}: {row['effect']:+.4g} (95 %: {row['low']:+.4g} to {row['high']:+.4g})")
    print(f"{report.out}: {request.motif} in {request.backgrounds:,} shuffles of {request.region}")
    if report.licence:
        print(report.licence)


def _plan(store: str, request: BuildRequest, *, bins_per_second: float | None, measure: bool, as_json: bool) -> None:
    from builders.execution.throughput import measure_request
    from builders.plan import plan_build

    if bins_per_second is not None and not bins_per_second > 0:
        raise ValueError(f"`bins_per_second=` is a speed, above 0; got {bins_per_second:g}")
    with bar("plan", unit="bins") as shown:
        shown.stage(f"reading {request.fasta or request.source}")
        made = plan_build(store, request)
        if bins_per_second is not None:
            speed, source = bins_per_second, "as given"
        elif measure:
            shown.stage("measuring the source")
            speed, source = measure_request(store, request), "measured here, one worker"
        else:
            speed, source = made.measured_speed, "the last run in this store"
    if as_json:
        figures = made.to_json()
        if speed:
            figures |= {"bins_per_second": speed, "speed_is": source, "hours": made.hours(speed)}
        print(json.dumps(figures, indent=1))
        return
    sets = ", ".join(f"{item.name} ({len(item.channels):,} channels)" for item in made.feature_sets)
    print(f"{sets} in bins of {request.bin_size:,} bp, offsets {', '.join(map(str, request.offsets))} bp")
    _note(made.notes, made.source_notes)
    print(f"{len(made.todo):,} of {len(made.tasks):,} shards to build: {made.bins_todo:,} of {made.n_bins:,} bins")
    print(f"at most {made.bytes:,} bytes (before compression) in about {made.objects:,} objects")
    if (advice := made.anchored_advice()) is not None:
        print(advice)
    if made.flops_per_bin:
        print(f"{made.bins_todo * made.flops_per_bin:.3g} floating-point operations, {made.flops_per_bin:.3g} a bin")
    if speed:
        hours = made.hours(speed)
        takes = f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 60:,.1f} minutes"
        print(f"{takes} at {in_figures(speed)} bins/s ({source})")
    elif made.todo:
        print("hours: give --bins-per-second, or --measure")


def _build(store: str, request: BuildRequest, *, as_json: bool) -> None:
    from builders.run import run_build

    with bar("build", unit="bins") as shown:
        report = run_build(store, request, progress=shown, stage=shown.stage)
    if as_json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        _show(report)
    raise typer.Exit(0 if report.is_complete else 1)


def _build_anchors(store: str, request: AnchorRequest, *, as_json: bool) -> None:
    from builders.anchored.run_anchors import run_anchor_build

    with bar("build-anchors", unit="bins") as shown:
        report = run_anchor_build(store, request, progress=shown, stage=shown.stage)
    if as_json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        _show(report)
        print(
            f"{report.anchors:,} anchors: {report.computed:,} bins computed, {report.from_grid:,} taken from the grid, "
            f"{report.shared:,} shared by anchors, {report.outside:,} outside their contig"
        )
    raise typer.Exit(0 if report.is_complete else 1)


def _note(letters: Sequence[str], source: Sequence[str]) -> None:
    for note in letters:
        print(f"of the genome's letters, {note}")
    for note in source:
        print(note)


def _show(report: "BuildReport") -> None:
    _note(report.notes, report.source_notes)
    for task, reason in report.failed.items():
        print(in_one_line(f"failed: {task}: {reason}"), file=sys.stderr)
    counts = f"{report.was_there + report.built} of {report.planned} shards committed, {report.built} by this run"
    if not report.work_seconds:
        print(f"{counts}; nothing was left to compute")
        return
    print(
        f"{counts}: {report.bins:,} bins in {report.work_seconds:.1f} s ({in_figures(report.bins_per_second)} bins/s), "
        f"{report.seconds:.1f} s with the workers' start and end, {report.bytes:,} bytes; workers computed "
        f"{report.busy_share:.0%} of their time"
    )
