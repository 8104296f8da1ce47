"""Predictors that a language model must beat: the mean, and ridge regressions.

Belongs here: closed-form predictors. Does not: which predictors there are by name (`model.registry`).

All learn log(1 + expression), and are fitted in double precision.
"""

import copy
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loaders import GeneBatch, GeneDataset, data_loader
from model.evaluation.metrics import mse, spearman
from model.language.loading import LanguageSettings
from model.networks.kernels import expecto_kernels, exponential_kernels
from model.networks.positions import centre_bin
from model.predictors.checkpoint import Checkpoint, TrainedOn, write_checkpoint
from model.predictors.factory import BackbonePlace, ModelInputs
from model.predictors.predictor import Predictor, require_finite, require_readable
from model.training.report import FitReport
from model.training.targets import log_targets

PENALTIES = tuple(float(penalty) for penalty in np.logspace(-2, 6, 17))
"""Ridge penalties that are tried, for features of unit variance."""
_BATCH = 64


class ClosedForm(ABC):
    """A predictor without epochs: `model.predictors.predictor.Predictor` by way of a few tensors.

    Parameters
    ----------
    n_bins
        Bins a window. May be set to another number after the fit, to predict from windows of that length.
    """

    name: str

    def __init__(self, *, n_bins: int) -> None:
        self.n_bins = n_bins
        self.trained_on: TrainedOn | None = None
        self.allow_other_store = False
        self._tensors: dict[str, Tensor] = {}

    def with_n_bins(self, n_bins: int) -> Self:
        """Give a predictor of the same coefficients that reads so many bins a window."""
        changed = copy.copy(self)
        changed.n_bins = n_bins
        return changed

    def fit(
        self, train: GeneDataset, validation: GeneDataset, *, out: str | os.PathLike[str] | None = None
    ) -> FitReport:
        """Fit on the training genes; the validation genes choose the ridge penalty. `out` is not needed."""
        started = time.perf_counter()
        train = train.unjittered()  # each gene is seen once, so jitter would only move it
        trained_on = TrainedOn.of(train)
        if train.n_bins != self.n_bins:
            raise ValueError(
                f"this predictor was made for {self.n_bins} bins, but the windows have {train.n_bins}; "
                f"set dataset.n_bins = {self.n_bins}"
            )
        trained_on.check(validation)
        fitted, held_out = (
            _Sample(target=log_targets(part), features=self._statistics(part)) for part in (train, validation)
        )
        self._tensors = self._solve(fitted, held_out)
        self.trained_on = trained_on
        ranked = spearman(self.predict(validation), held_out.target)
        return FitReport(seconds=time.perf_counter() - started, validation_spearman=ranked)

    def predict(self, dataset: GeneDataset) -> NDArray[np.float32]:
        """Predict log(1 + expression), shape `(genes,)`, float32; see `Predictor.predict`."""
        require_readable(self, dataset)
        return require_finite(self.name, dataset, self._apply(self._statistics(dataset)).astype(np.float32))

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the checkpoint into a folder."""
        if self.trained_on is None:
            raise RuntimeError(f"{self.name} has not been fitted; call fit(train, validation) before save")
        write_checkpoint(directory, kind=self.name, trained_on=self.trained_on, settings={}, tensors=self._tensors)

    @classmethod
    def restored(cls, checkpoint: Checkpoint) -> Self:
        """Make again what `save` wrote."""
        made = cls(n_bins=checkpoint.trained_on.n_bins)
        made.trained_on, made._tensors = checkpoint.trained_on, checkpoint.tensors
        return made

    def summarise(self, batch: GeneBatch) -> NDArray[np.float64]:
        """Turn windows into the numbers that are regressed on, shape `(genes, numbers)`."""
        return np.empty((len(batch.prompts), 0))

    def _statistics(self, dataset: GeneDataset) -> NDArray[np.float64]:
        # Batch by batch, because 15,000 windows of 251 bins and 33 channels are 0.5 GB, and their statistics 40 MB.
        return np.concatenate([self.summarise(batch) for batch in data_loader(dataset, batch_size=_BATCH)])

    @abstractmethod
    def _solve(self, train: "_Sample", validation: "_Sample") -> dict[str, Tensor]: ...

    @abstractmethod
    def _apply(self, features: NDArray[np.float64]) -> NDArray[np.float64]: ...


class _Sample(NamedTuple):
    """What is regressed on what."""

    features: NDArray[np.float64]
    """Shape `(genes, numbers)`."""
    target: NDArray[np.float64]
    """log(1 + expression), shape `(genes,)`."""


class Mean(ClosedForm):
    """The mean of the training genes, whatever the window holds."""

    name = "mean"

    def _solve(self, train: "_Sample", validation: "_Sample") -> dict[str, Tensor]:
        return {"mean": torch.tensor(train.target.mean(), dtype=torch.float64)}

    def _apply(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.full(len(features), self._tensors["mean"].item())


class Ridge(ClosedForm):
    """Ridge regression on standardised statistics; the penalty of the least validation error is taken."""

    def _solve(self, train: "_Sample", validation: "_Sample") -> dict[str, Tensor]:
        features, target = train
        low, high, spread = features.min(axis=0), features.max(axis=0), features.std(axis=0)
        # Of a constant the deviation can be a rounding error above 0; of numbers below 1e-162 it underflows to 0.
        scale = np.where((high > low) & (spread > 0), spread, 1.0)
        seen = {"centre": features.mean(axis=0), "scale": scale, "low": low, "high": high}
        x, held_out_x = _standardised(features, seen), _standardised(validation.features, seen)
        # One decomposition serves all penalties, and costs the smaller of genes and statistics.
        u, singular, vt = np.linalg.svd(x, full_matrices=False)
        rotated = u.T @ (target - target.mean())
        tried = [vt.T @ (rotated * singular / (singular**2 + penalty)) for penalty in PENALTIES]
        errors = [mse(held_out_x @ coefficients + target.mean(), validation.target) for coefficients in tried]
        best = int(np.argmin(errors))
        found = {"coefficients": tried[best], "intercept": target.mean(), "penalty": np.float64(PENALTIES[best])}
        return {name: torch.from_numpy(np.asarray(value)) for name, value in (seen | found).items()}

    def _apply(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        values = {name: value.numpy() for name, value in self._tensors.items()}
        return np.asarray(_standardised(features, values) @ values["coefficients"] + values["intercept"])


def _standardised(features: NDArray[np.float64], seen: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Bring statistics to the scale of training, and none beyond the range that it had there.

    Without that one channel carries predictions away: a share of `N` that is 0 in the training windows but for a far
    bin (and so varies by 1e-13) is 1 where a test window reaches past its contig.
    """
    return (np.clip(features, seen["low"], seen["high"]) - seen["centre"]) / seen["scale"]


class CentreRidge(Ridge):
    """Ridge regression on the bin of the TSS: what is left without any context."""

    name = "ridge-centre"

    def summarise(self, batch: GeneBatch) -> NDArray[np.float64]:
        """Give the features of the centre bin, shape `(genes, channels)`."""
        return batch.features[:, centre_bin(self.n_bins)].cpu().double().numpy()


class ExponentialRidge(Ridge):
    """Ridge regression on sums that decay with the distance from the TSS, after ExPecto; see `DECAYS`.

    Each rate gives two sums a channel, left and right of the TSS on the forward strand; its own bin counts in both.
    """

    name = "ridge-exponential"

    def summarise(self, batch: GeneBatch) -> NDArray[np.float64]:
        """Give the decaying sums, shape `(genes, 2 * rates * channels)`."""
        kernels = exponential_kernels(self.n_bins)
        sums = np.einsum("kn,gnc->gkc", kernels, batch.features.cpu().double().numpy(), optimize=True)
        return np.asarray(sums.reshape(len(sums), -1))


class ExpectoRidge(Ridge):
    """Ridge regression on the sums of ExPecto itself: ten a channel, upstream and downstream of the TSS.

    Reads bins of at most 200 bp; see `expecto_kernels`. The sides are those of the gene, whichever way the bins run.
    ExPecto fits its sums by boosted linear regression with an L2 penalty instead.
    """

    name = "ridge-expecto"

    def _statistics(self, dataset: GeneDataset) -> NDArray[np.float64]:
        bin_size = dataset.identity.bin_size
        assert bin_size is not None, "that of a dataset is known"
        kernels = expecto_kernels(self.n_bins, bin_size)
        is_reverse = (dataset.genes["strand"] == "-").to_numpy() & (dataset.orient == "forward")
        summed = []
        for batch in data_loader(dataset, batch_size=_BATCH):
            features = batch.features.cpu().double().numpy()
            reverse = is_reverse[batch.indices.numpy()]
            features[reverse] = features[reverse, ::-1]
            summed.append(np.einsum("kn,gnc->gkc", kernels, features, optimize=True).reshape(len(features), -1))
        return np.concatenate(summed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedFormFactory:
    """Makes the predictors of a closed form; a `model.predictors.factory.ModelFactory`."""

    form: type[ClosedForm]
    config: None = None
    recipe: None = None

    def language(self, config: Any) -> LanguageSettings | None:
        """Read with none."""
        return None

    def build(self, name: str, inputs: ModelInputs) -> Predictor:
        """See `ModelFactory.build`."""
        return self.form(n_bins=inputs.n_bins)

    def restore(self, checkpoint: Checkpoint, directory: Path, backbone: BackbonePlace | None) -> Predictor:
        """See `ModelFactory.restore`."""
        return self.form.restored(checkpoint)


MEAN, RIDGE_CENTRE, RIDGE_EXPONENTIAL, RIDGE_EXPECTO = (
    ClosedFormFactory(form=form) for form in (Mean, CentreRidge, ExponentialRidge, ExpectoRidge)
)
