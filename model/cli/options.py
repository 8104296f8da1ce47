"""Options that verbs of several modules share.

Belongs here: their names and help texts. Does not: verbs (`model.cli.use`, `model.cli.train`, ...).
"""

from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[str, typer.Option("--store", help="The store: a path or any fsspec URL.")]
Checkpoint = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `featurestore train` wrote.")]
Genes = Annotated[Path, typer.Option(help="Gene table: MANE summary, GTF, GFF3, BED or TSV, gz or not.")]
Targets = Annotated[Path, typer.Option(help="Expression: a table with a gene column and a value column (>= 0).")]
TargetColumn = Annotated[str | None, typer.Option(help="Value column. [default: the only numeric one]")]
Annotations = Annotated[
    Path | None,
    typer.Option(help="NCBI gene_info or a table of annotations, for the prompts. [default: symbols alone]"),
]
FeatureSet = Annotated[
    str | None,
    typer.Option(
        "--feature-set",
        help="Feature set; the channels of several, comma-separated, are concatenated. [default: the store's only one]",
    ),
]
OldFeatureSet = Annotated[str | None, typer.Option("--features", hidden=True)]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Anchors = Annotated[
    str | None,
    typer.Option(
        help="Name of an anchored array: windows centred on each TSS to the base. [default: windows of the grid]"
    ),
]
OtherAnchors = Annotated[
    str | None,
    typer.Option(
        "--anchors",
        help="Name of an anchored array to read windows from, or none for windows of the grid. "
        "[default: as in training]",
    ),
]
Covariates = Annotated[
    Path | None,
    typer.Option(help="Table of covariates, for a run that reads them. [default: where it was in training]"),
]
OtherContext = Annotated[
    int | None,
    typer.Option("--context", help="Of a run with signals: bases a window (bp). [default: those of training]"),
]
OtherNBins = Annotated[
    int | None,
    typer.Option("--n-bins", help="Bins a window, another number than in training too. [default: that of training]"),
]

WINDOWS = ("projection", "dtype", "seed")
"""Fields of `WindowSettings` that no verb offers: the seed of jitter is that of training."""
READING = ("n_bins", "orient", "channels", "jitter_bins", "jitter_bp", *WINDOWS)
"""Fields of `WindowSettings` that a verb which uses a run does not offer: the run has them."""
