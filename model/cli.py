"""Verbs that train and use models.

    featurestore train genome.store --genes genes.tsv --targets expression.tsv --n-bins 251 --out run
    featurestore evaluate run --store genome.store --genes genes.tsv --targets expression.tsv

Belongs here: options. Does not: logic that a Python user could not call.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(rich_markup_mode=None)

StoreUrl = Annotated[str, typer.Argument(metavar="STORE", help="The store: a path or any fsspec URL.")]
StoreOption = Annotated[str, typer.Option("--store", help="The store: a path or any fsspec URL.")]
Checkpoint = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `featurestore train` wrote.")]
Genes = Annotated[Path, typer.Option(help="Gene table: MANE summary, GTF, GFF3, BED or TSV, gz or not.")]
Targets = Annotated[Path, typer.Option(help="Expression: a table with a gene column and a value column (>= 0).")]
MaybeTargets = Annotated[Path | None, typer.Option(help="Expression, to write beside the predictions.")]
TargetColumn = Annotated[str | None, typer.Option(help="Value column. [default: the only numeric one]")]
Annotations = Annotated[
    Path | None,
    typer.Option(help="NCBI gene_info or a table of annotations, for the prompts. [default: symbols alone]"),
]
Features = Annotated[str | None, typer.Option(help="Feature set. [default: the store's only one]")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Residence = Annotated[str, typer.Option(help="Where features are kept while training: memory, cache or stream.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@app.command()
def train(
    store: StoreUrl,
    genes: Genes,
    targets: Targets,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint, the split and the log.")],
    model: Annotated[
        str,
        typer.Option(help="gta-best, gta-paper, gta-no-llm, ridge-exponential or ridge-centre."),
    ] = "gta-best",
    n_bins: Annotated[int, typer.Option(help="Bins a window.")] = 251,
    backbone: Annotated[
        str, typer.Option(help="Hugging Face model directory; `untrained` makes a small random one on the spot.")
    ] = "untrained",
    annotations: Annotations = None,
    features: Features = None,
    target_column: TargetColumn = None,
    test_contigs: Annotated[str | None, typer.Option(help="Contigs whose genes are held out, comma-separated.")] = None,
    validation_contigs: Annotated[str | None, typer.Option(help="Contigs whose genes choose the epoch.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training genes. [default: the model's]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Genes a step. [default: the model's]")] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights, shuffling, and a random split.")] = 0,
    device: Device = "auto",
    residence: Residence = "memory",
    as_json: AsJson = False,
) -> None:
    """Train a model on the genes of a table, with features from the store. Prints its validation score.

    Without --test-contigs a random fifth of the genes is held out, and a tenth chooses the epoch.
    """
    from model.workflow import TrainRequest, load_genes, make_split
    from model.workflow import train as run_train

    dataset = load_genes(
        store,
        features,
        genes=genes,
        targets=targets,
        target_column=target_column,
        annotations=annotations,
        n_bins=n_bins,
        residence=residence,
    )
    split = make_split(
        dataset, test_contigs=_names(test_contigs), validation_contigs=_names(validation_contigs), seed=seed
    )
    request = TrainRequest(
        model=model, backbone=backbone, epochs=epochs, batch_size=batch_size, seed=seed, device=device
    )
    summary = run_train(dataset, split, request, out=out)
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        score = summary["validation_spearman"]
        print(
            f"{out}: {summary['model']} at {summary['n_bins']} bins, {summary['n_train']} training genes, "
            f"{summary['trainable_parameters']:,} trainable parameters, {summary['seconds']:.1f} s, "
            f"validation Spearman {'undefined' if score is None else f'{score:.3f}'}"
        )


@app.command()
def evaluate(
    run: Checkpoint,
    store: StoreOption,
    genes: Genes,
    targets: Targets,
    annotations: Annotations = None,
    target_column: TargetColumn = None,
    subset: Annotated[str, typer.Option(help="Genes to score: test, validation, train or all.")] = "test",
    draws: Annotated[int, typer.Option(help="Bootstrap draws for the two standard deviations.")] = 5000,
    allow_other_store: Annotated[
        bool, typer.Option("--allow-other-store", help="Take features of another fingerprint.")
    ] = False,
    device: Device = "auto",
    residence: Residence = "memory",
    as_json: AsJson = False,
) -> None:
    """Score a trained model on held-out genes: Spearman with two standard deviations, Pearson, mean squared error."""
    from model.workflow import evaluate as run_evaluate
    from model.workflow import load_genes, open_run

    opened = open_run(run, device=device)
    dataset = load_genes(
        store,
        opened.feature_set,
        genes=genes,
        targets=targets,
        target_column=target_column,
        annotations=annotations,
        n_bins=opened.predictor.n_bins,
        residence=residence,
    )
    scores = run_evaluate(opened, dataset, subset=subset, draws=draws, allow_other_store=allow_other_store)
    if as_json:
        print(json.dumps(scores, indent=1))
    else:
        print(
            f"{scores['model']} at {scores['n_bins']} bins on {scores['n_test']} genes ({subset}): Spearman "
            f"{scores['spearman']:.3f} ± {scores['two_sd']:.3f} (2 sd of {draws} draws), "
            f"Pearson {scores['pearson']:.3f}, MSE {scores['mse']:.3f}"
        )


@app.command()
def predict(
    run: Checkpoint,
    store: StoreOption,
    genes: Genes,
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    targets: MaybeTargets = None,
    annotations: Annotations = None,
    target_column: TargetColumn = None,
    allow_other_store: Annotated[
        bool, typer.Option("--allow-other-store", help="Take features of another fingerprint.")
    ] = False,
    device: Device = "auto",
    residence: Residence = "memory",
) -> None:
    """Predict the expression of every gene of a table, as log(1 + expression), and write a Parquet file."""
    from model.workflow import load_genes, open_run
    from model.workflow import predict as run_predict

    opened = open_run(run, device=device)
    dataset = load_genes(
        store,
        opened.feature_set,
        genes=genes,
        targets=targets,
        target_column=target_column,
        annotations=annotations,
        n_bins=opened.predictor.n_bins,
        residence=residence,
    )
    frame = run_predict(opened, dataset, allow_other_store=allow_other_store)
    out.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(out)
    print(f"{out}: {len(frame)} genes, columns {', '.join(frame.columns)}")


@app.command()
def plot(
    store: StoreUrl,
    feature_set: Annotated[str, typer.Argument(metavar="SET", help="Name of the feature set.")],
    place: Annotated[str, typer.Argument(metavar="CONTIG:POSITION", help="Centre of the window, 0-based bp.")],
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .svg or .pdf.")],
    n_bins: Annotated[int, typer.Option(help="Bins of the window.")] = 251,
    title: Annotated[str | None, typer.Option(help="Title. [default: the place]")] = None,
) -> None:
    """Draw the features of one window: channels down, genome across."""
    from featurestore import open as open_store
    from featurestore import parse_place
    from model.figures import save, window_heatmap

    contig, position = parse_place(place)
    reader = open_store(store)[feature_set]
    window = reader.window(contig, position, n_bins=n_bins)
    figure = window_heatmap(
        window.values,
        window.starts,
        bin_size=reader.feature_set.bin_size,
        channel_names=reader.channel_names,
        title=title or f"{feature_set} around {window.contig}:{position:,}",
        centre=position,
    )
    print(save(figure, out))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes (about 100 MB).")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(help="Of the simulated genome and of training.")] = 0,
    size: Annotated[
        Literal["full", "tiny"], typer.Option(help="tiny: a genome of 2 Mbp and one epoch, to see that all runs.")
    ] = "full",
) -> None:
    """Go the whole way on a simulated genome: build once, train and evaluate at three context lengths, report."""
    from model.demo import run_demo

    print(run_demo(out, seed=seed, size=size))


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text is not None else None
