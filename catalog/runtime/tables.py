"""Tables in text files: columns of text, within bounds.

Belongs here: reading rows into a frame, finding a column by its usual names, numbers and strands in text. Does not:
opening and cutting into lines (`catalog.runtime.lines`), the forms of headers (`catalog.runtime.headers`), what the
rows mean (`catalog.genes.table`, `catalog.ncbi.annotations`, `catalog.expression.targets`).

Every value is read as text, so that each caller parses its own numbers; an empty field is null.
"""

import csv
import gzip
import io
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import polars as pl

from catalog.runtime.files import write_atomic
from catalog.runtime.headers import COMMENTS as COMMENTS
from catalog.runtime.headers import Opening as Opening
from catalog.runtime.headers import header_comment as header_comment
from catalog.runtime.headers import header_of
from catalog.runtime.headers import opening as opening
from catalog.runtime.headers import split as split
from catalog.runtime.lines import LONGEST_LINE, Line
from catalog.runtime.lines import TableError as TableError
from catalog.runtime.lines import read_lines as read_lines
from catalog.runtime.locations import local_path, required_path

LARGEST_TABLE = 2 << 30
"""Bytes of the rows that are kept."""
MOST_VALUES = 200_000_000
"""Values of a table, 16 bytes each in memory; 60,000 genes of 1,000 samples have 60 million."""
MOST_COLUMNS = 50_000
_LARGEST_NUMBER = 2**62  # so that adding and subtracting bp stays exact
_LONGEST_SHOWN = 60
_MISSING = ("NA", "N/A", "NaN", "nan", "null", "None", ".")
_STRANDS = {
    "+": "+",
    "1": "+",
    "+1": "+",
    "-": "-",
    "-1": "-",
    "\u2212": "-",
    "\u22121": "-",
    ".": ".",
    "?": ".",
    "*": ".",
}
"""Strands as they are written: also Ensembl's numbers, GFF3's `?`, Bioconductor's `*`, and a typographic minus."""


def read_table(path: Path) -> pl.DataFrame:
    """Read a table with a header line (`catalog.runtime.headers.header_of`), all columns as text."""
    header = header_of(path)
    rows = islice(read_lines(path), header.n_before, None)
    return frame_of(path, header.names, rows, header.separator, is_quoted=header.is_quoted)


def read_text_or_parquet(path: Path) -> pl.DataFrame:
    """Read a table of text as `read_table` does, or Parquet: its columns of numbers and texts, as text too.

    Raises
    ------
    TableError
        As `read_table`; also for a Parquet file that is damaged or has more values than are read.
    """
    place = local_path(path)
    if place is None or not place.is_file():
        return read_table(path)
    with place.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if not is_parquet:
        return read_table(path)
    try:
        lazy = pl.scan_parquet(place, glob=False)  # brackets in a name are a part of it
        types = lazy.collect_schema()
        plain = [name for name, dtype in types.items() if dtype.is_numeric() or dtype in (pl.String, pl.Categorical)]
        # A few bytes can stand for many values, so that they are counted first.
        if lazy.select(pl.len()).collect().item() * len(plain) > MOST_VALUES:
            raise TableError(f"{path} has more than {MOST_VALUES:,} values, the most that are read; keep fewer columns")
        return lazy.select(pl.col(plain).cast(pl.String)).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise TableError(
            f"{path} is a damaged or truncated Parquet file ({listed([error])}); write or fetch it again"
        ) from error


def frame_of(
    path: Path, names: Sequence[str], rows: Iterable[bytes], separator: str, *, is_quoted: bool = False
) -> pl.DataFrame:
    """Make a frame of text columns from lines, those of `read_lines` or one's own; `path` is for the errors.

    Raises
    ------
    TableError
        If a row has another number of fields than there are names, is not UTF-8, or ends within quotation marks; or if
        there are more rows or columns than any table of the field has.
    """
    if len(names) > MOST_COLUMNS:
        raise TableError(
            f"{path} has {len(names):,} columns, and {MOST_COLUMNS:,} are the most that are read; keep those that you "
            "need, as in `cut -f`"
        )
    unique = _distinct(names)
    text, numbers = io.BytesIO(), array("q")
    lines = (line if isinstance(line, Line) else Line.of(line, number) for number, line in enumerate(rows, start=1))
    for line in _records(lines, path) if is_quoted else lines:
        if not line.isascii():
            line.decoded(path)
        row, n_fields = _row(line, separator, path, is_quoted=is_quoted)
        if n_fields != len(unique):
            hint = "the file may be truncated, so fetch it again, or mend that line"
            if n_fields == len(unique) + 1 and not text.tell():
                hint = "name the first column too if rows begin with names, and write decimals with a point"
            raise TableError(
                f"line {line.number} of {path} has {n_fields} fields, expected {len(unique)} ({listed(unique)}): "
                f"{line.shown()}; {hint}"
            )
        text.write(row)
        numbers.append(line.number)
        if text.tell() > LARGEST_TABLE or len(numbers) * len(unique) > MOST_VALUES:
            raise TableError(
                f"{path} has more than {LARGEST_TABLE >> 30} GiB or {MOST_VALUES:,} values, the most that are read; "
                "keep the rows and columns that you need, as in `cut -f`"
            )
    if not numbers:
        return pl.DataFrame(schema=dict.fromkeys(unique, pl.String))
    return _parsed(text, unique, "\t" if separator == " " else separator, path, is_quoted=is_quoted)


def _parsed(text: io.BytesIO, names: list[str], separator: str, path: Path, *, is_quoted: bool) -> pl.DataFrame:
    text.seek(0)
    try:
        return pl.read_csv(
            text,
            separator=separator,
            has_header=False,
            new_columns=names,
            quote_char='"' if is_quoted else None,
            infer_schema=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise TableError(
            f"{path} cannot be read as {len(names)} columns of text ({listed(names)}): {str(error).splitlines()[0]}; "
            "export it again"
        ) from error


def _records(rows: Iterable[Line], path: Path) -> Iterator[Line]:
    """Join lines that end within quotation marks with the next ones."""
    begun: list[Line] = []
    size = 0
    for line in rows:
        if not begun and line.count(b'"') % 2 == 0:
            yield line
            continue
        begun.append(line)
        size += len(line)
        is_end = len(begun) > 1 and line.count(b'"') % 2
        if is_end:
            yield Line.of(b"\n".join(begun), begun[0].number)
            begun, size = [], 0
        elif size > LONGEST_LINE:
            break
    if begun:
        raise TableError(
            f"line {begun[0].number} of {path} opens a quotation mark that nothing closes: {begun[0].shown()}; close "
            "it, or fetch the file again if it is truncated"
        )


def _row(line: Line, separator: str, path: Path, *, is_quoted: bool) -> tuple[bytes, int]:
    """Write a row as polars reads it, line end and all, and count its fields."""
    has_quotes = is_quoted and line.count(b'"') > 0
    if separator != " " and not has_quotes:
        return line + b"\n", line.count(separator.encode()) + 1
    if separator == " ":
        fields = split(line.decoded(path), separator)
    else:
        try:
            fields = next(csv.reader([line.decoded(path)], delimiter=separator))
        except csv.Error as error:
            raise TableError(
                f"line {line.number} of {path} cannot be split ({error}): {line.shown()}; mend it"
            ) from error
    mark = "\t" if separator == " " else separator
    quoted = ['"' + field.replace('"', '""') + '"' if field else "" for field in fields]
    return mark.join(quoted).encode() + b"\n", len(fields)


def _distinct(names: Sequence[str]) -> list[str]:
    """Name every column, and no two alike."""
    seen: set[str] = set()
    unique = []
    for number, name in enumerate(names, start=1):
        name = name or nameless(number)
        while name in seen:
            name = f"{name} {number}"
        seen.add(name)
        unique.append(name)
    return unique


def repeated(columns: Sequence[str]) -> list[str]:
    """Find the names that a file gives to several columns, from the columns of its frame, in which no two are alike."""
    found: dict[str, None] = {}
    for number, name in enumerate(columns, start=1):
        first = name.removesuffix(f" {number}")
        if first != name and first in columns[: number - 1]:
            found[first] = None
    return list(found)


def nameless(number: int) -> str:
    """Name a column that has none, by its number from 1."""
    return f"column {number}"


def find_column(names: Iterable[str], accepted: Iterable[str]) -> str | None:
    """Find the first accepted column, whatever its case and word separators."""
    plain = {plain_name(name): name for name in reversed(list(names))}
    return next((plain[name] for name in accepted if name in plain), None)


def plain_name(name: str) -> str:
    """Reduce a column name to lower case and underscores: `#Gene stable ID` to `gene_stable_id`."""
    return re.sub(r"[\s.\-/()]+", "_", name.strip().lstrip("#").strip()).strip("_").lower()


def strands(text: pl.Series) -> pl.Series:
    """Read strands as `+`, `-`, or `.` for unknown; what is no strand stays as it is."""
    return text.fill_null(".").str.strip_chars().replace(_STRANDS)


def is_strand(text: str) -> bool:
    """Whether a field is a strand in one of its usual spellings."""
    return text in _STRANDS


def whole_numbers(frame: pl.DataFrame, name: str, *, path: Path) -> pl.Series:
    """Read a text column as Int64; missing values stay null, and `1200.0` (as pandas writes) is 1200.

    Raises
    ------
    TableError
        If a value is not a whole number; the first ones are named.
    """
    text = frame[name].str.strip_chars()
    decimal = pl.col(name).str.strip_chars().cast(pl.Float64, strict=False)
    whole = pl.when(decimal == decimal.floor()).then(decimal).cast(pl.Int64, strict=False)
    number = text.cast(pl.Int64, strict=False).fill_null(frame.select(whole)[name])
    number = number.set((number > _LARGEST_NUMBER) | (number < -_LARGEST_NUMBER), None)
    wrong = text.filter(number.is_null() & text.is_not_null() & ~text.is_in(_MISSING))
    if len(wrong):
        raise TableError(
            f"column {name!r} of {path} must hold whole numbers (bp); it holds {listed([repr(w) for w in wrong[:5]])}; "
            "mend these values, or leave them empty"
        )
    return number


def require_schema(frame: pl.DataFrame, schema: pl.Schema, *, what: str, schema_name: str) -> None:
    """Check columns and types of a frame; ValueError names `what` it must be, and the constant with its schema."""
    if frame.schema != schema:
        raise ValueError(
            f"{what} has the columns {dict(schema)}, got {dict(frame.schema)}; "
            f"select and cast them: frame.select({schema_name}.names()).cast({schema_name})"
        )


def write_table(frame: pl.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write tab-separated text with a header and no quotes, gzipped if the name ends in `.gz`; null is empty.

    The write is atomic.

    Raises
    ------
    ValueError
        If a text holds a tab or a line break, which such a file cannot.
    """
    target = required_path(path)
    for name, dtype in frame.schema.items():
        if dtype == pl.String:
            broken = frame.filter(pl.col(name).str.contains(r"[\t\r\n\x00]"))
            if broken.height:
                raise ValueError(
                    f"column {name!r} holds a tab or a line break, first in {broken[name][0]!r}, which a tab-separated "
                    "file cannot; replace them, as in .str.replace_all(r'\\s+', ' ')"
                )
    data = frame.write_csv(separator="\t", quote_style="never").encode()
    if target.suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # no time stamp: the same table gives the same bytes
    write_atomic(target, data)


def listed(names: Sequence[object]) -> str:
    """List the first few of many, for messages; a long one is cut, and what cannot be printed is escaped."""
    return ", ".join(map(_printable, names[:8])) + (f", ... ({len(names):,})" if len(names) > 8 else "")


def _printable(name: object) -> str:
    text = str(name)
    if len(text) > _LONGEST_SHOWN and not isinstance(name, os.PathLike):
        text = f"{text[:_LONGEST_SHOWN]}..."
    return text if text.isprintable() else "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text)
