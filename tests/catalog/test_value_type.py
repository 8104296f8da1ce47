"""A type of values takes what it can hold, as exactly as it can, and refuses the rest with the mend."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import from_dtype
from numpy.typing import NDArray

from catalog.value_type import all_finite, value_type

DTYPES = ["float16", "float32", "uint8"]
GIVEN = ["float16", "float32", "float64", "int8", "int64", "uint8", "uint16", "uint64", "bool"]


@st.composite
def columns(draw: st.DrawFn) -> NDArray[Any]:
    """Draw one column of numbers, of any dtype that an extractor may give, many of them near the limits of a type."""
    dtype = np.dtype(draw(st.sampled_from(GIVEN)))
    near = [0, 1, 254, 255, 256, 2047, 2048, 2049, 4096, 65_504, 65_520, 2**24, 2**24 + 1]
    held = [number for number in near if dtype.kind == "f" or (dtype.kind != "b" and number <= np.iinfo(dtype).max)]
    numbers = from_dtype(dtype, allow_subnormal=False) | (st.sampled_from(held) if held else st.booleans())
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(draw(st.lists(numbers, min_size=1, max_size=6))).astype(dtype)[:, None]


def is_held(number: float | int, dtype: str, *, is_count: bool) -> bool:
    """Tell the slow and obvious way whether a type takes a number, given as a Python one."""
    if dtype == "uint8":
        return number == number and 0 <= number <= 254 and number == int(number)
    if isinstance(number, float) and not np.isfinite(number):
        return False
    with np.errstate(over="ignore"):
        stored = float(np.asarray(float(number)).astype(dtype))
    return bool(np.isfinite(stored)) and (not is_count or int(stored) == number)


@given(columns(), st.sampled_from(DTYPES))
def test_a_number_is_taken_exactly_when_the_type_holds_it(values: NDArray[Any], dtype: str) -> None:
    is_count = values.dtype.kind != "f"
    bad = [number for number in values[:, 0].tolist() if not is_held(number, dtype, is_count=is_count)]
    stored_as = value_type(dtype)
    if bad:
        with pytest.raises(ValueError, match=rf"here: channel 'c' of row \d is .*, one of {len(bad)} such values"):
            stored_as.encode(values, where="here", channels=["c"])
        return
    stored = stored_as.encode(values, where="here", channels=["c"])
    assert stored.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(stored, values.astype(dtype))
    assert not stored_as.is_never_built(stored).any()


@given(columns(), st.sampled_from(DTYPES))
def test_what_was_cast_is_encoded_or_refused_as_what_was_given(values: NDArray[Any], dtype: str) -> None:
    stored_as = value_type(dtype)

    def outcome(given: NDArray[Any]) -> bytes | None:
        try:
            return stored_as.encode(given, where="here", channels=["c"]).tobytes()
        except ValueError:
            return None

    assert outcome(stored_as.cast(values)) == outcome(values)


@given(columns(), st.sampled_from(DTYPES))
def test_encoding_into_an_array_is_encoding(values: NDArray[Any], dtype: str) -> None:
    stored_as = value_type(dtype)

    def into() -> bytes:
        found = np.empty(values.shape, dtype=dtype)
        stored_as.encode_into(found, values, where="here", channels=["c"])
        return found.tobytes()

    def outcome(encode: Callable[[], bytes]) -> bytes | str:
        try:
            return encode()
        except ValueError as error:
            return str(error)

    assert outcome(into) == outcome(lambda: stored_as.encode(values, where="here", channels=["c"]).tobytes())


@given(st.integers(1, 200_000), st.floats(0, 0.999), st.sampled_from(["float16", "float32", "float64"]))
def test_a_value_that_is_not_finite_is_found_wherever_it_is(size: int, share: float, dtype: str) -> None:
    values = np.ones((size, 1), dtype=dtype)
    assert all_finite(values)
    values[int(share * size)] = np.inf
    assert not all_finite(values)
    assert all_finite(values[:0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_stands_for_never_built_is_no_value(dtype: str) -> None:
    stored_as = value_type(dtype)
    never_built = np.full((2, 1), stored_as.fill, dtype=dtype)
    assert stored_as.is_never_built(never_built).all()
    with pytest.raises(ValueError, match=r"one of 2 such values; .*never built"):
        stored_as.encode(never_built, where="here", channels=["c"])


@pytest.mark.parametrize(
    ("values", "dtype", "mend"),
    [
        pytest.param([70_000.0], "float16", r'dtype="float32", or transform.*log1p', id="too large for float16"),
        pytest.param([2049], "float16", r'dtype="float32", or transform', id="a count that float16 rounds"),
        pytest.param([1e39], "float32", "transform larger ones first", id="too large for float32"),
        pytest.param([2**24 + 1], "float32", "transform larger ones first", id="a count that float32 rounds"),
        pytest.param([0.5], "uint8", r'dtype="float16" or dtype="float32"', id="a fraction in uint8"),
        pytest.param([255], "uint8", "255 means never built", id="255 in uint8"),
        pytest.param([-1], "uint8", "whole number from 0 to 254", id="below 0 in uint8"),
        pytest.param([float("nan")], "uint8", "is nan", id="NaN in uint8"),
        pytest.param([float("nan")], "float32", "NaN means never built", id="NaN in float32"),
    ],
)
def test_the_refusal_names_the_mend(values: list[float], dtype: str, mend: str) -> None:
    with pytest.raises(ValueError, match=mend):
        value_type(dtype).encode(np.asarray([values]), where="here", channels=["c"])


def test_measurements_are_rounded_and_counts_are_not() -> None:
    assert value_type("float16").encode(np.asarray([[2049.0]]), where="here", channels=["c"])[0, 0] == 2048
    assert value_type("float16").encode(np.asarray([[4096]]), where="here", channels=["c"])[0, 0] == 4096


def test_an_unknown_type_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="stored as float16, float32, uint8; got dtype='int8'"):
        value_type("int8")


def test_every_float16_is_finite_or_not_as_numpy_says() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    assert [all_finite(every[i : i + 1]) for i in range(len(every))] == np.isfinite(every).tolist()
    assert all_finite(every[np.isfinite(every)].reshape(-1, 2)[::3, ::-1])
    assert all_finite(np.zeros((0, 4), np.float16))
    assert not all_finite(np.float32([0, np.inf]))
