"""The interface of every predictor of expression.

Belongs here: the protocols, the check before predicting. Does not: predictors (`model.predictors.torch_predictor`,
`model.predictors.closed_form`, `model.predictors.ensemble`), making one by name (`model.predictors.build`), loading one
(`model.predictors.saved`).
"""

import os
from dataclasses import replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from loaders import GeneDataset
from model.networks.base import ExpressionModel
from model.predictors.checkpoint import TrainedOn
from model.training.config import TrainConfig
from model.training.report import FitReport


class Predictor(Protocol):
    """Predicts log(1 + expression) of genes from their windows."""

    name: str
    n_bins: int
    """Bins a window; after the fit it may be set to another number, to predict from windows of that length."""
    allow_other_store: bool
    """Predict from features of another fingerprint too."""

    @property
    def trained_on(self) -> TrainedOn | None:
        """None until it is fitted or loaded."""
        ...

    def with_n_bins(self, n_bins: int) -> Self:
        """Give a predictor of the same weights that reads so many bins a window; this one stays as it is."""
        ...

    def fit(
        self, train: GeneDataset, validation: GeneDataset, *, out: str | os.PathLike[str] | None = None
    ) -> FitReport:
        """Fit on the training genes; the validation genes choose the epoch, or a penalty.

        Parameters
        ----------
        train, validation
            Windows of `n_bins` bins, targets all known.
        out
            Folder for the metrics and checkpoints of predictors that train by epochs.
        """
        ...

    def predict(self, dataset: GeneDataset) -> NDArray[np.float32]:
        """Predict log(1 + expression), float32; targets need not be known.

        Returns
        -------
        Shape `(genes,)`, or `(genes, tasks)` from a model with named tasks.

        Raises
        ------
        OtherStore
            If the features are not those of training (`TrainedOn.check`).
        ValueError
            If the windows have another length, or a prediction is NaN or infinite.
        RuntimeError
            If it was never fitted.
        """
        ...

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `model.safetensors` and `checkpoint.json` into a folder; `load_predictor` reads them."""
        ...


@runtime_checkable
class NetworkPredictor(Predictor, Protocol):
    """A predictor whose predictions come from a torch model: it has parameters, a device, perhaps a language model."""

    model: ExpressionModel
    training: TrainConfig
    """Its batch size and device also serve `predict`."""


def require_readable(predictor: Predictor, dataset: GeneDataset) -> None:
    """Refuse a dataset whose windows or features are not those that a predictor was trained on.

    Raises
    ------
    OtherStore, ValueError
        As `TrainedOn.check`, for windows of `predictor.n_bins` bins.
    RuntimeError
        If the predictor was never fitted.
    """
    if predictor.trained_on is None:
        raise RuntimeError(f"{predictor.name} has not been fitted; call fit(train, validation) or load a checkpoint")
    expected = replace(predictor.trained_on, n_bins=predictor.n_bins)
    expected.check(dataset, allow_other_store=predictor.allow_other_store)


def require_finite(name: str, dataset: GeneDataset, predicted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give predictions back, unless one is NaN or infinite.

    Raises
    ------
    ValueError
        If a gene's prediction is NaN or infinite; it names the first such gene.
    """
    spoiled = ~np.isfinite(predicted.reshape(len(predicted), -1)).all(axis=1)
    if spoiled.any():
        raise ValueError(
            f"{name} predicts NaN or infinity for {int(spoiled.sum())} of {len(predicted)} genes, first "
            f"{dataset.gene_ids[int(spoiled.argmax())]}: its windows hold values that are no numbers or far from those "
            "of training, or the training diverged; look at them with `featurestore get`, or train again with a lower "
            "learning_rate"
        )
    return predicted
