"""What a trained model attends to: figures 5 to 10 of the GTA paper from any run, as numbers and as pictures.

    from model.explain.interpret import interpret
    print(interpret(open_run("run"), dataset, Path("figures")).files)

Belongs here: which figures a model has, of which genes, and the files. Does not: the numbers
(`model.explain.attention`, `model.explain.occlusion`), drawing them (`model.explain.figures`).
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from loaders import GeneDataset
from model.evaluation.figures import predicted_against_observed
from model.evaluation.metrics import spearman
from model.explain import figures
from model.explain.attention import (
    Attention,
    aligns_bins,
    attention_of,
    bins_read,
    channel_scores,
    prototypes_table,
    weighs_bins,
)
from model.explain.files import FigureFiles, Interpretation
from model.explain.occlusion import contribution_by_distance, mean_bin, own_fill
from model.explain.signals import interpret_signals
from model.networks.alignment import AlignsBins
from model.predictors.ensemble import members_of
from model.predictors.predictor import NetworkPredictor, Predictor
from model.runs.folder import SUBSETS, Run
from model.runs.scores import warn_of_windows
from model.runs.workflow import predict

MOST_SHOWN = 8
"""Genes whose attention is drawn, at most."""
_EXTREMES = 2
_RANKS = ("best predicted", "worst predicted")
_CAPTIONS = {
    "figure5_predicted_against_observed": "Figure 5: prediction against measurement, log(1 + expression).",
    "figure6_channels_by_head": "Figure 6: by how many standard deviations each channel is higher where a head attends "
    "to its prototype (the one whose weight varies most): bins weighted by their attention.",
    "figure6_channels_by_highest_prototype": "Figure 6, the other way: the mean of the bins in which the prototype has "
    "the head's largest weight.",
    "figure7_attention": "Figure 7: attention of each bin to each prototype, mean over the heads.",
    "figure7_attention_by_head": "Figure 7 for each head: one picture a gene.",
    "figure8_highest_prototype": "Figure 8: attention by bin to the highest prototype (that of the largest weight in "
    "the window, mean over the heads), for the best and the worst predicted gene (least and largest difference from "
    "the target); lines mark the TSS and the median over the bins.",
    "figure8_best_prototypes": "Beside figure 8: the prototype of the largest weight in each bin and head.",
    "figure9_bins_read": "Figure 9: how often the readout selects each bin, or how much it weighs it.",
    "figure10_all_heads": "Figure 10: figure 6 for every prototype of every head.",
    "prototypes": "What each prototype is mixed from: tokens and channels of the largest weights.",
    "contribution_by_distance": "Score, and change of the predictions, with all bins beyond a distance hidden.",
}
"""What each file shows. The paper gives no formulas of its figures: those here are of `model.explain.attention`."""


_TITLE = "Figures of Honig et al. 2024 (arXiv 2410.01858), drawn anew: pictures, and their numbers as Parquet."


def interpret(
    run: Run,
    dataset: GeneDataset,
    out: Path,
    *,
    genes_shown: Sequence[str] | None = None,
    subset: str = "test",
    draws: int = 5000,
    allow_other_store: bool = False,
) -> Interpretation:
    """Write every figure that a model has, each as PNG and SVG with its numbers as Parquet.

    Parameters
    ----------
    run
        Of `model.runs.folder.open_run`, with any predictor.
    dataset
        Genes with their targets, windows as long as the predictor reads.
    out
        Folder; made if need be, and files of the same names are replaced.
    genes_shown
        Symbols or gene ids, up to `MOST_SHOWN`, whose attention is drawn (figure 7). None for the two best and the two
        worst predicted: least and largest difference from the target in log(1 + expression). Figure 8 is always of the
        best and the worst.
    subset
        Genes that all other figures are about: `test`, `validation`, `train` or `all`.
    draws
        Bootstrap draws for the bars of the contribution by distance, which costs 13 predictions of these genes.

    Raises
    ------
    OtherStore
        If the features are not those of training.
    ValueError
        If fewer than 3 genes have a target, a gene to show is not in the dataset, or the model has several tasks.
    """
    if subset not in (*SUBSETS, "all"):
        raise ValueError(f"genes to interpret are {', '.join(SUBSETS)} or all; got {subset!r}")
    if run.tasks:
        raise ValueError(
            f"the run predicts {', '.join(run.tasks)}, and these figures are of one number a gene; interpret a run that"
            " was trained on one of them"
        )
    warn_of_windows(run)
    if run.signals is not None:
        return interpret_signals(run, dataset, out, subset=subset, allow_other_store=allow_other_store)
    run.predictor.allow_other_store = allow_other_store
    dataset = run.reads(dataset).unjittered()
    genes = dataset if subset == "all" else dataset.subset(getattr(run.split, subset))
    predicted = _predicted(run, genes)
    if len(predicted) < 3:
        raise ValueError(
            f"{len(predicted)} {subset} genes have features and targets, and ranks take at least 3; name more "
            "genes, or another `subset=`"
        )
    shown, extremes = _genes_shown(dataset, predicted, genes_shown), _ranked(predicted)[:: len(predicted) - 1]
    genes = genes.subset(predicted["gene_id"].to_list())
    files, left_out = FigureFiles(out), {}
    files.add("figure5_predicted_against_observed", predicted, _scatter(run, predicted))
    if aligns_bins(run.predictor):
        titles = _titles(_predicted(run, dataset.subset(shown)), shown)
        _add_attention(files, attention_of(run.predictor, dataset, shown), titles)
        titles = [f"{rank}: {title}" for rank, title in zip(_RANKS, _titles(predicted, extremes), strict=True)]
        highest = attention_of(run.predictor, dataset, extremes).highest_table()
        files.add("figure8_highest_prototype", highest, figures.highest_prototypes(highest, titles))
        _add_channels(files, run.predictor, genes)
    else:
        left_out["figures 6, 7, 8 and 10"] = _no_alignment(run.predictor)
    if weighs_bins(run.predictor):
        read = bins_read(run.predictor, genes)
        files.add("figure9_bins_read", read, figures.bins_read(read))
    else:
        left_out["figure 9"] = _no_bins_read(run.predictor)
    fill = _fill(run, dataset)
    if fill is not None:
        by_distance = contribution_by_distance(run.predictor, genes, fill=fill, draws=draws)
        files.add("contribution_by_distance", by_distance, figures.contribution_by_distance(by_distance))
    else:
        left_out["contribution by distance"] = (
            "the run keeps no mean bin to hide others with: name its training genes in the tables too"
        )
    files.add_captions(_TITLE, _CAPTIONS, left_out)
    return Interpretation(files.written, left_out)


def _add_attention(files: FigureFiles, attention: Attention, titles: Sequence[str]) -> None:
    bins, prototypes = attention.distances, attention.prototypes
    picture = figures.attention_of_genes(attention.over_heads(), bins, prototypes, titles)
    files.add("figure7_attention", attention.over_heads_table(), picture)
    files.add_numbers("figure7_attention_by_head", attention.table())
    for gene, weights, title in zip(attention.gene_ids, attention.weights, titles, strict=True):
        name = "figure7_attention_by_head_" + re.sub(r"[^\w.-]", "_", gene)
        files.add_pictures(name, figures.all_heads(weights, bins, prototypes, title))
    picture = figures.best_prototypes(attention.best(), bins, prototypes, titles)
    files.add("figure8_best_prototypes", attention.best_table(), picture)


def _add_channels(files: FigureFiles, predictor: NetworkPredictor, genes: GeneDataset) -> None:
    scores = channel_scores(predictor, genes)
    by_head, title = scores.by_head(), "Channels where each head attends to its prototype"
    files.add("figure6_channels_by_head", by_head, figures.channels_by_head(by_head, title=title))
    by_highest, title = scores.by_head("highest"), "Channels where each head's prototype is the highest"
    files.add("figure6_channels_by_highest_prototype", by_highest, figures.channels_by_head(by_highest, title=title))
    all_heads = scores.all_heads()
    files.add("figure10_all_heads", all_heads, figures.channels_of_all_heads(all_heads))
    files.add_numbers("prototypes", prototypes_table(predictor))


def _predicted(run: Run, genes: GeneDataset) -> pl.DataFrame:
    """Predict the genes whose target is known: what `predict` gives, and observed, log(1 + target)."""
    known = genes.targets.isfinite().tolist()
    ids = [gene for gene, is_known in zip(genes.gene_ids, known, strict=True) if is_known]
    if not ids:
        return pl.DataFrame()
    frame = predict(run, genes.subset(ids), allow_other_store=run.predictor.allow_other_store)
    return frame.with_columns(observed=pl.col("target").cast(pl.Float64).log1p())


def _ranked(predicted: pl.DataFrame) -> list[str]:
    """Give the genes from the best predicted to the worst: by the difference from the target in log(1 + expression)."""
    error = (pl.col("prediction") - pl.col("observed")).abs()
    return predicted.sort(error, "gene_id")["gene_id"].to_list()


def _genes_shown(dataset: GeneDataset, predicted: pl.DataFrame, wanted: Sequence[str] | None) -> list[str]:
    """Give the ids of the genes to draw: those named, or the best and the worst predicted."""
    if wanted is None:
        ranked = _ranked(predicted)
        several = min(_EXTREMES, len(ranked) // 2)
        return ranked[:several] + ranked[-several:]
    known = dataset.genes.filter(pl.Series(dataset.targets.isfinite().numpy()))
    shown = []
    for name in wanted:
        found = known.filter((pl.col("symbol") == name) | (pl.col("gene_id") == name))["gene_id"].to_list()
        if not found:
            raise ValueError(
                f"no gene with features and a target is called {name!r}; name symbols or gene ids as in the gene table,"
                f" such as {known['symbol'][0] or known['gene_id'][0]}"
            )
        shown += [gene for gene in found if gene not in shown]
    if not 1 <= len(shown) <= MOST_SHOWN:
        raise ValueError(f"1 to {MOST_SHOWN} genes fit into the figures; got {len(shown)}: name fewer, and run again")
    return shown


def _titles(predicted: pl.DataFrame, shown: Sequence[str]) -> list[str]:
    rows = {row["gene_id"]: row for row in predicted.iter_rows(named=True)}
    written = "{}: predicted {prediction:.2f}, observed {observed:.2f}"
    return [written.format(rows[gene]["symbol"] or gene, **rows[gene]) for gene in shown]


def _scatter(run: Run, predicted: pl.DataFrame) -> Figure:
    estimated, observed = (predicted[name].to_numpy() for name in ("prediction", "observed"))
    ranked = spearman(estimated, observed)
    score = "undefined" if np.isnan(ranked) else f"{ranked:.3f}"
    title = f"{run.predictor.name}, {len(predicted)} genes: Spearman {score}"
    return predicted_against_observed(estimated, observed, title=title)


def _fill(run: Run, dataset: GeneDataset) -> ArrayLike | None:
    own = own_fill(run.predictor)
    if own is not None:
        return own
    seen = dataset.subset(run.split.train) if set(run.split.train) & set(dataset.gene_ids) else None
    return None if seen is None else mean_bin(seen)


def _no_alignment(predictor: Predictor) -> str:
    if len(members_of(predictor)) > 1:
        return _OF_MEMBERS
    if isinstance(predictor, NetworkPredictor) and isinstance(predictor.model, AlignsBins):
        return f"{predictor.name} reads no bins, so none attend to prototypes"
    return f"{predictor.name} has no prototypes that bins attend to; only GTA has"


def _no_bins_read(predictor: Predictor) -> str:
    if len(members_of(predictor)) > 1:
        return _OF_MEMBERS
    return f"{predictor.name} does not choose among bins when it reads them out"


_OF_MEMBERS = "each member of an ensemble has its own; train one model, and interpret its run"
