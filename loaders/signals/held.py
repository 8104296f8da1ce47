"""Rows of genes' windows in memory: of every set only those, on the host or on the GPU.

Belongs here: the tables, within a budget, and gathering batches from them. Does not: which rows and how they are read
(`loaders.signals.rows`).

A human genome at 1 bp takes 3.1 GB a byte and channel; the windows of 18,377 genes of 2,000 bp take 37 MB.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featurestore.rows.source import gather
from loaders.residence.memory import MemoryBudgetExceeded
from loaders.signals.rows import SetRows, Spans

_FREE_SHARE = 0.9
"""Most of a GPU's free memory that tables take; the rest is for the model's next step."""


class _Table(NamedTuple):
    rows: Tensor
    """Shape `(rows, channels)`, in the type of the store."""
    places: NDArray[np.int64]
    """Where each window begins in it, shape `(genes,)`."""
    firsts: NDArray[np.int64]
    """The row of the set that lies there, shape `(genes,)`."""


class HeldGenes:
    """Tables of the windows of some genes, one a feature set; shorter windows are read from the same ones.

    Parameters
    ----------
    sets
        Where rows come from.
    genes
        Numbers of the genes, each once.
    n_genes
        Of all genes that the sets know.
    length
        Of a window (bp).
    device
        Where the tables lie.
    max_bytes
        Most that they take on a CPU (bytes). On a GPU its free memory decides.

    Raises
    ------
    MemoryBudgetExceeded
        If they do not fit; nothing is read then.
    NotBuilt
        If one of the windows was never built.
    """

    def __init__(
        self,
        sets: Sequence[SetRows],
        genes: NDArray[np.int64],
        n_genes: int,
        *,
        length: int,
        device: torch.device,
        max_bytes: int,
    ) -> None:
        self._length = length
        self.device = device
        self._place = np.full(n_genes, -1, dtype=np.int64)
        self._place[genes] = np.arange(len(genes))
        planned = [_planned(one, genes, length) for one in sets]
        _require_room(planned, len(genes), device, max_bytes)
        self._tables = [_read(one, genes, device) for one in planned]

    @property
    def nbytes(self) -> int:
        """What the tables take (bytes)."""
        return sum(table.rows.numel() * table.rows.element_size() for table in self._tables)

    def covers(self, genes: NDArray[np.int64], length: int) -> bool:
        """Tell whether windows of so many bases of these genes are held."""
        return length <= self._length and bool((self._place[genes] >= 0).all())

    def take(self, genes: NDArray[np.int64], spans: Sequence[Spans]) -> list[Tensor]:
        """Gather windows, `(windows, n_rows, channels)` of each set, in the type of the store."""
        chosen = self._place[genes]
        return [
            _gathered(table.rows, table.places[chosen] + one.firsts - table.firsts[chosen], one.n_rows)
            for table, one in zip(self._tables, spans, strict=True)
        ]

    def rows(self) -> list[Tensor]:
        """Give all rows of each set, `(rows, channels)`."""
        return [table.rows for table in self._tables]


class _Planned(NamedTuple):
    rows: SetRows
    spans: Spans
    n_rows: int
    """Of the table."""
    places: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        return self.n_rows * len(self.rows.columns) * self.rows.windows.reader.feature_set.value_type.item_bytes


def _planned(rows: SetRows, genes: NDArray[np.int64], length: int) -> _Planned:
    spans = rows.spans(genes, length)
    spans = spans._replace(n_rows=spans.n_rows + rows.slack)
    return _Planned(rows, spans, *rows.table_rows(genes, spans))


def _read(planned: _Planned, genes: NDArray[np.int64], device: torch.device) -> _Table:
    rows = planned.rows
    table = np.empty((planned.n_rows, len(rows.columns)), dtype=rows.windows.reader.feature_set.dtype)
    rows.fill(table, genes, planned.spans)
    return _Table(torch.from_numpy(table).to(device), planned.places, planned.spans.firsts)


def _gathered(rows: Tensor, firsts: NDArray[np.int64], n_rows: int) -> Tensor:
    if rows.device.type == "cpu":
        return torch.from_numpy(gather(rows.numpy(), firsts, n_rows))
    return gathered_by_rows(rows, torch.from_numpy(firsts).to(rows.device), n_rows)


def gathered_by_rows(rows: Tensor, firsts: Tensor, n_rows: int) -> Tensor:
    """Gather windows of consecutive rows on a device, shape `(windows, n_rows, channels)`."""
    numbers = firsts[:, None] + torch.arange(n_rows, device=rows.device)
    return rows.index_select(0, numbers.flatten()).view(len(firsts), n_rows, -1)


def _require_room(planned: Sequence[_Planned], n_genes: int, device: torch.device, max_bytes: int) -> None:
    needed = sum(one.nbytes for one in planned)
    if device.type == "cuda":
        room, mend = int(torch.cuda.mem_get_info(device)[0] * _FREE_SHARE), "use a GPU with more memory"
    else:
        room, mend = max_bytes, f"give at least memory_bytes={needed}"
    if needed > room:
        raise MemoryBudgetExceeded(
            f"the windows of {n_genes:,} genes take {needed:,} bytes on {device}, and {room:,} may be taken; {mend}, "
            "take a smaller `length=`, or keep rows on the local disk (residence='cache') or nowhere "
            "(residence='stream')"
        )
