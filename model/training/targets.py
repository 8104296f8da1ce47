"""Targets: the expression of genes.

Belongs here: checking targets, their scale, ranks over those that are known. Does not: reading them
(`catalog.expression.targets`), losses (`model.networks.losses`).
"""

import numpy as np
from numpy.typing import NDArray

from loaders import GeneDataset
from model.evaluation.metrics import spearman
from model.networks.losses import masked_mse as masked_mse


def require_targets(dataset: GeneDataset) -> None:
    """Refuse genes whose expression is not known, or is no expression.

    Of several tasks, targets of shape `(genes, tasks)`, a gene needs one that is known, and a task two genes.

    Raises
    ------
    ValueError
        If a target is NaN where it is needed, infinite or below 0, or there are fewer than two genes.
    """
    if len(dataset) < 2:
        raise ValueError(
            f"fitting needs at least 2 genes to train on and 2 to validate on, got {len(dataset)}; split otherwise"
        )
    targets = dataset.targets
    known = targets.isfinite() & (targets >= 0)
    several = targets.dim() == 2
    usable = known.any(dim=1) & (known | targets.isnan()).all(dim=1) if several else known
    wrong = int((~usable).sum())
    if wrong:
        raise ValueError(
            f"{wrong} of {len(dataset)} genes have no target, or one below 0; give a table of targets (expression >= 0)"
            " when the dataset is made, which leaves out the genes that are not in it"
        )
    if several and int(known.sum(dim=0).min()) < 2:
        task = int(known.sum(dim=0).argmin())
        raise ValueError(
            f"column {task} of the targets is known for {int(known[:, task].sum())} of {len(dataset)} genes, and a "
            "task needs at least 2 to train on and 2 to validate on; leave it out, or split otherwise"
        )


def log_targets(dataset: GeneDataset) -> NDArray[np.float64]:
    """Give log(1 + expression) of each gene, shape `(genes,)`; raises like `require_targets`, and for several tasks."""
    require_targets(dataset)
    if dataset.targets.dim() == 2:
        raise ValueError(
            f"the targets have {dataset.targets.shape[1]} columns, but this predictor learns one number a gene; give "
            "it one column at a time, or take a GTA or a network of model.networks.bin_models with `tasks=`"
        )
    return np.asarray(np.log1p(dataset.targets.double().numpy()))


def mean_spearman(predicted: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """Rank genes task by task, over those that are known, and average; both `(genes,)` or `(genes, tasks)`."""
    pairs = zip(predicted.reshape(len(predicted), -1).T, wanted.reshape(len(wanted), -1).T, strict=True)
    return float(np.mean([spearman(p[~np.isnan(w)], w[~np.isnan(w)]) for p, w in pairs]))
