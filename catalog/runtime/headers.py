"""The header of a table: its column names, what separates fields, and where the rows begin.

Belongs here: the forms in which programs write headers: plain, commented, quoted, R's row names, GCT. Does not: the
rows (`catalog.runtime.tables`), what a column means.
"""

import csv
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from catalog.runtime.lines import LONGEST_LINE, TableError, read_lines

COMMENTS = (b"#", b"track ", b"browser ")
"""Prefixes of lines that are not rows: comments, and the UCSC browser's lines in BED files."""
_GCT = ("#1.2", "#1.3")
_OF_GENES = re.compile(r"gene|symbol|name|ensembl|entrez|\bid\b|_id\b", re.IGNORECASE)
_SPACED = re.compile(r'"(?:[^"]|"")*"|\S+')
_OVERHEAD = 50  # bytes of memory a text takes besides its characters
_N_BODY = 3  # the sizes of a GCT, a header, and the first row


class Opening(NamedTuple):
    """First lines of a text file."""

    comments: list[str]
    """Lines before the first row, `#` and all."""
    first: str | None
    """The first other line; None if there is none."""


class Header(NamedTuple):
    """How a table is laid out."""

    names: list[str]
    """Columns, as they are written; empty for one without a name."""
    separator: str
    """A tab, comma or semicolon; a space stands for any run of blanks."""
    is_quoted: bool
    """Whether fields may stand between quotation marks."""
    n_before: int
    """Lines before the first row, blank ones not counted."""


def opening(path: Path) -> Opening:
    """Read up to the first line that is not a comment."""
    comments, body = _beginning(path, 1)
    return Opening(comments, body[0] if body else None)


def header_of(path: Path) -> Header:
    """Find the header of a table.

    It is the first row, or the comment right above it if that names as many columns (`#chr`, `#tax_id`). A first row
    with one field more than the header has R's row names in front, or a separator at its end; GCT (GTEx) has two lines
    of its own above the header.

    Raises
    ------
    TableError
        If there are only comments.
    """
    comments, body = _beginning(path, _N_BODY)
    if not body:
        raise TableError(f"{path} holds only comments; expected a header line and rows")
    if comments and comments[0].strip() in _GCT and body[0].replace("\t", "").strip().isdigit() and len(body) > 1:
        sizes = body[0].split("\t")
        n_annotations = int(sizes[3]) if len(sizes) > 3 and sizes[3].isdecimal() and len(sizes[3]) < 5 else 0
        first = body[2] if len(body) > 2 and not n_annotations else None
        return _header(body[1], first, len(comments) + 2 + n_annotations)
    commented = header_comment(comments, body[0])
    if commented is not None:
        return _header(commented.removeprefix("#"), body[0], len(comments))
    return _header(body[0], body[1] if len(body) > 1 else None, len(comments) + 1)


def header_comment(comments: Sequence[str], first: str | None) -> str | None:
    """Return the last comment if it is a header: as many names as the first row has fields, right after the `#`."""
    if not comments or not re.match(r"#[^\s#!]", comments[-1]):
        return None
    n_names = len(split(comments[-1]))
    # A tab always separates: a field may begin with a lone quotation mark.
    n_fields = n_names if first is None else first.count("\t") + 1 if "\t" in comments[-1] else len(split(first))
    is_header = n_names == n_fields > 1
    return comments[-1] if is_header else None


def split(line: str, separator: str | None = None) -> list[str]:
    """Split a header or row at its separator, quotes removed; a line that is no such row is one field."""
    separator = separator or _separator(line, None)
    if separator == " ":
        return [field[1:-1].replace('""', '"') if field.startswith('"') else field for field in _SPACED.findall(line)]
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:  # a field of more than 128 KiB
        return line.split(separator)


def _header(line: str, first: str | None, n_before: int) -> Header:
    separator = _separator(line, first)
    names = split(line, separator)
    if first is not None:
        fields = split(first, separator)
        if len(fields) == len(names) + 1 and not fields[-1]:
            names = [*names, ""]
        elif len(fields) == len(names) + 1 and _has_row_names(names, fields, is_quoted=first.startswith('"')):
            names = ["", *names]
    is_quoted = separator != "\t" or '"' in line
    return Header(names, separator, is_quoted, n_before)


def _has_row_names(names: Sequence[str], fields: Sequence[str], *, is_quoted: bool) -> bool:
    """Whether the first field of a row that is one too long is R's name of that row.

    A decimal comma between commas makes rows too long, too: then a number would be the name of a gene.
    """
    is_named = is_quoted or fields[0].isdecimal()
    if _OF_GENES.search(names[0]):
        return is_named and not _is_number(fields[1])
    return is_named or all(map(_is_number, fields[1:]))


def _is_number(field: str) -> bool:
    if field in ("NA", "NaN"):
        return True
    try:
        float(field)
    except ValueError:
        return False
    return True


def _separator(line: str, first: str | None) -> str:
    """Tell tabs from commas, semicolons and blanks, by a header and its first row; neither is one column."""
    if "\t" in line:
        return "\t"
    marks = [mark for mark in ",;" if mark in line]
    if len(marks) == 2 and first is not None:
        # Of both, that which the row has as often; a decimal comma, or a list within a field, upsets the other.
        marks = [mark for mark in marks if len(split(first, mark)) == len(split(line, mark))] or marks
    if marks:
        return marks[0]
    if first is None or "\t" in first:
        return "\t"
    n_names, fields = len(split(line, " ")), split(first, " ")
    has_more = len(fields) == n_names + 1 and (n_names > 1 or _is_number(fields[1]))  # R's row names
    return " " if has_more or len(fields) == n_names > 1 else "\t"


def _beginning(path: Path, n_body: int) -> tuple[list[str], list[str]]:
    """Read the comments at the beginning, and some lines after them."""
    comments: list[str] = []
    body: list[str] = []
    size = 0
    with closing(read_lines(path)) as lines:
        for line in lines:
            if body or not line.startswith(COMMENTS):
                body.append(line.decoded(path))
                if len(body) == n_body:
                    break
            else:
                size += len(line) + _OVERHEAD
                if size > LONGEST_LINE:
                    raise TableError(
                        f"{path} begins with more than {LONGEST_LINE >> 20} MiB of comments; check that it is the file "
                        "you mean, and remove them"
                    )
                comments.append(line.decoded(path))
    return comments, body
