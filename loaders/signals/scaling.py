"""Scales of signals: raw, log1p, arcsinh, or z-scores of training genes.

Belongs here: fitting a scale, applying it on any device, its form in a saved run. Does not: where signals come from
(`loaders.signals.dataset`), transforms that a store was built with (`builders.tracks`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from catalog.runtime.settings import apply_settings, plain_settings
from loaders.settings import check_choice

Scale = Literal["raw", "log1p", "arcsinh", "zscore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalScaling:
    """How signals are scaled; a run keeps it, so that later genes are scaled as the training genes were."""

    kind: Scale = "raw"
    """raw: as stored; log1p: log(1 + x); arcsinh: the same for values of any sign; zscore: (x - mean) / sd."""
    signals: tuple[str, ...] = ()
    """Names of the signals that it was fitted on, in order."""
    means: tuple[float, ...] = ()
    """Of each signal over all bases of the training genes; of zscore only."""
    sds: tuple[float, ...] = ()
    """Standard deviation of each; 1 for a signal that does not vary there."""

    def __post_init__(self) -> None:
        check_choice("scaling", self.kind, get_args(Scale))
        n_fitted = len(self.signals) if self.kind == "zscore" else 0
        if not len(self.means) == len(self.sds) == n_fitted or not all(sd > 0 for sd in self.sds):
            raise ValueError(
                f"the scale {self.kind} of {len(self.signals)} signals has {n_fitted} means and as many standard "
                f"deviations above 0; got {len(self.means)} and {self.sds}; fit it on the training genes again"
            )

    @classmethod
    def fitted(cls, kind: Scale, names: Sequence[str], signals: Iterable[Tensor]) -> "SignalScaling":
        """Fit a scale on raw signals of training genes.

        Parameters
        ----------
        names
            Of the last axis.
        signals
            Batches of raw signals, each `(genes, length, signals)`, on any device; read for zscore and log1p only.

        Raises
        ------
        ValueError
            If there is no such scale, or log1p is to be taken of negative signals (they are named).
        """
        check_choice("scaling", kind, get_args(Scale))
        if kind == "log1p":
            for batch in signals:
                refuse_negative(batch, names)
        if kind != "zscore":
            return cls(kind=kind, signals=tuple(names))
        count, mean, scatter = 0, torch.zeros(len(names)).double(), torch.zeros(len(names)).double()
        for batch in signals:
            # Chan, Golub and LeVeque 1983: batches are combined by their means, so that no large sums are subtracted.
            rows = batch.reshape(-1, len(names)).double().cpu()
            own = rows.mean(dim=0)
            delta, total = own - mean, count + len(rows)
            scatter += ((rows - own) ** 2).sum(dim=0) + delta**2 * (count * len(rows) / total)
            mean += delta * (len(rows) / total)
            count = total
        sds = (scatter / max(count, 1)).sqrt()
        return cls(
            kind=kind,
            signals=tuple(names),
            means=tuple(mean.tolist()),
            sds=tuple(torch.where(sds > 0, sds, 1.0).tolist()),
        )

    def apply(self, signals: Tensor) -> Tensor:
        """Scale signals, `(..., signals)`, float32."""
        if self.kind == "log1p":
            return torch.log1p(signals)
        if self.kind == "arcsinh":
            return torch.asinh(signals)
        if self.kind == "zscore":
            return (signals - signals.new_tensor(self.means)) / signals.new_tensor(self.sds)
        return signals

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values, as a run keeps them."""
        return plain_settings(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "SignalScaling":
        """Read what `to_json` gave; ValueError if it is something else."""
        # mypy does not tell a class that is a type variable from an instance of one.
        made: SignalScaling = apply_settings(cls, document)  # type: ignore[arg-type]
        return made


def refuse_negative(signals: Tensor, names: Sequence[str]) -> None:
    """Refuse, with a ValueError, signals `(..., signals)` that log1p has no value for."""
    least = signals.reshape(-1, len(names)).amin(dim=0).tolist()
    negative = [f"{name} ({value:g})" for name, value in zip(names, least, strict=True) if value < 0]
    if negative:
        raise ValueError(
            f"log1p is for signals from 0 up, and these have negative values: {', '.join(negative[:8])}; take "
            "`scaling='arcsinh'`, or leave them out: `channels=`"
        )
