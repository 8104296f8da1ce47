"""Verbs that train models.

    featurestore train genome.store --genes genes.tsv --targets expression.tsv --n-bins 251 --out run
    featurestore train --model gta-best --help-options
    featurestore sweep genome.store --genes genes.tsv --targets expression.tsv --n-bins 51,251 --layers 2,8 --out sweep

Belongs here: options, most of them out of the fields of requests. Does not: logic that a Python user could not call.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from catalog.expression.targets import TargetSettings
from catalog.runtime.settings import read_value
from featurestore.cli.derived import takes
from featurestore.cli.options import AsJson, names_in, typed_line
from loaders.settings import WindowSettings
from model.cli.options import WINDOWS, Anchors, Annotations, FeatureSet, Genes, OldFeatureSet, TargetColumn, Targets
from model.registry import SHIPPED, find_model, model_names, models_of
from model.runs.held_out import HeldOut
from model.runs.request import TrainRequest
from model.runs.signal_inputs import SignalInputs, require_inputs

app = typer.Typer(rich_markup_mode=None)

_SWEPT = ("gta-best", "gta-no-llm", "ridge-exponential", "ridge-centre")
_SWEPT_SIGNALS = ("prism-best", "prism-ridge")
_INTERRUPTED = 130
"""What the command line takes as: stopped, the same command goes on."""


def _list_settings(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Print what the model lets one set and exit, once all three options that say so have been read."""
    given = {**ctx.params, param.name: value}
    if given.get("help_options") and {"model", "preset"} <= given.keys():
        from model.predictors.factory import factory_of
        from model.runs.settings import settings_lines

        factory = factory_of(_model(given["model"], given["preset"]))
        print("\n".join(settings_lines(factory.config, factory.recipe)))
        raise typer.Exit
    return value


Store = Annotated[str | None, typer.Argument(metavar="STORE", help="The store: a path or any fsspec URL.")]
StoreToo = Annotated[str | None, typer.Option("--store", help="The same, as an option.")]
Model = Annotated[
    str | None,
    typer.Option(
        callback=_list_settings,
        is_eager=True,
        help=f"{', '.join(model_names())}; gta or prism for its best preset. [default: {SHIPPED[0].name}; with "
        "--signals prism-best]",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        callback=_list_settings,
        is_eager=True,
        help="Preset of --model gta (the default) or prism: best, paper, paper-positions, no-llm, ...",
    ),
]
HelpOptions = Annotated[
    bool,
    typer.Option(
        "--help-options",
        callback=_list_settings,
        is_eager=True,
        help="List what --set takes with this --model, and exit.",
    ),
]


@app.command()
@takes(TrainRequest, without=("model",))
@takes(HeldOut, into="held_out", without=("seed",))
@takes(WindowSettings, into="windows", without=WINDOWS)
@takes(SignalInputs, into="inputs")
@takes(TargetSettings, into="target_settings")
def train(
    ctx: typer.Context,
    genes: Genes,
    targets: Targets,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint, the split and the log.")],
    request: TrainRequest,
    held_out: HeldOut,
    windows: WindowSettings,
    inputs: SignalInputs,
    target_settings: TargetSettings,
    store: Store = None,
    store_too: StoreToo = None,
    model: Model = None,
    preset: Preset = None,
    help_options: HelpOptions = False,
    anchors: Anchors = None,
    annotations: Annotations = None,
    feature_set: FeatureSet = None,
    features: OldFeatureSet = None,
    target_column: TargetColumn = None,
    refuse_overlap: Annotated[
        bool,
        typer.Option("--refuse-overlap", help="Refuse test genes whose windows share bases with training windows."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on the genes of a table, with features from the store. Prints its validation score.

    Held out are the genes of --test-contigs, --test-genes, --split, a group of --folds or --chromosome-fold; else a
    random fifth. A tenth of the others, or --validation-fraction of them, chooses the epoch. What was stopped goes
    on with the same command.
    """
    require_inputs(_model(model, preset, inputs), inputs)
    _stage("loading torch, Lightning and Transformers")
    from model.runs.folder import record_command
    from model.runs.held_out import shared_bases
    from model.runs.workflow import load_genes
    from model.runs.workflow import train as run_train

    _stage(f"reading {genes} and {targets}, and opening the windows")

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    columns = request.tasks
    request = replace(request, model=_model(model, preset, inputs), tasks=columns if len(columns) > 1 else ())
    dataset = load_genes(
        _store(store, store_too),
        feature_set or features,
        genes=genes,
        targets=targets,
        target_column=columns[0] if len(columns) == 1 else target_column,
        target_columns=request.tasks,
        target_settings=target_settings,
        annotations=annotations,
        anchors=anchors,
        windows=windows,
        inputs=inputs,
        seed=request.seed,
    )
    say(str(dataset.joined))
    chosen = replace(held_out, seed=request.seed).of(dataset, say=say)
    say(shared_bases(chosen, dataset, refuse=refuse_overlap))
    try:
        summary = run_train(dataset, chosen, request, out=out, say=say)
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    if line := typed_line(ctx):
        record_command(out, line)
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        print("\n".join(_lines(out, summary)))


@app.command()
@takes(TrainRequest, without=("model", "seeds", "tasks", "log", "baselines", "controls"))
@takes(HeldOut, into="held_out", without=("seed",))
@takes(WindowSettings, into="windows", without=("n_bins", *WINDOWS))
@takes(SignalInputs, into="inputs", without=("context",))
@takes(TargetSettings, into="target_settings")
def sweep(
    genes: Genes,
    targets: Targets,
    out: Annotated[Path, typer.Option(help="Folder for the tables, and for each training.")],
    request: TrainRequest,
    held_out: HeldOut,
    windows: WindowSettings,
    inputs: SignalInputs,
    target_settings: TargetSettings,
    store: Store = None,
    store_too: StoreToo = None,
    models: Annotated[
        str | None,
        typer.Option(
            help=f"Models to compare, comma-separated: {', '.join(model_names())}. [default: {','.join(_SWEPT)}; with "
            f"--signals {','.join(_SWEPT_SIGNALS)}]"
        ),
    ] = None,
    n_bins: Annotated[str, typer.Option(help="Bins a window, comma-separated.")] = "51,101,151,201,251",
    context: Annotated[
        str, typer.Option(help="With --signals, in place of --n-bins: bases a window (bp), comma-separated.")
    ] = "1000,2000,5000",
    anchors: Anchors = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Blocks of the language model to compare at the longest window. [default: no such table]"),
    ] = None,
    annotations: Annotations = None,
    feature_set: FeatureSet = None,
    features: OldFeatureSet = None,
    target_column: TargetColumn = None,
    draws: Annotated[int, typer.Option(help="Bootstrap draws for the two standard deviations.")] = 5000,
    as_json: AsJson = False,
) -> None:
    """Train and score models over context lengths and numbers of blocks, all from one store, and write the tables.

    In the form of tables 1 and 2 of the GTA paper: tables.md, scores.csv and scores.parquet. Stopped, the same command
    goes on: what is finished is not trained again.
    """
    swept = names_in(models) or (_SWEPT_SIGNALS if inputs.signals else _SWEPT)
    for name in swept:
        require_inputs(name, inputs)
    _stage("loading torch, Lightning and Transformers")
    from model.runs.sweep import Sweep, run_sweep
    from model.runs.workflow import load_genes

    _stage(f"reading {genes} and {targets}, and opening the windows")
    lengths = _whole("context", context) if inputs.signals else _whole("n_bins", n_bins)
    if inputs.signals:
        inputs = replace(inputs, context=max(lengths))
    else:
        windows = replace(windows, n_bins=max(lengths))
    dataset = load_genes(
        _store(store, store_too),
        feature_set or features,
        genes=genes,
        targets=targets,
        target_column=target_column,
        target_settings=target_settings,
        annotations=annotations,
        anchors=anchors,
        windows=windows,
        inputs=inputs,
        seed=request.seed,
    )
    print(dataset.joined, file=sys.stderr)
    plan = Sweep(models=swept, n_bins=lengths, layers=_whole("layers", layers or ""))
    try:
        found = run_sweep(
            dataset,
            replace(held_out, seed=request.seed).of(dataset, say=lambda line: print(line, file=sys.stderr)),
            plan,
            request,
            out=out,
            draws=draws,
            say=lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True),
        )
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    print(json.dumps(found.rows(named=True), indent=1) if as_json else (out / "tables.md").read_text(encoding="utf-8"))


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that can be trained, ours and those of plug-ins: what each is, and what it is trained for."""
    listed = [find_model(name) for role in ("model", "control", "baseline") for name in models_of(role)]
    rows = [{"name": spec.name, "role": spec.role, "description": spec.description} for spec in listed]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['role']:<8}  {row['description']}")


def _stage(name: str) -> None:
    """Say what takes the next seconds, before anything else is printed."""
    print(f"{name} ...", file=sys.stderr, flush=True)


def _store(argument: str | None, option: str | None) -> str:
    if (argument is None) == (option is None):
        raise typer.BadParameter("give the store once: as the first argument, or with --store")
    return argument or option or ""


def _model(model: str | None, preset: str | None, inputs: SignalInputs | None = None) -> str:
    if preset is None:
        # A family of models by its name alone: its best preset.
        usual = _SWEPT_SIGNALS[0] if inputs is not None and inputs.signals else SHIPPED[0].name
        return f"{model}-best" if f"{model}-best" in model_names() else model or usual
    if model in model_names():
        raise typer.BadParameter("--model and --preset each name the model; give one of them")
    return preset if model is None and preset in model_names() else f"{model or 'gta'}-{preset}"


def _whole(name: str, text: str) -> tuple[int, ...]:
    """Read comma-separated whole numbers."""
    read: tuple[int, ...] = read_value(f"`{name}=`", text, tuple[int, ...])
    return read


def _lines(out: Path, summary: dict[str, Any]) -> list[str]:
    first = (
        f"{out}: {summary['model']} at {summary['n_bins']} bins, {summary['n_train']} training genes, "
        f"{summary['trainable_parameters']:,} trainable parameters, {summary['seconds']:.1f} s, "
        f"validation Spearman {_number(summary['validation_spearman'])}"
    )
    others = summary["baselines"] | summary.get("controls", {})
    scores = ", ".join(f"{name} {_number(score)}" for name, score in others.items())
    return [first, f"beside it, on the same genes: {scores}"] if scores else [first]


def _number(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.3f}"
