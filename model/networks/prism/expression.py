"""Prism as a model of expression: the network with the scales of its inputs and of its target.

Belongs here: what stands between genes and the network, its losses, what is learned before the first step. Does not:
the network (`model.networks.prism.model`), training it (`model.training`).
"""

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor

from loaders import GeneBatch
from model.networks.base import ExpressionModel
from model.networks.prism.config import PrismConfig
from model.networks.prism.dictionary import describe, find_states
from model.networks.prism.features import InputNames, SignalFeatures
from model.networks.prism.gates import DictionaryGates
from model.networks.prism.losses import prism_losses
from model.networks.prism.model import Prism, PrismOutput

PREDICTIONS = ("observational", "do")


class PrismModel(ExpressionModel):
    """Genes with signals in, standardised expression out; prompts are not read.

    Its `features` are `SignalFeatures`, and its channels the signals and then the covariates
    (`model.networks.prism.features.InputNames`).

    Parameters
    ----------
    config
        How it is set.
    n_bins
        Bases a window in training; may be set to another number afterwards.
    channel_names
        Of the signals and covariates.
    """

    def __init__(self, config: PrismConfig, *, n_bins: int, channel_names: Sequence[str]) -> None:
        super().__init__(config=config, n_bins=n_bins, channel_names=channel_names, features="raw")
        self.config: PrismConfig
        self.names = InputNames.of_channels(channel_names)
        self.check_window(n_bins)
        self.network = Prism(config, signal_names=self.names.signals, n_covariates=len(self.names.covariates))

    def check_window(self, n_bins: int) -> None:
        """Refuse windows that the gates or the trunk cannot read."""
        self.config.check_length(n_bins)

    def part_of(self, parameter: str) -> str:
        """Name the part of the network that a parameter is of."""
        return parameter.split(".")[1]

    def forward(self, features: Tensor, prompts: Sequence[str]) -> Tensor:
        """Predict, by the prediction that `config.predict` names; shape `(genes,)`."""
        sequence, signals, covariates = self.inputs(features)
        if self.config.predict == "observational":
            return self.network.observational(sequence, signals, covariates)
        do: Tensor = self.network(sequence, signals, covariates).do
        return do

    def loss(self, features: Tensor, prompts: Sequence[str], wanted: Tensor) -> Tensor:
        """Give the weighted sum of the losses of both predictions and of states that are alike."""
        found: PrismOutput = self.network(*self.inputs(features))
        return prism_losses(found.observational, found.do, found.gates, wanted).total(self.config)

    def alternatives(self, features: Tensor, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Give the prediction that `forward` does not; none where there are no states, and both are one."""
        if not self.config.n_states:
            return {}
        other = next(name for name in PREDICTIONS if name != self.config.predict)
        return {other: getattr(self.network(*self.inputs(features)), other)}

    def inputs(self, features: Tensor | SignalFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """Give bases, signals and covariates on the scales that the network reads."""
        given = cast("SignalFeatures", features)
        n_signals = len(self.names.signals)
        signals = self._transformed(given.signals)
        if self.config.standardise_signals:
            signals = (signals - self.feature_mean[:n_signals]) / self.feature_scale[:n_signals]
        covariates = given.covariates.float()
        if self.config.standardise_covariates:
            covariates = (covariates - self.feature_mean[n_signals:]) / self.feature_scale[n_signals:]
        return given.sequence, signals, covariates

    @property
    def mean_signal(self) -> Tensor:
        """Mean of each signal over the bases of the training genes, shape `(signals,)`: as transformed, and back."""
        mean = self.feature_mean[: len(self.names.signals)]
        kind = self.config.signal_transform
        return mean.expm1() if kind == "log1p" else mean.sinh() if kind == "arcsinh" else mean

    @torch.no_grad()
    def set_target_scale(self, expression: Tensor) -> None:
        """Take the scale of the target from the training genes, or log10(1 + x) as it is."""
        super().set_target_scale(expression)
        if self.config.target_unit == "log10":
            self.target_mean.zero_()
            self.target_scale.fill_(math.log(10))

    @torch.no_grad()
    def prepare(self, genes: Iterable[GeneBatch], *, seed: int) -> None:
        """Take the scales of signals and covariates from the training genes, and find the states of a dictionary.

        Raises
        ------
        ValueError
            If a signal or covariate is NaN or infinite, or is below 0 where its logarithm is to be taken (it is
            named), or fewer backgrounds differ than there are states.
        """
        total, described = _Moments(len(self.channel_names)), []
        for batch in genes:
            given = cast("SignalFeatures", batch.features)
            given = given.to(self.feature_mean.device)
            self._refuse(given)
            signals = self._transformed(given.signals)
            total.add(signals.flatten(0, 1), given.covariates)
            described.append(describe(self.network.background(self.network.chosen(signals))))
        self.feature_mean.copy_(total.mean)
        self.feature_scale.copy_(total.scale())
        if isinstance(self.network.gates, DictionaryGates):
            self.network.set_dictionary(find_states(torch.cat(described), self.config.n_states, seed=seed))

    def _transformed(self, signals: Tensor) -> Tensor:
        kind = self.config.signal_transform
        signals = signals.float()
        return signals.log1p() if kind == "log1p" else signals.asinh() if kind == "arcsinh" else signals

    def _refuse(self, given: SignalFeatures) -> None:
        for names, values, what in (
            (self.names.signals, given.signals.flatten(0, 1), "signal"),
            (self.names.covariates, given.covariates, "covariate"),
        ):
            wrong = [name for name, good in zip(names, values.isfinite().all(dim=0).tolist(), strict=True) if not good]
            if wrong:
                raise ValueError(
                    f"the {what} {', '.join(wrong)} is NaN or infinite in a training gene; build it without gaps, or "
                    "leave it out"
                )
            low = [name for name, least in zip(names, values.amin(dim=0).tolist(), strict=True) if least < 0]
            if low and what == "signal" and self.config.signal_transform == "log1p":
                raise ValueError(
                    f"signal_transform=log1p is for signals from 0 up, and {', '.join(low)} has values below 0; set "
                    "signal_transform=arcsinh or raw, or leave it out of `signals`"
                )


class _Moments:
    """Mean and spread of signals by base and of covariates by gene, side by side, in float64."""

    def __init__(self, numbers: int) -> None:
        self.mean, self._squares = torch.zeros(2, numbers, dtype=torch.float64)
        self._count = torch.zeros(numbers, dtype=torch.float64)

    def add(self, signals: Tensor, covariates: Tensor) -> None:
        """Combine with more rows (Chan, Golub and LeVeque 1983), which subtracts no large sums."""
        parts = [part.double().cpu() for part in (signals, covariates)]
        count = torch.cat([torch.full((part.shape[1],), float(len(part))) for part in parts])
        mean = torch.cat([part.mean(dim=0) for part in parts])
        squares = torch.cat([(part - part.mean(dim=0)).square().sum(dim=0) for part in parts])
        both = self._count + count
        apart = mean - self.mean
        self._squares += squares + apart.square() * self._count * count / both
        self.mean = self.mean + apart * count / both
        self._count = both

    def scale(self) -> Tensor:
        """Give standard deviations; 1 for what does not vary."""
        found = (self._squares / self._count.clamp(min=1)).sqrt()
        return torch.where(found > 1e-12, found, torch.ones_like(found))
