"""Self-supervised pretraining: the alignment as an autoencoder of bins from all over the genome.

Belongs here: that training, which reads features alone. Does not: training a whole model (`model.training.fit`), the
alignment itself (`model.networks.alignment`).

A few hundred genes say little of which features go together; every bin of the genome does. So the tokens that the
alignment makes first learn to reconstruct their bin.
"""

import numpy as np
import torch
from torch import nn

from catalog.runtime.progress import bar
from loaders import GeneDataset, WindowSource
from model.networks.alignment import AlignsBins
from model.networks.base import ExpressionModel

_LEARNED = ("alignment", "prototypes")
"""Parts of the model, as `parameter_table` calls them."""
_BINS, _RUNS = 64, 32
"""Consecutive bins, which the store keeps in one chunk, and such runs a step."""


def require_alignment(model: ExpressionModel) -> AlignsBins:
    """Give back a model that has an alignment to pretrain; a ValueError says that another has none."""
    if not (isinstance(model, AlignsBins) and model.prototype_names()):
        raise ValueError(
            "`pretrain_steps=` trains the alignment of a GTA that reads bins, and this model has none; set "
            "`pretrain_steps=0`"
        )
    return model


def pretrain_alignment(
    model: ExpressionModel, train: GeneDataset, *, steps: int, learning_rate: float, seed: int, device: torch.device
) -> float:
    """Train prototypes and alignment so that a linear decoder, thrown away after, reconstructs a bin from its token.

    Bins are drawn evenly from the contigs of the training genes, in all phases: where the test genes lie on other
    contigs, nothing of those is read. The features' scale is that of `model.standardise_features`, so it is set before.

    Parameters
    ----------
    model
        Changed in place.
    train
        The training genes; only their contigs and channels matter.
    steps
        Of 2,048 bins each.
    learning_rate
        Of Adam, constant.
    seed
        Of the bins drawn and of the decoder.

    Returns
    -------
    Mean squared error of the last step, in units of the features' variance: 1 if tokens tell nothing.
    """
    aligned = require_alignment(model)
    runs = _runs_of_bins(train.windows, steps * _RUNS, seed)
    home = model.feature_mean.device
    model.to(device)
    learned = [one for name, one in model.named_parameters() if one.requires_grad and _part(model, name) in _LEARNED]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = nn.Linear(aligned.token_width, len(model.channel_names)).to(device)
    optimiser = torch.optim.Adam([*learned, *decoder.parameters()], lr=learning_rate)
    with bar("pretraining the alignment", unit="steps") as show:
        for step in range(steps):
            drawn = list(range(step * _RUNS, (step + 1) * _RUNS))
            features = model.standardise_features(runs[drawn].to(device))
            error = nn.functional.mse_loss(decoder(aligned.align(features)), features)
            optimiser.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]  # not annotated there
            optimiser.step()
            show(step + 1, steps)
    model.to(home)
    return float(error.detach() / features.var())


def _part(model: ExpressionModel, name: str) -> str:
    first = name.split(".")[0]
    return model.PARTS.get(first, first)


def _runs_of_bins(windows: WindowSource, count: int, seed: int) -> WindowSource:
    """Draw runs of bins from the contigs of some windows, evenly over their bases."""
    lengths = windows.assembly.lengths
    contigs = sorted(set(windows.contigs))
    ends = np.cumsum([lengths[contig] for contig in contigs])
    bases = np.random.default_rng(seed).integers(ends[-1], size=count)
    places = np.searchsorted(ends, bases, side="right")
    starts = ends - [lengths[contig] for contig in contigs]
    drawn = windows.elsewhere([contigs[place] for place in places], bases - starts[places])
    return drawn.with_n_bins(_BINS)
