"""Rows of a feature set on the device where the model is, and windows gathered from them there.

Belongs here: the table of rows, and the one gather that makes windows of it. Does not: which rows a window has
(`featurestore.rows.window_plan`, `loaders.windows.grid`, `loaders.windows.anchored`), channels and types
(`loaders.windows.channels`).

A human genome of 61 channels is 92 MB, a batch of its windows moves as much every few hundred genes. So the rows are
moved once, and of an epoch only where each window begins.
"""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featurestore import RowRequest, read_rows
from loaders.residence.memory import MemoryBudgetExceeded, ReadsRows

Place = tuple[str, int]
"""A contig and phase, or what else a reader counts rows of."""
_FREE_SHARE = 0.9
"""Most of a GPU's free memory that rows take; the rest is for the model's next step."""


class Spans(NamedTuple):
    """Where some windows begin, on the device; each shape `(windows,)`, int64."""

    bases: Tensor
    """Row of the table at which the window's contig and phase begins."""
    firsts: Tensor
    """Row of the first bin from there; negative where the window begins before its contig."""
    counts: Tensor
    """Rows of that contig and phase; a bin at or past them is the pad row."""
    is_turned: Tensor
    """Whether bins run backwards, bool."""

    def take(self, numbers: Tensor) -> "Spans":
        """Give those of some windows, by number, int64 on the device."""
        return Spans(*(column.index_select(0, numbers) for column in self))


def windows_device() -> torch.device:
    """Choose the device that windows are gathered on: this process's GPU if there is one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


class RowTable:
    """Rows of whole phases of contigs, one below the other, behind the pad row. Grows by what is asked for.

    Parameters
    ----------
    reader
        Where rows come from.
    pad
        Row of bins outside the contig, shape `(channels,)`, all channels.
    columns
        Channels that are kept, in this order; None for all.
    max_bytes
        Most that it takes on a CPU (bytes). On a GPU its free memory decides.
    """

    def __init__(
        self, reader: ReadsRows, pad: NDArray[np.generic], *, columns: Sequence[int] | None, max_bytes: int
    ) -> None:
        self._reader = reader
        self._columns = None if columns is None else list(columns)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bases: dict[Place, int] = {}
        self._rows = self._moved([pad[None]], windows_device())

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self._rows.device

    @property
    def nbytes(self) -> int:
        """What they take (bytes)."""
        return self._rows.numel() * self._rows.element_size()

    def bases_of(self, requests: Sequence[RowRequest]) -> NDArray[np.int64]:
        """Give the row at which each request's rows begin, which are read unless they are here; shape `(requests,)`.

        A request stands for all rows that its address holds, as an anchor's window or a phase of a contig.

        Raises
        ------
        MemoryBudgetExceeded
            If they do not fit the device; nothing is read then.
        """
        with self._lock:
            absent = sorted({request for request in requests if request[:2] not in self._bases})
            if absent:
                self._add(absent)
        return np.asarray([self._bases[request[:2]] for request in requests], dtype=np.int64)

    def gather(self, spans: Spans, n_bins: int) -> Tensor:
        """Give the windows, shape `(windows, n_bins, channels)`, in the type of the store; all work is the device's."""
        bins = torch.arange(n_bins, device=self.device)
        turned = spans.is_turned.unsqueeze(1)
        rows = spans.firsts.unsqueeze(1) + torch.where(turned, n_bins - 1 - bins, bins)
        is_inside = (rows >= 0) & (rows < spans.counts.unsqueeze(1))
        rows = torch.where(is_inside, rows + spans.bases.unsqueeze(1), 0)
        return self._rows.index_select(0, rows.flatten()).view(*rows.shape, -1)

    def _add(self, requests: list[RowRequest]) -> None:
        n_rows = sum(request.end - request.first for request in requests)
        self._require_room(n_rows)
        feature_set = self._reader.feature_set
        found = read_rows(self._reader.source, requests, len(self._reader.channel_names), feature_set.dtype)
        end = len(self._rows)
        self._rows = torch.cat([self._rows, self._moved(found, self.device)])
        for request in requests:
            self._bases[request[:2]] = end
            end += request.end - request.first

    def _moved(self, rows: Sequence[NDArray[np.generic]], device: torch.device) -> Tensor:
        chosen = [part if self._columns is None else part[:, self._columns] for part in rows]
        return torch.from_numpy(np.concatenate(chosen)).to(device)

    def _require_room(self, n_rows: int) -> None:
        needed = n_rows * self._rows.shape[1] * self._rows.element_size()
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            room = int(free * _FREE_SHARE)
            # The table is made anew around the old one, and what comes new is there beside it.
            wanted, mend = self.nbytes + 2 * needed, "use a GPU with more memory"
        else:
            room, wanted = self._max_bytes, self.nbytes + needed
            mend = f"give at least memory_bytes={wanted}"
        if wanted > room:
            raise MemoryBudgetExceeded(
                f"the rows of {self._reader.name} that these windows need take {wanted:,} bytes on {self.device}, and "
                f"{room:,} may be taken; {mend}, or keep rows in the host's memory (residence='memory'), on the local "
                "disk (residence='cache') or nowhere (residence='stream')"
            )
