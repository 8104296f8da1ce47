"""The part of a probe's page on what its heads read.

Belongs here: figures and HTML of maps, agreement and motifs. Does not: numbers (`model.probes.attribution.run`), the
page (`model.probes.results.report`).
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from model.evaluation.figures import COLOURS, STYLE, save
from model.evaluation.page import picture_html, table_html
from model.probes.attribution.agreement import Map
from model.probes.attribution.run import Attributions

_OF_BASES = dict(zip("ACGT", ("#009E73", "#0072B2", "#E69F00", "#D55E00"), strict=True))
_MOST_TRACKS = 16
_MOST_SQUARES_NAMED = 14


def attribution_html(found: Attributions, out: Path, *, target: str) -> str:
    """Draw the first target, and give the part of the page; empty if nothing was explained."""
    parts = []
    if found.maps:
        n_rows = len(found.onehot)
        parts.append("<h2>What heads read</h2>")
        if found.agreement.height:
            matrix = save(agreement_matrix(found, target), out / "figures" / "agreement.png")
            caption = (
                f"Pearson of maps of {target} over the bases of a row, mean over {n_rows:,} test rows. A map is "
                "gradient x input where the representation has a gradient by bases, else mutagenesis; both less their "
                "mean over the four bases. Of entropy: how far it lies below the row's largest; x entropy: times the "
                "length of the head's gradient by the features there."
            )
            parts.append(picture_html(matrix, caption))
        drawn = save(tracks(found.maps, found.onehot), out / "figures" / "maps.png")
        parts.append(picture_html(drawn, f"Maps of {target} of the highest test row, each to its own scale."))
    if found.importance.height:
        drawn = save(motif_bars(found.importance, target), out / "figures" / "motifs.png")
        parts += ["<h2>What a motif adds</h2>", picture_html(drawn, f"Effect on {target}, with 95 % intervals.")]
        parts.append(_importance_html(found.importance))
    return "\n".join(parts)


def _importance_html(importance: pl.DataFrame) -> str:
    rows = [
        [
            *(row[name] for name in ("representation", "head", "motif", "target")),
            f"{row['effect']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}",
        ]
        for row in importance.iter_rows(named=True)
    ]
    return table_html(["representation", "head", "motif", "target", "effect", "95 % interval"], rows)


def agreement_matrix(found: Attributions, target: str) -> Figure:
    """Draw the mean correlation of each two maps as a coloured square."""
    keys = [(one.representation, one.head, one.method) for one in found.maps]
    values = np.eye(len(keys))
    for row in found.agreement.filter(target=target).iter_rows(named=True):
        first, second = (
            keys.index((row[f"{which}_representation"], row[f"{which}_head"], row[f"{which}_method"]))
            for which in ("first", "second")
        )
        values[first, second] = values[second, first] = np.nan if row["pearson"] is None else row["pearson"]
    names = [one.name for one in found.maps]
    with mpl.rc_context(STYLE):
        size = 2.6 + 0.42 * len(names)
        figure = Figure(figsize=(size + 0.8, size), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        if len(names) <= _MOST_SQUARES_NAMED:
            for row, column in np.argwhere(~np.isnan(values)):
                value = values[row, column]
                colour = "white" if abs(value) > 0.6 else "black"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
        figure.colorbar(image, ax=axes, label="Pearson", shrink=0.7)
        return figure


def tracks(maps: Sequence[Map], onehot: NDArray[np.bool_]) -> Figure:
    """Draw the maps of the first row one below the other: a bar a base, in the colour of its letter."""
    shown = maps[:_MOST_TRACKS]
    known = onehot[0].any(1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 0.5 + 0.75 * len(shown)), layout="constrained")
        panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for one, axes in zip(shown, panels, strict=True):
            heights = np.nan_to_num(one.of_target(0)[0])
            for number, (letter, colour) in enumerate(_OF_BASES.items()):
                here = np.flatnonzero(onehot[0, :, number])
                axes.bar(here + 1, heights[here], width=0.9, color=colour, label=letter)
            axes.axhline(0, color="0.6", linewidth=0.6)
            axes.set_title(one.name, loc="left", fontsize=8, fontweight="normal", pad=2)
            axes.tick_params(labelsize=6)
        panels[-1].set_xlim(0, int(np.flatnonzero(known)[-1]) + 2)
        panels[-1].set_xlabel("base of the row")
        handles = [Patch(color=colour, label=letter) for letter, colour in _OF_BASES.items()]
        figure.legend(handles=handles, loc="outside right upper", fontsize=7)
        return figure


def motif_bars(importance: pl.DataFrame, target: str) -> Figure:
    """Draw the effect of each motif: a group of bars a motif, a colour a representation, hatched by head."""
    table = importance.filter(target=target)
    motifs = table["motif"].unique(maintain_order=True).to_list()
    series = table.select("representation", "head").unique(maintain_order=True).rows()
    names = list(dict.fromkeys(representation for representation, _ in series))
    heads = list(dict.fromkeys(head for _, head in series))
    hatches = ("", "//", "..", "xx", "\\\\", "++")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(5.0, 2.5 + 0.3 * len(motifs) * len(series)), 3.6), layout="constrained")
        axes = figure.add_subplot()
        width = 0.84 / len(series)
        for place, (representation, head) in enumerate(series):
            rows = table.filter((pl.col("representation") == representation) & (pl.col("head") == head))
            effect, low, high = (rows[name].to_numpy() for name in ("effect", "low", "high"))
            axes.bar(
                np.arange(len(motifs)) + (place + 0.5) * width - 0.42,
                effect,
                width * 0.92,
                yerr=[effect - low, high - effect],
                color=COLOURS[names.index(representation) % len(COLOURS)],
                hatch=hatches[heads.index(head) % len(hatches)],
                edgecolor="white",
                error_kw={"linewidth": 1},
                label=f"{representation}, {head}",
            )
        axes.set_xticks(range(len(motifs)), motifs)
        axes.set_ylabel(f"added to {target}")
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        return figure
