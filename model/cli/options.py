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
FeatureSet = Annotated[str | None, typer.Option("--feature-set", help="Feature set. [default: the store's only one]")]
OldFeatureSet = Annotated[str | None, typer.Option("--features", hidden=True)]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Residence = Annotated[str, typer.Option(help="Where features are kept while training: memory, cache or stream.")]
OtherNBins = Annotated[
    int | None,
    typer.Option("--n-bins", help="Bins a window, another number than in training too. [default: that of training]"),
]
