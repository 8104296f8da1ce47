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

from catalog.runtime.whole_numbers import whole_number, whole_numbers


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
            return self._batch(checked_indices(index, len(self)))
        return self._batch(checked_indices([whole_number(index, name="index")], len(self)))[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        """Read many windows in one request a feature set; DataLoader calls this when it makes batches itself."""
        return list(self._batch(checked_indices(indices, len(self))))


def checked_indices(indices: Sequence[int] | NDArray[np.int64], n_windows: int) -> list[int]:
    """Convert the indices of some windows.

    Raises
    ------
    TypeError, ValueError
        If they are no whole numbers: a mask of booleans, say.
    IndexError
        If the dataset lacks one of them, or there is none.
    """
    places = window_numbers(indices)
    outside = places[(places < -n_windows) | (places >= n_windows)]
    if outside.size or not places.size:
        raise IndexError(
            f"this dataset has {n_windows} windows, 0 to {n_windows - 1}; got "
            f"{f'index {outside[0]}' if places.size else 'no index'}"
        )
    return places.tolist()  # type: ignore[no-any-return]  # of an int64 array


def window_numbers(indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Convert numbers of windows, shape `(windows,)`; TypeError or ValueError if they are none."""
    places = np.asarray(indices)
    # The only type that costs nothing here; numpy takes booleans for a mask, and cuts fractions off.
    return places if places.dtype == np.int64 else whole_numbers(places, name="indices")
