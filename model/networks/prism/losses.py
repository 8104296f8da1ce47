"""The losses of Prism: of both predictions, and of states that are alike.

Belongs here: functions of predictions, targets and gates. Does not: what makes them (`model.networks.prism.model`).
"""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from model.networks.prism.config import PrismConfig

_TEMPERATURE = 2.0


class PrismLosses(NamedTuple):
    """The parts of the loss, each the mean over the genes of a batch."""

    observational: Tensor
    """Huber loss (delta 1) of the prediction without gates."""
    intervened: Tensor
    """Of the one that is averaged over the states; 0 where there are none."""
    diversity: Tensor
    """See `diversity_loss`; 0 where there are no states."""

    def total(self, config: PrismConfig) -> Tensor:
        """Add them up as a configuration weighs them."""
        return (
            self.observational + config.intervention_weight * self.intervened + config.diversity_weight * self.diversity
        )


def diversity_loss(gates: Tensor) -> Tensor:
    """Give the mean over genes of `log sum_ij exp(2t (cos(a_i, a_j) - 1))`, t = 2, of gates `(genes, n_states, width)`.

    With gates from 0 up, of two states it lies between log(2 + 2 exp(-4)) = 0.711, orthogonal, and log 4 = 1.386,
    collapsed; of n collapsed states it is log n².
    """
    unit = functional.normalize(gates, dim=-1)
    alike = 2 * _TEMPERATURE * (unit @ unit.mT - 1)
    return alike.flatten(1).logsumexp(dim=1).mean()


def prism_losses(observational: Tensor, do: Tensor, gates: Tensor | None, wanted: Tensor) -> PrismLosses:
    """Compute the losses of a batch.

    Parameters
    ----------
    observational, do, wanted
        Both predictions and the targets, on the scale that is learned, shape `(genes,)`.
    gates
        Shape `(genes, n_states, width)`; None of a plain model.
    """
    plain = functional.smooth_l1_loss(observational, wanted)
    if gates is None:
        none = plain.new_zeros(())
        return PrismLosses(plain, none, none)
    return PrismLosses(plain, functional.smooth_l1_loss(do, wanted), diversity_loss(gates))
