"""From one activation a bin to one number a gene.

Belongs here: the two readouts. Does not: where the activations come from (`model.gta`).
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

SelectorGradient = Literal["sigmoid", "straight-through"]


def centre_bin(n_bins: int) -> int:
    """Give the bin that holds the centre of a window (for even `n_bins`, the one that begins there)."""
    return n_bins // 2


class TopKReadout(nn.Module):
    """The readout that the paper prints: the `k` bins of the largest logits, flattened, into one linear layer.

    The kept bins stay in genome order, so that a slot keeps some meaning from gene to gene.

    Parameters
    ----------
    width
        Components of an activation.
    n_bins
        Bins a window.
    k
        Bins that are kept.
    gradient
        How the logits learn, which a plain choice of the largest would not let them (the paper is silent): `sigmoid`
        multiplies each kept activation by the sigmoid of its logit; `straight-through` does so for the gradient only.
    """

    def __init__(self, width: int, *, n_bins: int, k: int, gradient: SelectorGradient) -> None:
        super().__init__()
        if k > n_bins:
            raise ValueError(f"the selector keeps top_k={k} bins, but a window has {n_bins}; lower top_k to {n_bins}")
        self.k = k
        self.gradient = gradient
        self.logit = nn.Linear(width, 1)
        self.head = nn.Linear(k * width, 1)

    def select(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Choose bins of each gene: their indices, ascending, and their logits, both `(batch, k)`."""
        logits = self.logit(activations).squeeze(-1)
        chosen = logits.topk(self.k, dim=-1).indices.sort(dim=-1).values
        return chosen, logits.gather(-1, chosen)

    def forward(self, activations: Tensor) -> Tensor:
        """Read activations `(batch, bins, width)`; gives `(batch,)`."""
        chosen, logits = self.select(activations)
        gate = logits.sigmoid()
        if self.gradient == "straight-through":
            gate = 1 + gate - gate.detach()
        kept = activations.gather(1, chosen[..., None].expand(-1, -1, activations.shape[-1]))
        read: Tensor = self.head((kept * gate[..., None]).flatten(1)).squeeze(-1)
        return read


class AcrossGenes(nn.BatchNorm1d):
    """Bring each component to unit scale over the genes of a batch; over those of the past where a batch has one."""

    def forward(self, activations: Tensor) -> Tensor:
        """Normalise activations `(batch, components)`."""
        if self.training and len(activations) == 1:
            return nn.functional.batch_norm(
                activations, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(activations)


class PooledReadout(nn.Module):
    """The activation at the TSS beside several learned averages of all bins, into a small network.

    Each query weighs the bins by what they hold and by where they lie. The weight by place is learned a bin, and starts
    as a decay with the distance from the centre, another one for each query: from a few bins to the whole window.

    What comes together is normalised across genes. Activations are nearly alike in all genes at first, and normalising
    each gene by itself (as LayerNorm does) leaves them so: on one of three simulated genomes it then learned the TSS
    alone, and Spearman stayed at .37 to .44, where this gave .50 to .55.

    Parameters
    ----------
    width
        Components of an activation.
    n_bins
        Bins a window.
    queries
        Averages.
    hidden
        Units of the network's hidden layer.
    dropout
        Of the hidden layer, in training.
    """

    def __init__(self, width: int, *, n_bins: int, queries: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.centre = centre_bin(n_bins)
        self.query = nn.Parameter(torch.randn(queries, width) / math.sqrt(width))
        distance = (torch.arange(n_bins) - self.centre).abs()
        reach = torch.logspace(math.log10(2.0), math.log10(200.0), queries)
        self.place = nn.Parameter(-distance / reach[:, None])
        self.norm = AcrossGenes((queries + 1) * width)
        self.head = nn.Sequential(
            nn.Linear((queries + 1) * width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, 1)
        )

    def weights(self, activations: Tensor) -> Tensor:
        """Give the weight of each bin in each average, shape `(batch, queries, bins)`; they sum to 1 a query."""
        return (torch.einsum("qd,bnd->bqn", self.query, activations) + self.place).softmax(dim=-1)

    def forward(self, activations: Tensor) -> Tensor:
        """Read activations `(batch, bins, width)`; gives `(batch,)`."""
        averages = self.weights(activations) @ activations
        both = torch.cat([activations[:, self.centre, None], averages], dim=1).flatten(1)
        read: Tensor = self.head(self.norm(both)).squeeze(-1)
        return read
