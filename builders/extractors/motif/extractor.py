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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.extractors.base import ExtractorOptions, check_output
from builders.extractors.bases import CODES
from builders.extractors.motif.files import read_meme
from catalog import Channel
from catalog.motifs import MOTIFS, PSEUDOCOUNT, pwm

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
FEATURE_SET = "motif"
_HALF = 8
_UNKNOWN = 4
_UNKNOWN_SCORE = -1_000_000  # below any threshold, whatever the other positions add
_BLOCK_BASES = 1 << 17  # 64-bit words and indices of a block take 4 MiB; half or twice as much is no faster
_LEAST_PAD = 2 * _HALF  # what the second half of the last position reads
_MOTIFS_A_TABLE = 32


def scores(probabilities: NDArray[np.float64]) -> NDArray[np.int32]:
    """Score each base at each position by its log-odds against a uniform background.

    Parameters
    ----------
    probabilities
        Shape `(length, 4)`, columns A, C, G, T, none of them 0.

    Returns
    -------
    Thousandths of a bit, of the same shape, int32.
    """
    return np.asarray(np.rint(UNITS_PER_BIT * np.log2(probabilities / 0.25)), dtype=np.int32)


def threshold(
    scored: NDArray[np.int32], rate: float = FALSE_POSITIVE_RATE, *, least_share: float | None = LEAST_SHARE
) -> int | None:
    """Find the lowest score that at most a share `rate` of all words reaches, and that is `least_share` of the best.

    The words of the motif's length behind each score are counted position by position; exactly up to 26 positions.

    Parameters
    ----------
    scored
        Of `scores`.
    rate
        Share of the `4 ** length` words, in (0, 1).
    least_share
        Of the best score; None for no such bound.

    Returns
    -------
    Thousandths of a bit; None if even the best score is reached by more than that share.
    """
    reached = words_by_score(scored)[::-1].cumsum()
    best = int(scored.max(axis=1).sum())
    totals = best - np.arange(len(reached))
    allowed = reached <= rate * 4.0 ** len(scored)
    if least_share is not None:
        allowed &= totals >= least_share * best
    if not allowed[0]:
        return None
    last = len(allowed) if allowed.all() else int(np.argmin(allowed))
    # The lowest of them that a word has.
    has_word = np.flatnonzero(np.diff(reached[:last], prepend=0.0))
    return int(totals[has_word[-1]])


def words_by_score(scored: NDArray[np.int32]) -> NDArray[np.float64]:
    """Count the words behind each whole score from the least to the best, shape `(scores,)`."""
    lowest = scored.min(axis=1)
    counts = np.ones(1)
    for row, low in zip(scored, lowest, strict=True):
        longer = np.zeros(len(counts) + int(row.max() - low))
        for score in row:
            longer[int(score - low) :][: len(counts)] += counts
        counts = longer
    return counts


class ScannedMotif(NamedTuple):
    """One motif as it is looked for."""

    channel: Channel
    scored: NDArray[np.int32]
    """Of `scores`, shape `(length, 4)`."""
    lowest: int
    """Least score of a match (thousandths of a bit)."""


def shipped_motifs() -> list[ScannedMotif]:
    """Give the motifs of `catalog.motifs`."""
    found = []
    for motif in MOTIFS:
        scored = scores(pwm(motif.consensus))
        lowest = threshold(scored)
        if lowest is None:
            raise ValueError(
                f"perfect matches of {motif.consensus} are more than {FALSE_POSITIVE_RATE:.1e} of all words; give a "
                "longer or a stricter consensus"
            )
        text = f"matches of {motif.consensus}: {motif.family}"
        found.append(ScannedMotif(Channel(name=motif.name, description=text, group=motif.group), scored, lowest))
    return found


def motifs_of_file(path: Path, rate: float) -> list[ScannedMotif]:
    """Give the motifs of a MEME file; one of which even perfect matches are more than `rate` has these alone."""
    found = []
    for matrix in read_meme(path):
        smoothed = (matrix.probabilities * matrix.sites + PSEUDOCOUNT / 4) / (matrix.sites + PSEUDOCOUNT)
        scored = scores(smoothed)
        lowest = threshold(scored, rate, least_share=None)
        lowest = int(scored.max(axis=1).sum()) if lowest is None else lowest
        share = words_by_score(scored)[lowest - int(scored.min(axis=1).sum()) :].sum() / 4.0 ** len(scored)
        text = f"matches of {matrix.other_name or matrix.name}, as by chance at {share:.1e} of places and strands"
        found.append(ScannedMotif(Channel(name=matrix.name, description=text, group="TF"), scored, lowest))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class MotifSettings:
    """What the motif extractor can be set to."""

    pwms: Path | None = None
    """Motifs to count in place of those that ship: a MEME file, such as JASPAR's or HOCOMOCO's."""
    false_positive_rate: float = FALSE_POSITIVE_RATE
    """Of `pwms`: share of random words that may match, a position and strand."""
    feature_set: str = FEATURE_SET
    """Name of the feature set, so that a store holds the counts of several files."""

    def __post_init__(self) -> None:
        if not 0 < self.false_positive_rate < 1:
            raise ValueError(f"`false_positive_rate=` lies in (0, 1), got {self.false_positive_rate:g}")
        if self.pwms is None and self.false_positive_rate != FALSE_POSITIVE_RATE:
            raise ValueError("`false_positive_rate=` is of matrices from a file; name one, `pwms=`, or leave it out")


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
    settings
        Which motifs; None for those that ship.

    Raises
    ------
    FileNotFoundError, MemeFileError
        If the file of matrices cannot be read.
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

    def __init__(self, *, bin_size: int = 4096, settings: MotifSettings | None = None) -> None:
        if bin_size < 1:
            raise ValueError(f"bin_size is a number of bases, at least 1; got {bin_size}")
        self.input_length = bin_size
        self.settings = settings = settings or MotifSettings()
        if settings.pwms is None:
            self.motifs = shipped_motifs()
            which: object = [[motif.name, motif.consensus] for motif in MOTIFS]
        else:
            self.motifs = motifs_of_file(settings.pwms, settings.false_positive_rate)
            which = [[motif.channel.name, motif.scored.tolist()] for motif in self.motifs]
            self.licence = f"that of {settings.pwms.name}, whose matrices were counted"
            self.citation = f"that of {settings.pwms.name}"
        self.thresholds = {motif.channel.name: motif.lowest for motif in self.motifs}
        """Lowest matching score of each motif (thousandths of a bit)."""
        decides = {"code": _CODE_VERSION, "motifs": which, "thresholds": self.thresholds, "bin_size": bin_size}
        self.fingerprint = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        self._tables: list[_Tables] | None = None

    @classmethod
    def from_options(cls, options: ExtractorOptions, settings: MotifSettings) -> "MotifExtractor":
        """Make one from the options of a build; it runs on the CPU whatever `device` says.

        Raises
        ------
        ValueError
            If the options ask for another feature set.
        """
        check_output(options, settings.feature_set)
        return cls(bin_size=options.bin_size, settings=settings)

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """Channels of the one feature set: the motifs in their order, then `GC`, `CpG`, `N`."""
        counted = tuple(motif.channel for motif in self.motifs)
        composition = (
            Channel(name="GC", description="share of the known bases that are G or C", group="composition"),
            Channel(name="CpG", description="CpG dinucleotides, observed over expected", group="composition"),
            Channel(name="N", description="share of the bin that is unknown", group="composition"),
        )
        return {self.settings.feature_set: counted + composition}

    @property
    def options(self) -> dict[str, JsonValue]:
        """Its settings, for the record."""
        found: dict[str, JsonValue] = {
            "bin_size": self.input_length,
            "false_positive_rate": self.settings.false_positive_rate,
            "least_share": LEAST_SHARE if self.settings.pwms is None else None,
        }
        return found if self.settings.pwms is None else found | {"pwms": str(self.settings.pwms)}

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Compute features.

        Parameters
        ----------
        sequence
            ASCII bases in either case, anything but A, C, G, T unknown, shape `(batch, bin_size)`, uint8.

        Returns
        -------
        The feature set: shape `(batch, channel)`, float32, finite.

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
            groups = range(0, len(self.motifs), _MOTIFS_A_TABLE)
            self._tables = [_Tables(self.motifs[first : first + _MOTIFS_A_TABLE]) for first in groups]
        pad = max(_LEAST_PAD, *(len(motif.scored) for motif in self.motifs))
        rows = max(1, _BLOCK_BASES // self.input_length)
        values = np.empty((len(sequence), len(self.motifs) + 3), dtype=np.float32)
        for start in range(0, len(sequence), rows):
            block = sequence[start : start + rows]
            codes = np.full((len(block), self.input_length + pad), _UNKNOWN, dtype=np.uint8)
            codes[:, : self.input_length] = CODES[block]
            counted = [table.count(codes) for table in self._tables]
            values[start : start + rows, :-3] = np.concatenate(counted, axis=1)
            values[start : start + rows, -3:] = _composition(codes[:, : self.input_length])
        return {self.settings.feature_set: values}


class _Scan(NamedTuple):
    """One motif as the full score needs it: `(length, 5)` int32 a strand, the fifth column for unknown bases."""

    forward: NDArray[np.int32]
    reverse: NDArray[np.int32]
    lowest: int


class _Tables:
    """Motifs made ready for the scan: both strands' scores, and the tables of the two halves."""

    def __init__(self, motifs: Sequence[ScannedMotif]) -> None:
        assert len(motifs) <= _MOTIFS_A_TABLE, "an entry has 64 bits: one a motif and strand"
        self._motifs: list[_Scan] = []
        self._first = np.zeros(4**_HALF, dtype=np.uint64)
        self._second = np.zeros(4**_HALF, dtype=np.uint64)
        for index, (_, forward, lowest) in enumerate(motifs):
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
