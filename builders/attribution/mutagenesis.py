"""In-silico mutagenesis: what each other base in each place of a sequence does to the output.

Belongs here: which bins are computed again, and the changes. Does not: computing bins (`builders.attribution.bins`).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from builders.attribution.bins import Bins
from builders.attribution.regions import LETTERS, codes_of
from builders.extractors.base import ExtractorOfMutants, Mutants
from builders.source import note_call

Progress = Callable[[int, int], None]
"""Called with what is done, and all there is."""


def mutagenesis(
    bins: Bins, sequence: NDArray[np.uint8], places: NDArray[np.int64], *, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Put each of the four bases into each place, and give the change of the output summed over all bins.

    Only what reads the place is computed again: bins, or of a network that offers it
    (`builders.extractors.base.ExtractorOfMutants`) places of each layer. The rest of the sum has not changed.

    Parameters
    ----------
    sequence
        ASCII, shape `(bins.length,)`, uint8.
    places
        Which to change, counted from the first base of the sequence; A, C, G or T stands there.

    Returns
    -------
    Shape `(places, 4, columns)`: A, C, G, T; 0 for the base that stands there.
    """
    whole = bins.network(bins.n_bins)
    mutants: Mutants
    if bins.bin_size == 1 and isinstance(whole, ExtractorOfMutants):
        mutants, columns = whole.mutants(sequence), list(bins.columns)
    else:
        mutants, columns = MutantBins(bins, sequence), list(range(len(bins.columns)))
    changes = np.zeros((len(places), 4, len(bins.columns)), dtype=np.float32)
    standing = codes_of(sequence[places])
    step = max(1, mutants.batch_size // 3)
    for begin in range(0, len(places), step):
        here = slice(begin, begin + step)
        rows, bases = np.nonzero(np.arange(4) != standing[here, None])
        note_call()
        changes[here][rows, bases] = mutants.changes(places[here][rows], bases)[:, columns]
        if progress is not None:
            progress(min(begin + step, len(places)), len(places))
    return changes


class MutantBins:
    """Mutants of a sequence by the bins that read the changed base, whole; for any extractor."""

    def __init__(self, bins: Bins, sequence: NDArray[np.uint8]) -> None:
        self._bins = bins
        self._n_bins = bins.most_affected
        reference = bins.compute(sequence[None], n_bins=bins.n_bins)[0]
        self._cuts = np.lib.stride_tricks.sliding_window_view(sequence, bins.length_of(self._n_bins))
        # (first bin, columns, bins)
        self._reference = np.lib.stride_tricks.sliding_window_view(reference, self._n_bins, axis=0)
        self.batch_size = max(1, bins.network(self._n_bins).batch_size // (1 if bins.tiled else self._n_bins))

    def changes(self, places: NDArray[np.int64], bases: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the change of the explained columns, summed over all bins: `(mutants, columns)`."""
        first = self._bins.first_affected(places)
        begins = first * self._bins.bin_size
        mutants = self._cuts[begins]  # indexing copies
        mutants[np.arange(len(places)), places - begins] = LETTERS[bases]
        found = self._bins.compute(mutants, n_bins=self._n_bins)
        changed: NDArray[np.float64] = (found - self._reference[first].transpose(0, 2, 1)).sum(axis=1)
        return changed
