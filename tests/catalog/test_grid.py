"""Bin arithmetic: every base in one bin of a phase, every window as near to its centre as the phases allow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import Grid
from featurestore.testing import grids


@given(grids(), st.integers(1, 2_000))
@settings(deadline=None)
def test_the_bins_of_a_phase_cover_every_base_of_the_contig_once(grid: Grid, length: int) -> None:
    for phase in range(len(grid.offsets)):
        bins = [grid.span(phase, index) for index in range(grid.n_bins(length, phase))]
        covered = [base for start, end in bins for base in range(start, end) if 0 <= base < length]
        assert covered == list(range(length))


@given(grids(), st.integers(1, 2_000))
def test_no_row_lies_wholly_outside_the_contig(grid: Grid, length: int) -> None:
    for phase, offset in enumerate(grid.offsets):
        n_bins = grid.n_bins(length, phase)
        first, last = grid.span(phase, 0), grid.span(phase, n_bins - 1)
        assert first[0] == -offset
        assert first[0] <= 0 < first[1]
        assert last[0] < length <= last[1]


@given(grids(), st.integers(1, 2_000))
def test_the_array_is_as_long_as_its_longest_phase(grid: Grid, length: int) -> None:
    assert grid.max_bins(length) == max(grid.n_bins(length, phase) for phase in range(len(grid.offsets)))


def test_a_contig_of_two_bins_and_one_base_by_hand() -> None:
    grid = Grid(bin_size=4096, offsets=(0, 2048))
    assert (grid.n_bins(8192, 0), grid.n_bins(8193, 0)) == (2, 3)
    assert (grid.n_bins(6144, 1), grid.n_bins(6145, 1)) == (2, 3)
    assert grid.span(1, 0) == (-2048, 2048)
    assert Grid() == Grid(bin_size=4096, offsets=(0,))


def midpoint(start: int, bin_size: int, n_bins: int) -> int:
    """Find the base that a window is centred on: the middle of its middle bin, or the boundary between the two."""
    if n_bins % 2:
        return start + (n_bins - 1) // 2 * bin_size + bin_size // 2
    return start + n_bins // 2 * bin_size


def nearest_by_trial(grid: Grid, centre: int, n_bins: int) -> tuple[int, int, int]:
    """Try every phase and every first bin anywhere near: nearest, then the phase named first, then further left."""
    far = abs(centre) // grid.bin_size + n_bins + 2
    candidates = []
    for phase in range(len(grid.offsets)):
        for first_bin in range(-far, far + 1):
            residual = midpoint(grid.span(phase, first_bin)[0], grid.bin_size, n_bins) - centre
            candidates.append((abs(residual), phase, first_bin, residual))
    _, phase, first_bin, residual = min(candidates)
    return phase, first_bin, residual


@given(grids(), st.integers(-300, 1_000), st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_a_window_takes_the_nearest_of_all_placements(grid: Grid, centre: int, n_bins: int) -> None:
    assert grid.nearest(centre, n_bins) == nearest_by_trial(grid, centre, n_bins)


@given(grids(), st.lists(st.integers(-(10**10), 10**10), min_size=1, max_size=20), st.integers(1, 1001))
def test_many_windows_are_placed_as_each_alone(grid: Grid, centres: list[int], n_bins: int) -> None:
    many = grid.place(centres, n_bins)
    alone = [grid.nearest(centre, n_bins) for centre in centres]
    assert [tuple(map(int, placed)) for placed in zip(*many, strict=True)] == [tuple(one) for one in alone]
    assert {field.dtype for field in many} == {np.dtype(np.int64)}


@given(grids(max_bin_size=5_000), st.integers(-(10**9), 10**9), st.integers(1, 1001))
def test_the_residual_is_where_the_centre_lies_minus_where_it_was_wanted(grid: Grid, centre: int, n_bins: int) -> None:
    placed = grid.nearest(centre, n_bins)
    start = grid.span(placed.phase, placed.first_bin)[0]
    assert placed.residual == midpoint(start, grid.bin_size, n_bins) - centre


def largest_gap(grid: Grid) -> int:
    edges = sorted(-offset % grid.bin_size for offset in grid.offsets)
    return max(after - before for before, after in zip(edges, [*edges[1:], edges[0] + grid.bin_size], strict=True))


@given(grids(max_bin_size=5_000), st.integers(-(10**9), 10**9), st.integers(1, 1001))
def test_no_window_is_further_off_than_half_of_the_largest_gap_between_phases(
    grid: Grid, centre: int, n_bins: int
) -> None:
    assert abs(grid.nearest(centre, n_bins).residual) <= largest_gap(grid) / 2


@given(grids(), st.integers(0, 63), st.integers(1, 30))
def test_half_of_the_largest_gap_is_reached(grid: Grid, shift: int, n_bins: int) -> None:
    residuals = grid.place(np.arange(shift, shift + grid.bin_size), n_bins).residuals
    assert np.abs(residuals).max() == largest_gap(grid) // 2


@given(st.integers(0, 3), st.integers(0, 10**9), st.integers(1, 1001))
def test_a_window_of_4096_bp_bins_is_off_by_at_most_2048_bp_and_half_as_much_with_each_refinement(
    refinements: int, centre: int, n_bins: int
) -> None:
    grid = Grid()
    for _ in range(refinements):
        grid = grid.refined()
    assert abs(grid.nearest(centre, n_bins).residual) <= 2048 >> refinements


@given(st.integers(0, 60_000))
def test_a_gta_window_begins_514048_bp_left_of_its_centre(index: int) -> None:
    centre = index * 4096 + 2048
    placed = Grid().nearest(centre, 251)
    assert placed.residual == 0
    assert Grid().span(placed.phase, placed.first_bin)[0] == centre - 514_048


@pytest.mark.parametrize(
    ("centre", "n_bins", "expected"),
    [
        pytest.param(8, 1, (0, 0, 0), id="middle of the first bin"),
        pytest.param(16, 2, (0, 0, 0), id="boundary of the first two bins"),
        pytest.param(0, 1, (1, 0, 0), id="base 0 is the middle of the second phase's row 0"),
        pytest.param(4, 1, (0, 0, 4), id="as near in both phases: the one named first"),
        pytest.param(0, 3, (1, -1, 0), id="begins before base 0"),
    ],
)
def test_placements_worked_out_by_hand(centre: int, n_bins: int, expected: tuple[int, int, int]) -> None:
    assert Grid(bin_size=16, offsets=(0, 8)).nearest(centre, n_bins) == expected


def test_of_two_placements_in_one_phase_that_are_as_near_the_left_one_wins() -> None:
    assert Grid(bin_size=16).nearest(16, 1) == (0, 0, -8)


def test_refining_adds_the_phases_halfway_between_those_that_are_there() -> None:
    grid = Grid(bin_size=4096)
    added = []
    for _ in range(3):
        finer = grid.refined()
        assert finer.offsets[: len(grid.offsets)] == grid.offsets
        added.append(finer.offsets[len(grid.offsets) :])
        grid = finer
    assert added == [(2048,), (1024, 3072), (512, 1536, 2560, 3584)]


@given(st.integers(0, 12))
def test_a_refined_grid_has_even_gaps_down_to_one_base(refinements: int) -> None:
    grid = Grid()
    for _ in range(refinements):
        grid = grid.refined()
    assert sorted(grid.offsets) == list(range(0, 4096, 4096 >> refinements))


@pytest.mark.parametrize("bin_size", [1, 3, 6], ids=["one base", "odd", "odd after one halving"])
def test_bins_that_cannot_be_halved_are_not_refined_further(bin_size: int) -> None:
    grid = Grid(bin_size=bin_size)
    if bin_size % 2 == 0:
        grid = grid.refined()
    with pytest.raises(ValueError, match=f"bins of {bin_size} bp cannot be halved.*name further offsets yourself"):
        grid.refined()


@pytest.mark.parametrize(
    ("bin_size", "offsets", "message"),
    [
        pytest.param(0, (0,), "at least 1; got 0", id="no bases"),
        pytest.param(-5, (0,), "at least 1; got -5", id="negative bases"),
        pytest.param(16, (), r"use offsets=\(0,\)", id="no phase"),
        pytest.param(16, (0, 20), "got 20; the same tiling has offset 4", id="offset past the bin"),
        pytest.param(16, (16,), "got 16; the same tiling has offset 0", id="offset of a whole bin"),
        pytest.param(16, (-1,), "got -1; the same tiling has offset 15", id="negative offset"),
        pytest.param(16, (0, 8, 8), r"distinct, got \(0, 8, 8\)", id="repeated offset"),
    ],
)
def test_a_grid_that_is_none_is_refused(bin_size: int, offsets: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(bin_size=bin_size, offsets=offsets)


@pytest.mark.parametrize("n_bins", [0, -1])
def test_a_window_without_bins_is_refused(n_bins: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 bin, got n_bins={n_bins}"):
        Grid().place([5], n_bins)
