"""A dictionary of background states: k-means over the backgrounds of the training genes.

Belongs here: what describes the background of a gene, the clusters and how many genes are of each. Does not: the gates
of a state (`model.networks.prism.gates`).

The states are those of a confounder dictionary (VC R-CNN, Wang et al. CVPR 2020): P(Y | do) is the sum over states z of
P(Y | X, z) P(z), with P(z) the share of the training genes in cluster z.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SEGMENTS = 8
"""Parts of equal length whose means describe each signal of a background."""
_ROUNDS, _STARTS = 100, 8


class Dictionary(NamedTuple):
    """States and how frequent they are."""

    states: Tensor
    """Centres of the clusters, each number standardised over the genes, shape `(n_states, numbers)`, float32."""
    prior: Tensor
    """Share of the genes in each cluster, shape `(n_states,)`, float32; sums to 1."""


def describe(signals: Tensor) -> Tensor:
    """Describe backgrounds `(genes, length, signals)` by the means of their segments, `(genes, SEGMENTS * signals)`."""
    return functional.adaptive_avg_pool1d(signals.mT, SEGMENTS).flatten(1)


def find_states(described: Tensor, n_states: int, *, seed: int) -> Dictionary:
    """Cluster described backgrounds `(genes, numbers)` by k-means (k-means++ starts, the best of eight).

    Raises
    ------
    ValueError
        If there are fewer different backgrounds than states.
    """
    wide = described.double()
    spread = wide.std(dim=0, correction=0)
    points = (wide - wide.mean(dim=0)) / torch.where(spread > 1e-12, spread, torch.ones_like(spread))
    different = len(np.unique(points.numpy(), axis=0))
    if different < n_states:
        raise ValueError(
            f"states=dictionary takes {n_states} states out of the backgrounds of the training genes, and only "
            f"{different} of {len(points)} differ; set n_states={max(1, different)} or fewer"
        )
    generator = torch.Generator().manual_seed(seed)
    tried = [_lloyd(points, _spread_out(points, n_states, generator)) for _ in range(_STARTS)]
    centres, nearest, _ = min(tried, key=lambda found: found[2])
    prior = torch.bincount(nearest, minlength=n_states) / len(points)
    order = prior.argsort(descending=True)
    return Dictionary(centres[order].float(), prior[order].float())


def _spread_out(points: Tensor, n_states: int, generator: torch.Generator) -> Tensor:
    """Draw starts by k-means++ (Arthur and Vassilvitskii 2007): each far from those before."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    while len(chosen) < n_states:
        distance = torch.cdist(points, points[chosen]).amin(dim=1).square()
        chosen.append(int(torch.multinomial(distance, 1, generator=generator)))
    return points[chosen]


def _lloyd(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, float]:
    """Move centres until nothing changes; give them, the nearest one of each point, and the sum of squares."""
    nearest = torch.cdist(points, centres).argmin(dim=1)
    for _ in range(_ROUNDS):
        one_hot = functional.one_hot(nearest, len(centres)).to(points)
        count = one_hot.sum(dim=0)[:, None]
        centres = torch.where(count > 0, one_hot.T @ points / count.clamp(min=1), centres)
        again = torch.cdist(points, centres).argmin(dim=1)
        if bool((again == nearest).all()):
            break
        nearest = again
    return centres, nearest, float((points - centres[nearest]).square().sum())
