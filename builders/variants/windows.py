"""The sequence of either allele, both exactly as long as an extractor's input; and why some alleles have none.

Belongs here: an allele, its checks against the genome, left-aligning it, where it lies in the window. Does not: reading
it (`builders.variants.read`), what is computed from the windows (`builders.variants.scores`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Anchor = Literal["sei", "left", "centre"]
Status = Literal["scored", "ref_mismatch", "symbolic", "star", "missing_contig", "near_end", "not_acgtn", "too_long"]
Bases = Callable[[int, int], bytes]
"""Gives the bases `[start, end)` of the contig, which lie inside it, in upper case."""
_LETTERS = frozenset("ACGTN")
_STEP_BP = 64


class Allele(NamedTuple):
    """One ALT allele of a record."""

    position: int
    """First base of `ref` (0-based)."""
    ref: str
    alt: str

    @property
    def size(self) -> int:
        """Bases that it adds; negative for a deletion."""
        return len(self.alt) - len(self.ref)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where an allele lies in the input of an extractor."""

    input_length: int
    """Bases of a window (bp)."""
    centre: int
    """Base of the window that the variant is set on (0-based)."""
    anchor: Anchor
    longest: int
    """Most bases of an allele; longer ones are not scored."""

    def of_ref(self, allele: Allele) -> int:
        """Give the base of the window at which REF begins.

        `left`: REF begins at the centre; `centre`: its middle base lies there; `sei`: one base further left, as
        Selene's windows have it (`[POS + len(REF) // 2 - 2048, + 4096)`, POS counted from 1).
        """
        half = len(allele.ref) // 2
        return self.centre - {"left": 0, "centre": half, "sei": half + 1}[self.anchor]

    def of_alt(self, allele: Allele) -> int:
        """Give the base of the window at which ALT begins.

        `sei`: an insertion is centred and trimmed on both sides, a deletion draws in bases on both sides.
        """
        begin = self.of_ref(allele)
        half_ref, half_alt = len(allele.ref) // 2, len(allele.alt) // 2
        if self.anchor == "left" or not allele.size:
            return begin
        if self.anchor == "centre" or allele.size < 0:
            return begin + half_ref - half_alt
        return begin - allele.size // 2


def kind_of(alt: str, ref: str) -> Status | None:
    """Say why an allele has no sequence: `*`, symbolic (also a breakend), or letters that are no bases; else None."""
    if alt == "*":
        return "star"
    if alt.startswith("<") or "[" in alt or "]" in alt or (len(alt) > 1 and "." in (alt[0], alt[-1])):
        return "symbolic"
    if not ref or not alt or not _LETTERS.issuperset(ref) or not _LETTERS.issuperset(alt):
        return "not_acgtn"
    return None


def check(allele: Allele, bases: Bases, length: int) -> Status | None:
    """Compare REF with the genome; None where they agree.

    Parameters
    ----------
    length
        Of the contig (bp).
    """
    end = allele.position + len(allele.ref)
    if allele.position < 0 or end > length:
        return "near_end"
    return None if bases(allele.position, end).decode() == allele.ref else "ref_mismatch"


def placed(
    allele: Allele, frame: Frame, begin: int, bases: Bases, length: int, *, is_alt: bool
) -> NDArray[np.uint8] | Status:
    """Give the window in which an allele begins at base `begin`, shape `(input_length,)`, ASCII, uint8.

    Bases to its left come before its position, bases to its right after REF. A window that reaches past the contig is
    `near_end`, and one that does not hold the allele is `too_long`.
    """
    letters = allele.alt if is_alt else allele.ref
    if max(len(allele.alt), len(allele.ref)) > frame.longest or begin < 0:
        return "too_long"
    rest = frame.input_length - begin - len(letters)
    after = allele.position + len(allele.ref)
    if rest < 0:
        return "too_long"
    if allele.position - begin < 0 or after + rest > length:
        return "near_end"
    text = bases(allele.position - begin, allele.position) + letters.encode() + bases(after, after + rest)
    return np.frombuffer(text, dtype=np.uint8)


def left_aligned(allele: Allele, bases: Bases) -> Allele:
    """Move an allele as far left as it goes, with as few bases as possible (Tan, Abecasis, Kang 2015).

    The result is that of `bcftools norm`. REF agrees with the genome.
    """
    position, ref, alt = allele
    if ref == alt:
        return allele
    before, begin = b"", position
    while True:
        if ref and alt and ref[-1] == alt[-1]:
            ref, alt = ref[:-1], alt[:-1]
        elif ref and alt:
            break
        if not ref or not alt:
            if position == 0:
                # Nothing lies before the contig: the base behind is the one that VCF asks for.
                behind = bases(len(ref), len(ref) + 1).decode()
                return Allele(0, ref + behind, alt + behind)
            if begin == position:
                begin = max(0, position - _STEP_BP)
                before = bases(begin, position)
            position -= 1
            base = chr(before[position - begin])
            ref, alt = base + ref, base + alt
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        position, ref, alt = position + 1, ref[1:], alt[1:]
    return Allele(position, ref, alt)


def repeats_neighbour(allele: Allele, bases: Bases, length: int) -> bool:
    """Tell whether inserted bases are those right before or right after: where they lie is then not determined."""
    _, ref, alt = allele
    shared = 0
    while shared < min(len(ref), len(alt)) and ref[shared] == alt[shared]:
        shared += 1
    ref, alt = ref[shared:], alt[shared:]
    while ref and alt and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    if ref or not alt:
        return False
    at = allele.position + shared
    return alt.encode() in (bases(max(0, at - len(alt)), at), bases(at, min(length, at + len(alt))))
