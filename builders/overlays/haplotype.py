"""One haplotype as edits of the reference: its coordinates, its bases, and what it leaves as it was.

Belongs here: pure arithmetic on the edits of one contig. Does not: which alleles are applied
(`builders.overlays.genotypes`), reading the reference (`builders.overlays.genome`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Fetch = Callable[[int, int], NDArray[np.uint8]]
"""Reads bases `[start, end)` of a contig of the reference, ASCII."""


class Edit(NamedTuple):
    """Bases `[start, start + removed)` of the reference (0-based) are `added` on the haplotype."""

    start: int
    removed: int
    added: bytes


@dataclass(frozen=True)
class Edits:
    """The edits of one haplotype on one contig; they do not overlap. Arrays have one item an edit, ascending."""

    starts: NDArray[np.int64]
    """First base that an edit replaces, on the reference (0-based bp)."""
    removed: NDArray[np.int64]
    """Bases of the reference that it replaces; 0 for an insertion before its start."""
    added: NDArray[np.int64]
    """Bases that the haplotype has in their place."""
    letters: NDArray[np.uint8]
    """Those bases, of all edits, ASCII."""

    @classmethod
    def of(cls, edits: Sequence[Edit]) -> "Edits":
        """Hold some edits, ascending."""
        columns = [(edit.start, edit.removed, len(edit.added)) for edit in edits]
        starts, removed, added = np.array(columns, dtype=np.int64).reshape(-1, 3).T.copy()
        return cls(starts, removed, added, np.frombuffer(b"".join(edit.added for edit in edits), dtype=np.uint8))

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """End of each edit on the reference (bp)."""
        return self.starts + self.removed

    @cached_property
    def _shifts(self) -> NDArray[np.int64]:
        """How far the haplotype is ahead of the reference before each edit, and after the last; `(edits + 1,)` (bp)."""
        return np.concatenate([[0], np.cumsum(self.added - self.removed)]).astype(np.int64)

    @cached_property
    def _own_starts(self) -> NDArray[np.int64]:
        """First base of each edit on the haplotype (bp)."""
        return self.starts + self._shifts[:-1]

    @cached_property
    def _own_ends(self) -> NDArray[np.int64]:
        """End of each edit on the haplotype (bp)."""
        return self._own_starts + self.added

    @cached_property
    def _letters_before(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.added)]).astype(np.int64)

    def length(self, reference: int) -> int:
        """Give the length of the haplotype's contig (bp) from that of the reference's."""
        return reference + int(self._shifts[-1])

    def lift(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Lift positions of the reference to the haplotype (0-based bp); those outside the contig move with its ends.

        The k-th of the replaced bases goes to the k-th of those in their place, and one that has no partner, to the
        base after these: a deleted base goes to where the sequence goes on.
        """
        last = np.searchsorted(self.starts, positions, side="right") - 1
        lifted: NDArray[np.int64] = positions + self._shifts[np.searchsorted(self.ends, positions, side="right")]
        within = last >= 0
        within[within] = positions[within] < self.ends[last[within]]
        edit = last[within]
        into = positions[within] - self.starts[edit]
        lifted[within] = self._own_starts[edit] + np.minimum(into, self.added[edit])
        return lifted

    def touches(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which stretches `[start, end)` of the reference hold an edit; an insertion lies between two bases."""
        begun = np.searchsorted(self.starts, ends, side="left")
        finished = np.searchsorted(self.ends, starts, side="right")
        touched: NDArray[np.bool_] = begun > finished
        return touched

    def bases(self, start: int, end: int, fetch: Fetch) -> NDArray[np.uint8]:
        """Give bases `[start, end)` of the haplotype, inside its contig; the reference is read once, around them."""
        first = int(np.searchsorted(self._own_ends, start, side="right"))
        last = int(np.searchsorted(self._own_starts, end, side="left"))
        if first >= last:
            shift = int(self._shifts[first])
            return fetch(start - shift, end - shift)
        # From the first edit or the stretch before it, to the last or the stretch after it.
        low = min(start - int(self._shifts[first]), int(self.starts[first]))
        high = max(end - int(self._shifts[last]), int(self.ends[last - 1]))
        reference = fetch(low, high)
        pieces, at = [], low
        for number in range(first, last):
            pieces.append(reference[at - low : int(self.starts[number]) - low])
            pieces.append(self.letters[self._letters_before[number] : self._letters_before[number + 1]])
            at = int(self.ends[number])
        pieces.append(reference[at - low :])
        whole = np.concatenate(pieces)
        begin = low + int(self._shifts[first])
        return whole[start - begin : end - begin]
