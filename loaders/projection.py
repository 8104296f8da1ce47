"""New channels as weighted sums of those of a feature set.

Belongs here: the matrix and its names, without torch. Does not: applying it (`loaders.windows.channels`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """New channels as weighted sums of those that are read: `features @ matrix`, in float32."""

    matrix: ArrayLike
    """Weights, shape `(channels, len(names))`; rows in the order of the channels that are read."""
    names: Sequence[str]
    """Names of the new channels."""

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float32)
        names = tuple(self.names)
        if matrix.ndim != 2 or matrix.shape[1] != len(names) or not np.isfinite(matrix).all():
            raise ValueError(
                f"a projection is a finite matrix of one row a channel and one column a name: expected shape "
                f"(channels, {len(names)}), got {matrix.shape}"
            )
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a projection has distinct names, one at least; got {', '.join(names) or 'none'}")
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "names", names)
