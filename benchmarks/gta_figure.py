"""The picture of `docs/gta.md`: the learning curve, and what hiding a planted enhancer does."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.gta_trials import CURVE, SIZES, of_curve
from model.evaluation.figures import COLOURS, STYLE, save

_GREY = "0.5"


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw what `gta_learning.py` found."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        curve, hidden = figure.subplots(1, 2)
        _draw_curve(curve, results)
        _draw_hidden(hidden, results)
        save(figure, path)


def _draw_curve(axes: Axes, results: dict[str, Any]) -> None:
    for model, colour in zip(CURVE, (COLOURS[0], COLOURS[2], COLOURS[1], _GREY), strict=True):
        found = {size: results["scores"].get(of_curve(model, size).key) for size in SIZES}
        known = {size: score for size, score in found.items() if score}
        axes.errorbar(
            list(known),
            [score["spearman"] for score in known.values()],
            yerr=[score["two_sd"] for score in known.values()],
            color=colour,
            marker="o",
            markersize=4,
            capsize=2,
            label=model,
        )
    axes.set_xscale("log")
    axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("training genes, at human density")
    axes.set_ylabel("Spearman on test genes (± 2 sd)")
    axes.legend()


def _draw_hidden(axes: Axes, results: dict[str, Any]) -> None:
    found = [one["knock_out"]["by_distance"] for one in results["explain"].values()]
    middles = [(band["from_bp"] + band["to_bp"]) / 2000 for band in found[0]]
    for which, label, colour in (
        ("acting", "enhancers that act on the gene", COLOURS[0]),
        ("others", "of the other kind, as near", _GREY),
    ):
        means = np.array([[band[which]["mean"] for band in one] for one in found])
        axes.plot(middles, means.T, color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(middles, means.mean(axis=0), color=colour, marker="o", markersize=4, label=label)
    planted = np.array([[band["planted"] for band in one] for one in found]).mean(axis=0)
    axes.plot(middles, planted, color=COLOURS[1], linestyle="--", label="planted, of those that act")
    axes.axhline(0, color="#cccccc", linewidth=0.8)
    axes.set_xlabel("distance from the TSS (kb)")
    axes.set_ylabel("change of log(1 + expression)\nwhen the enhancer is hidden")
    axes.legend()
