"""Figures of scores, predictions and features.

Belongs here: one function a figure, each returning a matplotlib Figure. Does not: pages (`model.evaluation.page`).

Colours are the first of the Okabe-Ito palette, which people with colour blindness tell apart.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
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


def window_heatmap(
    values: NDArray[np.floating[Any]],
    starts: NDArray[np.integer[Any]],
    *,
    bin_size: int,
    channel_names: Sequence[str],
    title: str,
    centre: int,
    marks: Mapping[str, Sequence[int]] | None = None,
    max_channels: int = 40,
) -> Figure:
    """Draw the features of one window: channels down, genome across, each channel on its own scale.

    Parameters
    ----------
    values
        Features, shape `(bins, channels)`.
    starts
        First base of every bin, shape `(bins,)` (bp).
    centre
        Position marked by a line (bp): the TSS.
    marks
        Positions to point at, by what they are (bp).
    max_channels
        Draw the channels that vary most, at most so many.
    """
    table = values.astype(np.float32)
    spread = table.std(axis=0)
    chosen = np.sort(np.argsort(-spread, kind="stable")[:max_channels])
    low, high = table[:, chosen].min(axis=0), np.quantile(table[:, chosen], 0.99, axis=0)
    high = np.where(high > low, high, table[:, chosen].max(axis=0))  # a site in one bin of a hundred is still shown
    shown = np.clip((table[:, chosen] - low) / np.where(high > low, high - low, 1), 0, 1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.5 + 0.16 * len(chosen)), layout="constrained")
        axes = figure.add_subplot()
        extent = (starts[0] / 1e3, (starts[-1] + bin_size) / 1e3, len(chosen) - 0.5, -0.5)
        image = axes.imshow(shown.T, aspect="auto", cmap="viridis", extent=extent, interpolation="nearest")
        axes.axvline(centre / 1e3, color=COLOURS[1], linewidth=1.2)
        axes.set_yticks(range(len(chosen)), [channel_names[column] for column in chosen], fontsize=7)
        axes.set(xlabel="position (kb)", ylim=(len(chosen) - 0.5, -0.5))
        axes.set_title(title, loc="left", pad=16 if marks else 6)
        for (name, positions), colour in zip((marks or {}).items(), (COLOURS[1], COLOURS[4], COLOURS[5]), strict=False):
            where = np.asarray(positions, dtype=float) / 1e3
            axes.plot(where, np.full(len(where), -1.0), "v", color=colour, markersize=6, clip_on=False, label=name)
        if marks:
            axes.legend(loc="upper right", bbox_to_anchor=(1, 1.13), borderaxespad=0, ncols=3, fontsize=7)
        figure.colorbar(image, ax=axes, label="share of the channel's range", shrink=0.7)
        return figure


def score_against_context(results: Sequence[Mapping[str, Any]], *, bin_size: int) -> Figure:
    """Draw test Spearman against the number of bins, a line a model, bars of two standard deviations.

    Parameters
    ----------
    results
        Each with `model`, `n_bins`, `spearman`, `two_sd`.
    """
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_model.setdefault(result["model"], []).append(result)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 4), layout="constrained")
        axes = figure.add_subplot()
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
        axes.set_title("One store, any context length")
        axes.grid(axis="y", color="0.9")
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        return figure
