"""In-silico mutagenesis: what each other base in each place of a sequence does to the output.

Belongs here: which bins are computed again, and the changes. Does not: computing bins (`builders.attribution.bins`).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from builders.attribution.bins import Bins
from builders.attribution.regions import LETTERS, codes_of

Progress = Callable[[int, int], None]
"""Called with what is done, and all there is."""


def mutagenesis(
    bins: Bins, sequence: NDArray[np.uint8], places: NDArray[np.int64], *, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Put each of the four bases into each place, and give the change of the output summed over all bins.

    Only bins that read the place are computed again: of a network that predicts bases, those within its receptive
    field; from bases that they read, and no others. The rest of the sum has not changed.

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
    n_bins = bins.most_affected
    length = bins.length_of(n_bins)
    reference = bins.compute(sequence[None], n_bins=bins.n_bins)[0]
    cuts = np.lib.stride_tricks.sliding_window_view(sequence, length)
    around = np.lib.stride_tricks.sliding_window_view(reference, n_bins, axis=0)  # (first bin, columns, bins)
    changes = np.zeros((len(places), 4, len(bins.columns)), dtype=np.float32)
    step = max(1, bins.network(n_bins).batch_size // (3 * (1 if bins.tiled else n_bins)))
    standing = codes_of(sequence[places])
    for begin in range(0, len(places), step):
        here = slice(begin, begin + step)
        first = bins.first_affected(places[here])
        begins = first * bins.bin_size
        rows, bases = np.nonzero(np.arange(4) != standing[here, None])
        mutants = cuts[begins[rows]]  # indexing copies
        mutants[np.arange(len(rows)), places[here][rows] - begins[rows]] = LETTERS[bases]
        found = bins.compute(mutants, n_bins=n_bins) - around[first[rows]].transpose(0, 2, 1)
        changes[here][rows, bases] = found.sum(axis=1)
        if progress is not None:
            progress(min(begin + step, len(places)), len(places))
    return changes
