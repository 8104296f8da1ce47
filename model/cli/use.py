"""Verbs that use models, and those that train them (`model.cli.train`).

    featurestore evaluate run --store genome.store --genes genes.tsv --targets expression.tsv
    featurestore evaluate --predictions predictions.csv --targets expression.tsv

Belongs here: options. Does not: logic that a Python user could not call.
"""

import functools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from catalog.expression.targets import TargetSettings
from catalog.runtime.files import replacing
from featurestore.cli.derived import takes
from featurestore.cli.options import AsJson, FeatureSetName, StoreUrl, chosen_set, typed_line
from loaders.settings import WindowSettings
from model.cli.options import (
    READING,
    Annotations,
    Checkpoint,
    Covariates,
    Device,
    Genes,
    OtherAnchors,
    OtherContext,
    OtherNBins,
    StoreOption,
    TargetColumn,
    Targets,
)
from model.cli.probe import app as probe_app
from model.cli.train import app as train_app
from model.evaluation.resampling import Resample, drawn

app = typer.Typer(rich_markup_mode=None)
app.add_typer(train_app)
app.add_typer(probe_app)

MaybeTargets = Annotated[Path | None, typer.Option(help="Expression, to write with the predictions.")]


@app.command()
@takes(WindowSettings, into="windows", without=READING)
@takes(TargetSettings, into="target_settings")
def evaluate(
    ctx: typer.Context,
    windows: WindowSettings,
    target_settings: TargetSettings,
    targets: Targets,
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="Folder that `featurestore train` wrote.")] = None,
    store: Annotated[
        str | None, typer.Option("--store", help="The store, for a RUN: a path or any fsspec URL.")
    ] = None,
    genes: Annotated[
        Path | None, typer.Option(help="Gene table, for a RUN: MANE summary, GTF, GFF3, BED or TSV, gz or not.")
    ] = None,
    annotations: Annotations = None,
    target_column: TargetColumn = None,
    predictions: Annotated[
        list[Path] | None, typer.Option(help="Table of predictions, instead of a RUN: CSV, TSV or Parquet. Repeatable.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Column of predictions. Repeatable. [default: all that could be]")
    ] = None,
    paired: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Columns to compare on the same bootstrap draws, with --predictions."),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another run to score on the same genes and draws, at its own context length and on its own feature "
            "set, with what RUN is ahead by. Repeatable. Controls of RUN (train --controls) are taken anyway."
        ),
    ] = None,
    beside_store: Annotated[
        str | None,
        typer.Option(
            "--beside-store",
            help="Where the runs beside find features that are not those of RUN, such as finer bins. "
            "[default: --store]",
        ),
    ] = None,
    n_bins: OtherNBins = None,
    context: OtherContext = None,
    covariates: Covariates = None,
    anchors: OtherAnchors = None,
    no_baselines: Annotated[
        bool, typer.Option("--no-baselines", help="Do not score the baselines of a RUN, nor its controls.")
    ] = False,
    subset: Annotated[str, typer.Option(help="Genes of a RUN to score: test, validation, train or all.")] = "test",
    draws: Annotated[int, typer.Option(help="Bootstrap draws for the two standard deviations.")] = 5000,
    resample: Annotated[
        Resample,
        typer.Option(
            help="What each draw takes: genes one by one, or all genes of a family or of a contig together, since they "
            "err alike. With --predictions, families and contigs are those of --genes."
        ),
    ] = "gene",
    allow_other_store: Annotated[
        bool, typer.Option("--allow-other-store", help="Take features of another fingerprint.")
    ] = False,
    device: Device = "auto",
    report: Annotated[
        Path | None,
        typer.Option(
            help="HTML page to write of a RUN, such as RUN/report.html: scores with controls and paired differences, "
            "scatter, by contig, learning curve, what is built of the store, cost, commands."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a trained model on held-out genes, or tables of predictions: Spearman ± two standard deviations and more.

    Pearson and the mean squared error are of log(1 + expression).
    """
    if predictions:
        if run is not None or store is not None or beside or beside_store or report:
            raise typer.BadParameter("--predictions is scored by itself: leave out RUN, --store, --beside and --report")
        if genes is not None and resample == "gene":
            raise typer.BadParameter("with --predictions, --genes goes with --resample family or contig")
        _evaluate_tables(
            predictions, column, targets, target_column, target_settings, paired, draws, resample, genes, as_json
        )
        return
    if run is None or store is None or genes is None:
        raise typer.BadParameter("give RUN with --store and --genes, or --predictions TABLE")
    if column or paired:
        raise typer.BadParameter("--column and --paired go with --predictions, not with a RUN")
    if report is not None:  # before the work, should it be refused
        report.parent.mkdir(parents=True, exist_ok=True)
    from model.runs.folder import controls_of
    from model.runs.scores import ComparedRun, evaluate_genes, reads_alike
    from model.runs.workflow import load_genes_as_trained, open_run

    opened = open_run(run, device=device).with_n_bins(context or n_bins)
    labels = {} if no_baselines else {folder: folder.name for folder in controls_of(run)}
    labels |= {folder: str(folder) for folder in beside or ()}
    load = functools.partial(
        load_genes_as_trained,
        store=store,
        genes=genes,
        targets=targets,
        target_column=target_column,
        target_settings=target_settings,
        annotations=annotations,
        windows=windows,
        covariates=covariates,
    )
    dataset = load(opened, anchors=anchors)
    print(dataset.joined, file=sys.stderr)

    def others() -> Iterator[ComparedRun]:
        for folder, label in labels.items():
            other = open_run(folder, device=device)
            yield ComparedRun(
                label, other, None if reads_alike(opened, other) else load(other, store=beside_store or store)
            )

    began = time.monotonic()
    found = evaluate_genes(
        opened,
        dataset,
        subset=subset,
        draws=draws,
        resample=resample,
        allow_other_store=allow_other_store,
        baselines=not no_baselines,
        beside=others(),
    )
    scores = found.scores
    if report is not None:
        from model.cli.run_report import report_run

        took = time.monotonic() - began
        report_run(report, opened, found, store=store, draws=draws, seconds=took, command=typed_line(ctx))
        print(report, file=sys.stderr)
    over = drawn(draws, resample, scores["n_resampled"])
    print(json.dumps(scores, indent=1) if as_json else "\n".join(_score_lines(scores, over)))


def _score_lines(scores: dict[str, Any], over: str) -> list[str]:
    from model.runs.scores import WHAT_CONTROLS_TELL, missing_controls

    where = f"at {scores['n_bins']} bins on {scores['n_test']} genes ({scores['subset']})"
    found = [f"{scores['model']} {where}: {_score(scores)} (2 sd of {over})"]
    found += [f"  {task}: {_score(score)}" for task, score in scores.get("tasks", {}).items()]
    if (seeds := scores["seeds"]) is not None:
        each = ", ".join("undefined" if score is None else f"{score:.3f}" for score in seeds["spearman"])
        mean = "undefined" if seeds["mean"] is None else f"{seeds['mean']:.3f}, sd {seeds['sd']:.3f}"
        found.append(f"over {seeds['n']} training seeds: mean Spearman {mean} ({each})")
        found += [
            f"  mean {_NAMES[name]} {score['mean']:.3f}, sd {score['sd']:.3f}"
            for name, score in seeds.get("statistics", {}).items()
            if score["mean"] is not None
        ]
    if scores["n_sharing_bases"] is not None:
        sharing = f"{scores['n_sharing_bases']:,} of {scores['n_test']:,} genes"
        found.append(f"{sharing} have windows that share bases with those of training genes")
    for score in scores["beside"]:
        bins = "" if score["n_bins"] == scores["n_bins"] else f" at {score['n_bins']} bins"
        found.append(f"beside it, {score['model']}{bins}: {_score(score)}{_lead(scores['model'], score)}")
    if controls := missing_controls(scores):
        found.append(f"not beside it: {', '.join(controls)}; {WHAT_CONTROLS_TELL}")
    return found


_NAMES = {"mse": "MSE", "mae": "MAE", "pearson": "Pearson"}


def _lead(model: str, score: dict[str, Any]) -> str:
    lead = score["lead"]
    return "" if lead["value"] is None else f"; {model} is ahead by {lead['value']:+.3f} ± {lead['two_sd']:.3f}"


def _score(score: dict[str, Any]) -> str:
    if score["spearman"] is None:
        return f"Spearman undefined (all predictions are equal), MSE {score['mse']:.3f}"
    return (
        f"Spearman {score['spearman']:.3f} ± {score['two_sd']:.3f}, Pearson {score['pearson']:.3f}, "
        f"MSE {score['mse']:.3f}, MAE {score['mae']:.3f}"
    )


def _evaluate_tables(
    predictions: list[Path],
    columns: list[str] | None,
    targets: Path,
    target_column: str | None,
    target_settings: TargetSettings,
    paired: tuple[str, str] | None,
    draws: int,
    resample: Resample,
    genes: Path | None,
    as_json: bool,
) -> None:
    from catalog import read_genes
    from model.evaluation.tables import evaluate_table, read_predictions

    measured = target_settings.read(targets, column=target_column)
    table = None if genes is None else read_genes(genes)
    read = read_predictions(predictions, columns=columns)
    found = evaluate_table(read, measured, draws=draws, resample=resample, genes=table)
    pairs = [] if paired is None else [paired]
    print(json.dumps(found.to_json(paired=pairs), indent=1) if as_json else "\n".join(found.lines(paired=pairs)))


@app.command()
@takes(WindowSettings, into="windows", without=READING)
@takes(TargetSettings, into="target_settings")
def predict(
    windows: WindowSettings,
    target_settings: TargetSettings,
    run: Checkpoint,
    store: StoreOption,
    genes: Genes,
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    targets: MaybeTargets = None,
    annotations: Annotations = None,
    target_column: TargetColumn = None,
    n_bins: OtherNBins = None,
    context: OtherContext = None,
    covariates: Covariates = None,
    anchors: OtherAnchors = None,
    allow_other_store: Annotated[
        bool, typer.Option("--allow-other-store", help="Take features of another fingerprint.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Predict the expression of every gene of a table, as log(1 + expression), and write a Parquet file."""
    from model.runs.workflow import load_genes_as_trained, open_run
    from model.runs.workflow import predict as run_predict

    opened = open_run(run, device=device).with_n_bins(context or n_bins)
    dataset = load_genes_as_trained(
        opened,
        store,
        genes=genes,
        targets=targets,
        target_column=target_column,
        target_settings=target_settings,
        annotations=annotations,
        anchors=anchors,
        windows=windows,
        covariates=covariates,
    )
    print(dataset.joined, file=sys.stderr)
    frame = run_predict(opened, dataset, allow_other_store=allow_other_store)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:
        frame.write_parquet(partial)
    print(f"{out}: {len(frame)} genes, columns {', '.join(frame.columns)}")


@app.command()
def plot(
    store: StoreUrl,
    place: Annotated[list[str], typer.Argument(metavar="CONTIG:POSITION", help="Centre of the window, 0-based bp.")],
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .svg or .pdf.")],
    feature_set: FeatureSetName = None,
    n_bins: Annotated[int, typer.Option(help="Bins of the window.")] = 251,
    genes: Annotated[
        Path | None,
        typer.Option(
            help="Gene table, to draw the genes in the window: MANE summary, GTF, GFF3, BED or TSV, gz or not."
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title. [default: the place]")] = None,
) -> None:
    """Draw the features of one window: channels down, genome across, genes above; a built part of a store, too.

    Bins outside the contig, and bins that were never built, are hatched.
    """
    from catalog import match_contigs, read_genes
    from featurestore import open_store, parse_place
    from model.evaluation.figures import save
    from model.evaluation.window_figure import MAX_CHANNELS, window_heatmap

    *once, where = place  # the feature set was once named before the place
    if len(once) > 1:
        raise ValueError(f"one place is drawn at a time, got {' '.join(place)}")
    contig, position = parse_place(where)
    opened = open_store(store)
    reader = opened[chosen_set(opened, feature_set, *once)]
    table = None if genes is None else match_contigs(read_genes(genes), reader.assembly)
    window = reader.window_in_part(contig, position, n_bins=n_bins)
    channels = len(reader.channel_names)
    figure = window_heatmap(
        window.values,
        window.starts,
        bin_size=reader.feature_set.bin_size,
        channel_names=reader.channel_names,
        title=title or f"{reader.name} around {window.contig}:{position:,}",
        centre=position,
        genes=None if table is None else table.filter(table["contig"] == window.contig),
        contig_length=reader.assembly.lengths[window.contig],
    )
    print(save(figure, out))
    if channels > MAX_CHANNELS:
        print(f"drawn: {MAX_CHANNELS} of {channels:,} channels, those that vary most here", file=sys.stderr)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes (about 100 MB).")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(help="Of the simulated genome and of training.")] = 0,
    size: Annotated[
        Literal["full", "tiny"], typer.Option(help="tiny: a genome of 2 Mbp and one epoch, to see that all runs.")
    ] = "full",
    backbone: Annotated[
        str,
        typer.Option(
            help="Language model of GTA, as train takes it: smollm2 is a real one (2 CPU cores: hours; tiny: minutes)."
        ),
    ] = "untrained",
) -> None:
    """Go the whole way on a simulated genome: build once, train and evaluate at three context lengths, report."""
    from model.cli.demo import run_demo

    print(run_demo(out, seed=seed, size=size, backbone=backbone))
