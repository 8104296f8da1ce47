"""Reference genomes: contigs, lengths, and the GA4GH digests that identify an assembly.

Belongs here: `Assembly`, contig names, GA4GH digests. Does not: reading bases for features
(`builders.extractors.sequence`).
"""

import base64
import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from catalog.fasta.file import Fasta
from catalog.fasta.letters import UnusualLetters, as_dna, unusual, upper_case
from catalog.runtime.documents import parse_object

_KEPT = "contigs.json"
_DIGESTING_THREADS = min(4, os.cpu_count() or 1)
_LEAST_PART_BASES = 1 << 24
"""A part of the contigs is at least a read of its own."""
_BLOCK_BYTES = 1 << 18
"""Bases at a time: they stay in the processor's cache from one step to the next."""


class UnknownContig(KeyError):
    """A contig name that the assembly does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


class AssemblyMismatch(ValueError):
    """Two things that must share an assembly do not."""


class Contig(BaseModel):
    """One sequence of an assembly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    length: int = Field(ge=1, le=1 << 36)
    """Bases (bp); the longest known chromosomes have 2^33."""
    digest: str
    """GA4GH refget digest of the upper-case sequence, `SQ.` and 32 characters."""


class Assembly(BaseModel):
    """A set of contigs, in order, and the digest that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """For people; two assemblies are the same if their digests are."""
    contigs: tuple[Contig, ...]
    digest: str
    """GA4GH sequence collection digest (seqcol 1.0) over names and sequences."""

    @model_validator(mode="after")
    def _digest_is_that_of_the_contigs(self) -> "Assembly":
        expected = collection_digest(self.contigs)
        if self.digest != expected:
            raise ValueError(
                f"the contigs of {self.name} digest to {expected}, but {self.digest} is written; the record was edited"
            )
        return self

    @classmethod
    def of(cls, name: str, contigs: tuple[Contig, ...]) -> "Assembly":
        """Make an assembly from contigs whose digests are known."""
        return cls(name=name, contigs=contigs, digest=collection_digest(contigs))

    @classmethod
    def from_fasta(
        cls,
        fasta: str | os.PathLike[str] | Fasta,
        *,
        name: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> "Assembly":
        """Read contigs, lengths and digests of a FASTA file.

        Every base is read once (about ten seconds for a human genome on a disk); the digests are then cached for as
        long as the file keeps its size and time stamp (at a URL: its checksum).

        Parameters
        ----------
        fasta
            `.fa`, or `.fa.gz` made by bgzip or gzip: a path, any URL that fsspec reads, or an open `Fasta`.
        name
            What to call the assembly; by default the file's name without its endings.
        storage_options
            For a URL, as fsspec names them.

        Raises
        ------
        FastaChanged
            If the file changed while it was read.
        FastaError
            If the file is empty, truncated, not FASTA, or no nucleotide sequence.
        """
        if not isinstance(fasta, Fasta):
            with Fasta(fasta, storage_options=storage_options) as opened:
                return cls.from_fasta(opened, name=name)
        return read_genome(fasta, name=name).assembly

    @cached_property
    def lengths(self) -> dict[str, int]:
        """Contig lengths (bp) by name, in the assembly's order."""
        return {contig.name: contig.length for contig in self.contigs}

    def resolve(self, contig: str) -> str:
        """Give the assembly's own name of a contig: `1` finds `chr1`, `chrM` finds `MT`, and the reverse.

        Raises
        ------
        UnknownContig
            If neither the name nor its other spelling is there.
        """
        lengths = self.lengths
        for spelling in (contig, *_other_spellings(contig)):
            if spelling in lengths:
                return spelling
        shown = ", ".join(list(lengths)[:8]) + (", ..." if len(lengths) > 8 else "")
        raise UnknownContig(f"{self.name} has no contig {contig!r}; it has {shown}")


class Genome(NamedTuple):
    """What one pass over a FASTA file tells."""

    assembly: Assembly
    letters: UnusualLetters


def read_genome(fasta: Fasta, *, name: str | None = None) -> Genome:
    """Read contigs, digests and unusual letters of a FASTA file; as `Assembly.from_fasta`, which gives the first two.

    U counts as T in the digests, so that a sequence is one assembly as RNA and as DNA.
    """
    kept = _remembered(fasta)
    if kept is None or {contig.name: contig.length for contig in kept[0]} != fasta.lengths:
        kept = _digested(fasta)
        fasta.check_unchanged()
        _remember(fasta, *kept)
    contigs, letters = kept
    letters.require_nucleotides(fasta.lengths, shown=fasta.url)
    return Genome(Assembly.of(name or _stem(fasta.url), contigs), letters)


def sha512t24u(data: bytes) -> str:
    """Digest as GA4GH does: the first 24 bytes of SHA-512 in URL-safe base64, 32 characters."""
    return _t24u(hashlib.sha512(data).digest())


def _t24u(sha512: bytes) -> str:
    return base64.urlsafe_b64encode(sha512[:24]).decode("ascii")


def collection_digest(contigs: tuple[Contig, ...]) -> str:
    """Digest a set of contigs as GA4GH sequence collections 1.0 does, over names and sequences, in order."""
    names = _json_digest([contig.name for contig in contigs])
    sequences = _json_digest([contig.digest for contig in contigs])
    return _json_digest({"names": names, "sequences": sequences})


def _json_digest(value: list[str] | dict[str, str]) -> str:
    # RFC 8785 for lists and objects of strings: sorted keys, no white space, UTF-8 unescaped.
    return sha512t24u(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def _digested(fasta: Fasta) -> tuple[tuple[Contig, ...], UnusualLetters]:
    """Digest all contigs, some of them in each thread: hashing and numpy let the others run."""
    digests = {contig: hashlib.sha512() for contig in fasta.lengths}
    letters: dict[str, Counter[str]] = {contig: Counter() for contig in fasta.lengths}

    def digest(some: slice) -> None:
        for contig, bases in fasta.pieces(some):
            for first in range(0, len(bases), _BLOCK_BYTES):
                upper = upper_case(bases[first : first + _BLOCK_BYTES])
                found = unusual(upper)
                letters[contig].update(found)
                digests[contig].update((as_dna(upper) if "U" in found else upper).data)

    with ThreadPoolExecutor(_DIGESTING_THREADS) as pool:
        for done in [pool.submit(digest, some) for some in _parts(list(fasta.lengths.values()))]:
            done.result()
    contigs = tuple(
        Contig(name=contig, length=length, digest=f"SQ.{_t24u(digests[contig].digest())}")
        for contig, length in fasta.lengths.items()
    )
    return contigs, UnusualLetters({contig: counts for contig, counts in letters.items() if counts})


def _parts(lengths: Sequence[int]) -> list[slice]:
    """Divide contigs, in order, into parts of about as many bases; a part holds at least one."""
    most = max(_LEAST_PART_BASES, sum(lengths) // (4 * _DIGESTING_THREADS))
    parts, first, bases = [], 0, 0
    for place, length in enumerate(lengths):
        bases += length
        if bases >= most or place == len(lengths) - 1:
            parts.append(slice(first, place + 1))
            first, bases = place + 1, 0
    return parts


def _other_spellings(contig: str) -> tuple[str, ...]:
    mitochondrial = ("chrM", "chrMT", "MT", "M")
    if contig in mitochondrial:
        return mitochondrial
    return (contig.removeprefix("chr"),) if contig.startswith("chr") else (f"chr{contig}",)


def _stem(url: str) -> str:
    name = Path(url).name
    for ending in (".gz", ".bgz", ".fa", ".fasta", ".fna"):
        name = name.removesuffix(ending)
    return name


def _remembered(fasta: Fasta) -> tuple[tuple[Contig, ...], UnusualLetters] | None:
    try:
        document = parse_object(fasta.derived(_KEPT) or b"", where=_KEPT, mend="it is made anew")
        letters = {
            str(contig): {str(letter): int(number) for letter, number in counts.items()}
            for contig, counts in document["letters"].items()
        }
        return tuple(Contig.model_validate(entry) for entry in document["contigs"]), UnusualLetters(letters)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # an unreadable cache is recomputed, and so is that of a version that counted no letters


def _remember(fasta: Fasta, contigs: tuple[Contig, ...], letters: UnusualLetters) -> None:
    document = {"contigs": [contig.model_dump() for contig in contigs], "letters": letters.counts}
    fasta.keep(_KEPT, json.dumps(document).encode())
