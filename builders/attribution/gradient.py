"""Gradient x input, corrected: what an output owes to each base, to first order.

Belongs here: gradients of bins by their bases. Does not: any network (`builders.extractors`). Needs torch.

A network is trained on one-hot sequence alone, where the four numbers of a place add up to 1, so that what its
gradient says in the direction in which all four grow is arbitrary. It is taken out: of each gradient the mean over the
four bases is subtracted (Majdandzic et al., Genome Biology 2023, doi:10.1186/s13059-023-02956-3).
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from builders.attribution.bins import Bins
from builders.extractors.base import DifferentiableExtractor
from builders.source import note_call

Progress = Callable[[int, int], None]
"""Called with what is done, and all there is."""


def require_differentiable(bins: Bins) -> None:
    """Refuse, with a ValueError, an extractor whose output has no gradient by its bases."""
    if not isinstance(bins.extractor, DifferentiableExtractor):
        raise ValueError(
            f"{bins.extractor.name} has no gradient by its bases, which `method=gradient` needs: that is for networks "
            "on one-hot sequence, puffin, splice, sei, xpresso and mpra-dragonn; use `method=mutagenesis`"
        )


def gradient(bins: Bins, sequence: NDArray[np.uint8], *, progress: Progress | None = None) -> NDArray[np.float32]:
    """Differentiate the output, summed over all bins, by each base of a sequence.

    Costs a pass and, for each column, a pass back.

    Parameters
    ----------
    sequence
        ASCII, shape `(bins.length,)`, uint8.

    Returns
    -------
    Shape `(bins.length, 4, columns)`, for A, C, G, T: the gradient less its mean over the four. Of the base that stands
    there it is gradient x input; of another what that base would have.

    Raises
    ------
    ValueError
        If the extractor has no gradient.
    """
    require_differentiable(bins)
    network = bins.network(bins.n_bins)
    assert isinstance(network, DifferentiableExtractor)
    inputs = bins.inputs(sequence[None])
    found = np.zeros((len(sequence), 4, len(bins.columns)), dtype=np.float32)
    for first in range(0, len(inputs), network.batch_size):
        note_call()
        batch = network.encoded(inputs[first : first + network.batch_size]).requires_grad_()
        with torch.enable_grad(), torch.backends.cudnn.flags(allow_tf32=False):
            output = network.predicted(batch)[bins.feature_set].sum(0)
        for place, column in enumerate(bins.columns):
            (by_base,) = torch.autograd.grad(output[column], batch, retain_graph=True)
            corrected = (by_base - by_base.mean(1, keepdim=True)).transpose(1, 2).cpu().numpy()
            for number, rows in enumerate(corrected, start=first):
                begin = number * bins.bin_size
                found[begin : begin + len(rows), :, place] += rows
            if progress is not None:
                done = first * len(bins.columns) + (place + 1) * len(corrected)
                progress(done, len(inputs) * len(bins.columns))
    return found
