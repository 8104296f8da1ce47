"""Indexing of map-style datasets of windows: one window, a list of them, or a slice.

Belongs here: what an index means. Does not: reading a batch (each dataset).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset


class TensorWindows(Dataset[Tensor], ABC):
    """A map-style dataset of windows that reads any number of them as one batch."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _batch(self, indices: list[int]) -> Tensor:
        """Read some windows at once, `(windows, n_bins, channels)`."""

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[np.int64]) -> Tensor: ...
    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Read one window, `(n_bins, channels)`; of a list of indices, or a slice, `(windows, n_bins, channels)`."""
        if isinstance(index, slice):
            index = range(len(self))[index]
        if isinstance(index, Sequence | np.ndarray):
            return self._batch(list(index))
        return self._batch([int(index)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        """Read many windows in one request a feature set; DataLoader calls this when it makes batches itself."""
        return list(self._batch(list(indices)))
