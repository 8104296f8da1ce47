"""The parts of a task: training, validation and test rows.

Belongs here: parts of rows, and what makes them leak. Does not: reading the table (`model.probes.task`).
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catalog import Interval
from catalog.runtime.tables import listed

PARTS = ("train", "validation", "test")
_WORDS = {"train": 0, "training": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1, "test": 2}
_SHARES = (0.7, 0.1)
"""Of training and validation rows in a random split, as Tang et al."""

Parts = NDArray[np.int8]
"""Of each row its place in `PARTS`, shape `(rows,)`."""


def by_words(words: Sequence[str | None]) -> Parts:
    """Read a column of train, validation and test; a ValueError for other words."""
    plain = [(word or "").strip().lower() for word in words]
    if unknown := sorted({word for word in plain if word not in _WORDS}):
        raise ValueError(f"a column split holds train, validation (or valid) and test; it has {listed(unknown)}")
    return np.array([_WORDS[word] for word in plain], dtype=np.int8)


def by_groups(
    groups: Sequence[str], *, test: Sequence[str] | None, validation: Sequence[str] | None, what: str
) -> Parts:
    """Split by contig or fold; all that is neither test nor validation is for training.

    Raises
    ------
    ValueError
        If none are named and they have no order, or a name is no group, or in both.
    """
    there = sorted(set(groups), key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    if what == "fold" and len(there) >= 3:
        test = test or (there[-1],)
        validation = validation or ([one for one in there if one not in test][-1],)
    if not test or not validation:
        raise ValueError(
            f"a split by {what} needs the {what}s of both parts: give `test=` and `validation=`, of {listed(there)}"
        )
    if wrong := [name for name in (*test, *validation) if name not in there]:
        raise ValueError(f"no row is of the {what} {wrong[0]!r}; there are {listed(there)}")
    if both := set(test) & set(validation):
        raise ValueError(f"`test=` and `validation=` both name {listed(sorted(both))}")
    return np.array([2 if one in test else 1 if one in validation else 0 for one in groups], dtype=np.int8)


def at_random(sequences: Sequence[bytes], *, seed: int = 0) -> Parts:
    """Split 7 : 1 : 2, the same at any time; rows of the same sequence, on either strand, stay in one part."""
    group_of: dict[bytes, int] = {}
    groups = np.array([group_of.setdefault(_either_strand(one), len(group_of)) for one in sequences])
    order = np.random.default_rng(seed).permutation(len(group_of))
    edges = np.cumsum(_SHARES) * len(order)
    found: Parts = np.searchsorted(edges, order[groups], side="right").astype(np.int8)
    return found


def require_apart(parts: Parts, sequences: Sequence[bytes], places: Sequence[Interval] | None) -> None:
    """Refuse, with a ValueError, parts without rows, and rows of two parts that share sequence; they are counted."""
    for number, name in enumerate(PARTS):
        if not (parts == number).any():
            raise ValueError(f"the {name} part has no rows; name other ones, or take `split='random'`")
    held: dict[bytes, set[int]] = defaultdict(set)
    keys = [_either_strand(sequence) for sequence in sequences]
    for key, part in zip(keys, parts.tolist(), strict=True):
        held[key].add(part)
    shared = sum(len(held[key]) > 1 for key in keys)
    if shared:
        raise ValueError(
            f"{shared:,} of {len(parts):,} rows have a sequence that another part has, too, so that the test part "
            "would be known: remove duplicates, or take `split='random'`, which keeps them together"
        )
    overlapping = 0 if places is None else _overlapping(parts, places)
    if overlapping:
        raise ValueError(
            f"{overlapping:,} of {len(parts):,} rows overlap a place of another part, so that the test part would be "
            "known: split by contig, `split='contig'`, or remove them"
        )


def _either_strand(sequence: bytes) -> bytes:
    return min(sequence, reverse_complement(sequence))


def reverse_complement(sequence: bytes) -> bytes:
    """Give the other strand of upper-case bases."""
    return sequence.translate(bytes.maketrans(b"ACGT", b"TGCA"))[::-1]


def _overlapping(parts: Parts, places: Sequence[Interval]) -> int:
    """Count the places that begin within one of another part."""
    order = sorted(range(len(places)), key=lambda row: (places[row].contig, places[row].start))
    found, contig, ends = 0, "", [0, 0, 0]
    for row in order:
        place, part = places[row], int(parts[row])
        if place.contig != contig:
            contig, ends = place.contig, [0, 0, 0]
        found += any(end > place.start for other, end in enumerate(ends) if other != part)
        ends[part] = max(ends[part], place.end)
    return found
