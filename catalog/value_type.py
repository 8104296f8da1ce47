"""Value types: how the numbers of a feature set are stored, and the fill value for "never built".

Belongs here: for each type its numpy dtype, its fill value, and encoding that refuses what the type cannot hold. Does
not: arrays on disk (`featurestore.format`).

The fill value is NaN in floating types and 255 in `uint8`, so neither is ever a value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Dtype = Literal["float16", "float32", "uint8"]
"""Names of the types."""
Values = NDArray[Any]
"""Features as they are stored: an array of one of the types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType:
    """One value type; `value_type(name)` returns it."""

    name: Dtype
    fill: float
    """Value for "never built"."""
    limits: str
    """Requirement on values and the mend, for the end of an error message."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As numpy has it."""
        return np.dtype(self.name)

    @property
    def item_bytes(self) -> int:
        """Size of one value (bytes)."""
        return self.dtype.itemsize

    def is_never_built(self, values: Values) -> NDArray[np.bool_]:
        """Mask of the stored values that were never built."""
        return np.isnan(values) if self.dtype.kind == "f" else np.equal(values, self.fill)

    def cast(self, values: NDArray[Any]) -> Values:
        """Convert values; one that the type cannot hold becomes infinite, or 255, which `encode` refuses.

        Fractions are rounded to the type. Whole numbers of an integer dtype are counts, and must be held exactly. Those
        of a floating dtype are measurements: floating types round them, but `uint8`, which has no fractions, takes
        nothing else.
        """
        if values.dtype == self.dtype:
            return values
        with np.errstate(over="ignore", invalid="ignore"):
            stored = values.astype(self.dtype)
            if self.dtype.kind != "f":
                stored[~((values >= 0) & (values < self.fill) & (values == stored))] = self.fill
            elif values.dtype.kind in "iub":
                stored[stored.astype(values.dtype) != values] = np.inf
        return stored

    def encode(self, values: NDArray[Any], *, where: str, channels: Sequence[str]) -> Values:
        """Convert values, and refuse those that the type cannot hold; the rules are those of `cast`.

        Parameters
        ----------
        values
            Features, shape `(bins, channels)`.
        where, channels
            What to call the array, and its columns, in an error.

        Raises
        ------
        ValueError
            If a value is NaN, infinite, or out of what the type holds.
        """
        stored = self.cast(values)
        self._require_held(stored, values, where=where, channels=channels)
        return stored

    def encode_into(self, stored: Values, values: NDArray[Any], *, where: str, channels: Sequence[str]) -> None:
        """Encode into an array of the type and the same shape; errors are those of `encode`."""
        if self.dtype.kind == values.dtype.kind == "f":
            with np.errstate(over="ignore", invalid="ignore"):
                stored[...] = values  # without an array between, whose fresh memory costs more than the conversion
        else:
            stored[...] = self.cast(values)
        self._require_held(stored, values, where=where, channels=channels)

    def _require_held(self, stored: Values, values: NDArray[Any], *, where: str, channels: Sequence[str]) -> None:
        if all_finite(stored) if self.dtype.kind == "f" else (stored != self.fill).all():
            return
        is_bad = ~np.isfinite(stored) if self.dtype.kind == "f" else stored == self.fill
        row, column = np.argwhere(is_bad)[0]
        raise ValueError(
            f"{where}: channel {channels[column]!r} of row {row} is {values[row, column]}, one of "
            f"{int(is_bad.sum()):,} such values; {self.limits}"
        )


_BLOCK = 1 << 15
_NAN = "NaN means never built, and no extractor may give it"
_TYPES: dict[str, ValueType] = {
    found.name: found
    for found in (
        ValueType(
            name="float16",
            fill=float("nan"),
            limits="a value of float16 is finite and within +-65504, and counts above 2048 are not all exact: store "
            f'larger ones with dtype="float32", or transform them first (log1p); {_NAN}',
        ),
        ValueType(
            name="float32",
            fill=float("nan"),
            limits="a value of float32 is finite and within +-3.4e38, and counts above 16777216 are not all exact: "
            f"transform larger ones first (log1p); {_NAN}",
        ),
        ValueType(
            name="uint8",
            fill=255,
            limits="a value of uint8 is a whole number from 0 to 254, and 255 means never built: store others with "
            'dtype="float16" or dtype="float32", or transform them first',
        ),
    )
}


def all_finite(values: NDArray[Any]) -> bool:
    """Tell whether no value is NaN or infinite."""
    flat = values.reshape(-1)
    # In blocks that stay in the processor's cache, and take no fresh memory each.
    blocks = (flat[first : first + _BLOCK] for first in range(0, len(flat), _BLOCK))
    if values.dtype == np.float16:
        # All bits of the exponent are set in NaN and infinity only. A tenth of the time of `isfinite`, which converts.
        return all((block.view(np.uint16) << 1).max() < 0xF800 for block in blocks)
    return all(np.isfinite(block).all() for block in blocks)


def value_type(name: str | np.dtype[Any]) -> ValueType:
    """Give a type by its name or its numpy dtype; ValueError if there is none."""
    found = _TYPES.get(str(name))
    if found is None:
        raise ValueError(f"values are stored as {', '.join(_TYPES)}; got dtype={str(name)!r}")
    return found
