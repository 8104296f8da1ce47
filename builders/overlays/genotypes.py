"""From the genotypes of a sample to the edits of one haplotype.

Belongs here: which allele of a record the haplotype has, which of overlapping ones is applied, and what is counted.
Does not: reading the file (`builders.variants.read`), the arithmetic of edits (`builders.overlays.haplotype`).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from builders.overlays.haplotype import Edit, Edits
from builders.variants.read import Genotype, Record
from catalog import Assembly, UnknownContig

FetchOf = Callable[[str, int, int], NDArray[np.uint8]]
"""Reads bases `[start, end)` of a contig of the reference, ASCII, as `catalog.Fasta.fetch` does."""
Unphased = Literal["refuse", "first", "second", "n"]
Mismatches = Literal["skip", "refuse"]
_BASES = frozenset("ACGTN")
_VERSION = 1
"""Of these rules, which are part of an overlay's fingerprint."""
_BLOCK_BASES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HaplotypeRules:
    """How the genotypes of a sample become the sequence of one haplotype."""

    haplotype: int
    """Which of the phased alleles, from 1; where there is one copy, that."""
    unphased: Unphased = "refuse"
    """Of a heterozygote that is not phased: refuse it, take its first or second allele, or write N for the REF."""
    mismatches: Mismatches = "skip"
    """Of a REF that is not what the reference has: leave the allele out and count it, or refuse it."""

    def recorded(self) -> dict[str, str | int]:
        """Give what decides the sequence beside the haplotype, for an overlay's fingerprint."""
        return {"unphased": self.unphased, "version": _VERSION}


class Allele(NamedTuple):
    """What a haplotype has in the place of a REF; letters in upper case."""

    position: int
    """First base of `ref`, 0-based."""
    ref: str
    alt: str


@dataclass(frozen=True, slots=True)
class Haplotype:
    """One haplotype of a sample."""

    edits: dict[str, Edits]
    """Of each contig that has any, by the assembly's name."""
    counts: dict[str, int]
    """Alleles that were `applied`, and that were not, by reason."""
    variants: str
    """Digest of the sample's records: places, alleles, genotypes."""


def read_haplotype(records: Iterable[Record], assembly: Assembly, rules: HaplotypeRules, fetch: FetchOf) -> Haplotype:
    """Apply the variants of a sample to the reference.

    Variants are taken by position, those of one position in the order of the file. One that begins before the end of
    an applied one's REF is left out, except an indel whose first base is the last of that REF, which begins behind it.

    Parameters
    ----------
    records
        In any order, each with the genotype of one sample.
    fetch
        Reads the reference, to compare each REF with it.

    Raises
    ------
    ValueError
        If a heterozygote is not phased, or a REF differs, and that is refused; if a genotype has fewer copies than the
        haplotype's number; if no record lies on the assembly.
    """
    digest, counts = hashlib.sha256(), Counter[str]()
    alleles: dict[str, list[Allele]] = {}
    own: dict[str, str | None] = {}
    for record in records:
        (genotype,) = record.genotypes
        said = [record.contig, record.position, record.ref, record.alts, genotype.alleles, genotype.is_phased]
        digest.update(json.dumps(said).encode())
        if record.contig not in own:
            own[record.contig] = _own_name(record.contig, assembly)
        contig = own[record.contig]
        if contig is None:
            counts["missing contig"] += 1
            continue
        alt = _chosen(record, genotype, rules, counts)
        if alt is not None:
            alleles.setdefault(contig, []).append(Allele(record.position, record.ref.upper(), alt))
    if own and not any(own.values()):
        raise ValueError(
            f"no variant lies on {assembly.name}, whose contigs are named like {next(iter(assembly.lengths))}: the "
            f"file has {', '.join(list(own)[:3])}; give variants on this assembly, or rename its contigs"
        )
    edits = {
        contig: _edits(contig, alleles[contig], assembly.lengths[contig], rules, fetch, counts)
        for contig in assembly.lengths
        if contig in alleles
    }
    return Haplotype(
        {contig: made for contig, made in edits.items() if len(made)},
        {"applied": sum(map(len, edits.values()))} | dict(sorted(counts.items())),
        digest.hexdigest(),
    )


def _own_name(contig: str, assembly: Assembly) -> str | None:
    try:
        return assembly.resolve(contig)
    except UnknownContig:
        return None


def _chosen(record: Record, genotype: Genotype, rules: HaplotypeRules, counts: Counter[str]) -> str | None:
    """Give the letters that the haplotype has in the place of a REF; None for those of the reference."""
    copies = genotype.alleles
    where = f"{record.contig}:{record.position + 1} {record.ref}>{','.join(record.alts)}"
    if len(set(copies)) > 1 and not genotype.is_phased:
        if rules.unphased == "refuse":
            text = "/".join("." if one is None else str(one) for one in copies)
            raise ValueError(
                f"{where} is {text}, heterozygous and not phased, so that neither haplotype is known; phase the file, "
                "or say what to take: `unphased=first`, `second`, or `n` for unknown bases"
            )
        if rules.unphased == "n":
            counts["written as N"] += 1
            return "N" * len(record.ref)
        number = copies[0 if rules.unphased == "first" else 1]
    elif len(set(copies)) <= 1:
        number = copies[0] if copies else None
    elif rules.haplotype > len(copies):
        raise ValueError(f"{where} has {len(copies)} copies, and none is number {rules.haplotype}: `haplotype=`")
    else:
        number = copies[rules.haplotype - 1]
    if number is None:
        counts["missing genotype"] += 1
        return None
    if number == 0:
        return None
    alt = record.alts[number - 1].upper()
    reason = _unusable(alt)
    if reason is not None:
        counts[reason] += 1
        return None
    return None if alt == record.ref.upper() else alt


def _unusable(alt: str) -> str | None:
    if alt == "*":
        return "star"
    if alt.startswith("<") or any(sign in alt for sign in "[]."):
        return "symbolic"
    return None if set(alt) <= _BASES else "not ACGTN"


def _edits(
    contig: str, alleles: Sequence[Allele], length: int, rules: HaplotypeRules, fetch: FetchOf, counts: Counter[str]
) -> Edits:
    """Make edits of the alleles that fit the reference and do not overlap."""
    edits: list[Edit] = []
    last, is_after_insertion = -1, False
    block, begin = np.empty(0, dtype=np.uint8), 0
    for position, ref, alt in sorted(alleles, key=lambda allele: allele.position):  # stable: else the file's order
        end = position + len(ref)
        if end > begin + len(block) and end <= length:
            begin = position
            block = fetch(contig, begin, max(end, min(begin + _BLOCK_BASES, length)))
        if end > length or block[position - begin : end - begin].tobytes().upper() != ref.encode():
            if rules.mismatches == "refuse":
                raise ValueError(
                    f"the variant {contig}:{position + 1} {ref}>{alt} has a REF that the genome does not have there; "
                    "give variants on this assembly, or leave such ones out: `mismatches=skip`"
                )
            counts["REF mismatch"] += 1
            continue
        is_behind = position == last and len(ref) != len(alt) and ref[0] == alt[0] and not is_after_insertion
        if position <= last and not is_behind:
            counts["overlapping"] += 1
            continue
        edits.append(_trimmed(position, ref, alt))
        last, is_after_insertion = end - 1, len(alt) > len(ref)
    return Edits.of(edits)


def _trimmed(position: int, ref: str, alt: str) -> Edit:
    """Leave out what both alleles begin with and, where that moves no base, what they end with."""
    same = _shared(ref, alt)
    ref, alt, position = ref[same:], alt[same:], position + same
    if len(ref) == len(alt):
        kept = len(ref) - _shared(ref[::-1], alt[::-1])
        ref, alt = ref[:kept], alt[:kept]
    return Edit(position, len(ref), alt.encode())


def _shared(one: str, other: str) -> int:
    """Count the letters that two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
