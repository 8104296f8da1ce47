"""Sequence windows of bins, padded with N past the ends of a contig.

Belongs here: cutting windows out of a FASTA. Does not: opening it (`catalog.fasta.file`), encoding it (each extractor).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from builders.source import Span

UNKNOWN = ord("N")
_READ_THROUGH_BP = 1 << 16
_REGION_BP = 1 << 23
"""Sequences that share no base are read together within such a stretch of a contig."""
_COMPLEMENT = np.arange(256, dtype=np.uint8)
_COMPLEMENT[np.frombuffer(b"ACGTacgt", dtype=np.uint8)] = np.frombuffer(b"TGCAtgca", dtype=np.uint8)


class Genome(Protocol):
    """Open sequences: a `catalog.Fasta`, or what is read in its place."""

    @property
    def lengths(self) -> Mapping[str, int]:
        """Length of each contig (bp)."""
        ...

    def fetch(self, contig: str, start: int, end: int) -> NDArray[np.uint8]:
        """Read bases `[start, end)`, inside the contig, ASCII, shape `(end - start,)`."""
        ...

    def check_unchanged(self) -> None:
        """Raise `catalog.FastaChanged` if the file is no longer what was opened."""
        ...

    def close(self) -> None:
        """Close open files."""
        ...


class GenomePlace(Protocol):
    """Where sequences lie, as a worker needs to know it: small, and picklable."""

    def open(self) -> Genome:
        """Open them."""
        ...


def bases(fasta: Genome, contig: str, start: int, end: int) -> NDArray[np.uint8]:
    """Read bases `[start, end)` as ASCII, shape `(end - start,)`, uint8; `N` before base 0 and past the contig."""
    low, high = max(start, 0), min(end, fasta.lengths[contig])
    if low == start and high == end:
        return fasta.fetch(contig, start, end)
    padded = np.full(end - start, UNKNOWN, dtype=np.uint8)
    if low < high:
        padded[low - start : high - start] = fasta.fetch(contig, low, high)
    return padded


def span_sequences(fasta: Genome, spans: Sequence[Span], bin_size: int, input_length: int) -> NDArray[np.uint8]:
    """Read what an extractor sees of the bins of some spans: `input_length` bases around the centre of each bin.

    One `Fasta.fetch` for one span, which is one request where the FASTA is remote: read a shard at a time, and cut
    batches from it. A base that several spans of a contig see is read once.

    Parameters
    ----------
    bin_size
        Bases a bin (bp).
    input_length
        Bases seen of a bin (bp); more than `bin_size` makes neighbours overlap.

    Returns
    -------
    ASCII, shape `(bins, input_length)`, uint8: of one span a read-only view in which neighbours share their bases.
    """
    flank = bin_size // 2 - input_length // 2
    if len(spans) == 1:
        contig, start, n_bins = spans[0]
        begin = start + flank
        region = bases(fasta, contig, begin, begin + (n_bins - 1) * bin_size + input_length)
        return np.lib.stride_tricks.sliding_window_view(region, input_length)[::bin_size]
    ends = np.cumsum([0, *(span.n_bins for span in spans)])
    sequences = np.empty((ends[-1], input_length), dtype=np.uint8)
    for contig in dict.fromkeys(span.contig for span in spans):
        here = [number for number, span in enumerate(spans) if span.contig == contig]
        rows = np.concatenate([np.arange(ends[number], ends[number + 1]) for number in here])
        starts = np.concatenate([spans[number].start + np.arange(spans[number].n_bins) * bin_size for number in here])
        order = np.argsort(starts, kind="stable")
        sequences[rows[order]] = scattered_sequences(fasta, contig, starts[order] + flank, input_length)
    return sequences


def scattered_sequences(fasta: Genome, contig: str, starts: NDArray[np.int64], input_length: int) -> NDArray[np.uint8]:
    """Read `input_length` bases from each of some ascending starts; a base that several see is read once.

    A short stretch that none sees is read too: that takes less time than another read.

    Returns
    -------
    ASCII, shape `(starts, input_length)`, uint8.
    """
    sequences = np.empty((len(starts), input_length), dtype=np.uint8)
    apart = np.diff(starts)
    is_gap = (apart > input_length) & ((apart > _READ_THROUGH_BP) | (np.diff(starts // _REGION_BP) > 0))
    gaps = np.flatnonzero(is_gap) + 1
    for first, end in pairwise([0, *gaps.tolist(), len(starts)]):
        begin = int(starts[first])
        region = bases(fasta, contig, begin, int(starts[end - 1]) + input_length)
        seen = np.lib.stride_tricks.sliding_window_view(region, input_length)
        sequences[first:end] = seen[starts[first:end] - begin]
    return sequences


def reverse_complement(sequences: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give the other strand of ASCII sequences, shape `(..., length)`; letters but A, C, G, T stay as they are."""
    return _COMPLEMENT[sequences[..., ::-1]]


def is_unknown(sequences: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which sequences are N throughout, shape `(batch,)`."""
    unknown: NDArray[np.bool_] = ((sequences | 0x20) == (UNKNOWN | 0x20)).all(axis=1)
    return unknown
