"""Tables of viewpoints: for each gene, a number a bin around its start site.

Belongs here: reading them, within bounds, and finding the rows of some genes. Does not: storing them
(`builders.anchored.viewpoints`).

A viewpoint is what one place sees of its surroundings, such as the Hi-C contacts of a promoter: its value at a base
depends on the gene, so that it is no track.
"""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from catalog.expression.gene_rows import as_numbers, read_keyed, refuse_decimal_commas
from catalog.genes.identifiers import plain_ids
from catalog.runtime.locations import required_path
from catalog.runtime.tables import MOST_VALUES, TableError, listed

_GENES, _VALUES = "genes", "values"
_LONGEST_NAME_BYTES = 1024
_MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "None", ".")
_FORMS = (
    "text or Parquet with a column of gene ids and one column a bin, in the order of the forward strand, or .npz with "
    f"`{_GENES}` (names) and `{_VALUES}` (genes, bins)"
)


@dataclass(frozen=True, slots=True)
class ViewpointTable:
    """One row a gene."""

    genes: tuple[str, ...]
    """Distinct; Ensembl ids without version."""
    values: NDArray[np.float64]
    """Shape `(genes, bins)`; NaN where nothing was measured, else finite."""

    def rows_of(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Give the rows of some genes, shape `(names, bins)`; NaN throughout for one that is not in the table."""
        numbers = {gene: number for number, gene in enumerate(self.genes)}
        rows = np.full((len(names), self.values.shape[1]), np.nan)
        for place, name in enumerate(_plain(names)):
            if name in numbers:
                rows[place] = self.values[numbers[name]]
        return rows

    def without(self, names: Sequence[str]) -> list[str]:
        """List the genes of the table that are not among some names."""
        wanted = set(_plain(names))
        return [gene for gene in self.genes if gene not in wanted]


def read_viewpoints(path: Path) -> ViewpointTable:
    """Read a table of viewpoints.

    Parameters
    ----------
    path
        Text or Parquet with a column of gene ids and one column a bin; or `.npz` with `genes` and `values`. An empty
        field, `NA` and NaN were not measured.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it cannot be read, has a gene twice, or a value that is infinite or no number.
    """
    path = required_path(path)
    genes, values = _read_npz(path) if path.suffix == ".npz" else _read_rows(path)
    plain = _plain(genes)
    frame = pl.Series(plain)
    twice = frame.filter(frame.is_duplicated()).unique(maintain_order=True).to_list()
    if twice:
        raise TableError(f"{path} has {len(twice):,} genes more than once: {listed(twice)}; keep one row a gene")
    if not values.size:
        raise TableError(f"{path} holds no values; expected {_FORMS}")
    if np.isinf(values).any():
        row = int(np.isinf(values).any(axis=1).argmax())
        raise TableError(f"{path} has infinite values, first for gene {plain[row]}; leave them empty, or mend them")
    return ViewpointTable(tuple(plain), values)


def _plain(names: Sequence[str]) -> list[str]:
    frame = pl.DataFrame({"gene_id": list(names)}, schema={"gene_id": pl.String})
    return frame.select(plain_ids("gene_id"))["gene_id"].to_list()


def _read_rows(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    frame, key = read_keyed(path)
    columns = [name for name in frame.columns if name != key]
    refuse_decimal_commas(frame, columns, path)
    values = np.full((frame.height, len(columns)), np.nan)
    for place, name in enumerate(columns):
        numbers = as_numbers(frame[name])
        wrong = frame[name].filter(numbers.is_null() & ~frame[name].fill_null("").str.strip_chars().is_in(_MISSING))
        if len(wrong):
            raise TableError(
                f"column {name!r} of {path} holds {listed(wrong.to_list())}, which are no numbers; a table is {_FORMS}"
            )
        values[:, place] = numbers.fill_null(np.nan).to_numpy()
    return frame[key].to_list(), values


def _read_npz(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                genes, values = (_member(archive, name, path) for name in (_GENES, _VALUES))
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, zlib.error) as error:  # of places and flags, too
            raise TableError(f"{path} is damaged, or no .npz ({error}); write or fetch it again") from error
    if genes.ndim != 1 or values.ndim != 2 or len(genes) != len(values):
        raise TableError(
            f"{path} has {_GENES} of shape {genes.shape} and {_VALUES} of {values.shape}; expected {_FORMS}"
        )
    names = [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in genes.tolist()]
    return names, values.astype(np.float64)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> NDArray[Any]:
    """Read one array; its header says what it claims before anything of that size is made."""
    if f"{name}.npy" not in archive.namelist():
        raise TableError(f"{path} has no array {name!r}: it has {listed(archive.namelist())}; expected {_FORMS}")
    try:
        with archive.open(f"{name}.npy") as file:
            shape, dtype = _header(file)
        size = int(np.prod(shape, dtype=np.float64))
        is_text = dtype.kind in "US" and dtype.itemsize <= _LONGEST_NAME_BYTES
        if size > MOST_VALUES or not (is_text if name == _GENES else dtype.kind in "fiu" and dtype.itemsize <= 8):
            raise TableError(
                f"{path}: {name!r} is {dtype} of shape {shape}; expected {_FORMS}, {MOST_VALUES:,} at most"
            )
        with archive.open(f"{name}.npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except TableError:
        raise
    except ValueError as error:
        raise TableError(f"{path}: {name!r} cannot be read ({error}); write the file again with numpy.savez") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
