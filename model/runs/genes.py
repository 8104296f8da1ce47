"""Genes with their windows, as a training reads them.

Belongs here: from tables and a store to a `GeneDataset`, and what a run records of its windows. Does not: joining genes
to windows (`loaders.genes`), the run's folder (`model.runs.folder`), the genes of a finished run
(`model.runs.workflow`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import Any, Self

import polars as pl

from catalog import read_annotations, read_gene_table, read_targets
from catalog.expression.targets import TargetSettings
from catalog.ncbi.prompts import PromptSettings
from catalog.runtime.settings import apply_settings
from featurestore import open_store
from loaders import GeneDataset, WindowSettings, WindowSource, gene_dataset
from loaders.settings import Orientation
from model.runs.signal_inputs import SignalInputs
from model.runs.signals import load_signal_genes

AS_TRAINED = ("n_bins", "orient", "channels", "projection", "jitter_bins", "jitter_bp", "seed", "dtype")
"""Fields of `WindowSettings` that a run decides; the others say where rows are kept and how they are reached."""
_CHANNELS = ("signal",)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRecord:
    """What a run records of the windows that it learned from, in addition to its checkpoint."""

    anchors: str | None = None
    """Name of the anchors that they were centred on to the base; None for windows of the grid."""
    orient: Orientation = "forward"
    channels: tuple[str, ...] | None = _CHANNELS
    """As they were given: names, groups, `signal`."""
    jitter_bins: int = 0
    jitter_bp: int = 0
    overlay: str | None = None
    """Personal genome that they were read through; None for the reference."""

    @classmethod
    def of(cls, windows: WindowSource) -> Self:
        """Say what a source gives."""
        settings = windows.settings
        return cls(
            anchors=windows.anchors,
            orient=settings.orient,
            channels=settings.channels,
            jitter_bins=settings.jitter_bins,
            jitter_bp=settings.jitter_bp,
            overlay=settings.overlay,
        )

    def to_json(self) -> dict[str, Any]:
        """Give what is not the default, so that runs which an earlier version wrote are the same as now."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in plain.items() if value != _DEFAULTS[name]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave; a ValueError says what is not of its type."""
        # mypy does not tell a class that is a type variable from an instance of one.
        made: Self = apply_settings(cls, document)  # type: ignore[arg-type]
        return made


_DEFAULTS = asdict(WindowRecord()) | {"channels": list(_CHANNELS)}


def sets_in(feature_set: str) -> list[str]:
    """List the feature sets that a run names, comma-separated."""
    return [name.strip() for name in feature_set.split(",")]


def load_genes(
    store: str,
    feature_set: str | None,
    *,
    genes: str | os.PathLike[str],
    targets: str | os.PathLike[str] | None,
    target_column: str | None = None,
    target_columns: Sequence[str] = (),
    target_settings: TargetSettings | None = None,
    annotations: str | os.PathLike[str] | None = None,
    anchors: str | None = None,
    prompt_settings: PromptSettings | None = None,
    windows: WindowSettings | None = None,
    inputs: SignalInputs | None = None,
    **changes: Any,
) -> GeneDataset:
    """Read the tables and join them to the windows of a store.

    Parameters
    ----------
    feature_set
        Of several, comma-separated, the channels are concatenated; None for the store's only one.
    target_columns
        Columns of several tasks, in place of one; a gene needs one of them.
    target_settings
        How the table of targets gives one value a gene; None for a column of it. Not for several tasks.
    anchors
        Name of an anchored array to read windows from that are centred on each TSS to the base; None for the grid.
    prompt_settings
        Template and cell type of the prompts; None for those of the model that is trained.
    windows
        How windows are cut, read and shown; where it names no channels, low-signal ones are left out.
    inputs
        Where it names measured signals, genes are read with these, in place of windows of bins.
    changes
        Fields of `WindowSettings` in place of those of `windows`: `n_bins`, `residence`, ...

    Raises
    ------
    ValueError
        If the store has several feature sets and none is named, no gene lies on it, or the anchors lack a gene.
    """
    settings = replace(windows or WindowSettings(), **changes)
    if inputs is not None and inputs.signals:
        _refuse(
            feature_set=feature_set,
            anchors=anchors,
            annotations=annotations,
            target_columns=target_columns,
            overlay=settings.overlay,
        )
        return load_signal_genes(
            store,
            inputs,
            genes=genes,
            targets=targets,
            target_column=target_column,
            target_settings=target_settings,
            windows=settings,
        )
    if settings.channels is None:
        settings = replace(settings, channels=_CHANNELS)
    if feature_set is None:
        there = open_store(store, storage_options=settings.storage_options).feature_sets()
        if len(there) != 1:
            raise ValueError(f"{store} has the feature sets {', '.join(there) or '(none)'}; say which: `feature_set=`")
        feature_set = there[0]
    measured: pl.DataFrame | None = None
    if targets is not None:
        chosen = target_settings or TargetSettings()
        if target_columns and chosen != TargetSettings():
            raise ValueError(
                "`medians=` and `bad_values=` are for one target a gene; leave them out, or name one column instead of "
                "several"
            )
        measured = (
            _read_columns(targets, target_columns) if target_columns else chosen.read(targets, column=target_column)
        )
    table = read_gene_table(genes)
    dataset = gene_dataset(
        store,
        sets_in(feature_set),
        table.genes,
        anchors=anchors,
        annotations=None if annotations is None else read_annotations(annotations),
        targets=measured,
        prompt_settings=prompt_settings,
        settings=settings,
    )
    if dataset.joined is not None:
        dataset.joined = replace(dataset.joined, left_out=table.report.left_out)
    return dataset


def _refuse(**given: Any) -> None:
    """Refuse what windows of bins have and genes with signals have not."""
    named = [f"`{name}=`" for name, value in given.items() if value]
    if named:
        raise ValueError(f"{', '.join(named)} are for windows of bins: leave them out, or leave out `signals=`")


def _read_columns(targets: str | os.PathLike[str], columns: Sequence[str]) -> pl.DataFrame:
    """Read one column a task; a value that is missing or none from 0 up is null."""
    read = [
        read_targets(targets, column=column, bad_values="drop").rename({"value": f"{index}"})
        for index, column in enumerate(columns)
    ]
    return reduce(lambda one, other: one.join(other, on="gene_id", how="full", coalesce=True), read)
