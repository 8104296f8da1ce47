"""The verb that explains a trained model.

    featurestore interpret run --store genome.store --genes genes.tsv --targets expression.tsv --out figures

Belongs here: options. Does not: logic that a Python user could not call.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from catalog.expression.targets import TargetSettings
from featurestore.cli.derived import takes
from featurestore.cli.options import AsJson, names_in
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

app = typer.Typer(rich_markup_mode=None)


@app.command()
@takes(WindowSettings, into="windows", without=READING)
@takes(TargetSettings, into="target_settings")
def interpret(
    windows: WindowSettings,
    target_settings: TargetSettings,
    run: Checkpoint,
    store: StoreOption,
    genes: Genes,
    targets: Targets,
    out: Annotated[Path, typer.Option(help="Folder for the figures (PNG and SVG) and their numbers (Parquet).")],
    annotations: Annotations = None,
    target_column: TargetColumn = None,
    genes_shown: Annotated[
        str | None,
        typer.Option(
            help="Symbols or gene ids whose attention is drawn, comma-separated, at most 8. "
            "[default: the two best and the two worst predicted]"
        ),
    ] = None,
    subset: Annotated[str, typer.Option(help="Genes to look at: test, validation, train or all.")] = "test",
    draws: Annotated[int, typer.Option(help="Bootstrap draws for the bars of two standard deviations.")] = 5000,
    n_bins: OtherNBins = None,
    context: OtherContext = None,
    covariates: Covariates = None,
    anchors: OtherAnchors = None,
    allow_other_store: Annotated[
        bool, typer.Option("--allow-other-store", help="Take features of another fingerprint.")
    ] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Draw what a trained model attends to: figures 5 to 10 of the GTA paper, and its score by distance from the TSS.

    Files are named by the paper's figures: figure6_channels_by_head and, the other way,
    figure6_channels_by_highest_prototype; figure7_attention; figure8_highest_prototype, of the best and the worst
    predicted gene; figure9_bins_read; figure10_all_heads. figures.md beside them says what each shows. Prints the
    files, and which figures the model does not have.
    """
    from model.explain.interpret import interpret as run_interpret
    from model.runs.workflow import load_genes_as_trained, open_run

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
    written = run_interpret(
        opened,
        dataset,
        out,
        genes_shown=names_in(genes_shown),
        subset=subset,
        draws=draws,
        allow_other_store=allow_other_store,
    )
    if as_json:
        files = [str(file) for file in written.files]
        print(json.dumps({"files": files, "left_out": written.left_out}, indent=1))
        return
    for file in written.files:
        print(file)
    for figure, why in written.left_out.items():
        print(f"no {figure}: {why}")
