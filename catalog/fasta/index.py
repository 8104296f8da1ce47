"""Index of a FASTA file: the offsets of its sequences, as a small picklable value.

Belongs here: the index, its file formats (`.fai`, `.gzi`, JSON), making one of a file.
Does not: the lines of the text (`catalog.fasta.scan`), reading bases by it (`catalog.fasta.file`).
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from catalog.fasta.bgzf import BlockTable, gzi_of, inflated
from catalog.fasta.packing import Packing
from catalog.fasta.scan import LARGEST_BREAK, FastaRecord, NotIndexable, is_name, scan
from catalog.fasta.source import Source
from catalog.runtime.documents import parse_object

_PIECE_BYTES = 1 << 20
_BEYOND_ANY_FILE = 1 << 62


@dataclass(frozen=True, kw_only=True)
class FastaIndex:
    """The index of one version of a file: with it, `Fasta` opens the file without reading any of it.

    Hashable and picklable; 16 bytes a block for a bgzipped file (0.8 MB for a human genome), else some hundred bytes.

    Raises
    ------
    ValueError
        If it cannot be the index of any file.
    """

    version: str
    """`Fasta.version` of the file that was indexed."""
    packing: Packing
    """Compression of the file; offsets are those of the decompressed text."""
    records: tuple[FastaRecord, ...]
    """The sequences, in the order of the file."""
    gzi: bytes = b""
    """Offsets of the blocks of a bgzipped file, as in a `.gzi`; empty otherwise."""
    empty: tuple[str, ...] = ()
    """Names of sequences without a base, which are left out."""

    def __post_init__(self) -> None:
        if self.packing not in get_args(Packing):
            raise ValueError(f"packing is one of {', '.join(get_args(Packing))}, got {self.packing!r}")
        if not self.records:
            raise ValueError("it holds no sequence")
        for name in (*self.lengths, *self.empty):
            if not is_name(name):
                raise ValueError(f"{name[:40]!r} is no name of a sequence")
        if len(self.lengths) < len(self.records):
            raise ValueError("two sequences have the same name")
        free = 0
        for record in self.records:
            _check(record, free)
            free = record.position(record.length - 1) + 1
        if self.packing == "bgzf":
            BlockTable(self.gzi)

    @property
    def lengths(self) -> dict[str, int]:
        """Contig lengths in bp, in the order of the file."""
        return {record.name: record.length for record in self.records}

    @classmethod
    def from_fai(cls, fai: str, *, version: str, packing: Packing, gzi: bytes = b"") -> "FastaIndex":
        """Parse the text of a `.fai`; ValueError if it is not one."""
        records = []
        for number, line in enumerate(fai.split("\n"), start=1):
            if not line.strip():
                continue
            name, *numbers = line.rstrip("\r").split("\t")
            if len(numbers) != 4 or not all(text.isascii() and text.isdigit() for text in numbers):
                raise ValueError(f"line {number} of the .fai is not a name and four numbers, between tabs")
            records.append(FastaRecord(name, *map(int, numbers)))
        return _without_empty(records, version=version, packing=packing, gzi=gzi)

    def to_json(self) -> str:
        """Write as JSON."""
        gzi = base64.b64encode(self.gzi).decode("ascii")
        document = {"version": self.version, "packing": self.packing, "records": self.records, "gzi": gzi}
        return json.dumps(document | {"empty": self.empty})

    @classmethod
    def from_json(cls, text: str) -> "FastaIndex":
        """Read what `to_json` wrote; ValueError, KeyError or TypeError if it is anything else."""
        document = parse_object(text, where="the kept index", mend="it is made anew")
        records = tuple(FastaRecord(str(name), *map(int, numbers)) for name, *numbers in document["records"])
        gzi = base64.b64decode(document["gzi"], validate=True)
        empty = tuple(map(str, document.get("empty", ())))
        return cls(version=str(document["version"]), packing=document["packing"], records=records, gzi=gzi, empty=empty)


def _check(record: FastaRecord, free: int) -> None:
    """Check a record; `free` is the first byte after all earlier ones."""
    if record.length < 1:
        raise ValueError(f"it holds no sequence for {record.name}")
    if not 1 <= record.line_bases <= record.line_bytes <= record.line_bases + LARGEST_BREAK:
        raise ValueError(f"{record.name} cannot have {record.line_bases} bases in lines of {record.line_bytes} bytes")
    if not max(free, 1) <= record.offset <= record.position(record.length - 1) < _BEYOND_ANY_FILE:
        raise ValueError(f"{record.name} cannot begin at byte {record.offset} with {record.length} bases")


def make_index(source: Source, *, version: str, packing: Packing) -> FastaIndex:
    """Index a file in one pass, in bounded memory.

    Raises
    ------
    NotIndexable
        If its text has no index.
    ValueError
        If it is damaged.
    """
    blocks: list[tuple[int, int]] = []
    records = scan(_unpacking(source, blocks) if packing == "bgzf" else source.stream())
    gzi = gzi_of(blocks) if packing == "bgzf" else b""
    return _without_empty(records, version=version, packing=packing, gzi=gzi)


def _without_empty(records: list[FastaRecord], *, version: str, packing: Packing, gzi: bytes) -> FastaIndex:
    """Leave out sequences without a base, except at the end, where a file is cut."""
    if records and not records[-1].length:
        raise NotIndexable(
            f"it holds no sequence for {records[-1].name}; fetch it again if it is cut off there, else remove that "
            "last header"
        )
    return FastaIndex(
        version=version,
        packing=packing,
        records=tuple(record for record in records if record.length),
        gzi=gzi,
        empty=tuple(record.name for record in records if not record.length),
    )


def _unpacking(source: Source, blocks: list[tuple[int, int]]) -> Iterator[bytes]:
    """Decompress a BGZF file, collecting the offsets of its blocks; in pieces of a MiB, since blocks may be tiny."""
    position, held, n_held = 0, [], 0
    for start, text in inflated(source.stream()):
        if text:
            blocks.append((start, position))
            position += len(text)
            held.append(text)
            n_held += len(text)
        if n_held >= _PIECE_BYTES:
            yield b"".join(held)
            held, n_held = [], 0
    yield b"".join(held)
