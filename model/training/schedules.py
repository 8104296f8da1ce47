"""Learning-rate schedules.

Belongs here: from the settings of a training to torch's schedule. Does not: the settings (`model.training.config`).
"""

import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, LRScheduler, OneCycleLR

from model.training.config import TrainConfig


def make_schedule(optimiser: Optimizer, config: TrainConfig, *, factors: Sequence[float], n_genes: int) -> LRScheduler:
    """Make the schedule of a training.

    Parameters
    ----------
    factors
        Learning-rate multiplier of each group of the optimiser.
    n_genes
        Genes of a pass.
    """
    if config.schedule == "constant":
        return ConstantLR(optimiser, factor=1.0, total_iters=0)
    # One step alone would be the end of the schedule, where the rate is next to nothing.
    steps = max(2, config.epochs * config.steps_of_pass(n_genes))
    rising = config.warmup_fraction * steps
    if config.schedule == "cosine":
        return LambdaLR(optimiser, lambda step: _warm_cosine(step, steps, rising, config))
    # The peak falls on step `rising - 1`, by which OneCycleLR divides: at 0, let it come a trace before the first step.
    return OneCycleLR(
        optimiser,
        max_lr=[config.learning_rate * factor for factor in factors],
        total_steps=steps,
        pct_start=config.warmup_fraction * (0.999 if rising == 1 else 1.0),
    )


def _warm_cosine(step: int, steps: int, rising: float, config: TrainConfig) -> float:
    """Give the rate of a step over the peak: a line up from the first rate, then half a cosine down to the last."""
    first, last = (rate / config.learning_rate for rate in (config.first_learning_rate, config.last_learning_rate))
    if step < rising:
        return first + (1 - first) * step / rising
    done = min(1.0, (step - rising) / max(1.0, steps - rising))
    return last + (1 - last) * (1 + math.cos(math.pi * done)) / 2
