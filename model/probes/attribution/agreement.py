"""How far maps of the same bases agree.

Belongs here: correlations of maps, as a table. Does not: the maps (`model.probes.attribution.maps`).
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from model.evaluation.metrics import pearson
from model.probes.attribution.maps import Method


class Map(NamedTuple):
    """One number a base of some rows."""

    representation: str
    head: str
    """Empty of entropy, which no head has a part in."""
    method: Method
    values: NDArray[np.float32]
    """Shape `(rows, length, targets)`, or of entropy `(rows, length, 1)`; NaN where nothing is said."""

    @property
    def name(self) -> str:
        """What to call it in a figure."""
        return f"{self.representation}, {self.head or self.method}" + (" x entropy" if self.method == "product" else "")

    def of_target(self, target: int) -> NDArray[np.float32]:
        """Give the map of a target, `(rows, length)`."""
        return self.values[:, :, min(target, self.values.shape[2] - 1)]


def agreement_table(maps: Sequence[Map], targets: Sequence[str]) -> pl.DataFrame:
    """Correlate each two maps over the bases of each row.

    Returns
    -------
    A row a target and pair: Pearson in the mean over the rows in which both maps vary, `sd` over them, and their
    number.
    """
    table = []
    for number, target in enumerate(targets):
        for first, second in itertools.combinations(maps, 2):
            found = of_rows(first.of_target(number), second.of_target(number))
            found = found[~np.isnan(found)]
            table.append(
                {
                    "target": target,
                    **{f"first_{name}": getattr(first, name) for name in ("representation", "head", "method")},
                    **{f"second_{name}": getattr(second, name) for name in ("representation", "head", "method")},
                    "pearson": float(found.mean()) if len(found) else None,
                    "sd": float(found.std(ddof=1)) if len(found) > 1 else None,
                    "rows": len(found),
                }
            )
    return pl.DataFrame(table, infer_schema_length=None)


def of_rows(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Correlate two maps `(rows, length)` row by row, over the bases that both know: `(rows,)`, NaN of a constant."""
    found = np.full(len(first), np.nan)
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        known = ~(np.isnan(one) | np.isnan(other))
        if known.sum() > 1:
            found[row] = pearson(one[known].astype(np.float64), other[known].astype(np.float64))
    return found
