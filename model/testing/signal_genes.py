"""Small genes with measured signals, for tests.

Belongs here: genes in memory whose features are `SignalFeatures`. Does not: fixtures, assertions.
"""

import copy
from collections.abc import Sequence
from typing import cast, overload

import torch
from torch import Tensor

from loaders import GeneBatch
from model.networks.prism.features import InputNames, SignalFeatures
from model.testing.genes import TinyGenes

NAMES = InputNames(("active", "background"), ("length", "gc"))


class TinySignalGenes(TinyGenes):
    """Genes with signals in memory: as from a store, without one.

    Parameters
    ----------
    given
        Of all genes; a smaller `n_bins` is the middle of their windows.
    targets
        Expression, shape `(genes,)`.
    """

    def __init__(
        self, given: SignalFeatures, targets: Tensor, *, names: InputNames = NAMES, fingerprint: str = "tiny"
    ) -> None:
        # One channel, of a float a base, stands in for them: what is read is `given`.
        stand_in = given.sequence[..., None].float()
        prompts = [""] * len(targets)
        super().__init__(stand_in, targets, prompts=prompts, fingerprint=fingerprint, bin_size=1)
        self._names = names.channels()
        self._given = given

    def subset(self, gene_ids: Sequence[str]) -> "TinySignalGenes":
        """Give some of the genes, by id, in the order of this one."""
        places = torch.tensor([place for place, gene in enumerate(self.gene_ids) if gene in set(gene_ids)])
        chosen = copy.copy(self)
        chosen._given, chosen.targets = _taken(self._given, places), self.targets[places]
        chosen._prompts, chosen.genes = [self.prompts[place] for place in places.tolist()], self.genes[places.tolist()]
        return chosen

    @overload
    def __getitem__(self, index: int) -> GeneBatch: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int]) -> GeneBatch: ...
    def __getitem__(self, index: int | slice | Sequence[int]) -> GeneBatch:
        """Give some genes."""
        if isinstance(index, slice):
            index = range(len(self))[index]
        places = torch.tensor([index] if isinstance(index, int) else list(index), dtype=torch.int64)
        start = self._given.sequence.shape[1] // 2 - self.n_bins // 2
        bases = slice(start, start + self.n_bins)
        taken = _taken(self._given, places)
        features = SignalFeatures(taken.sequence[:, bases], taken.signals[:, bases], taken.covariates)
        prompts = [self.prompts[place] for place in places.tolist()]
        return GeneBatch(cast("Tensor", features), prompts, self.targets[places], places)


def _taken(given: SignalFeatures, places: Tensor) -> SignalFeatures:
    return SignalFeatures(given.sequence[places], given.signals[places], given.covariates[places])


def tiny_signal_genes(n_genes: int, *, length: int = 64, seed: int = 0, noise: float = 0.1) -> TinySignalGenes:
    """Make genes whose log expression is a sum of the first signal's mean, the second's, and a covariate."""
    draw = torch.Generator().manual_seed(seed)
    sequence = torch.randint(0, 4, (n_genes, length), generator=draw, dtype=torch.uint8)
    level = 2 * torch.rand(n_genes, 1, 2, generator=draw)
    signals = level * (1 + 0.2 * torch.rand(n_genes, length, 2, generator=draw))
    covariates = torch.randn(n_genes, 2, generator=draw)
    expression = 2 + signals[..., 0].mean(dim=1) + 0.5 * signals[..., 1].mean(dim=1) + 0.3 * covariates[:, 0]
    expression = expression + noise * torch.randn(n_genes, generator=draw)
    return TinySignalGenes(SignalFeatures(sequence, signals, covariates), expression.clamp(min=0).expm1())
