"""Numbers of any type mean what Python's integers mean, or are refused in a sentence."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from catalog import Grid, Interval
from catalog.runtime.whole_numbers import MOST, whole_number, whole_numbers

INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
FLOATS = [np.float16, np.float32, np.float64]


@st.composite
def numbers(draw: st.DrawFn) -> Any:
    """Draw a whole number in one of numpy's types."""
    kind = np.dtype(draw(st.sampled_from(INTEGERS)))
    limits = np.iinfo(kind)
    return kind.type(draw(st.integers(int(limits.min), int(limits.max))))


@given(numbers())
def test_a_number_of_any_width_is_pythons(number: Any) -> None:
    if abs(int(number)) > MOST:
        with pytest.raises(ValueError, match="`n=` is a whole number from"):
            whole_number(number, name="n")
        with pytest.raises(ValueError, match="`n=` are whole numbers within"):
            whole_numbers([number], name="n")
        return
    found = whole_number(number, name="n")
    assert (type(found), found) == (int, int(number))
    many = whole_numbers(np.asarray([number, number]), name="n")
    assert (many.dtype, many.tolist()) == (np.int64, [int(number)] * 2)


@given(st.sampled_from(FLOATS), st.integers(-2048, 2048), st.sampled_from([0.0, 0.5]))
def test_floats_are_taken_where_they_are_whole(kind: Any, number: int, part: float) -> None:
    value = kind(number + part)
    if part and value % 1:
        with pytest.raises(ValueError, match=r"`n=` is a whole number, got .*; round it first"):
            whole_number(value, name="n")
        with pytest.raises(ValueError, match=r"is none, one of 1 such values"):
            whole_numbers([value], name="n")
        return
    assert whole_number(value, name="n") == int(value)
    assert whole_numbers([value], name="n").tolist() == [int(value)]


@pytest.mark.parametrize("value", [True, np.True_, "5", None, 1j, [1], np.asarray([1, 2]), torch.tensor(True)])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="`n=` is a whole number"):
        whole_number(value, name="n")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), np.float16("nan"), 10**18, -(10**18), pytest.param(10**5000, id="huge")]
)
def test_what_is_no_whole_number_of_this_world_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="`n=` is a whole number") as refused:
        whole_number(value, name="n")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "values", [[True], ["a"], [None], [1j], np.asarray([True, False]), np.asarray(["2020"], dtype="datetime64[D]")]
)
def test_arrays_of_something_else_are_refused(values: Any) -> None:
    with pytest.raises(TypeError, match=r"`n=` (are|is a) whole number"):
        whole_numbers(values, name="n")


@pytest.mark.parametrize("values", [[float("nan")], [2**63], [10**30], [2**62, -(2**63)], [float("inf")], [0.5]])
def test_arrays_beyond_the_range_are_refused_and_do_not_wrap(values: Any) -> None:
    with pytest.raises(ValueError, match=r"`n=` (are|is a) whole number"):
        whole_numbers(values, name="n")


def test_arrays_of_pythons_and_torchs_numbers_are_taken() -> None:
    for values in (np.asarray([1, 2], dtype=object), torch.tensor([1, 2]), (1, 2), range(1, 3), [1.0, 2.0]):
        assert whole_numbers(values, name="n").tolist() == [1, 2]
    assert whole_numbers(7, name="n").tolist() == [7]
    assert whole_numbers([], name="n").dtype == np.int64


@given(numbers(), numbers(), st.integers(1, 100))
def test_a_grid_places_numbers_of_any_width_as_it_places_pythons(centre: Any, n_bins: Any, bin_size: int) -> None:
    grid = Grid(bin_size=bin_size, offsets=(0, bin_size // 2) if bin_size > 1 else (0,))

    def placed(one: Any, bins: Any) -> Any:
        try:
            return grid.nearest(one, bins)
        except ValueError as error:
            return str(error)

    assert placed(centre, n_bins) == placed(int(centre), int(n_bins))


def test_the_number_of_bins_that_once_wrapped() -> None:
    assert Grid().nearest(1_000_000, np.int16(251)) == Grid().nearest(1_000_000, 251)
    assert Grid(bin_size=np.uint8(200)).span(0, np.int8(100)) == (20_000, 20_200)
    assert len(Interval("chr1", np.int8(-100), np.int8(100))) == 200
    assert Grid().n_bins(np.uint16(65535)) == 16


@pytest.mark.parametrize("bad", [True, 0.5, float("nan"), 10**18, "1", None])
def test_every_number_of_a_grid_and_of_an_interval_is_checked(bad: Any) -> None:
    grid = Grid()
    for use in (
        lambda: Grid(bin_size=bad),
        lambda: Grid(offsets=(bad,)),
        lambda: Interval("chr1", bad, 10**6),
        lambda: Interval("chr1", 0, bad),
        lambda: grid.nearest(bad, 3),
        lambda: grid.nearest(5, bad),
        lambda: grid.span(0, bad),
        lambda: grid.n_bins(bad),
    ):
        with pytest.raises((TypeError, ValueError), match="whole number"):
            use()
