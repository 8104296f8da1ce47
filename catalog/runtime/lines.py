"""Lines of text files: plain or gzipped, any line ends, within bounds.

Belongs here: opening, unpacking, and cutting into numbered lines. Does not: what a line holds
(`catalog.runtime.tables`), sequence (`catalog.fasta`).

A few MB of gzip can hold gigabytes, so nothing is read whole: a line and the unpacked size have bounds, wide enough for
every table of the field (the header of GTEx's 17,382 samples has 0.4 MB, GENCODE unpacks to 30 times its size).
"""

import gzip
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from catalog.runtime.locations import local_path

LONGEST_LINE = 16 << 20
"""Bytes."""
_LARGEST_RATIO = 100
"""How many times its packed size a file may unpack to, once it is larger than `LONGEST_LINE`."""
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_UNSUPPORTED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"PK\x03\x04": "zip (or an Excel workbook)",
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TableError(ValueError):
    """A table that cannot be read, or that lacks required content."""


class Line(bytes):
    """One line of a file, without its end; it knows its number."""

    number: int
    """Counted from 1, blank lines too."""

    @classmethod
    def of(cls, text: bytes, number: int) -> "Line":
        """Give a line its number."""
        line = cls(text)
        line.number = number
        return line

    def decoded(self, path: Path) -> str:
        """Decode as UTF-8; the path is for the error."""
        try:
            return self.decode()
        except UnicodeDecodeError as error:
            raise TableError(
                f"line {self.number} of {path} is not UTF-8 text ({error.reason}); export it again in UTF-8"
            ) from error

    def shown(self) -> str:
        """Quote its beginning, for messages."""
        return repr(self[:80].decode(errors="replace"))


def read_lines(path: Path) -> Generator[Line, None, None]:
    """Read the lines of a text file that are not blank; lines end as on Unix, Windows or the classic Mac.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableError
        If it is empty, truncated, not text, compressed in another way than gzip, or has a line or an unpacked size that
        no table has.
    """
    is_empty = True
    with _opened(path) as file:
        for number, text in enumerate(_cut(_unpacked(file, path), path), start=1):
            if text and not text.isspace():
                is_empty = False
                yield Line.of(text, number)
    if is_empty:
        raise TableError(f"{path} is empty; expected a table, so fetch or export it again")


def _cut(chunks: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """Cut into lines; a CR at the end of a chunk may be half of a CR LF, so it waits for the next one."""
    rest = b""
    for chunk in chunks:
        lines = (rest + chunk).splitlines(keepends=True)
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        if len(rest) > LONGEST_LINE:
            raise TableError(
                f"{path} has a line of more than {LONGEST_LINE >> 20} MiB; a table has a line a row, so check that it "
                "is the file you mean, and export it again"
            )
        for line in lines:
            yield line.rstrip(b"\r\n")
    if rest:
        yield rest.rstrip(b"\r")


def _unpacked(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Read the text of a file, plain or gzipped, in pieces."""
    start = file.peek(2)  # type: ignore[attr-defined]  # a BufferedReader
    packed = start.startswith(_GZIP)
    text = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if packed else file
    size = 0
    while chunk := text.read(_CHUNK):
        if b"\0" in chunk:
            raise TableError(f"{path} is not UTF-8 text; export it again as tab-separated text in UTF-8")
        if not size:
            chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
        size += len(chunk)
        if packed and size > LONGEST_LINE and size > _LARGEST_RATIO * file.tell():
            raise TableError(
                f"{path} unpacks to more than {_LARGEST_RATIO} times its size, which no table does; if it is the file "
                "you mean, unpack it (gunzip) and give that"
            )
        if chunk:
            yield chunk


@contextmanager
def _opened(named: Path) -> Iterator[BinaryIO]:
    path = local_path(named)
    if path is None or not path.exists():
        raise FileNotFoundError(f"no table at {path or named}; give the path of a text file, plain or gzipped")
    if not path.is_file():
        raise TableError(f"{path} is no file but a folder or a pipe, and a table is read twice; save it as a file")
    try:
        with path.open("rb") as file:
            head = file.peek(8)
            for magic, name in _UNSUPPORTED.items():
                if head.startswith(magic):
                    raise TableError(
                        f"{path} is {name}-compressed; unpack it, and compress it with gzip or leave it plain"
                    )
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(f"{path} is a truncated or damaged gzip file ({error}); fetch it again") from error
