"""Verbs that compute features.

    featurestore plan genome.store --fasta genome.fa --extractor motif
    featurestore build genome.store --fasta genome.fa --extractor motif
    featurestore build-anchors genome.store --anchors genes.gtf.gz --name genes --fasta genome.fa --extractor motif

Belongs here: options of a build. Does not: logic that a Python user could not call (`builders.run`, `builders.plan`).
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featurestore.cli.options import AsJson, names_in

if TYPE_CHECKING:
    from builders.extractors.base import ExtractorOptions
    from builders.report import BuildReport

app = typer.Typer(rich_markup_mode=None)

StoreUrl = Annotated[
    str, typer.Argument(metavar="STORE", help="Where the store is, or is to be made: a path or any fsspec URL.")
]
Fasta = Annotated[
    str,
    typer.Option(help="The genome, a path or any fsspec URL: .fa, or .fa.gz made by bgzip (gzip is unpacked once)."),
]
ExtractorName = Annotated[str, typer.Option("--extractor", help="motif, sei, or module:factory of your own.")]
Outputs = Annotated[
    str | None, typer.Option(help="Feature sets to write, comma-separated; by default the extractor's own choice.")
]
Offsets = Annotated[str, typer.Option(help="Phases: how far each tiling starts left of base 0, comma-separated bp.")]
BinSize = Annotated[int, typer.Option(help="Bases a bin (bp).")]
Workers = Annotated[
    int | None,
    typer.Option(help="Worker processes here. [default: one a GPU; on a CPU one a core, or one for a network]"),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Dask scheduler whose workers do it instead, e.g. tcp://node1:8786."),
]
Contigs = Annotated[str | None, typer.Option(help="Contigs to build, comma-separated; by default all.")]
Weights = Annotated[Path | None, typer.Option(help="File of weights, e.g. sei.pth.")]
Projector = Annotated[Path | None, typer.Option(help="File of the class projection, e.g. projvec_targets.npy.")]
Names = Annotated[Path | None, typer.Option(help="File that names the channels, e.g. target.names.")]
Precision = Annotated[str, typer.Option(help="Arithmetic: fp32, tf32 or bf16.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
ShardBins = Annotated[
    int | None, typer.Option(help="Bins a shard at the most: one task, one object. [default: 16384, at most 256 MB]")
]


@app.command()
def plan(
    store: StoreUrl,
    fasta: Fasta,
    extractor: ExtractorName = "motif",
    outputs: Outputs = None,
    offsets: Offsets = "0",
    bin_size: BinSize = 4096,
    contigs: Contigs = None,
    weights: Weights = None,
    projector: Projector = None,
    names: Names = None,
    precision: Precision = "fp32",
    shard_bins: ShardBins = None,
    device: Device = "auto",
    bins_per_second: Annotated[
        float | None,
        typer.Option(
            help="Speed to reckon hours with (bins/s, all workers together). "
            "[default: that of the last run in the store]"
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Try the extractor out on this machine for 10 s, and reckon with that.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what a build would do: shards, bins, bytes, objects, operations and hours; writes nothing."""
    from builders.extractors.base import load_extractor
    from builders.plan import plan_build
    from builders.throughput import measure as measure_speed

    if bins_per_second is not None and not bins_per_second > 0:
        raise ValueError(f"--bins-per-second is a speed, above 0; got {bins_per_second:g}")
    options = _options(bin_size, outputs, weights, projector, names, precision, device)
    made_by = load_extractor(extractor, options)
    made = plan_build(
        store,
        fasta=fasta,
        extractor=made_by,
        bin_size=bin_size,
        offsets=_offsets(offsets),
        contigs=names_in(contigs),
        shard_bins=shard_bins,
    )
    if bins_per_second is not None:
        speed, source = bins_per_second, "as given"
    elif measure:
        speed, source = measure_speed(made_by), "measured here, one worker"
    else:
        speed, source = made.measured_speed, "the last run in this store"
    if as_json:
        figures = made.to_json()
        if speed:
            figures |= {"bins_per_second": speed, "speed_is": source, "hours": made.hours(speed)}
        print(json.dumps(figures, indent=1))
        return
    sets = ", ".join(f"{item.name} ({len(item.channels):,} channels)" for item in made.feature_sets)
    print(f"{sets} in bins of {bin_size:,} bp, offsets {offsets} bp")
    print(f"{len(made.todo):,} of {len(made.tasks):,} shards to build: {made.bins_todo:,} of {made.n_bins:,} bins")
    print(f"at most {made.bytes:,} bytes (before compression) in about {made.objects:,} objects")
    if made.flops_per_bin:
        print(f"{made.bins_todo * made.flops_per_bin:.3g} floating-point operations, {made.flops_per_bin:.3g} a bin")
    if speed:
        hours = made.hours(speed)
        takes = f"{hours:,.1f} hours" if hours >= 1 else f"{hours * 60:,.1f} minutes"
        print(f"{takes} at {speed:,.3g} bins/s ({source})")
    elif made.todo:
        print("hours: give --bins-per-second, or --measure")


@app.command()
def build(
    store: StoreUrl,
    fasta: Fasta,
    extractor: ExtractorName = "motif",
    outputs: Outputs = None,
    offsets: Offsets = "0",
    bin_size: BinSize = 4096,
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Add the phases that halve the distance between bin edges; not --offsets."),
    ] = False,
    contigs: Contigs = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    weights: Weights = None,
    projector: Projector = None,
    names: Names = None,
    precision: Precision = "fp32",
    device: Device = "auto",
    shard_bins: ShardBins = None,
    as_json: AsJson = False,
) -> None:
    """Compute features of a genome into a store. Run it again to go on; exits 0 only when all is committed."""
    from builders.run import build as run_build
    from featurestore.cli.progress import bar

    options = _options(bin_size, outputs, weights, projector, names, precision, device)
    with bar("build", unit="bins") as advance:
        report = run_build(
            store,
            fasta=fasta,
            extractor=extractor,
            options=options,
            offsets=_offsets(offsets),
            refine=refine,
            contigs=names_in(contigs),
            workers=workers,
            scheduler=scheduler,
            shard_bins=shard_bins,
            progress=advance,
        )
    if as_json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        _show(report)
    raise typer.Exit(0 if report.is_complete else 1)


@app.command()
def build_anchors(
    store: StoreUrl,
    anchors: Annotated[
        Path,
        typer.Option(
            help="Table of name, contig, position (0-based) and perhaps strand; or genes, for their start sites: "
            "GTF, GFF3, BED, MANE summary, or a table."
        ),
    ],
    name: Annotated[str, typer.Option(help="What to call these anchors in the store.")],
    fasta: Fasta,
    n_bins: Annotated[int, typer.Option(help="Bins around each anchor; odd.")] = 251,
    extractor: ExtractorName = "motif",
    outputs: Outputs = None,
    bin_size: BinSize = 4096,
    contigs: Contigs = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    weights: Weights = None,
    projector: Projector = None,
    names: Names = None,
    precision: Precision = "fp32",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compute windows centred exactly on genes or other positions. Run it again to go on, as with build."""
    from builders.run_anchors import build_anchors as run_build
    from featurestore.cli.progress import bar

    options = _options(bin_size, outputs, weights, projector, names, precision, device)
    with bar("build-anchors", unit="bins") as advance:
        report = run_build(
            store,
            anchors=anchors,
            name=name,
            n_bins=n_bins,
            fasta=fasta,
            extractor=extractor,
            options=options,
            contigs=names_in(contigs),
            workers=workers,
            scheduler=scheduler,
            progress=advance,
        )
    if as_json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        _show(report)
        print(
            f"{report.anchors:,} anchors: {report.computed:,} bins computed, {report.from_grid:,} taken from the grid, "
            f"{report.shared:,} shared by anchors, {report.outside:,} outside their contig"
        )
    raise typer.Exit(0 if report.is_complete else 1)


def _show(report: "BuildReport") -> None:
    for task, reason in report.failed.items():
        print(f"failed: {task}: {reason}", file=sys.stderr)
    print(
        f"{report.was_there + report.built} of {report.planned} shards committed, {report.built} by this run: "
        f"{report.bins:,} bins in {report.seconds:.1f} s ({report.bins_per_second:,.3g} bins/s), "
        f"{report.bytes:,} bytes; workers computed {report.busy_share:.0%} of their time"
    )


def _options(
    bin_size: int,
    outputs: str | None,
    weights: Path | None,
    projector: Path | None,
    names: Path | None,
    precision: str,
    device: str,
) -> "ExtractorOptions":
    from builders.extractors.base import ExtractorOptions

    return ExtractorOptions(
        bin_size=bin_size,
        outputs=names_in(outputs),
        weights=weights,
        projector=projector,
        names=names,
        precision=precision,
        device=device,
    )


def _offsets(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--offsets takes whole numbers of bp, as in 0,2048; got {text!r}") from error
