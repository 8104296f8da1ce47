"""The picture of one window: channels down, genome across, genes above.

Belongs here: what is drawn of a window, and what is said where not all of it is. Does not: reading windows
(`featurestore.reader`), other figures (`model.evaluation.figures`).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from catalog.genes.frames import Table, as_polars
from model.evaluation.figures import COLOURS, STYLE

MAX_CHANNELS = 40
_LANES = 8
"""Rows of gene names, at most."""
_INCHES_OF_LETTER = 0.055
"""Width of a letter of a gene's name."""
_WIDTH, _PLOT_WIDTH = 9.0, 6.6
"""Of the figure, and about that of its axes (inches)."""
_OUTSIDE, _NEVER_BUILT = "outside the contig", "never built"
_HATCHES: Mapping[str, Any] = {
    _OUTSIDE: {"facecolor": "white", "edgecolor": "0.6", "hatch": "////"},
    _NEVER_BUILT: {"facecolor": "0.88", "edgecolor": "0.5", "hatch": "xx"},
}


def window_heatmap(
    values: NDArray[np.floating[Any]],
    starts: NDArray[np.integer[Any]],
    *,
    bin_size: int,
    channel_names: Sequence[str],
    title: str,
    centre: int,
    marks: Mapping[str, Sequence[int]] | None = None,
    genes: "Table | None" = None,
    contig_length: int | None = None,
    max_channels: int = MAX_CHANNELS,
) -> Figure:
    """Draw the features of one window: channels down, genome across, each channel on its own scale.

    Parameters
    ----------
    values
        Features, shape `(bins, channels)`. Rows of NaN were never built, and are hatched.
    starts
        First base of every bin, shape `(bins,)` (bp).
    centre
        Position marked by a line (bp): the TSS.
    marks
        Positions to point at, by what they are (bp).
    genes
        Genes of the window's contig: columns symbol, strand and tss. Those in the window are drawn above it, with an
        arrow along the strand.
    contig_length
        Length of the contig (bp): bins outside it are hatched, since what is in them is no measurement.
    max_channels
        Draw the channels that vary most, at most so many.
    """
    state = _state(values, starts, bin_size, contig_length)
    shown, chosen = _on_own_scales(values.astype(np.float32), state == "", max_channels)
    lanes = _lanes(genes, int(starts[0]), int(starts[-1]) + bin_size)
    above = max((gene.lane for gene in lanes), default=-1) + 1 + bool(marks)
    heights = [0.17 * above, 0.16 * len(chosen)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, 1.5 + sum(heights)), layout="constrained")
        grid = figure.add_gridspec(2 if above else 1, 1, height_ratios=heights if above else None, hspace=0)
        axes = figure.add_subplot(grid[-1])
        track = figure.add_subplot(grid[0], sharex=axes) if above else None
        extent = (starts[0] / 1e3, (starts[-1] + bin_size) / 1e3, len(chosen) - 0.5, -0.5)
        image = axes.imshow(shown.T, aspect="auto", cmap="viridis", extent=extent, interpolation="nearest")
        axes.axvline(centre / 1e3, color=COLOURS[1], linewidth=1.2)
        axes.set_yticks(range(len(chosen)), [channel_names[column] for column in chosen], fontsize=7)
        axes.set(xlabel="position (kb)", ylim=(len(chosen) - 0.5, -0.5))
        if len(chosen) < len(channel_names):
            axes.set_ylabel(f"{len(chosen)} of {len(channel_names):,} channels: those that vary most here")
        _hatch(axes, starts, bin_size, state)
        if track is not None:
            _draw_above(track, lanes, marks or {}, above)
        top = axes if track is None else track
        handles, labels = top.get_legend_handles_labels()
        patches = [Patch(label=name, **_HATCHES[name]) for name in _HATCHES if (state == name).any()]
        if handles or patches:
            names = [*labels, *(patch.get_label() for patch in patches)]
            figure.legend([*handles, *patches], names, loc="outside upper right", ncols=4, fontsize=7)
        top.set_title(title, loc="left")
        figure.colorbar(
            image, ax=[axes] if track is None else [axes, track], label="share of the channel's range", shrink=0.7
        )
        return figure


def _state(
    values: NDArray[np.floating[Any]], starts: NDArray[np.integer[Any]], bin_size: int, length: int | None
) -> NDArray[np.str_]:
    """Say of each bin why it holds no measurement; empty where it does."""
    never_built = np.isnan(values).all(axis=1) if values.size else np.zeros(len(values), bool)
    is_outside = (starts + bin_size <= 0) | (starts >= (np.inf if length is None else length))
    return np.where(is_outside, _OUTSIDE, np.where(never_built, _NEVER_BUILT, ""))


def _on_own_scales(
    table: NDArray[np.float32], is_measured: NDArray[np.bool_], max_channels: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Choose the channels that vary most, and give them on scales from 0 to 1; what is not measured is NaN."""
    measured = table[is_measured] if is_measured.any() else np.zeros((1, table.shape[1]), np.float32)
    chosen = np.sort(np.argsort(-measured.std(axis=0), kind="stable")[:max_channels])
    measured = measured[:, chosen]
    low, high = measured.min(axis=0), np.quantile(measured, 0.99, axis=0)
    high = np.where(high > low, high, measured.max(axis=0))  # a site in one bin of a hundred is still shown
    shown = np.clip((table[:, chosen] - low) / np.where(high > low, high - low, 1), 0, 1)
    shown[~is_measured] = np.nan
    return shown, chosen


def _hatch(axes: Axes, starts: NDArray[np.integer[Any]], bin_size: int, state: NDArray[np.str_]) -> None:
    edges = np.flatnonzero(np.concatenate([[True], state[1:] != state[:-1], [True]]))
    for first, end in pairwise(edges):
        if name := str(state[first]):
            axes.axvspan(starts[first] / 1e3, (starts[end - 1] + bin_size) / 1e3, linewidth=0, **_HATCHES[name])


class _Placed(NamedTuple):
    """A gene as it is drawn."""

    name: str
    strand: str
    tss: int
    middle: float
    """Of its name (bp): the TSS, but inside the window."""
    lane: int


def _lanes(genes: "Table | None", start: int, end: int) -> list[_Placed]:
    """Put the genes of a window on lanes so that their names do not overlap.

    Where the lanes are full, a gene is drawn without its name, on the first.
    """
    if genes is None:
        return []
    table = as_polars(genes, needs=("symbol", "strand", "tss"))
    inside = table.filter((pl.col("tss") >= start) & (pl.col("tss") < end)).sort("tss", maintain_order=True)
    bp_of_letter = (end - start) * _INCHES_OF_LETTER / _PLOT_WIDTH
    taken = [-np.inf] * _LANES
    found = []
    for symbol, strand, tss in inside.select("symbol", "strand", "tss").iter_rows():
        half = (len(symbol) + 4) * bp_of_letter / 2
        middle = min(max(tss, start + half), end - half)
        free = [lane for lane in range(_LANES) if taken[lane] <= middle - half]
        lane = free[0] if free else 0
        if free:
            taken[lane] = middle + half
        found.append(_Placed(symbol if free else "", strand, tss, middle, lane))
    return found


_ARROWS = {"+": "{} →", "-": "← {}"}


def _draw_above(track: Axes, lanes: list[_Placed], marks: Mapping[str, Sequence[int]], above: int) -> None:
    """Draw genes by lane, the first next to the window, and marks below them."""
    low = 0 if not marks else 1
    for name, strand, tss, middle, lane in lanes:
        if not name:
            track.plot([tss / 1e3] * 2, [0, 0.25], color="0.7", linewidth=0.6)
            continue
        text = _ARROWS.get(strand, "{}").format(name)
        # Names lie over the lines of genes further up, on white.
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}
        track.text(middle / 1e3, lane + low + 0.5, text, fontsize=6.5, ha="center", va="center", bbox=box)
        track.plot([tss / 1e3] * 2, [0, lane + low + 0.5], color="0.7", linewidth=0.6, zorder=0)
    for (what, positions), colour in zip(marks.items(), (COLOURS[1], COLOURS[4], COLOURS[5]), strict=False):
        where = np.asarray(positions, dtype=float) / 1e3
        track.plot(where, np.full(len(where), 0.4), "v", color=colour, markersize=6, label=what)
    track.set(ylim=(0, above), yticks=[])
    track.tick_params(bottom=False, labelbottom=False)
    track.spines[["left", "bottom"]].set_visible(False)
