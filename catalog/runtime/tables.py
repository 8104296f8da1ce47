"""Small tables in text files: plain or gzipped, tabs or commas, any line ends.

Belongs here: opening, splitting, finding a column by its usual names, Ensembl versions. Does not: what the rows mean
(`catalog.genes.table`, `catalog.ncbi.annotations`, `catalog.expression.targets`).

Every value is read as text, so that each caller parses its own numbers; an empty field is null.
"""

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import polars as pl

from catalog.runtime.files import write_atomic
from catalog.runtime.locations import local_path

_UNSUPPORTED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"PK\x03\x04": "zip (or an Excel workbook)",
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COMMENTS = (b"#", b"track ", b"browser ")
"""Prefixes of lines that are not rows: comments, and the UCSC browser's lines in BED files."""
_ENSEMBL_VERSION = r"^(ENS[A-Z]*[0-9]+)\.[0-9]+(?:_[0-9]+)?(_PAR_Y)?$"
"""`.13`, and the `_2` that GENCODE's lifted-over releases append to it; `_PAR_Y` tells two genes apart and stays."""
_MISSING = ("NA", "N/A", "NaN", "nan", "null", "None", ".")


class TableError(ValueError):
    """A table that cannot be read, or that lacks required content."""


class Opening(NamedTuple):
    """First lines of a text file."""

    comments: list[str]
    """Lines before the first row, `#` and all."""
    first: str | None
    """The first other line; None if there is none."""


def read_lines(path: Path) -> Generator[bytes, None, None]:
    """Read the lines of a text file that are not blank, without their ends.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it is empty, truncated, not text, or compressed in another way than gzip.
    """
    is_empty = True
    with _opened(path) as file:
        for raw in file:
            line = raw.rstrip(b"\r\n")
            if is_empty:
                line = line.removeprefix(_BYTE_ORDER_MARK)
            if b"\0" in line:
                raise TableError(f"{path} is not UTF-8 text; export it again as tab-separated text in UTF-8")
            if line.strip():
                is_empty = False
                yield line
    if is_empty:
        raise TableError(f"{path} is empty; expected a table, so fetch or export it again")


def opening(path: Path) -> Opening:
    """Read up to the first line that is not a comment."""
    comments: list[str] = []
    with closing(read_lines(path)) as lines:
        for line in lines:
            if not line.startswith(COMMENTS):
                return Opening(comments, _text(line, path))
            comments.append(_text(line, path))
    return Opening(comments, None)


def read_table(path: Path) -> pl.DataFrame:
    """Read a table with a header line, all columns as text.

    The header is the first row, or the comment right above it if that names as many columns (`#chr`, `#tax_id`).
    """
    comments, first = opening(path)
    commented = header_comment(comments, first)
    header = commented.removeprefix("#") if commented else first
    if header is None:
        raise TableError(f"{path} holds only comments; expected a header line and rows")
    rows = _after_comments(path)
    if commented is None:
        next(rows)
    separator = separator_of(header)
    return frame_of(path, split(header), rows, separator, is_quoted=separator == "," or '"' in header)


def header_comment(comments: Sequence[str], first: str | None) -> str | None:
    """Return the last comment if it is a header: as many names as the first row has fields, right after the `#`."""
    if not comments or not re.match(r"#[^\s#!]", comments[-1]):
        return None
    n_names = len(split(comments[-1]))
    # A tab always separates: a field may begin with a lone quotation mark.
    n_fields = n_names if first is None else first.count("\t") + 1 if "\t" in comments[-1] else len(split(first))
    is_header = n_names == n_fields > 1
    return comments[-1] if is_header else None


def frame_of(
    path: Path, names: Sequence[str], rows: Iterable[bytes], separator: str, *, is_quoted: bool = False
) -> pl.DataFrame:
    """Make a frame of text columns from lines; `path` is for the errors.

    Raises
    ------
    TableError
        If a row has another number of fields than there are names, or is not UTF-8.
    """
    unique = [name or f"column {index}" for index, name in enumerate(names, start=1)]
    unique = [name if name not in unique[:index] else f"{name} {index + 1}" for index, name in enumerate(unique)]
    lines = list(rows)
    if not lines:
        return pl.DataFrame(schema=dict.fromkeys(unique, pl.String))
    if not is_quoted:
        mark = separator.encode()
        for number, line in enumerate(lines, start=1):
            if line.count(mark) != len(unique) - 1:
                raise TableError(
                    f"row {number} of {path} has {line.count(mark) + 1} fields, expected {len(unique)} "
                    f"({listed(unique)}): {_shown(line)}; the file may be truncated, so fetch it again, "
                    "or mend that row"
                )
    try:
        return pl.read_csv(
            io.BytesIO(b"\n".join(lines) + b"\n"),
            separator=separator,
            has_header=False,
            new_columns=unique,
            quote_char='"' if is_quoted else None,
            infer_schema=False,
        )
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise TableError(
            f"{path} cannot be read as {len(unique)} columns of UTF-8 text "
            f"({listed(unique)}): {str(error).splitlines()[0]}; export it again"
        ) from error


def split(line: str) -> list[str]:
    """Split a header or row at its own separator, quotes removed."""
    return next(csv.reader([line], delimiter=separator_of(line)))


def separator_of(line: str) -> str:
    """Tell tab from comma; a line with neither is one column."""
    return "," if "," in line and "\t" not in line else "\t"


def find_column(names: Iterable[str], accepted: Iterable[str]) -> str | None:
    """Find the first accepted column, whatever its case and word separators."""
    plain = {plain_name(name): name for name in reversed(list(names))}
    return next((plain[name] for name in accepted if name in plain), None)


def plain_name(name: str) -> str:
    """Reduce a column name to lower case and underscores: `#Gene stable ID` to `gene_stable_id`."""
    return re.sub(r"[\s.\-/]+", "_", name.strip().lstrip("#").strip()).lower()


def without_version(name: str) -> pl.Expr:
    """Strip the version of Ensembl ids in a column; other ids stay as they are."""
    return pl.col(name).str.replace(_ENSEMBL_VERSION, "${1}${2}")


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
    wrong = text.filter(number.is_null() & text.is_not_null() & ~text.is_in(_MISSING))
    if len(wrong):
        raise TableError(
            f"column {name!r} of {path} must hold whole numbers (bp); it holds {', '.join(map(repr, wrong[:5]))}; "
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
    target = Path(path)
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
    """List the first few of many, for messages."""
    return ", ".join(map(str, names[:8])) + (f", ... ({len(names):,})" if len(names) > 8 else "")


@contextmanager
def _opened(named: Path) -> Iterator[BinaryIO]:
    path = local_path(named)
    if path is None or not path.is_file():
        raise FileNotFoundError(f"no table at {path or named}; give the path of a text file, plain or gzipped")
    with path.open("rb") as file:
        head = file.read(8)
    for magic, name in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise TableError(f"{path} is {name}-compressed; unpack it, and compress it with gzip or leave it plain")
    try:
        with gzip.open(path) if head.startswith(b"\x1f\x8b") else path.open("rb") as file:
            yield cast("BinaryIO", file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(f"{path} is a truncated or damaged gzip file ({error}); fetch it again") from error


def _after_comments(path: Path) -> Iterator[bytes]:
    """Skip the leading comments; later lines may begin with `#`."""
    is_body = False
    for line in read_lines(path):
        is_body = is_body or not line.startswith(COMMENTS)
        if is_body:
            yield line


def _text(line: bytes, path: Path) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8 text ({error}); export it again in UTF-8") from error


def _shown(line: bytes) -> str:
    return repr(line[:80].decode(errors="replace"))
