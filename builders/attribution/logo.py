"""Sequence logos of scored bases, by logomaker.

Belongs here: the figure. Does not: the heights of the letters (`builders.attribution.run`). Needs the extra
`attribution`.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from builders.attribution.regions import LETTERS
from catalog import Interval
from catalog.runtime.files import replacing
from catalog.runtime.plugins import how_to_install

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_LOGO_BP = 500
MOST_LOGOS = 12
_LETTER_INCHES, _LOGO_INCHES = 0.09, 1.3


def check_drawable(region: Interval, columns: Sequence[str]) -> None:
    """Refuse, before long work, what would give no legible figure, or cannot be drawn.

    Raises
    ------
    ValueError
        If the region or the number of channels is too large.
    ModuleNotFoundError
        If logomaker is not installed.
    """
    if len(region) > LONGEST_LOGO_BP or len(columns) > MOST_LOGOS:
        raise ValueError(
            f"`figure=` shows at most {LONGEST_LOGO_BP} bases and {MOST_LOGOS} channels, not {len(region):,} and "
            f"{len(columns):,}; give a smaller region, or name some channels as `channels=`"
        )
    _logomaker()


def draw_logos(region: Interval, heights: NDArray[np.float32], columns: Sequence[str], *, title: str) -> "Figure":
    """Draw a logo for each channel, one below the other; letters below 0 are upside down.

    Parameters
    ----------
    heights
        Shape `(length, 4, columns)`, for A, C, G, T; 0 for letters that are not drawn.
    """
    logomaker = _logomaker()
    import pandas as pd
    from matplotlib.figure import Figure

    size = (max(5.0, _LETTER_INCHES * len(region) + 1), _LOGO_INCHES * len(columns) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    for number, (name, axes) in enumerate(zip(columns, panels, strict=True)):
        frame = pd.DataFrame(heights[:, :, number], columns=[chr(letter) for letter in LETTERS])
        frame.index += region.start + 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library's own use of matplotlib
            logomaker.Logo(frame, ax=axes, flip_below=True)
        axes.set_title(name, loc="left", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    panels[0].set_xlim(region.start + 0.5, region.end + 0.5)  # shared panels keep that of the first, which was empty
    panels[-1].set_xlabel(f"position on {region.contig} (bp, 1-based)")
    figure.suptitle(f"{title}, {region}", fontsize=10)
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure in the format that the path's ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        figure.savefig(partial, format=path.suffix.removeprefix("."), dpi=150)


def _logomaker() -> Any:
    try:
        import logomaker
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"logos need {error.name}: {how_to_install('attribution')}", name=error.name
        ) from error
    return logomaker
