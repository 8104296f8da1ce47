"""From one activation a bin to one number a gene and task.

Belongs here: the readouts. Does not: where the activations come from (`model.networks.gta`,
`model.networks.bin_models`).
"""

import math
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from model.networks.positions import bins_beyond, centre_bin, distances, rows_at

SelectorGradient = Literal["sigmoid", "straight-through"]
SlotOrder = Literal["genome", "logit"]

_KNOTS, _LAST_KNOT = 16, 125
"""Knots of the log weight by distance, and the last one's distance (bins): the reach of the paper's window of 251."""


@runtime_checkable
class WeighsBins(Protocol):
    """A readout that keeps or weighs bins, so that it can say how much each of them counts."""

    part: ClassVar[str]
    """What one of its outputs is called, such as `average`; they are numbered where there are several."""

    def bin_weights(self, activations: Tensor) -> Tensor:
        """Give what each bin counts for, shape `(batch, parts, bins)`."""
        ...


class TopKReadout(nn.Module):
    """The readout that the paper prints: the `k` bins of the largest logits, flattened, into one linear layer.

    In genome order a place in the flattened vector keeps some meaning from gene to gene; but which of them holds the
    TSS varies with the bins that are kept, and nothing tells the linear layer which one it is.

    Parameters
    ----------
    width
        Components of an activation.
    n_bins
        Bins a window.
    k
        Bins that are kept.
    gradient
        How gradients reach the logits, which a plain top-k stops (the paper is silent): `sigmoid`
        multiplies each kept activation by the sigmoid of its logit; `straight-through` does so for the gradient only.
    slot_order
        Order of the kept bins in the flattened vector: along the genome, or by falling logit.
    position_bias
        Add a learned number to the logit of each bin, by its distance from the centre, as the relative position bias of
        T5 (Raffel et al. 2020) does to attention. It starts at `-log(1 + distance)` (bins), so that the central bins
        are kept at first. In a window longer than those of training it goes on from the edge as it began.
    outputs
        Numbers a gene.
    """

    part: ClassVar[str] = "selected"

    def __init__(
        self,
        width: int,
        *,
        n_bins: int,
        k: int,
        gradient: SelectorGradient,
        slot_order: SlotOrder = "genome",
        position_bias: bool = False,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.k = k
        self.check_window(n_bins)
        self.gradient = gradient
        self.slot_order = slot_order
        self.place = nn.Parameter(_falling(n_bins)) if position_bias else None
        self.logit = nn.Linear(width, 1)
        self.head = nn.Linear(k * width, outputs)

    def check_window(self, n_bins: int) -> None:
        """Refuse a window of fewer bins than are kept; any other will do."""
        if self.k > n_bins:
            raise ValueError(
                f"the selector keeps top_k={self.k} bins, but a window has {n_bins}; take longer windows, or set "
                f"`top_k={n_bins}` before training"
            )

    def select(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Choose bins of each gene: their indices in `slot_order`, and their logits, both `(batch, k)`."""
        logits = self.logit(activations).squeeze(-1)
        if self.place is not None:
            logits = logits + self._place_in(self.place, activations.shape[1])
        chosen = logits.topk(self.k, dim=-1).indices
        if self.slot_order == "genome":
            chosen = chosen.sort(dim=-1).values
        return chosen, logits.gather(-1, chosen)

    def _place_in(self, place: Tensor, n_bins: int) -> Tensor:
        """Give the bias in a window of any length, shape `(n_bins,)`."""
        trained = len(place)
        if n_bins == trained:
            return place
        begun = _falling(n_bins).to(place) - rows_at(_falling(trained).to(place), n_bins)
        return rows_at(place, n_bins) + begun

    def bin_weights(self, activations: Tensor) -> Tensor:
        """Give 1 for each bin that is kept, shape `(batch, 1, bins)`."""
        chosen, _ = self.select(activations)
        return activations.new_zeros(activations.shape[:2]).scatter(1, chosen, 1.0)[:, None]

    def forward(self, activations: Tensor) -> Tensor:
        """Read activations `(batch, bins, width)`; gives `(batch, outputs)`."""
        chosen, logits = self.select(activations)
        gate = logits.sigmoid()
        if self.gradient == "straight-through":
            gate = 1 + gate - gate.detach()
        kept = activations.gather(1, chosen[..., None].expand(-1, -1, activations.shape[-1]))
        read: Tensor = self.head((kept * gate[..., None]).flatten(1))
        return read


class GeneBatchNorm(nn.BatchNorm1d):
    """Batch norm over genes; a batch of one gene is normalised by the running statistics in training too."""

    def forward(self, activations: Tensor) -> Tensor:
        """Normalise activations `(batch, components)`."""
        if self.training and len(activations) == 1:
            return nn.functional.batch_norm(
                activations, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(activations)


class CentreReadout(nn.Module):
    """The activation at the TSS alone, normalised across genes, into a small network.

    Parameters
    ----------
    width
        Components of an activation.
    hidden
        Units of the network's hidden layer.
    dropout
        Of the hidden layer, in training.
    outputs
        Numbers a gene.
    """

    def __init__(self, width: int, *, hidden: int, dropout: float, outputs: int = 1) -> None:
        super().__init__()
        self.norm = GeneBatchNorm(width)
        self.head = _network(width, hidden=hidden, dropout=dropout, outputs=outputs)

    def check_window(self, n_bins: int) -> None:
        """Take windows of any length."""

    def forward(self, activations: Tensor) -> Tensor:
        """Read activations `(batch, bins, width)`; gives `(batch, outputs)`."""
        read: Tensor = self.head(self.norm(activations[:, centre_bin(activations.shape[1])]))
        return read


class PooledReadout(nn.Module):
    """The activation at the TSS and several attention-pooled averages of all bins, into a small network.

    Each query weighs the bins by what they hold and by where they lie. The weight by place is learned a bin, and starts
    as a decay with the distance from the centre, another one for each query: from a few bins to the whole window. In a
    window longer than those of training it goes on from the edge as it decayed at the start, so that bins never seen
    count less than those that were.

    Their concatenation is normalised across genes (batch norm). Activations are nearly alike in all genes at first, and
    normalising each gene by itself (as LayerNorm does) leaves them so: on one of three simulated genomes it then
    learned the TSS alone, and Spearman stayed at .37 to .44, where this gave .50 to .55.

    Parameters
    ----------
    width
        Components of an activation.
    n_bins
        Bins a window in training.
    queries
        Averages.
    hidden
        Units of the network's hidden layer.
    dropout
        Of the hidden layer, in training.
    outputs
        Numbers a gene.
    """

    part: ClassVar[str] = "average"

    def __init__(self, width: int, *, n_bins: int, queries: int, hidden: int, dropout: float, outputs: int = 1) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(queries, width) / math.sqrt(width))
        reach = torch.logspace(math.log10(2.0), math.log10(200.0), queries)
        self.register_buffer("decay", 1 / reach[:, None], persistent=False)
        self.decay: Tensor
        self.place = nn.Parameter(-distances(n_bins).abs() * self.decay)
        self.norm = GeneBatchNorm((queries + 1) * width)
        self.head = _network((queries + 1) * width, hidden=hidden, dropout=dropout, outputs=outputs)

    def check_window(self, n_bins: int) -> None:
        """Take windows of any length."""

    def bin_weights(self, activations: Tensor) -> Tensor:
        """Give the weight of each bin in each average, shape `(batch, queries, bins)`; they sum to 1 a query."""
        place = self._place_in(activations.shape[1])
        return (torch.einsum("qd,bnd->bqn", self.query, activations) + place).softmax(dim=-1)

    def _place_in(self, n_bins: int) -> Tensor:
        """Give the weight by place in a window of any length, shape `(queries, n_bins)`."""
        trained = self.place.shape[1]
        if n_bins == trained:
            return self.place
        beyond = bins_beyond(n_bins, trained).to(self.decay.device)
        return rows_at(self.place.T, n_bins).T - beyond * self.decay

    def forward(self, activations: Tensor) -> Tensor:
        """Read activations `(batch, bins, width)`; gives `(batch, outputs)`."""
        averages = self.bin_weights(activations) @ activations
        centre = activations[:, centre_bin(activations.shape[1]), None]
        read: Tensor = self.head(self.norm(torch.cat([centre, averages], dim=1).flatten(1)))
        return read


class SummedReadout(nn.Module):
    """The activation at the TSS and several weighted sums over all bins, into a small network.

    A small network gives each bin non-negative amounts, one a sum, and each sum weighs them by the distance from the
    centre alone. Sums count what lies in the window, where an average (`PooledReadout`) only says what is typical: two
    enhancers add to twice as much as one. The log of a weight is linear between knots that lie evenly in the log of the
    distance, on both sides alike, so that it can be learned from few genes and holds for windows of any length; it
    starts as a decay, from a few bins to the whole window, and stays constant beyond the last knot.

    Parameters
    ----------
    width
        Components of an activation.
    n_kernels
        How many.
    hidden
        Units of the hidden layers.
    dropout
        Of the last hidden layer, in training.
    outputs
        Numbers a gene.
    """

    part: ClassVar[str] = "sum"

    def __init__(self, width: int, *, n_kernels: int, hidden: int, dropout: float, outputs: int = 1) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, n_kernels))
        knots = torch.linspace(0, math.log1p(_LAST_KNOT), _KNOTS)
        reach = torch.logspace(math.log10(2.0), math.log10(200.0), n_kernels)
        self.register_buffer("knots", knots, persistent=False)
        self.knots: Tensor
        self.log_weight = nn.Parameter(-knots.expm1() / reach[:, None])
        self.norm = GeneBatchNorm(width + n_kernels)
        self.head = _network(width + n_kernels, hidden=hidden, dropout=dropout, outputs=outputs)

    def check_window(self, n_bins: int) -> None:
        """Take windows of any length."""

    def by_distance(self, n_bins: int) -> Tensor:
        """Give the weight of each bin of a window in each sum, shape `(n_kernels, n_bins)`; they are above 0."""
        place = distances(n_bins).abs().to(self.knots.device).log1p().clamp(max=self.knots[-1])
        shares = (1 - (place[:, None] - self.knots).abs() / self.knots[1]).clamp(min=0)
        return (self.log_weight @ shares.T).exp()

    def amounts(self, activations: Tensor) -> Tensor:
        """Give what each bin adds to each sum before it is weighed, shape `(batch, bins, n_kernels)`, not negative."""
        # Shifted, so that a bin begins by adding little: most of a window holds nothing that acts.
        return nn.functional.softplus(self.score(activations) - 2)

    def bin_weights(self, activations: Tensor) -> Tensor:
        """Give the share of each sum that each bin adds, shape `(batch, n_kernels, bins)`."""
        added = self.amounts(activations).mT * self.by_distance(activations.shape[1])
        return added / added.sum(dim=-1, keepdim=True)

    def forward(self, activations: Tensor) -> Tensor:
        """Read activations `(batch, bins, width)`; gives `(batch, outputs)`."""
        n_bins = activations.shape[1]
        summed = torch.einsum("bnk,kn->bk", self.amounts(activations), self.by_distance(n_bins))
        read: Tensor = self.head(self.norm(torch.cat([activations[:, centre_bin(n_bins)], summed], dim=1)))
        return read


Readout = TopKReadout | CentreReadout | PooledReadout | SummedReadout


def _falling(n_bins: int) -> Tensor:
    """Give the position bias at the start of training, shape `(n_bins,)`, float32."""
    return -distances(n_bins).abs().float().log1p()


def _network(width: int, *, hidden: int, dropout: float, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))
