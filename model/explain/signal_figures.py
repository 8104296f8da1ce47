"""Figures of what a model does with measured signals, from the numbers of `model.explain.signals`.

Belongs here: one function a figure, each returning a matplotlib Figure. Does not: the numbers.
"""

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from model.evaluation.figures import COLOURS, STYLE
from model.evaluation.metrics import spearman


def both_predictions(numbers: pl.DataFrame) -> Figure:
    """Draw both predictions of each gene against its measurement, a panel each."""
    known = numbers.drop_nulls("observed")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        for place, name in enumerate(("observational", "do"), 1):
            axes = figure.add_subplot(1, 2, place)
            predicted, observed = known[name].to_numpy(), known["observed"].to_numpy()
            axes.scatter(observed, predicted, s=10, alpha=0.5, color=COLOURS[place - 1], edgecolors="none")
            ranked = spearman(predicted, observed) if len(known) > 1 else float("nan")
            score = "undefined" if np.isnan(ranked) else f"{ranked:.3f}"
            axes.set_title(f"{name}: Spearman {score}", loc="left")
            axes.set_xlabel("observed, log(1 + expression)")
            axes.set_ylabel("predicted")
        return figure


def gates(numbers: pl.DataFrame) -> Figure:
    """Draw the gates, genes down and components across, a panel a state; genes by their mean gate of the first."""
    states = numbers["state"].n_unique()
    genes = numbers["gene_id"].n_unique()
    values = numbers["gate"].to_numpy().reshape(genes, states, -1)
    order = np.argsort(values[:, 0].mean(axis=1), kind="stable")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.5 + 2.5 * states, 4), layout="constrained")
        for state in range(states):
            axes = figure.add_subplot(1, states, state + 1)
            image = axes.imshow(
                values[order, state], aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest"
            )
            axes.set_title(f"state {state}", loc="left")
            axes.set_xlabel("component")
            axes.set_ylabel("gene" if state == 0 else "")
        figure.colorbar(image, ax=figure.axes, label="gate")
        return figure


def occlusion(numbers: pl.DataFrame) -> Figure:
    """Draw the mean absolute change by signal and position, and beside each name that with all of it hidden."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for number, name in enumerate(numbers["signal"].unique(maintain_order=True)):
            rows = numbers.filter(signal=name)
            parts, whole = rows.drop_nulls("start"), rows.filter(pl.col("start").is_null())
            label = f"{name} (whole: {whole['mean_absolute_change'][0]:.3f})"
            edges = [*parts["start"].to_list(), parts["end"][-1]]
            axes.stairs(parts["mean_absolute_change"], edges, label=label, color=COLOURS[number % len(COLOURS)])
        axes.axvline(0, color="0.6", linewidth=0.8)
        axes.set_xlabel("distance from the TSS (bp)")
        axes.set_ylabel("mean absolute change, log(1 + expression)")
        axes.legend(fontsize=7)
        return figure
