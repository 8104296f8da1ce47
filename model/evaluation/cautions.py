"""Warnings of what makes a score look better than it is, or mean something else.

Belongs here: windows of an even number of bins or of another length than in training, predictions that hardly differ,
a bootstrap of few clusters.
Does not: the statistics (`model.evaluation.metrics`), refusing windows (`model.predictors.checkpoint`).
"""

import warnings
from collections.abc import Mapping

LEAST_SPREAD = 0.01
"""Standard deviation of predictions, as a fraction of that of the targets, below which ranks mean little."""

FEWEST_CLUSTERS = 10
"""Clusters below which a cluster bootstrap is too narrow: Cameron, Gelbach and Miller 2008 (Review of Economics and
Statistics 90:414) call 5 to 30 few."""


class Caution(UserWarning):
    """A result that is right, and is easily read wrongly."""


def warn_of_even_windows(n_bins: int) -> None:
    """Warn of windows in which the TSS lies where two bins meet, not in the middle of one."""
    if n_bins % 2 == 0:
        warnings.warn(
            f"in windows of {n_bins} bins the TSS lies at the edge between two bins, not in the middle of one, and no "
            f"bin holds the whole promoter: Spearman was .15 to .31 lower at 50 bins than at 51; take {n_bins - 1} or "
            f"{n_bins + 1} bins",
            Caution,
            stacklevel=3,
        )


def warn_of_other_length(name: str, n_bins: int, trained: int, scored: Mapping[int, float]) -> None:
    """Warn of windows of another length than in training, and say at which lengths the model was ever tested.

    Parameters
    ----------
    name
        Of the model.
    n_bins, trained
        Bins a window, now and in training.
    scored
        Spearman on held-out genes by bins a window, as far as it was evaluated.
    """
    if n_bins == trained:
        return
    scores = ", ".join(f"{score:.3f} at {length}" for length, score in sorted(scored.items()))
    tested = f"was evaluated so far with Spearman {scores}" if scores else "was never evaluated since"
    warnings.warn(
        f"{name} was trained on windows of {trained} bins, and reads {n_bins} now; it {tested}: compare `featurestore "
        f"evaluate --n-bins {n_bins}` with --n-bins {trained}",
        Caution,
        stacklevel=3,
    )


def warn_of_collapse(name: str, spread: float) -> None:
    """Warn of predictions that hardly differ between genes; see `model.evaluation.metrics.spread`."""
    if spread < LEAST_SPREAD:
        warnings.warn(
            f"the predictions of {name} hardly differ between genes: their standard deviation is {spread:.2%} of "
            "that of the targets, so their ranks may be noise (unless they are on another scale); train it for longer, "
            "or with another learning_rate or seed, and compare it with the baselines",
            Caution,
            stacklevel=3,
        )


def warn_of_few_clusters(units: str, found: int) -> None:
    """Warn of a bootstrap that draws from so few contigs or families that its spread is itself a rough estimate."""
    if found < FEWEST_CLUSTERS:
        warnings.warn(
            f"the bootstrap draws from {found} {units} only, and two standard deviations over few are rough and rather "
            f"too small; hold out more of them ({FEWEST_CLUSTERS} or more), or read it beside that over genes",
            Caution,
            stacklevel=3,
        )
