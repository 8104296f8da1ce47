"""The sequence below each bin, with N where the contig has ended.

Belongs here: cutting windows out of a FASTA. Does not: opening it (`catalog.fasta.file`), encoding it (each extractor).
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from catalog import Fasta, Grid

UNKNOWN = ord("N")


def bases(fasta: Fasta, contig: str, start: int, end: int) -> NDArray[np.uint8]:
    """Read bases `[start, end)` as ASCII, shape `(end - start,)`, uint8; `N` before base 0 and past the contig."""
    low, high = max(start, 0), min(end, fasta.lengths[contig])
    if low == start and high == end:
        return fasta.fetch(contig, start, end)
    padded = np.full(end - start, UNKNOWN, dtype=np.uint8)
    if low < high:
        padded[low - start : high - start] = fasta.fetch(contig, low, high)
    return padded


def bin_sequences(
    fasta: Fasta, contig: str, grid: Grid, phase: int, first: int, end: int, input_length: int
) -> NDArray[np.uint8]:
    """Read what an extractor sees of neighbouring bins: `input_length` bases around the centre of each.

    One `Fasta.fetch`, which is one request where the FASTA is remote: read a shard at a time, and cut batches from it.

    Parameters
    ----------
    first, end
        Bins `[first, end)` of the phase.
    input_length
        Bases a bin (bp); more than `grid.bin_size` makes neighbours overlap.

    Returns
    -------
    ASCII, shape `(end - first, input_length)`, uint8: a read-only view where neighbours share their bases.
    """
    start = grid.span(phase, first)[0] + grid.bin_size // 2 - input_length // 2
    stretch = bases(fasta, contig, start, start + (end - first - 1) * grid.bin_size + input_length)
    return np.lib.stride_tricks.sliding_window_view(stretch, input_length)[:: grid.bin_size]


def scattered_sequences(fasta: Fasta, contig: str, starts: NDArray[np.int64], input_length: int) -> NDArray[np.uint8]:
    """Read `input_length` bases from each of some ascending starts; a base that several see is read once.

    Returns
    -------
    ASCII, shape `(starts, input_length)`, uint8.
    """
    sequences = np.empty((len(starts), input_length), dtype=np.uint8)
    gaps = np.flatnonzero(np.diff(starts) > input_length) + 1
    for first, end in pairwise([0, *gaps.tolist(), len(starts)]):
        begin = int(starts[first])
        stretch = bases(fasta, contig, begin, int(starts[end - 1]) + input_length)
        seen = np.lib.stride_tricks.sliding_window_view(stretch, input_length)
        sequences[first:end] = seen[starts[first:end] - begin]
    return sequences


def is_unknown(sequences: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which sequences are N throughout, shape `(batch,)`."""
    unknown: NDArray[np.bool_] = ((sequences | 0x20) == (UNKNOWN | 0x20)).all(axis=1)
    return unknown
