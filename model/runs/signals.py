"""Genes with sequence, measured signals and covariates, as a training reads them.

Belongs here: from tables and a store to a `GeneDataset` whose features are `StoredFeatures`. Does not: reading and
joining (`loaders.signals`), the options (`model.runs.signal_inputs`).
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from catalog import Assembly, FeatureIdentity, read_gene_table
from catalog.expression.covariates import read_covariates
from catalog.expression.targets import TargetSettings
from featurestore import Store
from loaders import GeneDataset, SignalGeneDataset, SignalSettings, Stats, WindowSettings, signal_gene_dataset
from loaders.settings import Orientation
from loaders.windows.source import Placed, WindowSource
from model.networks.prism.features import InputNames, StoredFeatures
from model.runs.signal_inputs import CONTEXT, SignalInputs, SignalRecord


class SignalSource:
    """Windows with signals as a `WindowSource`, whose bins are bases and whose channels are signals and covariates.

    A batch is no tensor, but a `StoredFeatures`.

    Parameters
    ----------
    signals
        Genes with their signals.
    covariates
        Where their covariates come from, for the record.
    """

    bin_size = 1
    anchors: str | None = None

    def __init__(self, signals: SignalGeneDataset, *, covariates: Path | None = None) -> None:
        self.signals = signals
        self._covariates = covariates

    @property
    def n_bins(self) -> int:
        """Bases a window; may be set at any time."""
        return self.signals.length

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        self.signals.length = n_bins

    @property
    def settings(self) -> WindowSettings:
        """How windows are cut, read and shown."""
        own = self.signals.settings
        return WindowSettings(
            n_bins=own.length, orient=own.orient, residence=own.residence, storage_options=own.storage_options
        )

    @property
    def name(self) -> str:
        """Names of the feature sets, comma-separated."""
        return ",".join(self.signals.windows.identities)

    @property
    def assembly(self) -> Assembly:
        """What the windows lie on."""
        return self.signals.windows.assembly

    @property
    def contigs(self) -> tuple[str, ...]:
        """Contig of each window."""
        return tuple(self.signals.genes["contig"].to_list())

    @property
    def centres(self) -> NDArray[np.int64]:
        """TSS of each gene, shape `(windows,)` (bp)."""
        return self.signals.genes["tss"].to_numpy()

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the signals and of the covariates."""
        return InputNames(self.signals.signal_names, self.signals.covariate_names).channels()

    @property
    def channel_texts(self) -> tuple[str, ...]:
        """The same."""
        return self.channel_names

    @property
    def identity(self) -> FeatureIdentity:
        """What decides the meaning of the features, set by set."""
        identities = self.signals.windows.identities
        first = next(iter(identities.values()))
        return replace(
            first,
            name=self.name,
            extractor=",".join(str(one.extractor) for one in identities.values()),
            bin_size=1,
            dtype=None,
            channels=self.channel_names,
            fingerprint=self.fingerprint,
        )

    @property
    def fingerprint(self) -> str:
        """What the features were made with, set by set."""
        return ",".join(f"{name}={made}" for name, made in self.fingerprints.items())

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint by name of the feature set."""
        return self.signals.fingerprints

    @property
    def orient(self) -> Orientation:
        """Which way the windows run."""
        return self.signals.orient

    @property
    def is_reversed(self) -> NDArray[np.bool_]:
        """Whether each window runs backwards, shape `(windows,)`."""
        return self.signals.is_turned

    @property
    def stats(self) -> Stats:
        """What was read in this process."""
        return self.signals.stats

    def __len__(self) -> int:
        return len(self.signals)

    def __getitem__(self, index: list[int], /) -> Tensor:
        """Read some windows as a batch."""
        return cast("Tensor", StoredFeatures(self.signals.stored(index)))

    def set_epoch(self, epoch: int) -> None:
        """Change nothing: there is no jitter."""

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard each window's centre lies in, by number, shape `(windows,)`."""
        return self.signals.blocks()

    def placed(self, indices: Sequence[int]) -> Placed:
        """Place some windows; nothing is read."""
        centres = self.centres[list(indices)]
        nothing = np.zeros(len(centres), dtype=np.int64)
        return Placed(centres, centres - self.n_bins // 2, nothing, nothing)

    def subset(self, indices: Sequence[int]) -> "SignalSource":
        """Give some of the windows."""
        ids = self.signals.gene_ids
        return SignalSource(self.signals.subset([ids[place] for place in indices]), covariates=self._covariates)

    def with_n_bins(self, n_bins: int) -> "SignalSource":
        """Give the same windows with so many bases each."""
        return SignalSource(self.signals.with_length(n_bins), covariates=self._covariates)

    def unjittered(self) -> "SignalSource":
        """Give the same windows, which have no jitter."""
        return self

    def elsewhere(self, contigs: Sequence[str], centres: ArrayLike) -> WindowSource:
        """Refuse: covariates are those of genes."""
        raise ValueError("windows with signals lie around genes, whose covariates they have; name genes there")

    def record(self) -> SignalRecord:
        """Give what a run records of them."""
        own = self.signals.settings
        return SignalRecord(
            sets=own.signals,
            sequence=own.sequence,
            signals=self.signals.signal_names,
            covariates=None if self._covariates is None else str(self._covariates.resolve()),
            covariate_columns=self.signals.covariate_names,
            stranded=own.stranded,
        )


def signals_of(dataset: GeneDataset) -> SignalSource | None:
    """Give the windows with signals of a dataset; None where it has others."""
    windows: Any = getattr(dataset, "windows", None)  # datasets in memory have none
    return windows if isinstance(windows, SignalSource) else None


def genes_with_signals(signals: SignalGeneDataset, *, covariates: Path | None = None) -> GeneDataset:
    """Give genes with signals as the dataset that predictors read.

    Parameters
    ----------
    covariates
        Where their covariates come from, for the record of a run.
    """
    return GeneDataset(
        SignalSource(signals, covariates=covariates),
        signals.genes,
        prompts=[""] * len(signals),
        targets=signals.targets.tolist(),
        joined=signals.joined,
    )


def load_signal_genes(
    store: str,
    inputs: SignalInputs,
    *,
    genes: str | os.PathLike[str],
    targets: str | os.PathLike[str] | None,
    target_column: str | None = None,
    target_settings: TargetSettings | None = None,
    windows: WindowSettings | None = None,
) -> GeneDataset:
    """Read the tables and join them to the sequence and the signals of a store.

    Parameters
    ----------
    inputs
        Feature sets, covariates, and length of the windows.
    target_settings
        How the table of targets gives one value a gene; None for a column of it.
    windows
        Channels, orientation, and where rows are kept; the other fields are those of windows of bins.

    Raises
    ------
    ValueError
        As `loaders.signal_gene_dataset` and `catalog.expression.covariates.read_covariates`, or if `windows` has what
        windows with signals have not.
    """
    windows = windows or WindowSettings()
    if windows.n_bins != WindowSettings().n_bins or windows.jitter_bins or windows.jitter_bp:
        raise ValueError(
            "windows with signals are counted in bases and have no jitter: say `context=` (bp), and leave `n_bins=`, "
            "`jitter_bins=` and `jitter_bp=` out"
        )
    measured = None if targets is None else (target_settings or TargetSettings()).read(targets, column=target_column)
    table = read_gene_table(genes)
    columns = inputs.covariate_columns
    told = None if inputs.covariates is None else read_covariates(inputs.covariates, columns=columns)
    dataset = signal_gene_dataset(
        store,
        table.genes,
        targets=measured,
        covariates=told,
        covariate_columns=columns,
        settings=SignalSettings(
            signals=inputs.signals,
            sequence=inputs.sequence,
            channels=windows.channels,
            length=CONTEXT if inputs.context is None else inputs.context,
            orient=windows.orient,
            stranded=inputs.stranded,
            residence=windows.residence,
            storage_options=windows.storage_options,
            memory_bytes=windows.memory_bytes,
            cache_dir=windows.cache_dir,
            cache_bytes=windows.cache_bytes,
            stream_bytes=windows.stream_bytes,
        ),
    )
    if dataset.joined is not None:
        dataset.joined = replace(dataset.joined, left_out=table.report.left_out)
    return genes_with_signals(dataset, covariates=inputs.covariates)


def load_signal_genes_as_trained(
    record: SignalRecord,
    store: str,
    *,
    genes: str | os.PathLike[str],
    targets: str | os.PathLike[str] | None,
    length: int,
    orient: Orientation,
    covariates: Path | None = None,
    target_column: str | None = None,
    target_settings: TargetSettings | None = None,
    windows: WindowSettings | None = None,
) -> GeneDataset:
    """Read genes with the signals and covariates that a run learned from.

    Parameters
    ----------
    covariates
        Where their table lies now; None for where it was in training.

    Raises
    ------
    ValueError
        As `load_signal_genes`; signals or covariates that are not there are named.
    """
    inputs = SignalInputs(
        signals=record.sets,
        sequence=record.sequence,
        covariates=covariates_as_trained(record, covariates),
        covariate_columns=record.covariate_columns or None,
        stranded=record.stranded,
        context=length,
    )
    return load_signal_genes(
        store,
        inputs,
        genes=genes,
        targets=targets,
        target_column=target_column,
        target_settings=target_settings,
        windows=replace(windows or WindowSettings(), channels=record.signals, orient=orient),
    )


def covariates_as_trained(record: SignalRecord, covariates: Path | None = None) -> Path | None:
    """Say where the table of a run's covariates lies; None where it reads none, ValueError if it is not there."""
    if not record.covariate_columns:
        return None
    place = covariates or (None if record.covariates is None else Path(record.covariates))
    if place is None or not place.is_file():
        raise ValueError(
            f"the run reads the covariates {', '.join(record.covariate_columns)}, and {place} is not there; say where "
            "their table lies: `covariates=`"
        )
    return place


def signals_around(
    record: SignalRecord,
    store: Store,
    genes: pl.DataFrame,
    *,
    length: int,
    orient: Orientation,
    covariates: pl.DataFrame | None,
) -> GeneDataset:
    """Read some genes of a store that is open, as a run learned from them; nothing is held in memory.

    Parameters
    ----------
    genes
        Rows of a gene table.
    covariates
        Table of `catalog.expression.covariates.read_covariates`; None for a run that reads none.

    Raises
    ------
    ValueError
        As `loaders.signal_gene_dataset`.
    """
    settings = SignalSettings(
        signals=record.sets,
        sequence=record.sequence,
        channels=record.signals,
        length=length,
        orient=orient,
        stranded=record.stranded,
        residence="stream",
    )
    columns = record.covariate_columns or None
    return genes_with_signals(
        signal_gene_dataset(store, genes, covariates=covariates, covariate_columns=columns, settings=settings)
    )
