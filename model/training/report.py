"""What fitting a predictor gave.

Belongs here: the record, for people and for JSON. Does not: fitting (`model.training.fit`,
`model.predictors.closed_form`).
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


class Epoch(NamedTuple):
    """One pass over the training genes."""

    train_mse: float
    """Of the standardised target, averaged over the epoch while the model changed."""
    validation_mse: float
    """Of the standardised target."""
    validation_spearman: float
    """NaN while all predictions are equal."""
    seconds: float
    """Wall time, validation included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """How a fit went."""

    seconds: float
    """Wall time in all."""
    validation_spearman: float
    """Of the state that was kept; NaN for a constant."""
    epochs: tuple[Epoch, ...] = ()
    """Empty where a fit has a closed form."""
    best_epoch: int | None = None
    """Index into `epochs` of the state that was kept."""

    def to_json(self) -> dict[str, Any]:
        """Give the values for a JSON document; NaN, which JSON lacks, becomes null."""
        document = asdict(self)
        document["epochs"] = [_without_nan(epoch._asdict()) for epoch in self.epochs]
        return _without_nan(document)


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in values.items()}
