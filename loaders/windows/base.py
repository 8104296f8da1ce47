"""Base class of windows of one feature set, around any positions or around anchors.

Belongs here: from rows to tensors, and copies that share a reader. Does not: where windows lie and how they are
read (`loaders.windows.grid`, `loaders.windows.anchored`).
"""

import copy
import os
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from catalog import Assembly, FeatureIdentity
from catalog.runtime.whole_numbers import whole_number
from catalog.value_type import Values
from featurestore import NotBuilt, RowRequest
from featurestore.display import Display, Displayed, some
from featurestore.store import StorePlace, place_of
from loaders.residence.open import CountingAnchoredReader, CountingReader
from loaders.settings import Orientation, WindowSettings, check_n_bins
from loaders.stats import Stats
from loaders.windows.channels import ChannelView
from loaders.windows.indexing import TensorWindows, window_numbers
from loaders.windows.row_table import RowTable, Spans
from loaders.windows.shared_numbers import SharedNumbers

_N_BINS, _EPOCH = 0, 1
"""Places of the shared numbers."""

Reader = TypeVar("Reader", CountingReader, CountingAnchoredReader)


class FeatureWindows(Displayed, TensorWindows, Generic[Reader]):
    """Windows of one feature set, map-style: a `WindowSource` but for where they lie.

    Parameters
    ----------
    url, feature_set
        The store, open or where it lies, and the name of the set in it.
    settings
        How windows are cut, read and shown.
    """

    def __init__(self, url: StorePlace, feature_set: str, settings: WindowSettings) -> None:
        self._url, storage_options = place_of(url, settings.storage_options)
        self._settings = replace(settings, storage_options=storage_options)
        self._shared = SharedNumbers([settings.n_bins, 0])
        """Bins a window, and the epoch."""
        self._made_in = os.getpid()
        self._own_epoch = 0, self._made_in
        """The epoch that was set, and in which process."""
        self._feature_set = feature_set
        self._tables: dict[int, RowTable] = {}
        """Rows on the device, by process; shared by all copies. Empty unless that is where they are kept."""
        self._spans: tuple[Any, Spans] | None = None
        """Where all windows begin in the table, and when that was so."""
        self._reader: Reader | None = None
        self._opened_in = 0
        self._view = ChannelView(self.reader.feature_set, settings.channels, settings.projection)
        self.dtype = self._view.tensor_dtype(settings.dtype)
        """Of the tensors."""

    def _set_windows(
        self, contigs: Sequence[str], centres: NDArray[np.int64], is_reversed: NDArray[np.bool_], numbers: Sequence[int]
    ) -> None:
        """Say which windows there are; `numbers` go with them into any subset."""
        self.contigs: tuple[str, ...] = tuple(contigs)
        """Contig of each window, under the assembly's own name."""
        self.centres: NDArray[np.int64] = centres
        """Position of each window (bp), without jitter."""
        self._reversed = is_reversed
        self._numbers = np.asarray(numbers, dtype=np.int64)
        self._spans = None

    @property
    @abstractmethod
    def anchors(self) -> str | None:
        """Name of the anchors that the windows are centred on to the base; None for windows of a grid."""

    @abstractmethod
    def _open(self) -> Reader: ...

    def _check_n_bins(self, n_bins: int) -> None:
        check_n_bins(n_bins)

    @abstractmethod
    def _planned(self) -> tuple[Sequence[RowRequest], NDArray[np.int64]]:
        """Plan all windows of this epoch: for each the rows that its bins are among, and which is that of its first."""

    @abstractmethod
    def _read(self, indices: list[int]) -> Values:
        """Read some windows, forward and with all channels, shape `(windows, n_bins, channels)`."""

    @property
    def settings(self) -> WindowSettings:
        """How windows are cut, read and shown now."""
        if self._settings.n_bins != self.n_bins:  # set in another process
            self._settings = replace(self._settings, n_bins=self.n_bins)
        return self._settings

    @property
    def n_bins(self) -> int:
        """Bins a window; may be set at any time, and running workers follow."""
        return self._shared[_N_BINS]

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        self._check_n_bins(n_bins)
        self._shared[_N_BINS] = whole_number(n_bins, name="n_bins")

    def with_n_bins(self, n_bins: int) -> Self:
        """Give the dataset of the same windows with so many bins each; it shares what was read already."""
        changed = self._copy()
        changed.n_bins = n_bins
        return changed

    @property
    def reader(self) -> Reader:
        """The reader; opened on first use, so that a dataset can be sent to a spawned worker."""
        if self._reader is None:
            self._reader = self._open()
            self._opened_in = os.getpid()
        if os.getpid() != self._opened_in:
            # tensorstore aborts in a forked child, and obstore deadlocks; files are read without obstore.
            if self._reader.has_read or self._reader.objects.local_folder is None:
                raise _forked()
            self._reader = self._open()
            self._opened_in = os.getpid()
        return self._reader

    @property
    def name(self) -> str:
        """Name of the feature set."""
        return self._feature_set

    @property
    def assembly(self) -> Assembly:
        """What the windows lie on."""
        return self.reader.assembly

    @property
    def bin_size(self) -> int:
        """Bases of every bin (bp)."""
        return self.reader.feature_set.bin_size

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the tensors' last axis."""
        return self._view.names

    @property
    def channel_texts(self) -> tuple[str, ...]:
        """What each channel means, in words that begin with its name; of sums of channels the names alone."""
        described = {channel.name: channel.description for channel in self.reader.feature_set.channels}
        if self.settings.projection is not None:
            described = {}
        return tuple(f"{name} {described.get(name, '')}".strip() for name in self.channel_names)

    @property
    def identity(self) -> FeatureIdentity:
        """What decides the meaning of the features, with the channels that are shown."""
        reader = self.reader
        return replace(reader.feature_set.identity(reader.assembly.digest), channels=self.channel_names)

    @property
    def fingerprint(self) -> str:
        """What the features were made with."""
        return self.reader.feature_set.fingerprint

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint by name of the feature set."""
        return {self.name: self.fingerprint}

    @property
    def orient(self) -> Orientation:
        """Which way the bins run: along the forward strand, or along each gene."""
        return self.settings.orient

    @property
    def is_reversed(self) -> NDArray[np.bool_]:
        """Whether the bins of each window run backwards, shape `(windows,)`: see `orient`."""
        return self._reversed

    @property
    def stats(self) -> Stats:
        """What was read in this process."""
        return self.reader.stats

    @property
    def epoch(self) -> int:
        """The epoch that windows are jittered as in: as set in this process, else as set where the dataset was made."""
        own, process = self._own_epoch
        return own if process == os.getpid() else self._shared[_EPOCH]

    def set_epoch(self, epoch: int) -> None:
        """Jitter the windows as in this epoch; `loaders.data_loader` and `WindowStream` call it."""
        own = whole_number(epoch, name="epoch")
        self._own_epoch = own, os.getpid()
        if os.getpid() == self._made_in:
            # Workers that were told no epoch of their own follow. What they are told is theirs alone: another loader
            # of the same dataset may be in another epoch.
            self._shared[_EPOCH] = own

    def __len__(self) -> int:
        return len(self.contigs)

    def subset(self, indices: Sequence[int]) -> Self:
        """Give the dataset of some of the windows, in the order named; it shares what was read already."""
        chosen, places = self._copy(), window_numbers(indices).tolist()
        chosen._set_windows(
            [self.contigs[index] for index in places],
            self.centres[places],
            self._reversed[places],
            self._numbers[places].tolist(),
        )
        return chosen

    def tensor_of(self, values: Values, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Turn what was read for some windows into what this dataset gives: its channels, type and orientation."""
        tensor = self._view.tensor_of(values, self.dtype)
        turned = self._reversed[np.asarray(indices, dtype=np.int64)]
        if turned.any():
            tensor[turned] = tensor[turned].flip(1)
        return tensor

    def _display(self) -> Display:
        settings = self.settings
        where = "" if self.anchors is None else f" around {self.anchors}"
        jitter = {"jitter_bins": settings.jitter_bins, "jitter_bp": settings.jitter_bp}
        moved = "".join(f", {name}={most:,}" for name, most in jitter.items() if most)
        return Display(
            f"{type(self).__name__} of {self.name}{where} in {self._url}",
            (
                ("windows", f"{len(self):,} on {len(set(self.contigs)):,} contigs, orient={self.orient!r}{moved}"),
                ("tensors", f"{self.n_bins:,} bins x {len(self.channel_names):,} channels each, {self.dtype}"),
                ("channels", some(self.channel_names)),
                ("residence", settings.residence),
            ),
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None, "_tables": {}, "_spans": None}

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__, _shared=copy.copy(self._shared))
        return copied

    def _copy(self) -> Self:
        _ = self.reader  # opened before the copy is made, so that both share it
        return copy.copy(self)

    def _batch(self, indices: list[int]) -> Tensor:
        if self.is_on_device:
            # A window that was never built is no matter until it is asked for.
            with suppress(NotBuilt):
                return self.gathered(torch.tensor(indices))
        return self.tensor_of(self._read(indices), indices)

    @property
    def is_on_device(self) -> bool:
        """Whether windows are gathered where the model is: `residence="device"`."""
        return self._settings.residence == "device"

    def gathered(self, numbers: Tensor) -> Tensor:
        """Gather some windows by number, int64, on the device: `(windows, n_bins, channels)`.

        The rows and the plan of the epoch are moved there on first use; after that nothing goes over the host.

        Raises
        ------
        NotBuilt
            If any window of the dataset was never built.
        MemoryBudgetExceeded
            If the rows do not fit the device.
        """
        self._require_own_process()
        state = (self.epoch, self.n_bins, self._settings)
        if self._spans is None or self._spans[0] != state:
            self._spans = state, self.spans_of(*self._planned())
        return self.gathered_from(self._spans[1], numbers, self.n_bins)

    def spans_of(self, requests: Sequence[RowRequest], firsts: NDArray[np.int64]) -> Spans:
        """Bring to the device where windows begin: what `_planned` gives; the rows are read unless they are there."""
        table = self._table
        bases = table.bases_of(requests)
        counts = np.asarray([request.end - request.first for request in requests], dtype=np.int64)
        columns = (bases, firsts, counts, self._reversed)
        return Spans(*(torch.from_numpy(np.ascontiguousarray(column)).to(table.device) for column in columns))

    def gathered_from(self, spans: Spans, numbers: Tensor, n_bins: int) -> Tensor:
        """Gather windows that begin elsewhere than this dataset's own; otherwise as `gathered`."""
        table = self._table
        chosen = spans.take(numbers.to(table.device))
        if not self._view.is_projected:
            return self._view.shown(table.gather(chosen, n_bins), self.dtype)
        # Turned after the product, as elsewhere: what it is rounded to may depend on the order of bins.
        forward = table.gather(chosen._replace(is_turned=torch.zeros_like(chosen.is_turned)), n_bins)
        shown = self._view.shown(forward, self.dtype)
        return torch.where(chosen.is_turned[:, None, None], shown.flip(1), shown)

    @property
    def _table(self) -> RowTable:
        table = self._tables.get(os.getpid())
        if table is None:
            feature_set = self.reader.feature_set
            pad = np.array(feature_set.pad, dtype=feature_set.dtype)
            budget = self._settings.memory_bytes
            table = RowTable(self.reader, pad, columns=self._view.columns, max_bytes=budget)
            self._tables[os.getpid()] = table
        return table

    def _require_own_process(self) -> None:
        if get_worker_info() is not None:
            raise ValueError(
                "windows on the device are gathered by the process of the model, not by workers of a loader; use "
                "num_workers=0, or residence='memory'"
            )


def _forked() -> RuntimeError:
    return RuntimeError(
        "this dataset was used before the process forked, and its store does not survive a fork; start workers with "
        "multiprocessing_context='spawn' or 'forkserver' (`loaders.data_loader` does), or use num_workers=0"
    )


def reversed_windows(strands: Sequence[str] | None, orient: Orientation, n_windows: int) -> NDArray[np.bool_]:
    """Tell which windows run backwards: with `orient="gene"`, those on the minus strand; shape `(windows,)`."""
    if orient == "forward":
        return np.zeros(n_windows, dtype=np.bool_)
    if strands is None or len(strands) != n_windows:
        raise ValueError(f"orient='gene' needs the strand of each of the {n_windows} windows: strands=['+', '-', ...]")
    return np.asarray([strand == "-" for strand in strands], dtype=np.bool_)
