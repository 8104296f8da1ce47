"""The bases of a haplotype, read as those of a FASTA are, without writing one.

Belongs here: sequences of a haplotype, and where they lie for a worker. Does not: the arithmetic of edits
(`builders.overlays.haplotype`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from builders.extractors.sequence import Genome, GenomePlace
from builders.overlays.haplotype import Edits

_NONE = Edits.of([])


class HaplotypeGenome:
    """The contigs of a haplotype, in its own coordinates."""

    def __init__(self, reference: Genome, edits: Mapping[str, Edits]) -> None:
        self._reference = reference
        self._edits = edits
        self.lengths: Mapping[str, int] = {
            contig: edits.get(contig, _NONE).length(length) for contig, length in reference.lengths.items()
        }
        """Length of each contig (bp)."""

    def fetch(self, contig: str, start: int, end: int) -> NDArray[np.uint8]:
        """Read bases `[start, end)`, inside the contig, ASCII."""
        return self._edits.get(contig, _NONE).bases(start, end, partial(self._reference.fetch, contig))

    def check_unchanged(self) -> None:
        """Raise `catalog.FastaChanged` if the reference is no longer what was opened."""
        self._reference.check_unchanged()

    def close(self) -> None:
        """Close the reference."""
        self._reference.close()


@dataclass(frozen=True, slots=True)
class HaplotypePlace:
    """Where a haplotype lies: the reference's file, and the edits themselves, some 30 bytes each."""

    reference: GenomePlace
    edits: Mapping[str, Edits]

    def open(self) -> HaplotypeGenome:
        """Open the reference."""
        return HaplotypeGenome(self.reference.open(), self.edits)
