"""Verbs that read a store as training does.

    featurestore bench-read genome.store --n-bins 251 --batch-size 64 --residence stream

Belongs here: options and printing. Does not: logic that a Python user could not call (`loaders.bench`).
"""

import json
from typing import Annotated

import typer

from featurestore import open_store
from featurestore.cli.derived import takes
from featurestore.cli.options import FeatureSetName, OldSet, chosen_set
from loaders.bench import measure_reading
from loaders.residence.open import RESIDENCE_HELP, Residence, ResidenceOptions, open_grid_reader

app = typer.Typer(rich_markup_mode=None)


@app.command("bench-read")
@takes(ResidenceOptions, into="options")
def bench_read(
    store: Annotated[str, typer.Argument(metavar="STORE", help="The store: a path or any fsspec URL.")],
    options: ResidenceOptions,
    feature_set: FeatureSetName = None,
    n_bins: Annotated[int, typer.Option(min=1, help="Bins a window.")] = 251,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows a batch.")] = 64,
    batches: Annotated[int, typer.Option(min=1, help="How many batches.")] = 200,
    residence: Annotated[Residence, typer.Option(help=RESIDENCE_HELP)] = "stream",
    compute_ms: Annotated[float, typer.Option(min=0, help="What a consumer takes over a batch (ms).")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the random windows.")] = 0,
    old_set: OldSet = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Read random windows and say how fast that was, and what it cost."""
    chosen = chosen_set(open_store(store), feature_set, old_set)
    reader = open_grid_reader(store, chosen, residence=residence, options=options, storage_options=None)
    report = measure_reading(
        reader, n_bins=n_bins, batch_size=batch_size, n_batches=batches, compute_s=compute_ms / 1000, seed=seed
    )
    print(json.dumps(report.to_dict()) if as_json else report.summary())
