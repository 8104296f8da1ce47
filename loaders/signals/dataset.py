"""Genes with signals as training examples, map-style.

Belongs here: `SignalGeneDataset`, its batches and the copies that share what was read. Does not: opening a store
(`loaders.signals.genes`), rows (`loaders.signals.rows`, `loaders.signals.held`), what is done on the device
(`loaders.signals.batch`).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import overload

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from catalog.runtime.tables import listed
from catalog.runtime.whole_numbers import whole_number
from featurestore.display import Display, Displayed, heading, some
from loaders.joining import JoinReport
from loaders.settings import Orientation
from loaders.signals.batch import Recipe, SignalGeneBatch, StoredGenes
from loaders.signals.names import require_signals
from loaders.signals.scaling import Scale, SignalScaling
from loaders.signals.settings import SignalSettings, checked_length
from loaders.signals.windows import SignalWindows
from loaders.stats import Stats
from loaders.windows.indexing import checked_indices

_FIT_BATCH = 64


class SignalGeneDataset(Displayed, Dataset[SignalGeneBatch]):
    """Genes with the sequence and the signals around their TSS, covariates and targets.

    Made by `signal_gene_dataset`. A list of indices, a slice or one index gives a `SignalGeneBatch`, where the rows
    are: on the GPU with `residence="device"`, else on the host. Where a GPU is to repeat bins, turn and scale, and rows
    are on the host, load `as_stored()`:

        for stored in prefetch(data_loader(dataset.as_stored(), shuffle=True), "cuda"):
            batch = stored.finished()

    Parameters
    ----------
    windows
        One window a gene.
    genes
        Rows of the gene table in the windows' order (`catalog.genes.table.GENE_SCHEMA`).
    columns
        Signals by name: the column of each among those of all sets, one set after the other.
    covariates
        Columns of numbers, one row a gene; no column for none.
    targets
        Expression of each gene, shape `(genes,)`, or `(genes, tasks)`; NaN where it is not known.
    joined
        How the tables met.
    """

    def __init__(
        self,
        windows: SignalWindows,
        genes: pl.DataFrame,
        *,
        columns: Mapping[str, int],
        covariates: pl.DataFrame,
        targets: Sequence[float] | Sequence[Sequence[float]],
        joined: JoinReport | None = None,
    ) -> None:
        self.windows = windows
        """Where the windows are read."""
        self.genes = genes
        self.covariate_names = tuple(covariates.columns)
        """Names of the covariates' last axis."""
        self.covariates = torch.zeros(len(genes), 0)
        """Shape `(genes, covariates)`, float32; not scaled."""
        if covariates.columns:
            self.covariates = torch.from_numpy(covariates.to_numpy().astype(np.float32))
        self.targets = torch.tensor(np.asarray(targets, dtype=np.float64), dtype=torch.float32)
        """Shape `(genes,)`, or `(genes, tasks)`, float32."""
        self.joined = joined
        self.scaling = SignalScaling(signals=tuple(columns))
        """How signals are scaled; raw until `with_scaling` says otherwise."""
        self._columns = dict(columns)
        self._length = windows.settings.length
        lengths = windows.assembly.lengths
        self._tss = genes["tss"].to_numpy()
        self._contig_lengths = np.asarray([lengths[contig] for contig in genes["contig"]], dtype=np.int64)
        self._is_turned = np.zeros(len(genes), dtype=np.bool_)
        if windows.settings.orient == "gene":
            self._is_turned = (genes["strand"] == "-").to_numpy()

    @property
    def settings(self) -> SignalSettings:
        """How windows are read."""
        return replace(self.windows.settings, length=self._length)

    @property
    def signal_names(self) -> tuple[str, ...]:
        """Names of the signals' last axis."""
        return tuple(self._columns)

    @property
    def gene_ids(self) -> list[str]:
        """Identifier of each gene."""
        return self.genes["gene_id"].to_list()

    @property
    def length(self) -> int:
        """Bases of a window (bp); may be set at any time. `with_length` changes a copy instead."""
        return self._length

    @length.setter
    def length(self, length: int) -> None:
        length = checked_length(length)
        self.windows.check_length(length)
        self._length = length

    @property
    def n_bins(self) -> int:
        """Bins of 1 bp a window, which is its length, under the name that other datasets have."""
        return self.length

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        self.length = n_bins

    @property
    def tss_index(self) -> int:
        """Place of the TSS in a window; one that is turned has it at `length - 1 - tss_index`."""
        return self.length // 2

    @property
    def orient(self) -> Orientation:
        """Which way windows run: along the forward strand, or along each gene."""
        return self.windows.settings.orient

    @property
    def is_turned(self) -> NDArray[np.bool_]:
        """Whether each window is reversed, shape `(genes,)`: see `orient`."""
        return self._is_turned

    @property
    def fingerprints(self) -> dict[str, str]:
        """What each feature set was made with, by its name."""
        return {name: identity.fingerprint or "" for name, identity in self.windows.identities.items()}

    @property
    def stats(self) -> Stats:
        """What was read in this process (`SignalWindows.stats`)."""
        return self.windows.stats

    @property
    def past_contig(self) -> list[str]:
        """Ids of the genes whose windows leave their contig: bases there are N, and signals what the set has for it."""
        inside = self._inside(np.arange(len(self)))
        return self.genes["gene_id"].filter(pl.Series(self._is_cut(inside), dtype=pl.Boolean)).to_list()

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard each TSS lies in, by number: the blocks of a two-level shuffle, shape `(genes,)`."""
        return self.windows.blocks()

    def __len__(self) -> int:
        return len(self.genes)

    @overload
    def __getitem__(self, index: int) -> SignalGeneBatch: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[np.int64]) -> SignalGeneBatch: ...
    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.int64]) -> SignalGeneBatch:
        """Read some genes, of a list of indices or a slice; a single index gives a batch of one."""
        return self.stored(index).finished()

    def __getitems__(self, indices: Sequence[int]) -> list[SignalGeneBatch]:
        """Read many genes in one request a set, as one batch; DataLoader calls this when it makes batches itself."""
        return [self[list(indices)]]

    def stored(self, index: int | slice | Sequence[int] | NDArray[np.int64]) -> StoredGenes:
        """Read some genes as the store has them; `finished()` of what it gives is the batch."""
        if isinstance(index, slice):
            index = range(len(self))[index]
        listed_indices = index if isinstance(index, Sequence | np.ndarray) else [whole_number(index, name="index")]
        places = np.asarray(checked_indices(listed_indices, len(self)), dtype=np.int64) % len(self)
        is_log = self.scaling.kind == "log1p"
        read = self.windows.read(self.windows.genes[places], self._length, refuse_negatives=is_log)
        inside, chosen = self._inside(places), torch.from_numpy(places)
        cut, turned = np.flatnonzero(self._is_cut(inside)), np.flatnonzero(self._is_turned[places])
        device = read.sequence.device
        return StoredGenes(
            sequence=read.sequence,
            bins=read.bins,
            shifts=read.shifts,
            cut=torch.from_numpy(cut).to(device),
            inside=torch.from_numpy(inside[cut]).to(device),
            turned=torch.from_numpy(turned).to(device),
            covariates=self.covariates[chosen].to(device),
            targets=self.targets[chosen].to(device),
            indices=chosen.to(device),
            recipe=self._recipe(),
        )

    def as_stored(self) -> "StoredDataset":
        """Give the same genes as batches that are finished on the device they are moved to."""
        return StoredDataset(self)

    def subset(self, gene_ids: Sequence[str]) -> "SignalGeneDataset":
        """Give the dataset of some of the genes, in the order of this one; it shares what was read already."""
        wanted = set(gene_ids)
        keep = [place for place, gene in enumerate(self.gene_ids) if gene in wanted]
        chosen = copy.copy(self)
        chosen.windows = self.windows.of(self.windows.genes[keep])
        chosen.genes, chosen.covariates, chosen.targets = self.genes[keep], self.covariates[keep], self.targets[keep]
        chosen._is_turned = self._is_turned[keep]
        chosen._tss, chosen._contig_lengths = self._tss[keep], self._contig_lengths[keep]
        return chosen

    def with_length(self, length: int) -> "SignalGeneDataset":
        """Give the dataset of the same genes with windows of so many bases; it shares what was read already."""
        changed = copy.copy(self)
        changed.windows = copy.copy(self.windows)
        changed.length = length
        return changed

    def with_n_bins(self, n_bins: int) -> "SignalGeneDataset":
        """Do the same, under the name that other datasets have."""
        return self.with_length(n_bins)

    def unjittered(self) -> "SignalGeneDataset":
        """Give the same genes, whose windows have no jitter."""
        return self

    def with_signals(self, names: Sequence[str]) -> "SignalGeneDataset":
        """Give the dataset of the same genes with some of the signals, in this order; it shares what was read already.

        Raises
        ------
        ValueError
            If there is no such signal, or one is named twice; or if signals are scaled by training genes, for then they
            are chosen first.
        """
        if self.scaling.kind == "zscore":
            raise ValueError("signals are chosen before they are scaled: take `with_signals`, then `with_scaling`")
        changed = copy.copy(self)
        changed._columns = {name: self._columns[name] for name in require_signals(names, self.signal_names)}
        changed.scaling = replace(self.scaling, signals=tuple(changed._columns))
        return changed

    def fit_scaling(self, kind: Scale) -> SignalScaling:
        """Fit a scale on the raw signals of these genes: call it on the training genes alone."""
        raw = copy.copy(self)
        raw.scaling = SignalScaling(signals=self.signal_names)
        batches = (raw[first : first + _FIT_BATCH].signals for first in range(0, len(raw), _FIT_BATCH))
        return SignalScaling.fitted(kind, self.signal_names, batches)

    def with_scaling(self, scaling: SignalScaling) -> "SignalGeneDataset":
        """Give the dataset of the same genes with its signals scaled; ValueError if it was fitted on other signals."""
        if scaling.signals != self.signal_names:
            raise ValueError(
                f"the scaling was fitted on the signals {listed(scaling.signals) or 'none'}, and these genes have "
                f"{listed(self.signal_names) or 'none'}; choose the same ones in the same order "
                "(`with_signals`), or fit it on these"
            )
        changed = copy.copy(self)
        changed.scaling = scaling
        return changed

    def _inside(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the first and the end base of some windows that lie on their contigs, shape `(genes, 2)`."""
        starts = self._tss[places] - self._length // 2
        return np.stack([-starts, self._contig_lengths[places] - starts], axis=1).clip(0, self._length)

    def _is_cut(self, inside: NDArray[np.int64]) -> NDArray[np.bool_]:
        is_cut: NDArray[np.bool_] = inside[:, 1] - inside[:, 0] < self._length
        return is_cut

    def _recipe(self) -> Recipe:
        columns = tuple(self._columns.values())
        partners = [self.windows.partners.get(column, (column, 1.0)) for column in columns]
        return Recipe(
            length=self._length,
            bin_sizes=tuple(one.bin_size for one in self.windows.signals),
            pads=tuple(pad for one in self.windows.signals for pad in one.pad),
            columns=columns,
            turned_columns=tuple(column for column, _ in partners),
            turned_signs=tuple(sign for _, sign in partners),
            scaling=self.scaling,
        )

    def _display(self) -> Display:
        sets = [f"{one.name} ({one.bin_size:,} bp)" for one in self.windows.sets]
        return Display(
            f"{type(self).__name__} of {', '.join(sets)}",
            (
                ("genes", f"{len(self):,}, orient={self.orient!r}, {len(self.past_contig):,} past the end of a contig"),
                ("windows", f"{self._length:,} bp, TSS at {self.tss_index:,}"),
                ("signals", f"{some(self.signal_names)}; {self.scaling.kind}"),
                ("covariates", some(self.covariate_names) or "none"),
                ("residence", self.settings.residence),
            ),
        )


class StoredDataset(Displayed, Dataset[StoredGenes]):
    """The genes of a `SignalGeneDataset` as batches that are finished after they were moved: `as_stored()`."""

    def __init__(self, dataset: SignalGeneDataset) -> None:
        self.dataset = dataset

    @property
    def stats(self) -> Stats:
        """What was read in this process."""
        return self.dataset.stats

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard each TSS lies in, by number, shape `(genes,)`."""
        return self.dataset.blocks()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.int64]) -> StoredGenes:
        """Read some genes as the store has them."""
        return self.dataset.stored(index)

    def _display(self) -> Display:
        return Display(f"{type(self).__name__} of {heading(self.dataset)}", self.dataset._display().rows)
