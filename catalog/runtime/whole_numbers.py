"""Whole numbers as users give them: Python's, numpy's of any width, arrays of them; converted once, at the door.

Belongs here: the one conversion. Does not: what each number may be beyond its range (the function that takes it).

Arithmetic with a numpy integer keeps its type, and wraps: `np.int16(251) * 4096` is -20480. Behind the door numbers are
Python's, or arrays of int64.
"""

import operator
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST = 1 << 40
"""Beyond any genome (bp) and any count."""
MOST_SEED = (1 << 64) - 1
"""Of random numbers."""
MOST_BYTES = 1 << 60
"""Beyond any memory and disk."""
_WIDEST: dict[str, type[np.generic]] = {"i": np.int64, "u": np.uint64, "f": np.float64}


def whole_number(value: SupportsIndex | float, *, name: str, least: int = -MOST, most: int = MOST) -> int:
    """Convert one whole number; `251.0` is 251.

    Parameters
    ----------
    name
        Of the parameter, for errors.
    least, most
        Range, both included.

    Raises
    ------
    TypeError
        If it is no number, or a boolean.
    ValueError
        If it is a fraction, NaN, or out of the range.
    """
    if type(value) is int:  # what nearly every call gives
        number = value
    elif isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):  # also torch's
        raise TypeError(f"`{name}=` is a whole number, not the boolean {value}; give a number")
    elif isinstance(value, float | np.floating):
        if not float(value).is_integer():
            raise ValueError(f"`{name}=` is a whole number, got {value}; round it first")
        number = int(value)
    else:
        try:
            number = operator.index(value)
        except TypeError:
            raise TypeError(f"`{name}=` is a whole number, got {str(value)[:80]!r}; give an integer") from None
    if not least <= number <= most:
        raise ValueError(f"`{name}=` is a whole number from {least:,} to {most:,}; got {_shown(number)}")
    return number


def whole_numbers(values: ArrayLike, *, name: str) -> NDArray[np.int64]:
    """Convert an array of whole numbers of any type; a number alone becomes an array of one.

    Raises
    ------
    TypeError
        If they are no numbers, or booleans.
    ValueError
        If one is a fraction, NaN, or beyond any genome.
    """
    given: NDArray[Any] = np.asarray(values)
    if given.size == 0:
        return np.zeros(given.shape, dtype=np.int64)
    if given.dtype.kind == "O":  # as Python's integers beyond int64, or pandas' with missing values, come
        return np.asarray([whole_number(value, name=name) for value in given.flat], dtype=np.int64).reshape(given.shape)
    if given.dtype.kind not in _WIDEST:
        raise TypeError(f"`{name}=` are whole numbers, got {_kind(given)}; give integers")
    # Compared in the widest type of its kind: what int64 cannot hold would wrap, and float16 holds no limit.
    numbers = np.atleast_1d(given).astype(_WIDEST[given.dtype.kind], copy=False)
    is_right = (numbers >= (0 if given.dtype.kind == "u" else -MOST)) & (numbers <= MOST)
    if given.dtype.kind == "f":
        is_right &= numbers == np.floor(numbers)
    if not is_right.all():
        raise ValueError(
            f"`{name}=` are whole numbers within +-{MOST:,}; {numbers[~is_right][0]} is none, one of "
            f"{int((~is_right).sum()):,} such values"
        )
    return numbers.astype(np.int64, copy=False)


def _kind(given: NDArray[Any]) -> str:
    if given.dtype == np.bool_:
        return "booleans"
    return f"{given.dtype} such as {str(given.flat[0])[:80]!r}"


def _shown(number: int) -> str:
    return f"{number:,}" if number.bit_length() < 64 else f"a number of {number.bit_length()} bits"
