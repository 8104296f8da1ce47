"""The embedded default extractor: known motifs counted, and base composition, in each bin. No download, no GPU.

Belongs here: scores, their thresholds, and the scan. Does not: the motifs themselves (`catalog.motifs`).

A match is a place where the log-odds score against a uniform background, on either strand, reaches the motif's
threshold. Scores are whole thousandths of a bit: sums are then exact, so neither the order of addition nor the size of
a batch can move a value, and the share of random words that match can be counted rather than estimated.

The scan looks at 16 bases of every position through two tables of 65,536 entries, one a half. An entry is a 64-bit word
with a bit for each motif and strand: set if the half still allows the threshold, were all the rest perfect. Positions
where the two words share a bit, one in a thousand, are scored in full.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.extractors.base import ExtractorOptions
from catalog import Channel
from catalog.motifs import MOTIFS, pwm

FALSE_POSITIVE_RATE = 2.4e-5
"""Most random words that may match, a position and strand: 2 strands x 4,096 positions x 2.4e-5 = 0.2 matches a bin."""
UNITS_PER_BIT = 1000
"""Scores are whole numbers of thousandths of a bit."""
LEAST_SHARE = 0.6
"""Least share of the best score in a match. Binds for the longest motifs: the rate alone would let REST differ at five
of its 20 bases, which no one would call a site."""
CPG_CAP = 4.0
"""Largest CpG ratio given (one C next to one G in a bin would give thousands; islands have about 1)."""

_CODE_VERSION = 1  # raise it with every change that changes a value
_FEATURE_SET = "motif"
_HALF = 8
_UNKNOWN = 4
_UNKNOWN_SCORE = -1_000_000  # below any threshold, whatever the other positions add
_BLOCK_BASES = 1 << 17  # 64-bit words and indices of a block take 4 MiB; half or twice as much is no faster
_PAD = 20  # the longest motif; also what the second half of the last position reads

_CODES = np.full(256, _UNKNOWN, dtype=np.uint8)
for _code, _letters in enumerate(("Aa", "Cc", "Gg", "Tt")):
    _CODES[[ord(letter) for letter in _letters]] = _code


def scores(consensus: str) -> NDArray[np.int32]:
    """Score each base at each position by its log-odds against a uniform background.

    Returns
    -------
    Thousandths of a bit, shape `(length, 4)`, columns A, C, G, T, int32.
    """
    bits = np.log2(pwm(consensus) / 0.25)
    return np.asarray(np.rint(UNITS_PER_BIT * bits), dtype=np.int32)


def threshold(consensus: str, rate: float = FALSE_POSITIVE_RATE) -> int:
    """Find the lowest score that at most a share `rate` of all words reaches, and that is `LEAST_SHARE` of the best.

    Exact: the words of the motif's length behind each score are counted position by position in whole numbers.

    Parameters
    ----------
    consensus
        IUPAC letters.
    rate
        Share of the `4 ** length` words, in (0, 1).

    Returns
    -------
    Thousandths of a bit.

    Raises
    ------
    ValueError
        If even the best score is reached by more than that share: the consensus is too vague.
    """
    words_of = Counter({0: 1})
    for row in scores(consensus).tolist():
        longer: Counter[int] = Counter()
        for total, words in words_of.items():
            for score in row:
                longer[total + score] += words
        words_of = longer
    allowed = rate * 4 ** len(consensus)
    reached = 0
    lowest: int | None = None
    for total in sorted(words_of, reverse=True):
        reached += words_of[total]
        if reached > allowed or total < LEAST_SHARE * max(words_of):
            break
        lowest = total
    if lowest is None:
        raise ValueError(
            f"{reached / 4 ** len(consensus):.1e} of all words are perfect matches of {consensus}, more than the "
            f"false-positive rate of {rate:.1e}; give a longer or a stricter consensus"
        )
    return lowest


class MotifExtractor:
    """Count motifs and measure composition, bin by bin.

    The feature set `motif` has a channel for each motif: the start positions at which it matches on either strand, so
    a palindromic site, which matches on both at one start, counts once. Matches lie within the bin and hold known
    bases only. Then come `GC` (share of the known bases), `CpG` (observed over expected, at most `CPG_CAP`) and `N`
    (share of the bin that is unknown). Where nothing is known, all are 0 and `N` is 1. The reverse complement of a bin
    has the same values.

    Parameters
    ----------
    bin_size
        Bases a bin (bp, >= 1).
    """

    name = "motif"
    batch_size = 256
    flops_per_bin = 0.0
    tolerance = 0.0  # whole numbers, and quotients of them: the same on every machine
    licence = "none needed: computed from sequence by named consensus motifs"
    citation = (
        "Consensus motifs from the literature; catalog.motifs names the publication of each. "
        "IUPAC letters: Cornish-Bowden 1985, Nucleic Acids Res 13:3021"
    )

    def __init__(self, *, bin_size: int = 4096) -> None:
        if bin_size < 1:
            raise ValueError(f"bin_size is a number of bases, at least 1; got {bin_size}")
        self.input_length = bin_size
        self.thresholds = {motif.name: threshold(motif.consensus) for motif in MOTIFS}
        """Lowest matching score of each motif (thousandths of a bit)."""
        decides = {
            "code": _CODE_VERSION,
            "motifs": [[motif.name, motif.consensus] for motif in MOTIFS],
            "thresholds": self.thresholds,
            "bin_size": bin_size,
        }
        self.fingerprint = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        self._tables: _Tables | None = None

    @classmethod
    def from_options(cls, options: ExtractorOptions) -> "MotifExtractor":
        """Make one from the options of a build; it runs on the CPU whatever `device` says.

        Raises
        ------
        ValueError
            If the options ask for another feature set.
        """
        if options.outputs not in (None, (_FEATURE_SET,)):
            raise ValueError(
                f"the motif extractor writes the feature set {_FEATURE_SET!r}, not {list(options.outputs or ())}; "
                "leave outputs out"
            )
        return cls(bin_size=options.bin_size)

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """Channels of the one feature set: the motifs in the order of the table, then `GC`, `CpG`, `N`."""
        counted = tuple(
            Channel(
                name=motif.name,
                description=f"matches of {motif.consensus}: {motif.family}",
                group=motif.group,
            )
            for motif in MOTIFS
        )
        composition = (
            Channel(name="GC", description="share of the known bases that are G or C", group="composition"),
            Channel(name="CpG", description="CpG dinucleotides, observed over expected", group="composition"),
            Channel(name="N", description="share of the bin that is unknown", group="composition"),
        )
        return {_FEATURE_SET: counted + composition}

    @property
    def options(self) -> dict[str, JsonValue]:
        """Its settings, for the record."""
        return {
            "bin_size": self.input_length,
            "false_positive_rate": FALSE_POSITIVE_RATE,
            "least_share": LEAST_SHARE,
        }

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Compute features.

        Parameters
        ----------
        sequence
            ASCII bases in either case, anything but A, C, G, T unknown, shape `(batch, bin_size)`, uint8.

        Returns
        -------
        `motif`: shape `(batch, channel)`, float32, finite.

        Raises
        ------
        ValueError
            If the sequence is not `(batch, bin_size)` of uint8.
        """
        if sequence.dtype != np.uint8 or sequence.ndim != 2 or sequence.shape[1] != self.input_length:
            raise ValueError(
                f"expected bases as uint8 (batch, {self.input_length}), got {sequence.dtype} {sequence.shape}; "
                f"cut the sequence into bins of {self.input_length} bp, padded with N"
            )
        if self._tables is None:
            self._tables = _Tables([(scores(m.consensus), self.thresholds[m.name]) for m in MOTIFS])
        rows = max(1, _BLOCK_BASES // self.input_length)
        values = np.empty((len(sequence), len(MOTIFS) + 3), dtype=np.float32)
        for start in range(0, len(sequence), rows):
            block = sequence[start : start + rows]
            codes = np.full((len(block), self.input_length + _PAD), _UNKNOWN, dtype=np.uint8)
            codes[:, : self.input_length] = _CODES[block]
            values[start : start + rows, :-3] = self._tables.count(codes)
            values[start : start + rows, -3:] = _composition(codes[:, : self.input_length])
        return {_FEATURE_SET: values}


class _Scan(NamedTuple):
    """One motif as the full score needs it: `(length, 5)` int32 a strand, the fifth column for unknown bases."""

    forward: NDArray[np.int32]
    reverse: NDArray[np.int32]
    lowest: int


class _Tables:
    """The motifs made ready for the scan: both strands' scores, and the tables of the two halves."""

    def __init__(self, motifs: list[tuple[NDArray[np.int32], int]]) -> None:
        assert len(motifs) <= 32, "an entry has 64 bits: one a motif and strand"
        self._motifs: list[_Scan] = []
        self._first = np.zeros(4**_HALF, dtype=np.uint64)
        self._second = np.zeros(4**_HALF, dtype=np.uint64)
        for index, (forward, lowest) in enumerate(motifs):
            # Columns run A, C, G, T, so reversing them complements.
            strands = (forward, forward[::-1, ::-1])
            for strand, matrix in enumerate(strands):
                bit = np.uint64(2 * index + strand)
                for table, begin in ((self._first, 0), (self._second, _HALF)):
                    half = matrix[begin : begin + _HALF]
                    best_rest = int(matrix.max(axis=1).sum() - half.max(axis=1, initial=-(2**31)).sum())
                    table |= (_word_scores(half) + best_rest >= lowest).astype(np.uint64) << bit
            unknown = np.full((len(forward), 1), _UNKNOWN_SCORE, dtype=np.int32)
            scored = [np.hstack([matrix, unknown]) for matrix in strands]
            self._motifs.append(_Scan(scored[0], scored[1], lowest))

    def count(self, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Count matches: codes `(rows, width)` that end in `_PAD` unknown bases → `(rows, motif)`."""
        rows, width = codes.shape
        flat = codes.ravel()
        words = _words(flat)
        # The rows lie end to end, so only the last row's padding is without a second half.
        alive = self._first.take(words[:-_HALF])
        alive &= self._second.take(words[_HALF:])
        hits = np.flatnonzero(alive)
        hits = hits[flat[hits] != _UNKNOWN]
        alive = alive[hits]
        counts = np.empty((rows, len(self._motifs)), dtype=np.int64)
        for index, (forward, reverse, lowest) in enumerate(self._motifs):
            starts = hits[(alive & np.uint64(3 << 2 * index)) != 0]
            positions = np.arange(len(forward))
            bases = flat[starts[:, None] + positions]
            is_match = forward[positions, bases].sum(axis=1) >= lowest
            is_match |= reverse[positions, bases].sum(axis=1) >= lowest
            counts[:, index] = np.bincount(starts[is_match] // width, minlength=rows)
        return counts


def _word_scores(half: NDArray[np.int32]) -> NDArray[np.int32]:
    """Score all words of 8 bases, shape `(65536,)`; positions past the end of the motif add nothing."""
    total = np.zeros(1, dtype=np.int32)
    for position in range(_HALF):
        row = half[position] if position < len(half) else np.zeros(4, dtype=np.int32)
        total = np.add.outer(total, row).ravel()
    return total


def _words(flat: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Give the number of the 8-base word at each position, in [0, 65536); an unknown base passes for A."""
    one = (flat & 3).astype(np.uint16)
    two = one[:-1] << 2 | one[1:]
    four = two[:-2] << 4 | two[2:]
    return np.asarray(four[:-4] << 8 | four[4:])


def _composition(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Measure GC, CpG and N: codes `(rows, bin_size)` → `(rows, 3)`; what is undefined is 0."""
    is_c, is_g = codes == 1, codes == 2
    c, g = np.count_nonzero(is_c, axis=1), np.count_nonzero(is_g, axis=1)
    unknown = np.count_nonzero(codes == _UNKNOWN, axis=1)
    cpg = np.count_nonzero(is_c[:, :-1] & is_g[:, 1:], axis=1)
    known = codes.shape[1] - unknown
    # The usual ratio (Gardiner-Garden and Frommer 1987): CpG x length / (C x G). No C or no G means no CpG: 0.
    ratio = np.minimum(cpg * known / np.maximum(c * g, 1), CPG_CAP)
    return np.stack([(c + g) / np.maximum(known, 1), ratio, unknown / codes.shape[1]], axis=1)
