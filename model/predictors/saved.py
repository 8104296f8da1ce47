"""Predictors that were saved.

Belongs here: telling what a folder holds. Does not: making it again (`model.predictors.build`,
`model.predictors.ensemble`), its files (`model.predictors.checkpoint`).
"""

import os

from catalog.runtime.locations import required_path
from loaders import GeneDataset
from model.predictors.build import restored_predictor
from model.predictors.checkpoint import read_checkpoint
from model.predictors.ensemble import ENSEMBLE, restored_ensemble
from model.predictors.factory import BackbonePlace
from model.predictors.predictor import Predictor


def load_predictor(
    directory: str | os.PathLike[str],
    *,
    dataset: GeneDataset | None = None,
    backbone: BackbonePlace | None = None,
    allow_other_store: bool = False,
) -> Predictor:
    """Load a predictor that `save` wrote.

    Parameters
    ----------
    dataset
        Checked at once, if given, instead of when something is predicted from it.
    backbone
        Where the language model lies now, if it has moved; or that language model, loaded already.
    allow_other_store
        Predict from features of another fingerprint, or of other channel names, as well.

    Raises
    ------
    CheckpointError
        If the folder holds no whole checkpoint, or the language model is gone or another one.
    OtherStore, ValueError
        If the dataset does not suit (`TrainedOn.check`).
    """
    checkpoint = read_checkpoint(directory)
    if dataset is not None:
        checkpoint.trained_on.check(dataset, allow_other_store=allow_other_store)
    restored = restored_ensemble if checkpoint.kind == ENSEMBLE else restored_predictor
    predictor: Predictor = restored(checkpoint, required_path(directory), backbone)
    predictor.allow_other_store = allow_other_store
    return predictor
