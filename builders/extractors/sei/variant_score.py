"""Sei's score of a variant: the change of each sequence class, with histone marks normalised.

Belongs here: the formula, and which profiles are histone marks. Does not: profiles
(`builders.extractors.sei.extractor`), windows of alleles (`builders.variants.windows`).
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_HISTONE = re.compile(r"H[1-4]|Histone Lysine")


def histone_profiles(names: Sequence[str]) -> NDArray[np.int64]:
    """Find the profiles of histone marks by their names, `cell | target | source`.

    Of the published `target.names` these are 10,064, as many as `histone_inds.npy` of the release has.
    """
    targets = [name.split(" | ")[1] if name.count(" | ") else "" for name in names]
    return np.array([place for place, target in enumerate(targets) if _HISTONE.match(target)], dtype=np.int64)


def class_scores(
    ref: NDArray[np.float32],
    alt: NDArray[np.float32],
    directions: NDArray[np.float32],
    histones: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Give ALT - REF of each class (Chen et al. 2022; `sei-framework`, `vep_cli.py`).

    The histone profiles of both alleles are scaled to the mean of their two sums first, so that a class score changes
    with the kinds of marks and not with how many nucleosomes there are. Positive: ALT raises the activity.

    Parameters
    ----------
    ref, alt
        Profiles, shape `(variants, n_profiles)`.
    directions
        Shape `(classes, n_profiles)`, rows of length 1.

    Returns
    -------
    Shape `(variants, classes)`, float64.
    """
    both = np.stack([ref, alt]).astype(np.float64)
    sums = both[:, :, histones].sum(2, keepdims=True)
    both[:, :, histones] *= sums.mean(0, keepdims=True) / sums
    change: NDArray[np.float64] = (both[1] - both[0]) @ directions.T.astype(np.float64)
    return change
