"""From the features of both alleles to numbers.

Belongs here: pure functions of features, and their names. Does not: sequence (`builders.variants.windows`), networks.

Features of an allele have shape `(bins, channels)`, float32: one bin for a model that reads a window as a whole, else
those around the variant (the centre mask).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
_SITES = ("gain", "gain_at", "loss", "loss_at")


@dataclass(frozen=True, slots=True)
class Score:
    """A way to compare two alleles."""

    compute: Callable[[Features, Features], NDArray[np.floating]]
    """From REF and ALT to one number, to one a channel, or to one a part and channel, `(parts * channels,)`."""
    parts: tuple[str, ...] = ()
    """What is given of each channel; empty for one number a channel."""
    is_per_channel: bool = True
    help: str = ""

    def columns(self, name: str, channels: Sequence[str]) -> list[str]:
        """Name what `compute` gives, in its order."""
        if not self.is_per_channel:
            return [name]
        names = [f"{name}_{part}" for part in self.parts] or [name]
        return [f"{one}:{channel}" for one in names for channel in channels]


def _difference(ref: Features, alt: Features) -> NDArray[np.floating]:
    found: NDArray[np.floating] = (alt - ref).mean(0)
    return found


def _log2fc(ref: Features, alt: Features) -> NDArray[np.floating]:
    sums = np.stack([ref.sum(0, dtype=np.float64), alt.sum(0, dtype=np.float64)])
    if (sums < 0).any():
        raise ValueError(
            "`scores=log2fc` compares sums of a signal, which is at least 0, and these features have negative sums; "
            "use difference"
        )
    log_ref, log_alt = np.log2(sums + 1)
    found: NDArray[np.floating] = log_alt - log_ref
    return found


def _delta(ref: Features, alt: Features) -> NDArray[np.floating]:
    change, middle = alt - ref, len(ref) // 2
    gain, loss = change.argmax(0), change.argmin(0)
    channels = np.arange(change.shape[1])
    return np.concatenate([change[gain, channels], gain - middle, -change[loss, channels], loss - middle])


def _cosine(ref: Features, alt: Features) -> NDArray[np.floating]:
    a, b = ref.ravel().astype(np.float64), alt.ravel().astype(np.float64)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return np.array([a @ b / norms if norms else np.nan])


def _number(compute: Callable[[NDArray[np.float64], NDArray[np.float64]], float]) -> Score:
    def flat(ref: Features, alt: Features) -> NDArray[np.floating]:
        return np.array([compute(ref.ravel().astype(np.float64), alt.ravel().astype(np.float64))])

    return Score(flat, is_per_channel=False)


SCORES: dict[str, Score] = {
    "difference": Score(_difference),
    "log2fc": Score(_log2fc),
    "delta": Score(_delta, parts=_SITES),
    "l1": _number(lambda ref, alt: float(np.abs(alt - ref).sum())),
    "l2": _number(lambda ref, alt: float(np.linalg.norm(alt - ref))),
    "cosine": Score(_cosine, is_per_channel=False),
    "dot": _number(lambda ref, alt: float(ref @ alt)),
}
"""difference: ALT - REF, the mean over the mask; log2fc: log2 of (1 + sum of ALT) / (1 + sum of REF); delta: the
largest gain and loss of any base and where (bp from the variant), as SpliceAI reports them; L1 and L2 norm of the
change, cosine similarity and dot product, over all bins and channels."""


def on_ref(alt: Features, *, at: int, ref_length: int, alt_length: int, n_bins: int) -> Features:
    """Give predictions of ALT the positions of REF, as SpliceAI does.

    Inserted bases count by their maximum, at the last base of REF; deleted ones are zeros.

    Parameters
    ----------
    alt
        One row a base, shape `(at least n_bins + alt_length - ref_length, channels)`; ALT begins at row `at`.
    """
    last = at + min(ref_length, alt_length)
    if alt_length > ref_length:
        inserted = alt[last - 1 : at + alt_length].max(0, keepdims=True)
        return np.concatenate([alt[: last - 1], inserted, alt[at + alt_length :]])[:n_bins]
    deleted = np.zeros((ref_length - alt_length, alt.shape[1]), dtype=alt.dtype)
    return np.concatenate([alt[:last], deleted, alt[last:]])[:n_bins]
