"""Plug-ins: formats of gene tables that other distributions add.

Belongs here: what such a format is, detecting that of a file, validating what a plug-in reads. Does not: the formats
that this distribution reads itself (`catalog.genes.formats`).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from catalog.genes.formats import READERS, Dropped, built_in_format_of
from catalog.runtime import tables
from catalog.runtime.plugins import PluginError, UnfitPlugin, load_plugin, load_plugins, plugins
from catalog.runtime.tables import Opening, listed

GROUP = "featurestore.gene_formats"
"""Entry-point group; a distribution adds a format by naming a `GeneFormat` there."""

_COLUMNS = {"gene_id": pl.String, "symbol": pl.String, "contig": pl.String, "strand": pl.String, "tss": pl.Int64}


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneFormat:
    """How genes are read from one kind of file."""

    recognises: Callable[[Opening], bool]
    """Whether a file with these first lines is of this format; tried before the built-in formats."""
    read: Callable[[Path], pl.DataFrame]
    """Read a file: one row a gene, columns `gene_id`, `symbol`, `contig`, `strand` (`+`, `-` or `.`), `tss` (0-based
    bp), and perhaps `biotype`; null where there is nothing. Repeats and rows without a place may stay, since
    `read_gene_table` drops and reports them."""


def format_names() -> list[str]:
    """List the formats that can be named, this distribution's first."""
    return [*READERS, *plugins(GROUP)]


def format_of(path: Path) -> str:
    """Detect the format of a file from its first lines."""
    opening = tables.opening(path)
    for name, format_ in load_plugins(GROUP).items():
        try:
            if _checked(name, format_).recognises(opening):
                return name
        except UnfitPlugin as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)
    return built_in_format_of(path, opening)


def read_as(name: str, path: Path) -> tuple[pl.DataFrame, Dropped]:
    """Read a file as one of `format_names`: its rows, and those left out by reason.

    Raises
    ------
    TableError
        If the file is not of that format.
    PluginError
        If the format is a plug-in that cannot be loaded, or that reads other columns than required.
    """
    if name in READERS:
        return READERS[name](path)
    frame = _checked(name, load_plugin(plugins(GROUP)[name])).read(path)
    wrong = [column for column, dtype in _COLUMNS.items() if frame.schema.get(column) != dtype]
    if wrong:
        expected = ", ".join(f"{column} ({dtype})" for column, dtype in _COLUMNS.items())
        raise PluginError(
            f"the format {name!r} must read the columns {expected}; of {path} it read {listed(frame.columns)}, where "
            f"{', '.join(wrong)} is missing or of another type"
        )
    if "biotype" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias("biotype"))
    return frame, {}


def _checked(name: str, found: Any) -> GeneFormat:
    if isinstance(found, GeneFormat):
        return found
    lacking = [item.name for item in fields(GeneFormat) if not hasattr(found, item.name)]
    raise UnfitPlugin(
        f"the plug-in {name!r} ({GROUP}) is a {type(found).__name__}, which is no {GeneFormat.__module__}.GeneFormat"
        f"{': it lacks ' if lacking else ''}{', '.join(lacking)}; name a GeneFormat(recognises=..., read=...)"
    )
