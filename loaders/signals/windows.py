"""Windows of several feature sets around genes, read together, each set in its own bins.

Belongs here: where rows come from by residence, and what is held in memory. Does not: the rows of one set
(`loaders.signals.rows`), genes (`loaders.signals.dataset`), what is done on the device (`loaders.signals.batch`).
"""

import copy
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catalog import Assembly, FeatureIdentity
from loaders.signals.batch import N_CODE
from loaders.signals.held import HeldGenes
from loaders.signals.names import refuse_signs
from loaders.signals.rows import SetRows
from loaders.signals.scaling import refuse_negative
from loaders.signals.settings import SignalSettings
from loaders.stats import Stats, Tally
from loaders.windows.row_table import windows_device

IN_MEMORY = ("memory", "device")
"""Residences that hold the rows of the genes' windows."""


class ReadWindows(NamedTuple):
    """Windows of some genes as the store holds them."""

    sequence: Tensor
    """Bases along the forward strand, shape `(genes, length)`, uint8."""
    bins: tuple[Tensor, ...]
    """Bins of each set of signals, shape `(genes, n_rows, channels)`, in the type of the store."""
    shifts: tuple[Tensor, ...]
    """Bases of the first bin before the window, for each set, shape `(genes,)`, int64."""


class SignalWindows:
    """The windows of some genes, which are counted from 0.

    Parameters
    ----------
    sequence
        Rows of the bases; None for windows without sequence.
    signals
        Rows of the sets of signals, in order.
    n_genes
        Of all genes that the sets know.
    settings
        How windows are read; its length is that of the first windows.
    names
        Of the columns of all sets of signals, one set after the other.
    partners
        Of a column of a stranded pair: the other one, which takes its place in a turned window, and the sign that it
        is multiplied by.

    Raises
    ------
    ValueError
        If one of the sets does not reach that far.
    """

    bin_size = 1
    """Of the sequence (bp)."""

    def __init__(
        self,
        sequence: SetRows | None,
        signals: Sequence[SetRows],
        n_genes: int,
        settings: SignalSettings,
        *,
        names: Sequence[str],
        partners: Mapping[int, tuple[int, float]],
    ) -> None:
        self.sequence = sequence
        self.signals = list(signals)
        self.settings = settings
        self.names = tuple(names)
        """Of the columns of all sets of signals."""
        self.partners = dict(partners)
        """By column of a stranded pair: the other one, and the sign that it is multiplied by."""
        self.genes = np.arange(n_genes, dtype=np.int64)
        """Numbers of the genes that are read; what is held in memory holds all of them."""
        self._n_known = n_genes
        self._held: HeldGenes | None = None
        self._has_no_negatives = False
        self._lock = threading.Lock()
        self._tally = Tally()
        self.check_length(settings.length)

    @property
    def sets(self) -> list[SetRows]:
        """Rows of all sets, the sequence first."""
        return [*([] if self.sequence is None else [self.sequence]), *self.signals]

    @property
    def assembly(self) -> Assembly:
        """What the windows lie on."""
        return self.sets[0].windows.assembly

    @property
    def identities(self) -> dict[str, FeatureIdentity]:
        """What decides the meaning of each set's values, by its name, with the channels that are read."""
        return {
            one.name: replace(
                one.windows.identity, channels=tuple(one.windows.channel_names[column] for column in one.columns)
            )
            for one in self.sets
        }

    @property
    def stats(self) -> Stats:
        """What was read in this process; a gene counts as a window of each set that is read, of memory once."""
        return Stats.total([self._tally.stats(), *(one.windows.stats for one in self.sets)])

    @property
    def held_bytes(self) -> int:
        """Memory that rows take (bytes); 0 before the first batch, and where nothing is held."""
        return 0 if self._held is None else self._held.nbytes

    @property
    def _is_held(self) -> bool:
        return self.settings.residence in IN_MEMORY

    def check_length(self, length: int) -> None:
        """Refuse, with a ValueError, windows that one of the sets does not hold."""
        for one in self.sets:
            one.spans(self.genes[:1], length)

    def of(self, genes: NDArray[np.int64]) -> "SignalWindows":
        """Give the windows of some of the genes, by number; what was read already is shared."""
        chosen = copy.copy(self)
        chosen.genes = genes
        return chosen

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard of the first set each gene lies in, by number, shape `(genes,)`."""
        return self.sets[0].windows.blocks()[self.genes]

    def read(self, genes: NDArray[np.int64], length: int, *, refuse_negatives: bool = False) -> ReadWindows:
        """Read windows of some genes, by number, in one request a set.

        Raises
        ------
        ValueError
            If a signal is negative and `refuse_negatives` is set; if what is held of a stranded pair has other signs
            than were named; if the sequence holds another code than those of bases.
        """
        spans = [one.spans(genes, length) for one in self.sets]
        if self._is_held:
            start = time.perf_counter()
            values = self._held_windows(length).take(genes, spans)
            self._tally.add(windows=len(genes), read_s=time.perf_counter() - start)
        else:
            values = [torch.from_numpy(one.read(genes, span)) for one, span in zip(self.sets, spans, strict=True)]
        device = values[0].device
        shifts = [torch.from_numpy(span.shifts).to(device) for span in spans]
        if self.sequence is None:
            bases = torch.full((len(genes), length), N_CODE, dtype=torch.uint8, device=device)
        else:
            bases, values, shifts = values[0][..., 0], values[1:], shifts[1:]
            if not self._is_held:
                _refuse_unknown_codes(bases, self.sequence.name)
        if refuse_negatives:
            self._refuse_negatives(values)
        return ReadWindows(bases, tuple(values), tuple(shifts))

    def _held_windows(self, length: int) -> HeldGenes:
        with self._lock:
            if self._held is None or not self._held.covers(self.genes, length):
                device = windows_device() if self.settings.residence == "device" else torch.device("cpu")
                self._held = HeldGenes(
                    self.sets,
                    self.genes,
                    self._n_known,
                    length=length,
                    device=device,
                    max_bytes=self.settings.memory_bytes,
                )
                self._has_no_negatives = False
                if self.sequence is not None:
                    _refuse_unknown_codes(self._held.rows()[0], self.sequence.name)
                self._refuse_other_signs(self._held.rows()[len(self.sets) - len(self.signals) :])
            return self._held

    def _refuse_negatives(self, values: Sequence[Tensor]) -> None:
        """Check what was read, or once all that is held."""
        if self._has_no_negatives:
            return
        held = self._held
        first = 0
        for tensor in values if held is None else held.rows()[len(self.sets) - len(values) :]:
            refuse_negative(tensor, self.names[first : first + tensor.shape[-1]])
            first += tensor.shape[-1]
        self._has_no_negatives = held is not None

    def _refuse_other_signs(self, tables: Sequence[Tensor]) -> None:
        """Check that stranded pairs change places with the signs that they are stored with."""
        if self.settings.orient != "gene" or not self.partners:
            return
        columns = [table[:, number] for table in tables for number in range(table.shape[1])]
        for column, (other, sign) in self.partners.items():
            if column < other:
                one, two = columns[column].aminmax(), columns[other].aminmax()
                refuse_signs(self.names[column], self.names[other], sign, [*map(float, one)], [*map(float, two)])

    def __copy__(self) -> "SignalWindows":
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__, _lock=threading.Lock())
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_held": None, "_has_no_negatives": False, "_lock": None, "_tally": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _tally=Tally())


def _refuse_unknown_codes(sequence: Tensor, name: str) -> None:
    most = int(sequence.max()) if sequence.numel() else 0
    if most > N_CODE:
        raise ValueError(
            f"{name} holds the code {most}, and a sequence has 0 to 3 for A, C, G, T and {N_CODE} for N; build it anew "
            "(`featurestore build-sequence`), or name another set (`sequence=`)"
        )
