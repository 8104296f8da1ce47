"""Maps of bases: what a head on a representation owes to each, and what a language model expects.

Belongs here: one row at a time, by the way that is exact for its extractor. Does not: which rows
(`model.probes.attribution.run`), how far maps agree (`model.probes.attribution.agreement`).

Where an extractor has a gradient by its bases (networks on one-hot sequence, and one-hot itself) a map is gradient x
input; elsewhere (words, motifs, tokens) each base is put into each place. Of both the mean over the four bases is taken
out (`builders.attribution.gradient`), so that for a head that is linear in the bases the two are the same.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from builders.attribution.regions import LETTERS, codes_of
from builders.extractors.base import DifferentiableExtractor, tile_bins
from model.probes.attribution.sequence_model import SequenceModel
from model.probes.features import FeaturePlan
from model.probes.representations import ONEHOT

Method = Literal["gradient", "mutagenesis", "entropy", "product"]


def method_of(plan: FeaturePlan) -> Method:
    """Say which way is exact for the representation."""
    is_differentiable = plan.representation.extractor == ONEHOT or isinstance(plan.extractor, DifferentiableExtractor)
    return "gradient" if is_differentiable else "mutagenesis"


def by_base(model: SequenceModel, sequence: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Score each base in each place of a row.

    Parameters
    ----------
    sequence
        ASCII with its context, shape `(length + 2 * context_bp,)`.

    Returns
    -------
    Shape `(length, 4, targets)`, for A, C, G, T, less the mean over the four; NaN where no base is known. That of the
    base that stands there is the map.
    """
    found = (_gradient if method_of(model.plan) == "gradient" else _mutagenesis)(model, sequence)
    own = sequence[model.context_bp : model.context_bp + model.length]
    found[codes_of(own) == len(LETTERS)] = np.nan
    centred: NDArray[np.float32] = found - found.mean(1, keepdims=True)
    return centred


def standing(values: NDArray[np.float32], onehot: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Take the base that stands in each place: `(rows, length, 4, targets)` to `(rows, length, targets)`."""
    found: NDArray[np.float32] = np.where(onehot[..., None], values, 0).sum(2, dtype=np.float32)
    found[~np.asarray(onehot.any(2))] = np.nan
    return found


def feature_weight(model: SequenceModel, sequence: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Say how much the output depends on the features at each base: the length of its gradient by them.

    Returns
    -------
    Shape `(length, targets)`: the same for all bases of a piece.
    """
    (slopes,) = model.slopes(model.features(sequence[None]))
    bins = model.plan.bins
    bases_a_piece = bins.bin_size if bins.n_bins > 1 else bins.bin_size // bins.pieces
    norms: NDArray[np.float32] = np.linalg.norm(slopes, axis=1)
    return norms[np.arange(model.length) // bases_a_piece]


def _gradient(model: SequenceModel, sequence: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Differentiate by one-hot bases, through the head and then the extractor, a batch of its inputs at a time."""
    (slopes,) = model.slopes(model.features(sequence[None]))
    if model.plan.representation.extractor == ONEHOT:
        of_bases: NDArray[np.float32] = slopes.reshape(-1, len(LETTERS), slopes.shape[2])
        return of_bases[: model.length]
    network = model.network
    assert isinstance(network, DifferentiableExtractor)
    (inputs,), first, step = model.windows(sequence[None])
    targets, bins = slopes.shape[2], tile_bins(network)
    found = np.zeros((len(sequence) + 2 * inputs.shape[1], len(LETTERS), targets), dtype=np.float32)
    for begin in range(0, len(inputs), network.batch_size):
        batch = network.encoded(np.ascontiguousarray(inputs[begin : begin + network.batch_size])).requires_grad_()
        with torch.enable_grad(), torch.backends.cudnn.flags(allow_tf32=False):
            predicted = network.predicted(batch)
            features = torch.cat([predicted[name] for name in network.channels], dim=1)
        weights = torch.from_numpy(slopes[begin * bins : begin * bins + len(features)]).to(features)
        for target in range(targets):
            (by_place,) = torch.autograd.grad((features * weights[:, :, target]).sum(), batch, retain_graph=True)
            for number, values in enumerate(by_place.transpose(1, 2).cpu().numpy(), start=begin):
                at = inputs.shape[1] + first + number * step  # room before the sequence for what lies there
                found[at : at + inputs.shape[1], :, target] += values
    own = inputs.shape[1] + model.context_bp
    return found[own : own + model.length]


def _mutagenesis(model: SequenceModel, sequence: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Change one base at a time, and give what that adds to the output; 0 for the base that stands there."""
    codes = codes_of(sequence[model.context_bp : model.context_bp + model.length])
    places, bases = np.nonzero((np.arange(len(LETTERS)) != codes[:, None]) & (codes[:, None] < len(LETTERS)))
    reference = model.predict(sequence[None])
    found = np.zeros((model.length, len(LETTERS), reference.shape[1]), dtype=np.float32)
    for first in range(0, len(places), model.rows_at_once):
        here = slice(first, first + model.rows_at_once)
        mutants = np.repeat(sequence[None], len(places[here]), axis=0)
        mutants[np.arange(len(mutants)), model.context_bp + places[here]] = LETTERS[bases[here]]
        found[places[here], bases[here]] = model.predict(mutants) - reference
    return found
