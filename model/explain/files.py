"""The files of an interpretation: figures, their numbers, and what each shows.

Belongs here: writing them. Does not: the numbers, drawing them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl
from matplotlib.figure import Figure

from catalog.runtime.files import replacing, write_atomic
from model.evaluation.figures import save


class Interpretation(NamedTuple):
    """What `interpret` wrote, and what it could not."""

    files: list[Path]
    left_out: dict[str, str]
    """Why, by figure, for those that this model does not have."""


class FigureFiles:
    """Writes figures with their numbers into a folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.written: list[Path] = []
        out.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, numbers: pl.DataFrame, figure: Figure) -> None:
        """Write numbers and pictures."""
        self.add_numbers(name, numbers)
        self.add_pictures(name, figure)

    def add_numbers(self, name: str, numbers: pl.DataFrame) -> None:
        """Write a Parquet file."""
        with replacing(self.out / f"{name}.parquet") as partial:
            numbers.write_parquet(partial)
        self.written.append(self.out / f"{name}.parquet")

    def add_pictures(self, name: str, figure: Figure) -> None:
        """Write a figure as PNG and SVG."""
        self.written.append(save(figure, self.out / f"{name}.png"))
        figure.set_layout_engine("none")  # the layout stays, and is not computed again for the other format
        self.written.append(save(figure, self.out / f"{name}.svg"))

    def add_captions(self, title: str, captions: Mapping[str, str], left_out: Mapping[str, str]) -> None:
        """Say what each file shows, and why others are not there."""
        names = {path.stem for path in self.written}
        lines = [f"- `{name}`: {caption}" for name, caption in captions.items() if name in names]
        lines += [f"- No {figure}: {why}." for figure, why in left_out.items()]
        path = self.out / "figures.md"  # no README.md, which may be of another hand
        write_atomic(path, "\n".join([title, "", *lines, ""]).encode())
        self.written.append(path)
