"""Windows as tensors.

Belongs here: the map-style dataset and the recipe for a DataLoader. Does not: reading (`featurestore`), genes
(`loaders.genes`).
"""

import copy
import os
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from featurestore import FeatureReader, StorageOptions
from loaders.fetch import DEFAULT_CACHE_BYTES, Residence, open_reader

Orientation = Literal["forward", "gene"]


class WindowDataset(Dataset[Tensor]):
    """Windows of one feature set around given positions, map-style.

    Parameters
    ----------
    url
        The store.
    feature_set
        Name of the set.
    contigs, centres
        One contig and one position (0-based bp) a window.
    n_bins
        Bins a window. `dataset.n_bins = 101` changes it in place; nothing is read or computed until the next item.
    residence
        `memory`, `cache` or `stream`: where rows are kept (`loaders.fetch.open_reader`); the tensors are equal.
    channels
        Names to keep, in this order; `"signal"` for all but those that the set marks as low-signal; None for all.
    strands
        `+` or `-` for each window, for `orient="gene"`.
    orient
        `forward`: bins run along the forward strand. `gene`: bins of windows on the minus strand run backwards.
    dtype
        Of the tensors; the store holds float16.

    Raises
    ------
    UnknownContig, ValueError
        If a window does not lie in the store's assembly; said at once, not in the middle of an epoch.
    NotBuilt
        If the store lacks the feature set; a shard that lacks is said when a window needs it.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        feature_set: str,
        *,
        contigs: Sequence[str] | str,
        centres: ArrayLike,
        n_bins: int = 251,
        residence: Residence = "memory",
        channels: Sequence[str] | Literal["signal"] | None = None,
        strands: Sequence[str] | None = None,
        orient: Orientation = "forward",
        dtype: torch.dtype = torch.float32,
        storage_options: StorageOptions | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self._open = {
            "url": os.fspath(url),
            "feature_set": feature_set,
            "residence": residence,
            "storage_options": storage_options,
            "cache_dir": cache_dir,
            "cache_bytes": cache_bytes,
        }
        self._reader: FeatureReader | None = None
        self.dtype = dtype
        plan = self.reader.plan(contigs, centres, 1)
        self.contigs: tuple[str, ...] = tuple(request.contig for request in plan.requests)
        """Contig of each window, under the assembly's own name."""
        self.centres: NDArray[np.int64] = np.atleast_1d(np.asarray(centres)).astype(np.int64)
        """Position of each window (bp)."""
        self._reversed = _reversed_windows(strands, orient, len(self.contigs))
        self._columns = _columns(self.reader, channels)
        self.n_bins = n_bins

    @property
    def n_bins(self) -> int:
        """Bins a window; may be set at any time."""
        return self._n_bins

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        if n_bins < 1:
            raise ValueError(f"a window has at least 1 bin, got n_bins={n_bins}")
        self._n_bins = n_bins

    @property
    def reader(self) -> FeatureReader:
        """The reader; opened on first use, so that a dataset can be sent to a spawned worker."""
        if self._reader is None:
            self._reader = open_reader(**self._open)  # type: ignore[arg-type]  # the constructor's own arguments
        return self._reader

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the tensors' last axis."""
        names = self.reader.channel_names
        return names if self._columns is None else tuple(names[column] for column in self._columns)

    @property
    def fingerprint(self) -> str:
        """What the features were made with."""
        return self.reader.feature_set.fingerprint

    def __len__(self) -> int:
        return len(self.contigs)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: Sequence[int] | NDArray[np.int64]) -> Tensor: ...
    def __getitem__(self, index: int | Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Read one window, `(n_bins, channels)`, or for a list of indices a batch, `(windows, n_bins, channels)`."""
        if isinstance(index, Sequence | np.ndarray):
            return self._batch(list(index))
        return self._batch([int(index)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        """Read many windows in one request; DataLoader calls this when it makes batches itself."""
        return list(self._batch(list(indices)))

    def subset(self, indices: Sequence[int]) -> "WindowDataset":
        """Give the dataset of some of the windows, in the order named; it shares what was read already."""
        chosen = copy.copy(self)
        chosen._reader = self.reader  # a copy is made as a pickle is, without it
        chosen.contigs = tuple(self.contigs[index] for index in indices)
        chosen.centres = self.centres[list(indices)]
        chosen._reversed = self._reversed[list(indices)]
        return chosen

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None}

    def _batch(self, indices: list[int]) -> Tensor:
        places = np.asarray(indices, dtype=np.int64)
        outside = places[(places < -len(self)) | (places >= len(self))]
        if outside.size or not indices:
            raise IndexError(
                f"this dataset has {len(self)} windows, 0 to {len(self) - 1}; got "
                f"{f'index {outside[0]}' if indices else 'no index'}"
            )
        contigs = [self.contigs[index] for index in indices]
        values = self.reader.windows(contigs, self.centres[places], self.n_bins).values
        if self._columns is not None:
            values = values[..., self._columns]
        tensor = torch.from_numpy(values).to(self.dtype)
        turned = self._reversed[places]
        if turned.any():
            tensor[turned] = tensor[turned].flip(1)
        return tensor


def data_loader(
    dataset: Dataset[Any],
    *,
    batch_size: int = 64,
    shuffle: bool = False,
    seed: int = 0,
    drop_last: bool = False,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Make a DataLoader that reads each batch in one request.

    The sampler hands whole batches of indices to the dataset, so nothing is collated item by item. No workers by
    default: reading releases the interpreter lock. With workers the start method is `spawn`, since the reader does not
    survive a fork.

    Parameters
    ----------
    dataset
        `WindowDataset`, `GeneDataset`, or any map-style dataset whose `[list of indices]` is a batch.
    seed
        Of the shuffle; each epoch has another order, and the same seed gives the same epochs.
    """
    generator = torch.Generator().manual_seed(seed)
    order: Any = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)  # type: ignore[arg-type]
    return DataLoader(
        dataset,
        sampler=BatchSampler(order, batch_size, drop_last),
        batch_size=None,
        num_workers=num_workers,
        multiprocessing_context="spawn" if num_workers else None,
        pin_memory=pin_memory,
    )


def _reversed_windows(strands: Sequence[str] | None, orient: Orientation, n_windows: int) -> NDArray[np.bool_]:
    if orient not in ("forward", "gene"):
        raise ValueError(f"orient is 'forward' or 'gene', got {orient!r}")
    if orient == "forward":
        return np.zeros(n_windows, dtype=np.bool_)
    if strands is None or len(strands) != n_windows:
        raise ValueError(f"orient='gene' needs the strand of each of the {n_windows} windows: strands=['+', '-', ...]")
    return np.asarray([strand == "-" for strand in strands], dtype=np.bool_)


def _columns(reader: FeatureReader, channels: Sequence[str] | Literal["signal"] | None) -> list[int] | None:
    if channels is None:
        return None
    described = reader.feature_set.channels
    if channels == "signal":
        return [column for column, channel in enumerate(described) if not channel.low_signal]
    place = {channel.name: column for column, channel in enumerate(described)}
    unknown = [name for name in channels if name not in place]
    if unknown:
        raise ValueError(
            f"{reader.name} has no channel {unknown[0]!r} ({len(unknown)} unknown); it has "
            f"{', '.join(list(place)[:10])}{', ...' if len(place) > 10 else ''}"
        )
    return [place[name] for name in channels]
