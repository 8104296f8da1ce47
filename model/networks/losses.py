"""Losses that several models learn by.

Belongs here: functions of predictions and targets. Does not: those of one model (`model.networks.prism.losses`), what
a target is (`model.training.targets`).
"""

import torch
from torch import Tensor


def masked_mse(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Average the squared error over what is known: NaN in `wanted` adds nothing to value or gradient."""
    known = ~wanted.isnan()
    return torch.where(known, predicted - wanted, 0.0).square().sum() / known.sum().clamp(min=1)
