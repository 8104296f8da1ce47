"""Figures of scores and predictions.

Belongs here: one function a figure, each returning a matplotlib Figure. Does not: pages (`model.evaluation.page`), the
picture of a window (`model.evaluation.window_figure`).

Colours are the first of the Okabe-Ito palette, which people with colour blindness tell apart.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from catalog.runtime.files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "svg.hashsalt": "featurestore",  # the same numbers give the same file
}
"""What all figures have in common, for `matplotlib.rc_context`."""


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format that the path's ending names (`.png`, `.svg`, `.pdf`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE), replacing(path) as partial:
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(partial, format=path.suffix.removeprefix(".") or None, dpi=150, metadata=metadata)
    return path


def predicted_against_observed(
    predicted: NDArray[np.floating[Any]], observed: NDArray[np.floating[Any]], *, title: str
) -> Figure:
    """Scatter predictions of held-out genes against what was measured.

    Parameters
    ----------
    predicted, observed
        Expression as log(1 + value), shape `(genes,)`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4, 4), layout="constrained")
        axes = figure.add_subplot()
        low, high = float(min(predicted.min(), observed.min())), float(max(predicted.max(), observed.max()))
        axes.plot([low, high], [low, high], color="0.7", linewidth=1, zorder=1)
        axes.scatter(observed, predicted, s=10, alpha=0.5, color=COLOURS[0], edgecolors="none", zorder=2)
        axes.set(xlabel="observed, log(1 + expression)", ylabel="predicted, log(1 + expression)", title=title)
        axes.set_box_aspect(1)
        return figure


class Paired(NamedTuple):
    """By how much one model is ahead of another on the same genes and bootstrap draws."""

    label: str
    """Which is compared with which, such as `gta-best: 251 - 51 bins`."""
    value: float
    """Spearman of the first minus that of the second."""
    two_sd: float
    """Twice the standard deviation of the difference over the draws."""
    share_above: float
    """Share of the draws in which the first is ahead."""


def scores_by_context(results: Sequence[Mapping[str, Any]], differences: Sequence[Paired], *, bin_size: int) -> Figure:
    """Draw test Spearman against the number of bins, a line a model, and beside it paired differences.

    Bars are two standard deviations. Those of two scores may overlap where their difference is clear, since both are of
    the same genes: the differences are what to compare by.

    Parameters
    ----------
    results
        Each with `model`, `n_bins`, `spearman`, `two_sd`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 0.9))
        _draw_scores(left, results, bin_size)
        _draw_differences(right, differences)
        return figure


def paired_differences(differences: Sequence[Paired]) -> Figure:
    """Draw paired differences, one a line, with two standard deviations."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.2 + 0.3 * len(differences)), layout="constrained")
        _draw_differences(figure.add_subplot(), differences)
        return figure


def _draw_scores(axes: Axes, results: Sequence[Mapping[str, Any]], bin_size: int) -> None:
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_model.setdefault(result["model"], []).append(result)
    sizes = sorted({result["n_bins"] for result in results})
    for number, (model, rows) in enumerate(by_model.items()):
        rows = sorted(rows, key=lambda row: row["n_bins"])
        shift = 0.06 * (number - (len(by_model) - 1) / 2)
        axes.errorbar(
            [sizes.index(row["n_bins"]) + shift for row in rows],
            [row["spearman"] for row in rows],
            yerr=[row["two_sd"] for row in rows],
            marker="o",
            markersize=5,
            linewidth=1.4,
            capsize=2,
            color=COLOURS[number % len(COLOURS)],
            label=model,
        )
    axes.set_xticks(range(len(sizes)), [f"{size}\n{size * bin_size / 1e3:,.0f} kb" for size in sizes])
    axes.set(xlabel="bins read around each TSS", ylabel="Spearman on held-out genes (± 2 sd)")
    axes.set_title("One store, any context length", loc="left")
    axes.grid(axis="y", color="0.9")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)


def _draw_differences(axes: Axes, differences: Sequence[Paired]) -> None:
    places = range(len(differences))
    for place, (_, value, two_sd, _) in zip(places, differences, strict=True):
        colour = COLOURS[0] if abs(value) > two_sd else "0.55"
        axes.errorbar(value, place, xerr=two_sd, marker="o", markersize=5, capsize=2, color=colour)
        text = f"{value:+.3f} ± {two_sd:.3f}"
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=colour)
    axes.axvline(0, color="0.4", linewidth=1)
    axes.set_yticks(places, [one.label for one in differences])
    axes.set(xlabel="paired difference in Spearman (± 2 sd)", ylim=(len(differences) - 0.5, -0.5))
    axes.set_title("By how much, on the same genes", loc="left")
    axes.grid(axis="x", color="0.9")
