"""Prism by name, its controls, and the ridge regression beside it.

Belongs here: their factories. Does not: the presets (`model.networks.prism.config`), the model
(`model.networks.prism.expression`), genes with signals (`loaders`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from loaders import GeneBatch
from model.networks.prism.config import PRESETS
from model.networks.prism.dictionary import SEGMENTS, describe
from model.networks.prism.expression import PrismModel
from model.networks.prism.features import InputNames, SignalFeatures
from model.networks.prism.model import N_BASES
from model.predictors.closed_form import ClosedFormFactory, Ridge
from model.predictors.factory import ModelInputs
from model.predictors.torch_predictor import NetworkFactory
from model.training.config import PRISM_RECIPES

_UNFIT = r"[^\w.+-]"
"""What the name of a folder may not hold."""


class SignalRidge(Ridge):
    """Ridge regression on what needs no network: signals by segment, shares of the bases, and the covariates."""

    name = "prism-ridge"

    def summarise(self, batch: GeneBatch) -> NDArray[np.float64]:
        """Give arcsinh of the mean signal of each segment, shares of A, C, G and T, and the covariates."""
        given = cast("SignalFeatures", batch.features).to("cpu")
        signals = describe(given.signals.float()).asinh() if given.signals.shape[1] >= SEGMENTS else given.signals[:, 0]
        shares = [(given.sequence == base).double().mean(dim=1, keepdim=True) for base in range(N_BASES)]
        return torch.cat([signals.double(), *shares, given.covariates.double()], dim=1).numpy()


def controls(channel_names: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
    """Give the settings of Prism without a part, by name: what each part contributes shows in their scores.

    All read the covariates, as every row of the paper does; without `covariates-only` beside them nothing can be said
    of sequence or signals.
    """
    names = InputNames.of_channels(channel_names)
    plain: dict[str, object] = {"n_states": 0}
    found: dict[str, Mapping[str, object]] = {
        "concatenated": plain,
        "sequence-only": plain | {"signals": []},
        "signals-only": plain | {"sequence": False},
    }
    found |= {
        f"only-{re.sub(_UNFIT, '_', name)}": plain | {"sequence": False, "signals": [name]} for name in names.signals
    }
    if names.covariates:
        found["covariates-only"] = plain | {"sequence": False, "signals": []}
    return found


def _network(inputs: ModelInputs) -> PrismModel:
    return PrismModel(inputs.config, n_bins=inputs.n_bins, channel_names=inputs.channel_names)


PAPER, BEST = (
    NetworkFactory(config=PRESETS[preset], recipe=PRISM_RECIPES[preset], network=_network, controls=controls)
    for preset in ("paper", "best")
)
RIDGE = ClosedFormFactory(form=SignalRidge)
