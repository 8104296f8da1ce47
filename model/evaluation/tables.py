"""Scores of tables of predictions, by any model, against measured expression.

Belongs here: reading such tables, joining them to targets, scores and comparisons as plain JSON and as lines. Does not:
the statistics (`model.evaluation.metrics`), making predictions (`model.runs.workflow`, `benchmarks.prompt_only`).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog import TableError
from catalog.genes.frames import Table, as_polars
from catalog.genes.identifiers import find_gene_ids, is_no_gene, plain_ids
from catalog.runtime import tables
from catalog.runtime.tables import listed
from model.evaluation.cautions import warn_of_collapse
from model.evaluation.metrics import Difference, Estimate, Scores, bootstrap, spread
from model.evaluation.resampling import Resample, clusters_of_ids, drawn

STATISTICS = ("spearman", "pearson", "mse")
_NO_PREDICTIONS = {
    *("contig", "chrom", "chr", "chromosome", "strand", "start", "end", "tss", "tss_1based", "length", "position"),
    *("ncbi_gene_id", "entrez_id", "target", "observed", "measured"),
}
"""Plain names of numeric columns that are no model's."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of several models on the genes that all of them predict and that were measured."""

    models: tuple[str, ...]
    n_genes: int
    draws: int
    resample: Resample
    """What each draw takes with replacement."""
    n_resampled: int
    """How many of these there are: genes, families or contigs."""
    only_predicted: tuple[str, ...]
    """Genes without a target."""
    only_measured: tuple[str, ...]
    """Genes of the targets that not every model predicts."""
    scores: Scores

    def difference(self, first: str, second: str) -> dict[str, Difference]:
        """Compare two models on the same resamples: each statistic of the first minus that of the second.

        Raises
        ------
        ValueError
            If one of them was not scored.
        """
        for name in (first, second):
            if name not in self.models:
                raise ValueError(f"no model {name!r} was scored; the tables have {', '.join(self.models)}")
        places = self.models.index(first), self.models.index(second)
        return {name: getattr(self.scores, name).difference(*places) for name in STATISTICS}

    def estimates(self, model: str) -> dict[str, Estimate]:
        """Give one model's scores by the name of the statistic."""
        return {name: getattr(self.scores, name).estimate(self.models.index(model)) for name in STATISTICS}

    def to_json(self, *, paired: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
        """Give plain JSON; null where a statistic is undefined (a correlation with a constant)."""
        return {
            "n_genes": self.n_genes,
            "draws": self.draws,
            "resample": self.resample,
            "n_resampled": self.n_resampled,
            "models": {model: _plain(self.estimates(model)) for model in self.models},
            "paired": [{"first": a, "second": b} | _plain(self.difference(a, b)) for a, b in paired],
            "only_predicted": list(self.only_predicted),
            "only_measured": list(self.only_measured),
        }

    def lines(self, *, paired: Sequence[tuple[str, str]] = ()) -> list[str]:
        """Give the same as text."""
        width = max(map(len, self.models))
        head = f"{'model':<{width}} {'Spearman':>15} {'Pearson':>15} {'MSE':>17}"
        rows = [
            f"{model:<{width}} "
            + " ".join(
                f"{value:>{digits}.3f} ± {two_sd:.3f}" for digits, (value, two_sd) in zip((7, 7, 9), row, strict=True)
            )
            for model in self.models
            for row in [self.estimates(model).values()]
        ]
        found = [
            f"{self.n_genes} genes; ± 2 sd of {drawn(self.draws, self.resample, self.n_resampled)}; Pearson and MSE "
            "against log(1 + target)",
            head,
            *rows,
        ]
        for first, second in paired:
            apart = self.difference(first, second)["spearman"]
            found.append(
                f"{first} - {second}: Spearman {apart.value:+.3f} ± {apart.two_sd:.3f}, "
                f"ahead in {apart.share_above:.1%} of the draws"
            )
        for what, genes in (
            ("predicted, not measured", self.only_predicted),
            ("measured, not predicted", self.only_measured),
        ):
            if genes:
                found.append(f"{len(genes)} genes {what}: {listed(genes)}")
        return found


def read_predictions(paths: Sequence[str | os.PathLike[str]], *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read what models predict, one row a gene and one column a model, from one table or several.

    Parameters
    ----------
    paths
        Tab- or comma-separated text with a header, plain or gzipped, or Parquet. One column names the genes; Ensembl
        versions do not matter; rows without a gene are dropped.
    columns
        Which columns are predictions, by default all that hold numbers and are no coordinate or target.

    Returns
    -------
    gene_id and a Float64 column a model, null where it has no prediction. A name that several tables have is preceded
    by that of the file, or its path if the files are called alike.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If a table cannot be read, no table has such a column, a value is no finite number, or a gene has two rows
        that differ.
    """
    frames = {path: tables.read_text_or_parquet(path) for path in map(Path, paths)}
    read = {path: _read(path, frame, columns) for path, frame in frames.items()}
    names = [name for table in read.values() for name in table.columns[1:]]
    lacking = [column for column in columns or () if column not in names]
    if lacking or not names:
        there = list(dict.fromkeys(name for frame in frames.values() for name in frame.columns))
        raise TableError(
            f"no column {listed(lacking) or 'of numbers'} to score in {listed(list(read))}: there are {listed(there)}; "
            "name the columns that are predictions"
        )
    stems_differ = len({path.stem for path in read}) == len(read)
    joined = pl.DataFrame(schema={"gene_id": pl.String})
    for path, table in read.items():
        label = path.stem if stems_differ else str(path)
        renamed = table.rename({name: f"{label} {name}" for name in table.columns[1:] if names.count(name) > 1})
        joined = joined.join(renamed, on="gene_id", how="full", coalesce=True, maintain_order="left_right")
    return joined


def evaluate_table(
    predictions: Table,
    targets: Table,
    *,
    draws: int = 5000,
    seed: int = 0,
    resample: Resample = "gene",
    genes: "Table | None" = None,
) -> Evaluation:
    """Score tables of predictions, all models on the same genes and the same resamples.

    Parameters
    ----------
    predictions
        As `read_predictions` gives them.
    targets
        gene_id and value, as `catalog.read_targets` gives them; Pearson and mean squared error are of log(1 + value),
        which is what models here predict. For predictions on another scale only the rank correlation means something.
    resample
        What each draw takes: genes one by one, or all genes of a family or of a contig together.
    genes
        Gene table with the symbols and contigs, as `catalog.read_genes` gives it; families and contigs need it.

    Raises
    ------
    ValueError
        If fewer than three genes are both predicted and measured, or those to draw cannot be told
        (`model.evaluation.resampling.clusters_of_ids`).
    """
    predictions = as_polars(predictions)
    targets = as_polars(targets)
    models = tuple(predictions.columns[1:])
    complete = predictions.drop_nulls()
    joined = complete.join(targets, on="gene_id", how="inner", maintain_order="left")
    if joined.height < 3:
        raise ValueError(
            f"{joined.height} genes are both predicted and measured, expected at least 3: predictions are of "
            f"{listed(predictions['gene_id'].to_list()) or 'no gene'}; targets of "
            f"{listed(targets['gene_id'].to_list()) or 'no gene'}; both must use the same kind of gene id"
        )
    matrix = joined.select(models).to_numpy().T
    observed = np.log1p(joined["value"].to_numpy())
    clusters = clusters_of_ids(joined["gene_id"].to_list(), genes, resample)
    for model, predicted in zip(models, matrix, strict=True):
        warn_of_collapse(model, spread(predicted, observed))
    return Evaluation(
        models=models,
        n_genes=joined.height,
        draws=draws,
        resample=resample,
        n_resampled=joined.height if clusters is None else len(set(clusters)),
        only_predicted=tuple(predictions.join(targets, on="gene_id", how="anti", maintain_order="left")["gene_id"]),
        only_measured=tuple(targets.join(complete, on="gene_id", how="anti", maintain_order="left")["gene_id"]),
        scores=bootstrap(matrix, observed, draws, seed, clusters=clusters),
    )


def _read(path: Path, frame: pl.DataFrame, columns: Sequence[str] | None) -> pl.DataFrame:
    key = find_gene_ids(frame)
    if key is None:
        raise TableError(
            f"{path} has no column that names the genes: it has {listed(frame.columns)}; name one of them gene_id"
        )
    frame = frame.filter((pl.col(key).str.len_bytes() > 0).fill_null(value=False) & ~is_no_gene(key))
    others = [name for name in frame.columns if name != key]
    chosen = [name for name in others if name in columns] if columns else [n for n in others if _is_model(frame[n])]
    numbers = [_numbers(frame, key, name, path) for name in chosen]
    made = pl.DataFrame([frame[key].alias("gene_id"), *numbers]).with_columns(plain_ids("gene_id"))
    table = made.unique(maintain_order=True)
    twice = table.filter(pl.col("gene_id").is_duplicated())["gene_id"].unique(maintain_order=True)
    if len(twice):
        raise TableError(
            f"{path} predicts {len(twice)} genes twice, not alike: {listed(twice.to_list())}; keep one row a gene"
        )
    return table


def _is_model(values: pl.Series) -> bool:
    if tables.plain_name(values.name) in _NO_PREDICTIONS:
        return False
    numbers = values.str.strip_chars().cast(pl.Float64, strict=False).count()
    return numbers * 2 > values.count()


def _numbers(frame: pl.DataFrame, key: str, name: str, path: Path) -> pl.Series:
    text = frame[name].str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    wrong = frame.filter(~numbers.is_finite().fill_null(value=False) & text.is_not_null())
    if wrong.height:
        first = [f"{gene} ({value})" for gene, value in wrong.select(key, name).iter_rows()]
        raise TableError(
            f"{wrong.height} of {frame.height} values in column {name!r} of {path} are no finite numbers: "
            f"{listed(first)}; leave these fields empty, or mend them"
        )
    return numbers


def _plain(statistics: dict[str, Estimate] | dict[str, Difference]) -> dict[str, dict[str, float | None]]:
    return {
        name: {field: None if np.isnan(number) else number for field, number in value._asdict().items()}
        for name, value in statistics.items()
    }
