"""Draw the picture of the README: the way from sequence to a trained model.

.venv/bin/python docs/draw_way.py
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
N_BINS, N_CHANNELS = 34, 7


def main() -> None:
    """Write `docs/figures/way.png`."""
    with mpl.rc_context({"font.size": 10, "font.family": "sans-serif"}):
        figure = Figure(figsize=(11, 4.6))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 110), ylim=(0, 46))
        axes.axis("off")
        box(axes, 2, 30, 15, 11, "FASTA", "any genome,\nany contigs", GREY)
        arrow(axes, 17.5, 35.5, 25)
        box(axes, 25, 30, 18, 11, "build once", "Sei, motif, or yours\none worker a GPU", BLUE)
        arrow(axes, 43.5, 35.5, 50)
        store(axes, 50, 27.5)
        axes.text(62.5, 43.2, "store: bins by channels, chunked Zarr v3", ha="center", weight="bold")
        axes.text(
            62.5, 24.6, "disk or S3 · checksummed · resumable · plain zarr reads it", ha="center", color=GREY, size=8.5
        )
        window(axes, 50, 27.5)
        arrow(axes, 76, 35.5, 82, colour=ORANGE)
        box(axes, 82, 30, 25, 11, "any window, N bins", "around any position,\ninto PyTorch: N = 51 … 1001", ORANGE)
        box(
            axes,
            2,
            5,
            29,
            11,
            "genes · annotations · expression",
            "MANE, GTF, BED; NCBI Gene;\nRAMPAGE, CAGE, RPKM tables",
            GREY,
        )
        arrow(axes, 31.5, 10.5, 82, colour=GREY)
        box(
            axes,
            82,
            5,
            25,
            11,
            "GTA and baselines",
            "a frozen language model reads\nthe prompt, then the bins",
            GREEN,
        )
        axes.annotate(
            "", xy=(94.5, 16.6), xytext=(94.5, 29.4), arrowprops={"arrowstyle": "-|>", "color": ORANGE, "lw": 1.6}
        )
        axes.text(93.5, 22.4, "change N:\nnothing is recomputed", ha="right", va="center", color=ORANGE, size=9)
        path = Path(__file__).parent / "figures" / "way.png"
        figure.savefig(path, dpi=140)
        print(path)


def box(axes: Axes, x: float, y: float, width: float, height: float, title: str, text: str, colour: str) -> None:
    """Draw a rounded box with a title and two lines."""
    style = "round,pad=0.3,rounding_size=1.2"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor="white", edgecolor=colour, lw=1.8))
    axes.text(x + width / 2, y + height - 2.2, title, ha="center", va="center", weight="bold", color=colour)
    axes.text(x + width / 2, y + height / 2 - 1.4, text, ha="center", va="center", size=8.8, linespacing=1.35)


def arrow(axes: Axes, x: float, y: float, end: float, colour: str = BLUE) -> None:
    """Draw an arrow to the right, ending at `end`."""
    axes.annotate("", xy=(end, y), xytext=(x, y), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6})


def store(axes: Axes, x: float, y: float) -> None:
    """Draw the array as a patch of bins by channels."""
    rng = np.random.default_rng(4)
    values = rng.gamma(0.6, size=(N_CHANNELS, N_BINS))
    axes.imshow(
        np.clip(values, 0, 2.5), extent=(x, x + 25, y, y + 14), aspect="auto", cmap="Blues", zorder=1, vmin=-0.4
    )
    for column in range(0, N_BINS + 1, 8):
        axes.axvline(x + column * 25 / N_BINS, ymin=y / 46, ymax=(y + 14) / 46, color="white", lw=1.5, zorder=2)
    axes.add_patch(Rectangle((x, y), 25, 14, fill=False, edgecolor=BLUE, lw=1.8, zorder=3))


def window(axes: Axes, x: float, y: float) -> None:
    """Mark a window of bins and the position it is centred on."""
    axes.add_patch(Rectangle((x + 8.1, y - 0.4), 11.8, 14.8, fill=False, edgecolor=ORANGE, lw=2.2, zorder=4))
    axes.plot([x + 14, x + 14], [y - 0.4, y + 14.4], color=ORANGE, lw=1.2, ls=":", zorder=4)


if __name__ == "__main__":
    main()
