"""What every predictor of expression can be asked.

Belongs here: the protocols. Does not: predictors (`model.predictors.torch_predictor`, `model.predictors.closed_form`,
`model.predictors.ensemble`), making one by name (`model.predictors.build`), loading one (`model.predictors.saved`).
"""

import os
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
        """Fit on the training genes, with what must be chosen chosen on the validation genes.

        Parameters
        ----------
        train, validation
            Windows of `n_bins` bins, targets all known.
        out
            Folder for the course of the training, where there is one to tell.
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
            If the windows have another length.
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
