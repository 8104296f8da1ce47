"""One pass over the text of a FASTA file, in bounded memory: where its sequences lie, or why that cannot be said.

Belongs here: lines, headers and their errors. Does not: the index that is made of them (`catalog.fasta.index`).

An index says where a base lies by one line width a sequence, so a sequence whose lines differ has none. A sequence may
be one line of any length: lines are measured, not kept.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LARGEST_BREAK = 4
"""Most bytes after the bases of a line: two blanks and a line break of Windows."""
_LONGEST_HEADER = 1 << 20
_LONGEST_NAME = 1000
_MOST_SEQUENCES = 1_000_000
_IS_BLANK = np.array([byte in b" \t\n\v\f\r" for byte in range(256)])
_REWRAP = "rewrap the file: `seqkit seq -w 60 IN.fa > OUT.fa`"


class NotIndexable(ValueError):
    """A text that has no index; the message says why, and how to mend it."""


class FastaRecord(NamedTuple):
    """One sequence: a line of a `.fai`."""

    name: str
    length: int
    """Bases (bp)."""
    offset: int
    """Offset of its first base in the decompressed text (bytes)."""
    line_bases: int
    """Bases a line, but for the last."""
    line_bytes: int
    """Bytes a line, its break included."""

    def position(self, base: int) -> int:
        """Offset of a base in the decompressed text (bytes)."""
        line, column = divmod(base, self.line_bases)
        return self.offset + line * self.line_bytes + column


def scan(chunks: Iterable[bytes]) -> list[FastaRecord]:
    """Find the sequences of a text, in order; those without bases have length 0.

    Raises
    ------
    NotIndexable
        If it is no FASTA, or the lines of a sequence have different widths.
    """
    scanner = _Scanner()
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner.finish()


def names_of_headers(text: bytes) -> list[str] | None:
    """Return the names in a text that holds headers and blank lines only; None if it holds anything else."""
    lines = [line for line in re.split(rb"[\r\n]", text.removeprefix(BYTE_ORDER_MARK)) if line.strip()]
    return [_name(line) for line in lines] if all(line.startswith(b">") for line in lines) else None


def is_name(name: str) -> bool:
    """Tell whether a text can be the name of a sequence, and be shown in a message."""
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and "\N{REPLACEMENT CHARACTER}" not in name


def _after_the_lead(text: bytes) -> bytes:
    return text.removeprefix(BYTE_ORDER_MARK).lstrip()


def _name(header: bytes) -> str:
    words = header[1:].split(maxsplit=1)
    return words[0].decode(errors="replace") if words else ""


class _Scanner:
    def __init__(self) -> None:
        self._records: dict[str, FastaRecord] = {}
        self._offset = 0
        """Of the next byte."""
        self._line = 1
        """Number of the line that the next byte is in."""
        self._break = b""
        """The line break, known from the first one."""
        self._held = b""
        """What came before the first line break; later, the beginning of a header."""
        self._in_header = False
        self._sequence: _Sequence | None = None

    def feed(self, chunk: bytes) -> None:
        if not self._break:
            chunk = self._held + chunk
            found = re.search(rb"\n|\r\n|\r[^\n]", chunk)
            if len(chunk) <= _LONGEST_HEADER and (found is None or not _after_the_lead(chunk)):
                self._held = chunk
            else:
                self._start(chunk, b"\n" if found is None or b"\n" in found[0] else b"\r")
        else:
            self._consume(chunk)

    def finish(self) -> list[FastaRecord]:
        if not self._break:
            self._start(self._held, b"\n")
        if self._in_header:
            self._end_header(b"")
        self._end_sequence()
        return list(self._records.values())

    def _start(self, text: bytes, line_break: bytes) -> None:
        self._break, self._held = line_break, b""
        records = _after_the_lead(text)
        self._offset = len(text) - len(records)
        self._line += text.count(line_break, 0, self._offset)
        self._in_header = records.startswith(b">")
        if not self._in_header:
            raise NotIndexable(
                f"line {self._line} is no header; a FASTA begins with '>' and a name, so remove what comes before that"
            )
        self._consume(records)

    def _consume(self, chunk: bytes) -> None:
        at, is_line_start = 0, not self._in_header and (self._sequence is None or not self._sequence.open_bytes)
        while at < len(chunk):
            if is_line_start and chunk[at : at + 1] == b">":
                self._end_sequence()
                self._in_header = True
            if self._in_header:
                end = chunk.find(self._break, at)
                part = chunk[at : end if end >= 0 else len(chunk)]
                if len(self._held) + len(part) > _LONGEST_HEADER:
                    raise NotIndexable(f"the header in line {self._line} is longer than 1 MiB; shorten it")
                at += len(part)
                self._offset += len(part)
                if end < 0:
                    self._held += part
                    return
                at, self._offset = at + 1, self._offset + 1
                self._end_header(part)
            else:
                # One letter is looked for ten times as fast as two.
                end, has_header = chunk.find(b">", at), False
                if end < 0:
                    end = len(chunk)
                elif chunk[end - 1 : end] != self._break or end == at:
                    end, has_header = chunk.find(self._break + b">", at) + 1 or len(chunk), True
                text = np.frombuffer(chunk, np.uint8)[at:end]
                assert self._sequence is not None
                self._line += self._sequence.add(text, self._break[0], has_header=has_header)
                self._offset += end - at
                at = end
            is_line_start = True

    def _end_header(self, rest: bytes) -> None:
        header, self._held, self._in_header = (self._held + rest).rstrip(), b"", False
        name = _name(header)
        if not name:
            raise NotIndexable(
                f"the header in line {self._line} has no name; give each sequence a name, right after its '>'"
            )
        if b"\r" in header or b"\n" in header:
            raise NotIndexable(f"line {self._line} has a line break of another kind within; {_REWRAP}")
        if not is_name(name):
            raise NotIndexable(f"the name {name[:40]!r} in line {self._line} is not short, printable text; mend it")
        self._line += 1
        self._sequence = _Sequence(name=name, offset=self._offset, line=self._line)

    def _end_sequence(self) -> None:
        if self._sequence is None:
            return
        record = self._sequence.finish()
        former = self._records.get(record.name)
        if former is not None:
            raise NotIndexable(f'two sequences are called "{record.name}"; give each sequence a name of its own')
        self._records[record.name] = record
        self._sequence = None
        if len(self._records) > _MOST_SEQUENCES:
            raise NotIndexable(
                f"it has more than {_MOST_SEQUENCES:,} sequences, which is no assembly to build on; leave out the "
                "short ones: `seqkit seq -m 10000 IN.fa > OUT.fa`"
            )


@dataclass(slots=True, kw_only=True)
class _Sequence:
    """The sequence that is being read."""

    name: str
    offset: int
    line: int
    """Number of the line that comes next."""
    line_bases: int = 0
    line_bytes: int = 0
    length: int = 0
    odd: str = ""
    """How a line differs from those before it: it has to be the last one."""
    open_bases: int = 0
    open_bytes: int = 0
    """Of a line whose break has not come yet."""

    def add(self, text: NDArray[np.uint8], line_break: int, *, has_header: bool) -> int:
        """Add the next bytes, with a '>' in them or not; return how many lines ended."""
        blanks = np.flatnonzero(text <= ord(" "))
        ends = blanks[text[blanks] == line_break] + 1
        self._check_letters(text, blanks, ends, has_header=has_header)
        stops = np.append(ends, len(text))
        widths = np.diff(stops, prepend=0)
        broken: list[int] = []
        if len(blanks) == len(ends):  # nothing but line breaks, as in nearly every file
            bases = widths - 1
            bases[-1] += 1
        else:
            edges = np.searchsorted(blanks, stops)
            n_blanks = np.diff(edges, prepend=0)
            bases = widths - n_blanks
            # The blanks of a line have to be its end.
            some = np.flatnonzero(n_blanks)
            broken = some[blanks[(edges - n_blanks)[some]] != (stops - n_blanks)[some]].tolist()
        if self.open_bytes > self.open_bases and bases[0]:
            broken = [0]
        if broken:
            raise NotIndexable(f"line {self.line + broken[0]} has a blank among the bases of {self.name}; {_REWRAP}")
        bases[0] += self.open_bases
        widths[0] += self.open_bytes
        self.open_bases, self.open_bytes = int(bases[-1]), int(widths[-1])
        self._add_lines(bases[:-1], widths[:-1])
        return len(ends)

    def finish(self) -> FastaRecord:
        if self.open_bytes:
            self._add_lines(np.array([self.open_bases]), np.array([self.open_bytes]))
        return FastaRecord(self.name, self.length, self.offset, self.line_bases, self.line_bytes)

    def _add_lines(self, bases: NDArray[np.int64], widths: NDArray[np.int64]) -> None:
        filled = np.flatnonzero(bases)
        if filled.size:
            first = int(filled[0])
            if not self.length:
                self.offset += int(widths[:first].sum())
                self.line_bases, self.line_bytes = int(bases[first]), int(widths[first])
            elif first and not self.odd:
                self.odd = self._blank(0)
            differs = np.flatnonzero((bases != self.line_bases) | (widths != self.line_bytes))
            differs = differs[differs >= first]
            if self.odd:
                raise NotIndexable(f"{self.odd}; {_REWRAP}")
            if differs.size:
                place = int(differs[0])
                self.odd = self._oddity(place, int(bases[place]))
                if filled[-1] > place or bases[place] > self.line_bases:
                    raise NotIndexable(f"{self.odd}; {_REWRAP}")
            if self.line_bytes - self.line_bases > LARGEST_BREAK:
                raise NotIndexable(f"line {self.line + first} of {self.name} ends in blanks; {_REWRAP}")
            self.length += int(bases.sum())
        elif self.length and len(bases):
            self.odd = self.odd or self._blank(0)
        elif len(bases):
            self.offset += int(widths.sum())
        self.line += len(bases)

    def _oddity(self, place: int, n_bases: int) -> str:
        if not n_bases:
            return self._blank(place)
        where = f"line {self.line + place} of {self.name}"
        if n_bases == self.line_bases:
            return f"{where} ends otherwise than the lines before it (a blank, or another line break)"
        return f"the lines have different widths: {where} has {n_bases} bases, those before it {self.line_bases}"

    def _blank(self, place: int) -> str:
        return f"line {self.line + place} is blank amid the bases of {self.name}"

    def _check_letters(
        self, text: NDArray[np.uint8], blanks: NDArray[np.int64], ends: NDArray[np.int64], *, has_header: bool
    ) -> None:
        """Refuse what is neither a printable character nor a blank, and a header within a line."""
        wrong = blanks[~_IS_BLANK[text[blanks]]]
        if not wrong.size and text.size and text.max() > ord("~"):
            wrong = np.flatnonzero(text > ord("~"))
        if wrong.size:
            line = self.line + int(np.searchsorted(ends, wrong[0], side="right"))
            raise NotIndexable(
                f"line {line} has the byte 0x{text[wrong[0]]:02x} among the bases of {self.name}, which is no letter; "
                "remove it, or fetch the file again if it is damaged"
            )
        headers = np.flatnonzero(text == ord(">")) if has_header else np.empty(0, dtype=np.int64)
        if headers.size:
            line = self.line + int(np.searchsorted(ends, headers[0], side="right"))
            raise NotIndexable(
                f"line {line} has a '>' among the bases of {self.name}; if two files were joined there, put a line "
                "break before it"
            )
