"""Long sequence in overlapping pieces: which bases each piece reads, and for which it speaks.

Belongs here: the plan. Does not: tokens (`builders.extractors.hf.tokens`).
"""

from itertools import pairwise
from typing import NamedTuple


class Piece(NamedTuple):
    """A stretch of one sequence, in bases of that sequence."""

    start: int
    end: int
    own_start: int
    """First base that this piece speaks for: the others are nearer to the middle of a neighbour."""
    own_end: int


def pieces(length: int, longest: int) -> list[Piece]:
    """Cover a sequence by pieces of equal length that overlap by at least a quarter.

    Parameters
    ----------
    length
        Bases of the sequence.
    longest
        Bases of a piece at most.

    Returns
    -------
    One piece if the sequence is short enough. The bases that pieces speak for follow on one another without gaps.
    """
    if length <= longest:
        return [Piece(0, length, 0, length)]
    step_at_most = max(1, longest * 3 // 4)
    count = 1 + -(-(length - longest) // step_at_most)
    starts = [(length - longest) * number // (count - 1) for number in range(count)]
    # Between two pieces the middle of what both read.
    seams = [(start + before + longest) // 2 for before, start in pairwise(starts)]
    edges = [0, *seams, length]
    return [
        Piece(start, start + longest, own_start, own_end)
        for start, (own_start, own_end) in zip(starts, pairwise(edges), strict=True)
    ]
