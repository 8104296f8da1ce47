"""Index of a FASTA file: the offsets of its sequences, as a small picklable value.

Belongs here: the index, its file formats (`.fai`, `.gzi`, JSON), making one in one pass over a file.
Does not: reading bases by it (`catalog.fasta.file`).
"""

import base64
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, get_args

from catalog.fasta.bgzf import BlockTable, gzi_of, inflated
from catalog.fasta.packing import Packing
from catalog.fasta.source import Source, as_file
from catalog.runtime.documents import parse_object

_BEYOND_ANY_FILE = 1 << 62


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

    def __post_init__(self) -> None:
        if self.packing not in get_args(Packing):
            raise ValueError(f"packing is one of {', '.join(get_args(Packing))}, got {self.packing!r}")
        if not self.records:
            raise ValueError("it holds no sequence")
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
        for line in fai.splitlines():
            name, length, offset, line_bases, line_bytes = line.split("\t")
            records.append(FastaRecord(name, int(length), int(offset), int(line_bases), int(line_bytes)))
        return cls(version=version, packing=packing, records=tuple(records), gzi=gzi)

    def to_json(self) -> str:
        """Write as JSON."""
        gzi = base64.b64encode(self.gzi).decode("ascii")
        return json.dumps({"version": self.version, "packing": self.packing, "records": self.records, "gzi": gzi})

    @classmethod
    def from_json(cls, text: str) -> "FastaIndex":
        """Read what `to_json` wrote; ValueError, KeyError or TypeError if it is anything else."""
        document = parse_object(text, where="the kept index", mend="it is made anew")
        records = tuple(FastaRecord(str(name), *map(int, numbers)) for name, *numbers in document["records"])
        gzi = base64.b64decode(document["gzi"], validate=True)
        return cls(version=str(document["version"]), packing=document["packing"], records=records, gzi=gzi)


def _check(record: FastaRecord, free: int) -> None:
    """Check a record; `free` is the first byte after all earlier ones."""
    if record.length < 1:
        raise ValueError(f"it holds no sequence for {record.name}")
    if not 1 <= record.line_bases <= record.line_bytes <= record.line_bases + 2:
        raise ValueError(f"{record.name} cannot have {record.line_bases} bases in lines of {record.line_bytes} bytes")
    if not max(free, 1) <= record.offset <= record.position(record.length - 1) < _BEYOND_ANY_FILE:
        raise ValueError(f"{record.name} cannot begin at byte {record.offset} with {record.length} bases")


def make_index(source: Source, *, version: str, packing: Packing) -> FastaIndex:
    """Index a file in one pass.

    Raises
    ------
    ValueError
        If it is damaged, its lines have different widths, or two sequences have the same name.
    """
    try:
        import pyfaidx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("indexing FASTA needs pyfaidx: pip install 'genomic-featurestore[build]'") from error
    from fsspec.core import OpenFile

    blocks: list[tuple[int, int]] = []
    text = as_file(_unpacking(source, blocks) if packing == "bgzf" else source.stream())
    with tempfile.TemporaryDirectory() as folder:
        fai = Path(folder) / "text.fai"
        # pyfaidx reads a path or an OpenFile; it tells plain from compressed by the name.
        opened = OpenFile(SimpleNamespace(open=lambda path, mode: text), "text")
        try:
            pyfaidx.Faidx(opened, indexname=str(fai)).close()
        except (pyfaidx.FastaIndexingError, RuntimeError) as error:
            raise ValueError(str(error)) from error
        except OSError as error:
            # pyfaidx blames every OSError on an index that is not writable; the cause is the chained error.
            raise (error.__context__ or error) from None
        gzi = gzi_of(blocks) if packing == "bgzf" else b""
        return FastaIndex.from_fai(fai.read_text(), version=version, packing=packing, gzi=gzi)


def _unpacking(source: Source, blocks: list[tuple[int, int]]) -> Iterator[bytes]:
    """Decompress a BGZF file, collecting the offsets of its blocks."""
    position = 0
    for start, text in inflated(source.stream()):
        if text:
            blocks.append((start, position))
            position += len(text)
            yield text
