"""Letters of sequences: which are bases, which stand for N, and which say that a file is no genome.

Belongs here: U as T, IUPAC codes, counting the rest. Does not: how an extractor encodes a base (each its own).

Every extractor reads A, C, G and T, and takes any other letter for N; here it is said how many those are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.fasta.source import FastaError

_PLAIN = b"ACGTN"
_IUPAC = "RYSWKMBDHV"
"""Codes of several bases at once, U and N apart."""
_MOST_OTHERS = 0.01

Counts = Mapping[str, int]
"""How often each letter occurs, upper-case."""


def as_dna(bases: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Write T for the U of RNA, in the same case; ASCII."""
    is_u = (bases | 0x20) == ord("u")
    return bases - is_u if is_u.any() else bases


def upper_case(bases: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give ASCII letters in upper case, and all else as it is; lets other threads run, as `bytes.upper` does not."""
    is_lower = bases - np.uint8(ord("a")) < 26
    return bases - (is_lower.view(np.uint8) << 5)


def unusual(upper: NDArray[np.uint8]) -> dict[str, int]:
    """Count the letters of an upper-case sequence that are not A, C, G, T or N."""
    is_plain = upper == _PLAIN[0]
    for letter in _PLAIN[1:]:
        is_plain |= upper == letter
    if is_plain.all():
        return {}
    counts = np.bincount(upper[~is_plain])
    return {chr(letter): int(counts[letter]) for letter in np.flatnonzero(counts).tolist()}


@dataclass(frozen=True)
class UnusualLetters:
    """Letters of a genome that are not A, C, G, T or N."""

    counts: Mapping[str, Counts]
    """By contig; contigs without such letters may be absent."""

    def require_nucleotides(self, lengths: Mapping[str, int], *, shown: str) -> None:
        """Refuse what is no nucleotide sequence.

        Parameters
        ----------
        lengths
            Of all contigs (bp).
        shown
            Name of the file for the message.

        Raises
        ------
        FastaError
            If more than 1 % of a contig are letters that stand for no nucleotides.
        """
        others = {contig: _others(counts) for contig, counts in self.counts.items()}
        wrong = [name for name, counts in others.items() if sum(counts.values()) > _MOST_OTHERS * lengths[name]]
        if wrong:
            first, counts = wrong[0], others[wrong[0]]
            more = f" (and {len(wrong) - 1:,} more contigs)" if len(wrong) > 1 else ""
            raise FastaError(
                f"{shown} is no genome: {sum(counts.values()):,} of the {lengths[first]:,} letters of {first!r}{more} "
                f"stand for no nucleotides ({_listed(counts)}); expected A, C, G, T or U, N and the IUPAC codes "
                f"{_IUPAC}, and at most 1 % others: give the FASTA of a genome, remove that sequence from it, or "
                "write N where letters mask"
            )

    def notes(self) -> list[str]:
        """Say in sentences how such letters are read."""
        total: dict[str, int] = {}
        for counts in self.counts.values():
            for letter, number in counts.items():
                total[letter] = total.get(letter, 0) + number
        notes = [f"U is read as T ({total['U']:,} bases)"] if "U" in total else []
        codes = {letter: total[letter] for letter in sorted(total) if letter in _IUPAC}
        others = _others(total)
        if codes:
            notes.append(f"{sum(codes.values()):,} IUPAC codes count as N ({_listed(codes)})")
        if others:
            notes.append(f"{sum(others.values()):,} letters that are no nucleotides count as N ({_listed(others)})")
        return notes


def _others(counts: Counts) -> dict[str, int]:
    return {letter: number for letter, number in counts.items() if letter not in _IUPAC and letter != "U"}


def _listed(counts: Counts) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{letter} {number:,}" for letter, number in most[:6]) + (", ..." if len(most) > 6 else "")
