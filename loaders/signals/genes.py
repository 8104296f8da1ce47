"""From a store and tables to genes with signals.

Belongs here: opening the sets, joining genes, targets and covariates. Does not: the dataset
(`loaders.signals.dataset`), reading the tables (`catalog`).
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import polars as pl

from catalog.expression.covariates import covariates_of
from catalog.genes import table as gene_tables
from catalog.genes.frames import Table, as_polars
from catalog.runtime.tables import listed
from featurestore import Store, open_store
from featurestore.store import StorePlace
from loaders.gene_windows import windows_of_genes
from loaders.joining import join_genes
from loaders.settings import WindowSettings
from loaders.signals.batch import N_CODE
from loaders.signals.dataset import SignalGeneDataset
from loaders.signals.names import require_signals, signal_names, stranded_partners
from loaders.signals.rows import AnchoredRows, GridRows, SetRows
from loaders.signals.settings import SignalSettings
from loaders.signals.windows import IN_MEMORY, SignalWindows
from loaders.windows.anchored import AnchoredWindows
from loaders.windows.grid import WindowDataset

_log = logging.getLogger(__name__)


def signal_gene_dataset(
    url: StorePlace,
    genes: Table,
    *,
    targets: "Table | None" = None,
    covariates: "Table | None" = None,
    covariate_columns: Sequence[str] | None = None,
    settings: SignalSettings | None = None,
    **changes: Any,
) -> SignalGeneDataset:
    """Join a gene table to the sequence and the signals of a store.

    Parameters
    ----------
    url
        The store: its path or URL, or one that is open.
    genes
        Table of `catalog.genes.table.read_genes`, or one of these columns by pandas or any library that narwhals knows;
        so are targets and covariates.
    targets
        Table of `catalog.expression.targets.read_targets`, or one with `gene_id` and a column for each of several
        tasks. Genes that are not in it are left out and counted in `joined`; None keeps all, with NaN.
    covariates
        Table of `catalog.expression.covariates.read_covariates`; every gene that is kept must be in it.
    covariate_columns
        Those to take, in this order; None for all.
    settings
        How windows are read; None for the defaults.
    changes
        Fields of `SignalSettings` in place of those of `settings`: `signals`, `length`, `orient`, `residence`, ...

    Raises
    ------
    NotBuilt
        If the store lacks a feature set or anchors; a shard that lacks is said when a gene needs it.
    ValueError
        If no gene lies on the store's assembly, or none has a target; if a gene has no covariates, no anchor, or an
        anchor elsewhere; if there is no such signal; if a set does not reach as far as the windows.
    """
    genes = as_polars(genes, gene_tables.GENE_SCHEMA, needs=("gene_id", "contig", "strand", "tss"))
    settings = replace(settings or SignalSettings(), **changes)
    store = url if isinstance(url, Store) else open_store(url, storage_options=settings.storage_options)
    placed, values, report = join_genes(genes, targets, store.assembly)
    report.warn(stacklevel=3)
    told = pl.DataFrame()
    if covariates is not None:
        told = covariates_of(placed["gene_id"].to_list(), covariates, columns=covariate_columns)
    sequence = None if settings.sequence is None else _sequence(url, settings.sequence, placed, settings)
    chosen = _chosen([_opened(url, name, placed, settings) for name in settings.signals], settings)
    dataset = SignalGeneDataset(
        SignalWindows(sequence, chosen.rows, len(placed), settings, names=chosen.names, partners=chosen.partners),
        placed,
        columns=chosen.columns,
        covariates=told,
        targets=values,
        joined=report,
    )
    outside = dataset.past_contig
    if outside:
        what = "windows of %d of %d genes leave their contig; bases there are N, and signals are padded: %s"
        _log.warning(what, len(outside), len(dataset), listed(outside))
    return dataset


class _Chosen(NamedTuple):
    rows: list[SetRows]
    """Of the sets that any signal is taken from."""
    names: list[str]
    """Of the columns of all these rows."""
    columns: dict[str, int]
    """Signals by name: the column of each among those of all these rows."""
    partners: dict[int, tuple[int, float]]
    """Columns and signs of stranded pairs (`loaders.signals.names.stranded_partners`)."""


def _chosen(sets: Sequence[WindowDataset | AnchoredWindows], settings: SignalSettings) -> _Chosen:
    """Choose the channels that are read: those that are named, and the other strands of these."""
    channels = {name: one.channel_names for name, one in zip(settings.signals, sets, strict=True)}
    every = signal_names(channels)
    names = require_signals(every if settings.channels is None else settings.channels, every)
    pairs = stranded_partners(settings.stranded, every)
    needed = {every.index(name) for name in names}
    needed |= {pairs[column][0] for column in needed if column in pairs}
    rows: list[SetRows] = []
    first = 0
    for one in sets:
        columns = [column for column in range(len(one.channel_names)) if first + column in needed]
        if columns:
            rows.append(GridRows(one, columns) if isinstance(one, WindowDataset) else AnchoredRows(one, columns))
        first += len(one.channel_names)
    place = {column: number for number, column in enumerate(sorted(needed))}
    return _Chosen(
        rows,
        [every[column] for column in sorted(needed)],
        {name: place[every.index(name)] for name in names},
        {place[column]: (place[other], sign) for column, (other, sign) in pairs.items() if column in needed},
    )


def _sequence(url: StorePlace, name: str, placed: pl.DataFrame, settings: SignalSettings) -> SetRows:
    windows = _opened(url, name, placed, settings)
    described = windows.reader.feature_set
    n_channels, pad = len(described.channels), described.pad[0]
    has_codes = described.bin_size == n_channels == 1 and described.dtype == "uint8" and pad == N_CODE
    if not (has_codes and isinstance(windows, WindowDataset)):
        raise ValueError(
            f"{name} is no sequence, which has one uint8 a base and pads with {N_CODE}, an N: it has bins of "
            f"{described.bin_size} bp and {n_channels} channels of {described.dtype}, padded with {pad:g}; build one "
            "(`featurestore build-sequence`), name another (`sequence=`), or none: `sequence=None`"
        )
    return GridRows(windows, [0])


def _opened(
    url: StorePlace, name: str, placed: pl.DataFrame, settings: SignalSettings
) -> WindowDataset | AnchoredWindows:
    """Open a set, or an anchored array of one."""
    feature_set, _, anchors = name.partition("@")
    windows = windows_of_genes(
        url,
        feature_set,
        placed,
        anchors or None,
        WindowSettings(
            n_bins=1,
            # Rows of the genes' windows are held by `SignalWindows`; a contig at 1 bp would be too many. An anchored
            # array has no blocks to mirror.
            residence="stream" if settings.residence in IN_MEMORY or anchors else settings.residence,
            storage_options=settings.storage_options,
            cache_dir=settings.cache_dir,
            cache_bytes=settings.cache_bytes,
            stream_bytes=settings.stream_bytes,
        ),
    )
    assert isinstance(windows, WindowDataset | AnchoredWindows), "a single set is not stacked"
    return windows
