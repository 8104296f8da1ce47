"""Which genome: contigs, lengths, and digests that tell one assembly from another.

Belongs here: `Assembly`, contig names, GA4GH digests. Does not: reading bases for features (`builders.sequence`).
"""

import base64
import hashlib
import json
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from catalog.fasta import Fasta

_DIGEST_STEP = 1 << 20
"""Bases read at a time: Bio.bgzf appends block to block, so that longer reads cost their square."""


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
    length: int = Field(ge=1)
    """Bases (bp)."""
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
    def from_fasta(cls, path: str | os.PathLike[str], *, name: str | None = None) -> "Assembly":
        """Read contigs, lengths and digests of a FASTA file.

        Every base is read once (about a minute for a human genome); the digests are then kept in the cache directory
        for as long as the file keeps its size and time stamp.

        Parameters
        ----------
        path
            `.fa`, or `.fa.gz` made by bgzip or gzip.
        name
            What to call the assembly; by default the file's name without its endings.

        Raises
        ------
        FastaError
            If the file is empty, truncated, or not FASTA.
        """
        with Fasta(path) as fasta:
            contigs = _remembered(fasta.cache / "contigs.json")
            if contigs is None or {contig.name: contig.length for contig in contigs} != fasta.lengths:
                contigs = tuple(
                    Contig(name=contig, length=length, digest=_contig_digest(fasta, contig))
                    for contig, length in fasta.lengths.items()
                )
                _remember(fasta.cache / "contigs.json", contigs)
            return cls.of(name or _stem(fasta.path), contigs)

    @property
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


def sha512t24u(data: bytes) -> str:
    """Digest as GA4GH does: the first 24 bytes of SHA-512 in URL-safe base64, 32 characters."""
    return base64.urlsafe_b64encode(hashlib.sha512(data).digest()[:24]).decode("ascii")


def collection_digest(contigs: tuple[Contig, ...]) -> str:
    """Digest a set of contigs as GA4GH sequence collections 1.0 does, over names and sequences, in order."""
    names = _json_digest([contig.name for contig in contigs])
    sequences = _json_digest([contig.digest for contig in contigs])
    return _json_digest({"names": names, "sequences": sequences})


def _json_digest(value: list[str] | dict[str, str]) -> str:
    # RFC 8785 for lists and objects of strings: sorted keys, no white space, UTF-8 unescaped.
    return sha512t24u(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def _contig_digest(fasta: Fasta, contig: str) -> str:
    digest = hashlib.sha512()
    length = fasta.lengths[contig]
    for start in range(0, length, _DIGEST_STEP):
        digest.update(fasta.fetch(contig, start, min(start + _DIGEST_STEP, length)).tobytes().upper())
    return "SQ." + base64.urlsafe_b64encode(digest.digest()[:24]).decode("ascii")


def _other_spellings(contig: str) -> tuple[str, ...]:
    mitochondrial = ("chrM", "chrMT", "MT", "M")
    if contig in mitochondrial:
        return mitochondrial
    return (contig.removeprefix("chr"),) if contig.startswith("chr") else (f"chr{contig}",)


def _stem(path: Path) -> str:
    name = path.name
    for ending in (".gz", ".bgz", ".fa", ".fasta", ".fna"):
        name = name.removesuffix(ending)
    return name


def _remembered(path: Path) -> tuple[Contig, ...] | None:
    try:
        return tuple(Contig.model_validate(entry) for entry in json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None  # a cache that cannot be read is made again


def _remember(path: Path, contigs: tuple[Contig, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps([contig.model_dump() for contig in contigs]))
    os.replace(partial, path)
