"""The picture of `docs/prism.md`: histone marks by length of the window, and a confounder that turns round."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.evaluation.figures import COLOURS, STYLE, save

Scores = Mapping[str, Mapping[str, Any]]
"""Of each trial, by its key: its scores by the kind of prediction."""
_GREY = "0.5"
_MODELS = {
    "prism": (COLOURS[0], "-"),
    "concatenated": (COLOURS[1], "-"),
    "ridge": (_GREY, "-"),
    "only H3K27ac": (COLOURS[2], "--"),
    "only H3K36me3": (COLOURS[2], ":"),
}


def draw(
    scores: Scores, path: Path, *, contexts: Sequence[int], simulated: Sequence[str], seeds: Sequence[int]
) -> None:
    """Draw what `prism_signals.py` found.

    Parameters
    ----------
    contexts
        Lengths of Chromoformer's windows (bp).
    simulated
        Models of the simulated part, in the order of its bars.
    seeds
        Of which those that were fitted are drawn.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.6), layout="constrained")
        marks, confounded = figure.subplots(1, 2)
        _draw_marks(marks, scores, contexts, seeds)
        _draw_confounded(confounded, scores, simulated, seeds)
        save(figure, path)


def _fits(scores: Scores, name: str, seeds: Sequence[int], prediction: str = "observational") -> list[float]:
    found = [scores.get(f"{name}, seed {seed}", {}).get(prediction) for seed in seeds]
    return [one["spearman"] for one in found if one]


def _draw_marks(axes: Axes, scores: Scores, contexts: Sequence[int], seeds: Sequence[int]) -> None:
    for model, (colour, line) in _MODELS.items():
        found = {bp: _fits(scores, f"chromoformer, {model}, {bp} bp", seeds) for bp in contexts}
        known = {bp: fits for bp, fits in found.items() if fits}
        axes.plot(
            list(known),
            [np.mean(fits) for fits in known.values()],
            color=colour,
            linestyle=line,
            marker="o",
            markersize=4,
            label=model,
        )
    axes.set_xscale("log")
    axes.set_xticks(contexts, [f"{bp // 1000}" for bp in contexts])
    axes.minorticks_off()
    axes.set_xlabel("window around the TSS (kb)")
    axes.set_ylabel("Spearman, chromosomes left out")
    axes.set_title("Chromoformer's 100 genes: ± .1 each", fontsize=9)
    axes.legend(fontsize=7)


def _draw_confounded(axes: Axes, scores: Scores, models: Sequence[str], seeds: Sequence[int]) -> None:
    names = [name for name in models if any(f"simulated, {name}, " in key for key in scores)]
    (context,) = {key.split(", ")[-2] for key in scores if key.startswith("simulated")} or {""}
    for shift, prediction, colour in ((-0.19, "observational", COLOURS[0]), (0.19, "do", COLOURS[1])):
        for place, name in enumerate(names):
            fits = _fits(scores, f"simulated, {name}, {context}", seeds, prediction)
            if not fits:
                continue
            label = prediction if place == 0 else None
            axes.barh(place + shift, np.mean(fits), height=0.36, color=colour, label=label)
            axes.plot(fits, [place + shift] * len(fits), ".", color="black", markersize=4)
    axes.axvline(0, color="#cccccc", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("Spearman where the confounder has turned round")
    axes.set_title("Simulated: each point a seed", fontsize=9)
    if names:
        axes.legend(fontsize=7)
