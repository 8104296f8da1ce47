"""What a predictor learns from: the expression of genes for which it is known.

Belongs here: checking targets, and their scale. Does not: reading them (`catalog.expression`).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from loaders import GeneDataset


def require_targets(dataset: GeneDataset) -> None:
    """Refuse genes whose expression is not known, or is no expression.

    Raises
    ------
    ValueError
        If a target is NaN, infinite or below 0, or there are fewer than two genes.
    """
    if len(dataset) < 2:
        raise ValueError(
            f"fitting needs at least 2 genes to train on and 2 to validate on, got {len(dataset)}; split otherwise"
        )
    wrong = int((~(torch.isfinite(dataset.targets) & (dataset.targets >= 0))).sum())
    if wrong:
        raise ValueError(
            f"{wrong} of {len(dataset)} genes have no target, or one below 0; give a table of targets (expression >= 0)"
            " when the dataset is made, which leaves out the genes that are not in it"
        )


def log_targets(dataset: GeneDataset) -> NDArray[np.float64]:
    """Give log(1 + expression) of each gene, shape `(genes,)`; raises like `require_targets`."""
    require_targets(dataset)
    return np.asarray(np.log1p(dataset.targets.double().numpy()))
