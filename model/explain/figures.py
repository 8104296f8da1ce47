"""Figures of what a model attends to, from the numbers of `model.explain.interpret` and `model.explain.occlusion`.

Belongs here: one function a figure, each returning a matplotlib Figure. Does not: the numbers, other figures
(`model.evaluation.figures`).

Positions are distances from the TSS, which a line marks. Colour scales reach to the largest number shown, so their
bar says how much there is to see.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from numpy.typing import NDArray

from model.evaluation.figures import COLOURS, STYLE

_OTHERS = "0.88"
_RANKS = {"first named": COLOURS[0], "second": COLOURS[4], "third": COLOURS[2]}
_FROM_TSS = "distance from the TSS (kb)"


def channels_by_head(numbers: pl.DataFrame, *, title: str, max_channels: int = 40) -> Figure:
    """Draw figure 6: how high each channel is where a head attends to its prototype, in standard deviations.

    Parameters
    ----------
    numbers
        What `model.explain.attention.ChannelScores.by_head` gives.
    max_channels
        Draw the channels with the largest z of any head, at most so many.
    """
    heads = numbers.unique("head", maintain_order=True)
    z = numbers["z"].to_numpy().reshape(len(heads), -1)
    names = numbers["channel"].to_list()[: z.shape[1]]
    chosen = np.sort(np.argsort(-np.abs(z).max(axis=0), kind="stable")[:max_channels])
    largest = max(float(np.abs(z).max()), 1e-12)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5 + 0.22 * len(chosen), 1.8 + 0.25 * len(heads)), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(z[:, chosen], aspect="auto", cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes.set_xticks(range(len(chosen)), [names[column] for column in chosen], rotation=90, fontsize=7)
        labels = [f"head {head}: {prototype}" for head, prototype in heads.select("head", "prototype").iter_rows()]
        axes.set_yticks(range(len(heads)), labels, fontsize=7)
        axes.set_title(title, loc="left")
        figure.colorbar(image, ax=axes, label="z (standard deviations)")
        return figure


def channels_of_all_heads(numbers: pl.DataFrame) -> Figure:
    """Draw figure 10: how high each channel is where a head attends to each prototype, a panel a head.

    Parameters
    ----------
    numbers
        What `model.explain.attention.ChannelScores.all_heads` gives.
    """
    prototypes, channels = (numbers[name].unique(maintain_order=True).to_list() for name in ("prototype", "channel"))
    z = numbers["z"].to_numpy().reshape(-1, len(prototypes), len(channels))
    largest = max(float(np.abs(z).max()), 1e-12)
    n_rows, n_columns = -(-len(z) // 2), min(len(z), 2)
    with mpl.rc_context(STYLE):
        width, height = max(2.5, 0.14 * len(channels)), 0.5 + 0.016 * len(prototypes)
        figure = Figure(figsize=(1.5 + width * n_columns, 1.6 + height * n_rows), layout="constrained")
        panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(panels.flat):
            if place >= len(z):
                axes.set_visible(False)
                continue
            image = axes.imshow(z[place], aspect="auto", cmap="RdBu_r", vmin=-largest, vmax=largest)
            axes.set_title(f"head {place}", loc="left", fontsize=8)
            _separate_kinds(axes, prototypes)
        for axes in panels[-1]:
            axes.set_xticks(range(len(channels)), channels, rotation=90, fontsize=5.5)
        figure.suptitle("Channels where each head attends to each prototype", x=0.01, ha="left", fontweight="bold")
        figure.colorbar(image, ax=panels, label="z (standard deviations)", aspect=40)
        return figure


def highest_prototypes(numbers: pl.DataFrame, titles: Sequence[str]) -> Figure:
    """Draw figure 8: the attention of each bin to the gene's highest prototype, with the TSS and the median marked.

    Parameters
    ----------
    numbers
        What `model.explain.attention.Attention.highest_table` gives.
    titles
        One a gene.
    """
    genes = numbers.partition_by("gene_id", maintain_order=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 0.6 + 2.2 * len(genes)), layout="constrained")
        panels: list[Axes] = list(figure.subplots(len(genes), 1, sharex=True, squeeze=False)[:, 0])
        for axes, gene, title in zip(panels, genes, titles, strict=True):
            weight = gene["weight"].to_numpy()
            axes.step(gene["distance_bp"] / 1e3, weight, where="mid", color=COLOURS[0], linewidth=1)
            median = float(np.median(weight))
            axes.axhline(
                median, color=COLOURS[4], linewidth=1, linestyle="--", label=f"median over the bins, {median:.3g}"
            )
            axes.axvline(0, color=COLOURS[1], linewidth=1, linestyle=":", label="TSS")
            axes.set(ylabel="attention")
            axes.set_title(f"{title}; {gene['prototype'][0]}", loc="left", fontsize=8)
            axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
        panels[-1].set(xlabel=_FROM_TSS)
        figure.suptitle("Attention to the highest prototype", x=0.01, ha="left", fontsize=10, fontweight="bold")
        return figure


def attention_of_genes(
    weights: NDArray[np.floating[Any]],
    distances: NDArray[np.integer[Any]],
    prototypes: Sequence[str],
    titles: Sequence[str],
) -> Figure:
    """Draw figure 7: the attention of each bin to each prototype, a panel a gene, averaged over the heads.

    Parameters
    ----------
    weights
        Shape `(genes, bins, prototypes)`.
    distances
        Of each bin from the TSS, shape `(bins,)` (bp).
    titles
        One a gene.
    """
    return _panels(weights, distances, prototypes, titles, title="Attention to prototypes, mean over the heads")


def all_heads(
    weights: NDArray[np.floating[Any]],
    distances: NDArray[np.integer[Any]],
    prototypes: Sequence[str],
    title: str,
) -> Figure:
    """Draw figure 7 by head: the attention of each bin of one gene to each prototype, a panel a head.

    Parameters
    ----------
    weights
        Shape `(bins, heads, prototypes)`.
    distances
        Of each bin from the TSS, shape `(bins,)` (bp).
    """
    heads = [f"head {head}" for head in range(weights.shape[1])]
    return _panels(np.moveaxis(weights, 1, 0), distances, prototypes, heads, title=title)


def best_prototypes(
    best: NDArray[np.integer[Any]],
    distances: NDArray[np.integer[Any]],
    prototypes: Sequence[str],
    titles: Sequence[str],
) -> Figure:
    """Draw the prototype of the largest weight in each bin and head, a panel a gene.

    Each head has a colour for each of its three most frequent prototypes, named at its row in that order: the same
    prototype means something else to another head, which has its own keys.

    Parameters
    ----------
    best
        Index of the prototype, shape `(genes, bins, heads)`.
    distances
        Of each bin from the TSS, shape `(bins,)` (bp).
    titles
        One a gene.
    """
    heads = best.shape[2]
    place = np.full(best.shape, len(_RANKS))
    labels = []
    for head in range(heads):
        counts = np.bincount(best[..., head].ravel(), minlength=len(prototypes))
        frequent = [int(index) for index in np.argsort(-counts, kind="stable")[: len(_RANKS)] if counts[index]]
        for rank, index in enumerate(frequent):
            place[..., head][best[..., head] == index] = rank
        labels.append(f"head {head}: " + ", ".join(prototypes[index] for index in frequent))
    colours = [*_RANKS.values(), _OTHERS]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 1.0 + (0.5 + 0.15 * heads) * len(best)), layout="constrained")
        panels: list[Axes] = list(figure.subplots(len(best), 1, sharex=True, squeeze=False)[:, 0])
        for axes, of_gene, title in zip(panels, place, titles, strict=True):
            axes.imshow(
                of_gene.T,
                aspect="auto",
                cmap=ListedColormap(colours),
                norm=BoundaryNorm(np.arange(len(colours) + 1) - 0.5, len(colours)),
                extent=_extent(distances, heads),
                interpolation="nearest",
            )
            _mark_tss(axes)
            axes.set_yticks(range(heads), labels, fontsize=6.5)
            axes.set_title(title, loc="left", fontsize=8)
        panels[-1].set(xlabel=_FROM_TSS)
        keys = [Patch(color=colour, label=label) for colour, label in zip(colours, [*_RANKS, "another"], strict=True)]
        figure.legend(handles=keys, loc="outside lower center", ncols=4, fontsize=7)
        figure.suptitle("Best prototype by bin and head", x=0.01, ha="left", fontsize=10, fontweight="bold")
        return figure


def bins_read(numbers: pl.DataFrame) -> Figure:
    """Draw figure 9: how often each bin is kept, or how much it counts in each average or sum.

    Parameters
    ----------
    numbers
        What `model.explain.attention.bins_read` gives.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 3), layout="constrained")
        axes = figure.add_subplot()
        parts = numbers["part"].unique(maintain_order=True).to_list()
        for number, part in enumerate(parts):
            rows = numbers.filter(pl.col("part") == part)
            style = ("-", "--", ":", "-.")[number // len(COLOURS) % 4]
            colour = COLOURS[number % len(COLOURS)]
            axes.step(rows["distance_bp"] / 1e3, rows["value"], where="mid", label=part, linestyle=style, color=colour)
        _mark_tss(axes)
        selected = parts == ["selected"]
        axes.set(xlabel=_FROM_TSS, ylabel="share of genes" if selected else "mean weight")
        axes.set_ylim(bottom=0)
        axes.set_title("How often each bin is selected" if selected else "Weight of each bin", loc="left")
        if not selected:
            axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        return figure


def contribution_by_distance(numbers: pl.DataFrame) -> Figure:
    """Draw how the score, and predictions, change as bins farther from the TSS are shown.

    Parameters
    ----------
    numbers
        What `model.explain.occlusion.contribution_by_distance` gives.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 4.5), layout="constrained")
        score, change = figure.subplots(2, 1, sharex=True)
        places = range(len(numbers))
        value, two_sd = (numbers[name].cast(pl.Float64).fill_null(np.nan) for name in ("spearman", "two_sd"))
        score.errorbar(places, value, yerr=two_sd, marker="o", markersize=5, capsize=2, color=COLOURS[0])
        score.set(ylabel="Spearman (± 2 sd)")
        score.set_title("Score with all bins beyond a distance hidden", loc="left")
        change.plot(places, numbers["mean_absolute_change"], marker="o", markersize=5, color=COLOURS[1])
        change.set(ylabel="mean |change| of\nlog(1 + expression)", xlabel="farthest bin shown (kb from the TSS)")
        change.set_ylim(bottom=0)
        change.set_xticks(places, [f"{distance / 1e3:,.0f}" for distance in numbers["distance_bp"]])
        for axes in (score, change):
            axes.grid(axis="y", color="0.9")
        return figure


def _panels(
    weights: NDArray[np.floating[Any]],
    distances: NDArray[np.integer[Any]],
    prototypes: Sequence[str],
    titles: Sequence[str],
    *,
    title: str,
) -> Figure:
    """Draw weights `(panels, bins, prototypes)` in two columns, as doublings of what even attention would give."""
    doublings = np.log2(np.maximum(weights, np.finfo(np.float32).tiny) * len(prototypes))
    largest = max(float(doublings.max()), 1e-6)
    n_rows, n_columns = -(-len(weights) // 2), min(len(weights), 2)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.5 + 4 * n_columns, 0.9 + 1.9 * n_rows), layout="constrained")
        panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
        image: AxesImage | None = None
        for place, axes in enumerate(panels.flat):
            if place >= len(weights):
                axes.set_visible(False)
                continue
            image = axes.imshow(
                doublings[place].T,
                aspect="auto",
                cmap="RdBu_r",
                vmin=-largest,
                vmax=largest,
                extent=_extent(distances, len(prototypes)),
                interpolation="nearest",
            )
            _mark_tss(axes)
            axes.set_title(titles[place], loc="left", fontsize=8)
            _separate_kinds(axes, prototypes)
        figure.supxlabel(_FROM_TSS, fontsize=9)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        assert image is not None
        figure.colorbar(image, ax=panels, label="log2(attention / even attention)", extend="min", aspect=40)
        return figure


def _separate_kinds(axes: Axes, prototypes: Sequence[str]) -> None:
    """Part the kinds of prototypes by a line, and label each at the middle of its rows."""
    middles, labels = [], []
    for kind, members in groupby(enumerate(prototypes), key=lambda item: item[1].rpartition(" ")[0]):
        rows = [row for row, _ in members]
        middles.append((rows[0] + rows[-1]) / 2)
        labels.append(f"{kind}\n{rows[0]}-{rows[-1]}")
        if rows[0]:
            axes.axhline(rows[0] - 0.5, color="black", linewidth=0.5)
    axes.set_yticks(middles, labels, fontsize=7, rotation=90, va="center")


def _extent(distances: NDArray[np.integer[Any]], rows: int) -> tuple[float, float, float, float]:
    """Give the edges of an image whose bins run across: half a bin to each side of the outermost middles (kb)."""
    half = (distances[-1] - distances[0]) / max(len(distances) - 1, 1) / 2 or 0.5
    return ((distances[0] - half) / 1e3, (distances[-1] + half) / 1e3, rows - 0.5, -0.5)


def _mark_tss(axes: Axes) -> None:
    # Thin and dotted: at 251 bins a whole line would hide the bin it marks.
    axes.axvline(0, color="black", linewidth=0.6, linestyle=(0, (1, 3)))
