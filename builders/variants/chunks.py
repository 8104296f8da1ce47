"""Records of a file in chunks, as lines beside the table: the VCF is parsed once, and no process holds all records.

Belongs here: which records make a chunk, writing them, reading those of one. Does not: parsing a VCF
(`builders.variants.read`), scores (`builders.variants.scorer`).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from builders.variants.read import Record
from catalog.runtime.files import replacing


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring records; alleles of one site are never split."""

    number: int
    path: Path
    """The file of `write_chunks`, which workers see, too."""
    offset: int
    """Where its line begins (bytes)."""
    n_alleles: int
    """Rows of the table."""

    def records(self) -> list[Record]:
        """Read its records."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return _records_of(file.readline())


def write_chunks(records: Iterable[Record], size: int, path: Path) -> None:
    """Write a line for each chunk of about `size` alleles; records without any are left out."""
    with replacing(path) as partial, partial.open("wb") as file:
        for held in _grouped(records, size):
            told = [(one.contig, one.position, one.id, one.ref, one.alts) for one in held]
            file.write(json.dumps(told).encode() + b"\n")


def read_chunks(path: Path) -> list[Chunk]:
    """List the chunks that were written."""
    chunks, offset = [], 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            n_alleles = sum(len(record.alts) for record in _records_of(line))
            chunks.append(Chunk(number, path, offset, n_alleles))
            offset += len(line)
    return chunks


def _grouped(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Cut records into chunks; neighbours of one position stay together."""
    held: list[Record] = []
    n_alleles = 0
    for record in records:
        if not record.alts:
            continue
        is_new = not held or (held[-1].contig, held[-1].position) != (record.contig, record.position)
        if n_alleles >= size and is_new:
            yield held
            held, n_alleles = [], 0
        held.append(record)
        n_alleles += len(record.alts)
    if held:
        yield held


def _records_of(line: bytes) -> list[Record]:
    return [
        Record(contig=contig, position=position, id=name, ref=ref, alts=tuple(alts))
        for contig, position, name, ref, alts in json.loads(line)
    ]
