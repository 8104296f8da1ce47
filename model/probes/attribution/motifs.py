"""What a motif adds to the output of a head, whatever sequence lies around it.

Belongs here: shuffled rows with and without a motif (`builders.attribution.importance` says where that is from), and
the table. Does not: predictions (`model.probes.attribution.sequence_model`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from builders.attribution.importance import CONFIDENCE
from builders.attribution.shuffle import dinucleotide_shuffle
from builders.extractors.sequence import UNKNOWN
from model.probes.attribution.sequence_model import SequenceModel


@dataclass(frozen=True, slots=True)
class Backgrounds:
    """Shuffles of rows, the same for all heads."""

    rows: NDArray[np.int64]
    """Which row each is a shuffle of, shape `(backgrounds,)`."""
    sequences: NDArray[np.uint8]
    """ASCII, shape `(backgrounds, length)`; N past the end of a shorter row."""
    stretches: NDArray[np.int64]
    """First base that is known, and the end of the last one, `(backgrounds, 2)`."""

    def with_motif(self, motif: str) -> NDArray[np.uint8]:
        """Put a motif into the middle of each."""
        letters = np.frombuffer(motif.encode(), dtype=np.uint8)
        begins = self.stretches.sum(1) // 2 - len(letters) // 2
        found = self.sequences.copy()
        found[np.arange(len(found))[:, None], begins[:, None] + np.arange(len(letters))] = letters
        return found


def backgrounds_of(sequences: Sequence[bytes], rows: NDArray[np.int64], *, count: int, length: int) -> Backgrounds:
    """Shuffle rows in turn, each dinucleotide kept as often as it was; N at the ends fills up, and stays there."""
    rng = np.random.default_rng(0)
    chosen = np.resize(rows, count)
    found = np.full((count, length), UNKNOWN, dtype=np.uint8)
    stretches = np.zeros((count, 2), dtype=np.int64)
    for number, row in enumerate(chosen.tolist()):
        letters = np.frombuffer(sequences[row], dtype=np.uint8)
        known = np.flatnonzero(letters != UNKNOWN)
        first, end = (int(known[0]), int(known[-1]) + 1) if len(known) else (0, 0)
        found[number, first:end] = dinucleotide_shuffle(letters[first:end], rng)
        stretches[number] = first, end
    return Backgrounds(chosen, found, stretches)


def differences(
    model: SequenceModel, backgrounds: Backgrounds, around: NDArray[np.uint8], motifs: Sequence[str]
) -> NDArray[np.float64]:
    """Compute the output with each motif less that without.

    Parameters
    ----------
    around
        The row that each is a shuffle of, with its context, `(backgrounds, length + 2 * context_bp)`.

    Returns
    -------
    Shape `(motifs, backgrounds, targets)`.
    """
    own = slice(model.context_bp, model.context_bp + model.length)

    def predicted(rows: NDArray[np.uint8]) -> NDArray[np.float64]:
        placed = around.copy()
        placed[:, own] = rows
        return model.predict(placed)

    without = predicted(backgrounds.sequences)
    return np.stack([predicted(backgrounds.with_motif(motif)) - without for motif in motifs])


def effect_rows(found: NDArray[np.float64], motifs: Sequence[str], targets: Sequence[str]) -> list[dict[str, object]]:
    """Give the mean of the differences `(motifs, backgrounds, targets)`, and its 95 % interval, by motif and target."""
    mean, deviation = found.mean(1), found.std(1, ddof=1)
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * deviation / np.sqrt(found.shape[1])
    return [
        {
            "motif": motif,
            "target": target,
            "effect": float(mean[row, column]),
            "low": float((mean - half)[row, column]),
            "high": float((mean + half)[row, column]),
            "deviation": float(deviation[row, column]),
            "backgrounds": found.shape[1],
        }
        for row, motif in enumerate(motifs)
        for column, target in enumerate(targets)
    ]
