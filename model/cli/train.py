"""Verbs that train models.

    featurestore train genome.store --genes genes.tsv --targets expression.tsv --n-bins 251 --out run
    featurestore sweep genome.store --genes genes.tsv --targets expression.tsv --n-bins 51,251 --layers 2,8 --out sweep

Belongs here: options. Does not: logic that a Python user could not call.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from featurestore.cli.options import AsJson, names_in
from model.cli.options import Annotations, Device, Features, Genes, Residence, TargetColumn, Targets

app = typer.Typer(rich_markup_mode=None)

Store = Annotated[str | None, typer.Argument(metavar="STORE", help="The store: a path or any fsspec URL.")]
StoreToo = Annotated[str | None, typer.Option("--store", help="The same, as an option.")]
Backbone = Annotated[
    str,
    typer.Option(
        help="Hugging Face model: a directory, or `owner/model` where the network allows; `untrained` makes a small "
        "random one on the spot."
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training genes. [default: the model's]")]
BatchSize = Annotated[int | None, typer.Option(help="Genes a step, over all devices. [default: the model's]")]
Seed = Annotated[int, typer.Option(help="Of initial weights, shuffling, and a random split.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting of the model or of its training, such as lora_rank=8, data_attention=bidirectional, "
        "learning_rate=1e-3, bucket_prompts=true. Repeatable; an unknown name lists them all.",
    ),
]
Precision = Annotated[
    Literal["fp32", "bf16"], typer.Option(help="bf16: the frozen language model, and training where autocast allows.")
]
Devices = Annotated[int, typer.Option(help="Processes, each with its part of every batch; on GPUs one each.")]
PrefixFolder = Annotated[
    Path | None,
    typer.Option(
        "--prefix-cache", help="Folder that keeps what a causal language model makes of prompts between runs."
    ),
]
PrefixGB = Annotated[float, typer.Option("--prefix-cache-gb", help="GB that this folder may take.")]
Columns = Annotated[
    str | None,
    typer.Option("--targets-columns", help="Value columns of several cell types, comma-separated, predicted together."),
]
TestContigs = Annotated[str | None, typer.Option(help="Contigs whose genes are held out, comma-separated.")]
ValidationContigs = Annotated[str | None, typer.Option(help="Contigs whose genes choose the epoch.")]
TestGenes = Annotated[Path | None, typer.Option(help="File of genes that are held out: one a line, or a table.")]
SplitFile = Annotated[Path | None, typer.Option("--split", help="JSON with lists train, validation and test.")]
Folds = Annotated[int | None, typer.Option(help="Put the contigs into so many groups, and hold one out.")]
Fold = Annotated[int, typer.Option(help="Which group, from 0; the next one chooses the epoch.")]
ByFamily = Annotated[bool, typer.Option("--by-family", help="With --folds: groups of gene families instead.")]
RefuseOverlap = Annotated[
    bool, typer.Option("--refuse-overlap", help="Refuse test genes whose windows share bases with training windows.")
]
NoBaselines = Annotated[bool, typer.Option("--no-baselines", help="Do not fit the mean and two ridges beside it.")]
Controls = Annotated[
    bool,
    typer.Option(
        "--controls",
        help="Train gta-prompt-only, gta-sequence-only, gta-no-llm, mlp, cnn and transformer on the same split too, "
        "each as its preset has it; `evaluate` prints them beside the model. Two to three times the time.",
    ),
]
Restart = Annotated[bool, typer.Option("--restart", help="Remove what --out holds of a run first.")]


@app.command()
def train(
    genes: Genes,
    targets: Targets,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint, the split and the log.")],
    store: Store = None,
    store_too: StoreToo = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="gta-best, gta-paper, gta-no-llm, gta-sequence-only, gta-prompt-only, mlp, cnn, transformer, "
            "ridge-exponential, ridge-centre or mean. [default: gta-best]"
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="paper, best, no-llm, sequence-only, prompt-only: that GTA, in place of --model.")
    ] = None,
    n_bins: Annotated[int, typer.Option(help="Bins a window.")] = 251,
    backbone: Backbone = "untrained",
    annotations: Annotations = None,
    features: Features = None,
    target_column: TargetColumn = None,
    targets_columns: Columns = None,
    test_contigs: TestContigs = None,
    validation_contigs: ValidationContigs = None,
    test_genes: TestGenes = None,
    split: SplitFile = None,
    folds: Folds = None,
    fold: Fold = 0,
    by_family: ByFamily = False,
    refuse_overlap: RefuseOverlap = False,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    settings: Settings = None,
    seed: Seed = 0,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds of an ensemble, comma-separated, in place of --seed.")
    ] = None,
    precision: Precision = "fp32",
    device: Device = "auto",
    devices: Devices = 1,
    prefix_cache: PrefixFolder = None,
    prefix_cache_gb: PrefixGB = 20.0,
    log: Annotated[
        Literal["csv", "tensorboard"], typer.Option(help="metrics.csv alone, or TensorBoard's files beside it.")
    ] = "csv",
    residence: Residence = "memory",
    no_baselines: NoBaselines = False,
    controls: Controls = False,
    restart: Restart = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on the genes of a table, with features from the store. Prints its validation score.

    Held out are the genes of --test-contigs, of --test-genes, of a group of --folds or of --split; else a random fifth.
    A tenth of the others chooses the epoch. What was stopped goes on with the same command.
    """
    from model.runs.held_out import HeldOut, shared_bases
    from model.runs.request import TrainRequest
    from model.runs.workflow import load_genes
    from model.runs.workflow import train as run_train

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    columns = names_in(targets_columns) or ()
    held_out = HeldOut(
        test_contigs=names_in(test_contigs),
        validation_contigs=names_in(validation_contigs),
        test_genes=test_genes,
        split=split,
        folds=folds,
        fold=fold,
        by_family=by_family,
        seed=seed,
    )
    request = TrainRequest(
        model=_model(model, preset),
        backbone=backbone,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        seeds=_whole(seeds, "--seeds"),
        settings=tuple(settings or ()),
        tasks=columns if len(columns) > 1 else (),
        precision=precision,
        device=device,
        devices=devices,
        log=log,
        prefix_folder=prefix_cache,
        prefix_bytes=round(prefix_cache_gb * 1e9),
        baselines=not no_baselines,
        controls=controls,
        restart=restart,
    )
    dataset = load_genes(
        _store(store, store_too),
        features,
        genes=genes,
        targets=targets,
        target_column=columns[0] if len(columns) == 1 else target_column,
        target_columns=request.tasks,
        annotations=annotations,
        n_bins=n_bins,
        residence=residence,
    )
    chosen = held_out.of(dataset)
    say(shared_bases(chosen, dataset, refuse=refuse_overlap))
    try:
        summary = run_train(dataset, chosen, request, out=out, say=say)
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        print("\n".join(_lines(out, summary)))


@app.command()
def sweep(
    genes: Genes,
    targets: Targets,
    out: Annotated[Path, typer.Option(help="Folder for the tables, and for each training.")],
    store: Store = None,
    store_too: StoreToo = None,
    models: Annotated[
        str, typer.Option(help="Models to compare, comma-separated.")
    ] = "gta-best,gta-no-llm,ridge-exponential,ridge-centre",
    n_bins: Annotated[str, typer.Option(help="Bins a window, comma-separated.")] = "51,101,151,201,251",
    layers: Annotated[
        str | None,
        typer.Option(help="Blocks of the language model to compare at the longest window. [default: no such table]"),
    ] = None,
    backbone: Backbone = "untrained",
    annotations: Annotations = None,
    features: Features = None,
    target_column: TargetColumn = None,
    test_contigs: TestContigs = None,
    validation_contigs: ValidationContigs = None,
    test_genes: TestGenes = None,
    split: SplitFile = None,
    folds: Folds = None,
    fold: Fold = 0,
    by_family: ByFamily = False,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    settings: Settings = None,
    seed: Seed = 0,
    precision: Precision = "fp32",
    device: Device = "auto",
    devices: Devices = 1,
    prefix_cache: PrefixFolder = None,
    prefix_cache_gb: PrefixGB = 20.0,
    residence: Residence = "memory",
    draws: Annotated[int, typer.Option(help="Bootstrap draws for the two standard deviations.")] = 5000,
    restart: Restart = False,
    as_json: AsJson = False,
) -> None:
    """Train and score models over context lengths and numbers of blocks, all from one store, and write the tables.

    In the form of tables 1 and 2 of the GTA paper: tables.md, scores.csv and scores.parquet. Stopped, the same command
    goes on: what is finished is not trained again.
    """
    from model.runs.held_out import HeldOut
    from model.runs.request import TrainRequest
    from model.runs.sweep import Sweep, run_sweep
    from model.runs.workflow import load_genes

    lengths = _whole(n_bins, "--n-bins")
    dataset = load_genes(
        _store(store, store_too),
        features,
        genes=genes,
        targets=targets,
        target_column=target_column,
        annotations=annotations,
        n_bins=max(lengths),
        residence=residence,
    )
    held_out = HeldOut(
        test_contigs=names_in(test_contigs),
        validation_contigs=names_in(validation_contigs),
        test_genes=test_genes,
        split=split,
        folds=folds,
        fold=fold,
        by_family=by_family,
        seed=seed,
    )
    request = TrainRequest(
        backbone=backbone,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        settings=tuple(settings or ()),
        precision=precision,
        device=device,
        devices=devices,
        prefix_folder=prefix_cache,
        prefix_bytes=round(prefix_cache_gb * 1e9),
        restart=restart,
    )
    plan = Sweep(models=names_in(models) or (), n_bins=lengths, layers=_whole(layers, "--layers"))
    try:
        found = run_sweep(
            dataset,
            held_out.of(dataset),
            plan,
            request,
            out=out,
            draws=draws,
            say=lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True),
        )
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    print(json.dumps(found.rows(named=True), indent=1) if as_json else (out / "tables.md").read_text(encoding="utf-8"))


_INTERRUPTED = 130
"""What the command line takes as: stopped, the same command goes on."""


def _store(argument: str | None, option: str | None) -> str:
    if (argument is None) == (option is None):
        raise typer.BadParameter("give the store once: as the first argument, or with --store")
    return argument or option or ""


def _model(model: str | None, preset: str | None) -> str:
    if model is not None and preset is not None:
        raise typer.BadParameter("--model and --preset each name the model; give one of them")
    return f"gta-{preset.removeprefix('gta-')}" if preset is not None else model or "gta-best"


def _whole(text: str | None, option: str) -> tuple[int, ...]:
    """Read comma-separated whole numbers; none where the option was left out."""
    try:
        return tuple(int(part) for part in names_in(text) or ())
    except ValueError as error:
        raise typer.BadParameter(f"{option} takes whole numbers, comma-separated, such as 0,1,2; got {text}") from error


def _lines(out: Path, summary: dict[str, Any]) -> list[str]:
    first = (
        f"{out}: {summary['model']} at {summary['n_bins']} bins, {summary['n_train']} training genes, "
        f"{summary['trainable_parameters']:,} trainable parameters, {summary['seconds']:.1f} s, "
        f"validation Spearman {_number(summary['validation_spearman'])}"
    )
    others = summary["baselines"] | summary.get("controls", {})
    beside = ", ".join(f"{name} {_number(score)}" for name, score in others.items())
    return [first, f"beside it, on the same genes: {beside}"] if beside else [first]


def _number(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.3f}"
