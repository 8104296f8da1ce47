"""What Prism reads of genes: bases, signals and covariates, in place of one array of features.

Belongs here: that value, how its parts are named among the channels of a dataset. Does not: reading it from a store
(`loaders`), the network (`model.networks.prism.model`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from loaders import StoredGenes

_COVARIATE = "covariate "
"""Begins the name of a covariate among the channels."""


class InputNames(NamedTuple):
    """Names of the signals and of the covariates."""

    signals: tuple[str, ...]
    covariates: tuple[str, ...]

    @classmethod
    def of_channels(cls, channel_names: Sequence[str]) -> Self:
        """Tell them apart among the channels of a dataset."""
        covariates = [name.removeprefix(_COVARIATE) for name in channel_names if name.startswith(_COVARIATE)]
        return cls(tuple(name for name in channel_names if not name.startswith(_COVARIATE)), tuple(covariates))

    def channels(self) -> tuple[str, ...]:
        """Give them as the channels of a dataset, which its identity lists."""
        return (*self.signals, *(f"{_COVARIATE}{name}" for name in self.covariates))


@dataclass(frozen=True, slots=True)
class SignalFeatures:
    """Of some genes, as `GeneBatch.features`: it moves, and is cut into parts, as a tensor does."""

    sequence: Tensor
    """Bases 0 to 3 for A, C, G, T; 4 for N. Shape `(genes, length)`, uint8."""
    signals: Tensor
    """Shape `(genes, length, signals)`, float32."""
    covariates: Tensor
    """Shape `(genes, covariates)`, float32."""

    def to(self, device: torch.device | str, **options: Any) -> Self:
        """Move all parts."""
        return type(self)(*(part.to(device, **options) for part in (self.sequence, self.signals, self.covariates)))

    def __getitem__(self, genes: slice) -> Self:
        """Take some of the genes."""
        return type(self)(self.sequence[genes], self.signals[genes], self.covariates[genes])

    def __len__(self) -> int:
        """Count the genes."""
        return len(self.sequence)


class StoredFeatures:
    """The same before it is moved, in bins and types of the store: bins are repeated where `to` brings them."""

    def __init__(self, stored: StoredGenes) -> None:
        self._stored = stored

    def to(self, device: torch.device | str, **options: Any) -> SignalFeatures:
        """Move what is stored, and finish it there."""
        moved: StoredGenes = _moved(self._stored, device, options)
        batch = moved.finished()
        return SignalFeatures(batch.sequence, batch.signals, batch.covariates)

    def __getitem__(self, genes: slice) -> SignalFeatures:
        """Take some of the genes, finished where they are."""
        return self.to(self._stored.sequence.device)[genes]

    def __len__(self) -> int:
        """Count the genes."""
        return len(self._stored.sequence)


def _moved(value: Any, device: torch.device | str, options: dict[str, Any]) -> Any:
    """Move every tensor of nested tuples."""
    if isinstance(value, Tensor):
        return value.to(device, **options)
    if isinstance(value, tuple):
        parts = [_moved(part, device, options) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
