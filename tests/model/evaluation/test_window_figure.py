"""What the picture of a window shows, and what it says that it does not show."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from model.evaluation.window_figure import _lanes, window_heatmap

SPAN = 100_000


def drawn(values: np.ndarray, *, first: int = 0, length: int | None = None) -> Figure:
    return window_heatmap(
        values,
        first + 100 * np.arange(len(values)),
        bin_size=100,
        channel_names=[f"channel {number}" for number in range(values.shape[1])],
        title="a window",
        centre=first + 50 * len(values),
        contig_length=length,
    )


def hatched(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    """Give the hatched stretches (bp) by their hatch."""
    found: dict[str, list[tuple[float, float]]] = {}
    for patch in figure.axes[0].patches:
        if isinstance(patch, Rectangle | Polygon) and patch.get_hatch():
            box = patch.get_extents().transformed(figure.axes[0].transData.inverted())
            found.setdefault(patch.get_hatch() or "", []).append((round(box.x0 * 1e3), round(box.x1 * 1e3)))
    return found


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def test_bins_outside_the_contig_and_bins_never_built_are_hatched_each_in_its_way() -> None:
    values = np.random.default_rng(0).random((10, 3))
    values[4:6] = np.nan
    figure = drawn(values, first=-250, length=550)
    assert hatched(figure) == {"////": [(-250, -50), (550, 750)], "xx": [(150, 350)]}
    assert legend(figure) == ["outside the contig", "never built"]


def test_a_bin_that_holds_the_end_of_the_contig_is_measured() -> None:
    figure = drawn(np.random.default_rng(0).random((5, 3)), first=-50, length=401)
    assert hatched(figure) == {}
    assert legend(figure) == []


def test_what_is_not_measured_changes_no_colour() -> None:
    values = np.random.default_rng(0).random((10, 3))
    before = drawn(values[2:], first=0).axes[0].images[0].get_array()
    values[:2] = 1e4  # what stands for bins outside the contig
    after = drawn(values, first=0).axes[0].images[0].get_array()
    outside = drawn(values, first=-200, length=10_000).axes[0].images[0].get_array()
    assert before is not None
    assert after is not None
    assert outside is not None
    np.testing.assert_array_equal(np.asarray(outside)[:, 2:], np.asarray(before))
    assert not np.allclose(np.asarray(after)[:, 2:], np.asarray(before))


@pytest.mark.parametrize(("channels", "said"), [(40, ""), (41, "40 of 41 channels: those that vary most here")])
def test_it_says_when_not_all_channels_are_drawn(channels: int, said: str) -> None:
    figure = drawn(np.random.default_rng(0).random((5, channels)))
    assert figure.axes[0].get_ylabel() == said
    assert len(figure.axes[0].get_yticks()) == 40


@given(st.lists(st.tuples(st.text("ABC1", min_size=1, max_size=12), st.integers(-100, SPAN + 100)), max_size=60))
def test_every_gene_in_the_window_is_drawn_and_no_two_names_overlap(genes: list[tuple[str, int]]) -> None:
    table = pl.DataFrame(
        [(name, "+", tss) for name, tss in genes],
        schema={"symbol": pl.String, "strand": pl.String, "tss": pl.Int64},
        orient="row",
    )
    placed = _lanes(table, 0, SPAN)
    assert sorted(gene.tss for gene in placed) == sorted(tss for _, tss in genes if 0 <= tss < SPAN)
    width = SPAN / 6.6 * 0.055
    for lane in range(8):
        names = sorted((gene.middle, len(gene.name)) for gene in placed if gene.lane == lane and gene.name)
        for (left, left_letters), (right, right_letters) in pairwise(names):
            assert right - left >= (left_letters + right_letters) / 2 * width
