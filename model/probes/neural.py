"""Training the network of a probe on the features of a task.

Belongs here: one fit, with its early stop. Does not: layers (`model.probes.networks`), recipes (`model.probes.heads`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from model.device import choose_device

_PATIENCE = 10
_PLATEAU = 5
_FACTOR = 0.2
_LEAST_RATE = 1e-8
_SETTLED_ROWS = 2048
"""Rows that the statistics of batch norm are estimated from: a pass over them costs less than a third of an epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained."""

    learning_rate: float
    batch_size: int
    epochs: int = 100
    widths: tuple[float, ...] = (1.0,)
    """Widths of the layers that are tried; the validation rows choose."""
    reduce: int | None = None
    """Channels that a 1x1 convolution makes of those of a representation; None for none."""
    init_sd: float | None = None
    """Deviation of first weights, by the normal distribution; None for torch's own."""
    settle: bool = False
    """Estimate the statistics of batch norm anew before each validation, without dropout."""


class Trained(NamedTuple):
    """A trained network."""

    predict: Callable[[NDArray[np.int64]], NDArray[np.float64]]
    """Predicts rows `(n,)`, shape `(n, targets)`."""
    loss: float
    """The least on validation rows."""
    network: nn.Module
    centre: NDArray[np.float64]
    """Mean of each target that the network's outputs are counted from, shape `(targets,)`."""
    deviation: NDArray[np.float64]
    """What a unit of each output is."""


def fit_network(
    make: Callable[[], nn.Module],
    values: NDArray[np.floating],
    targets: NDArray[np.float64],
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    *,
    recipe: Recipe,
    is_binary: bool,
    seed: int,
    device: str,
) -> Trained:
    """Train one network, stopping 10 epochs after the least validation loss.

    Parameters
    ----------
    values
        Features of all rows `(rows, pieces, channels)`, in memory or a map of the mirror: a batch is read at a time.
    targets
        Shape `(rows, targets)`; numbers that are NaN count in no loss.
    train, validation
        Rows.
    """
    chosen = choose_device(device)
    scale = _Scale.of(targets[train]) if not is_binary else _Scale.none(targets.shape[1])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make().to(chosen)
        if recipe.init_sd is not None:
            _initialise(network, recipe.init_sd)
        fit = _Fit(network, values, torch.from_numpy(scale.on(targets)).float(), recipe, chosen, is_binary=is_binary)
        loss = fit.train(train, validation, np.random.default_rng(seed))

    def predict(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return scale.off(fit.outputs(rows).double().numpy())

    return Trained(predict, loss, network, scale.centre, scale.deviation)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Targets of mean 0 and deviation 1, as the rate and the first weights suppose."""

    centre: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, targets: NDArray[np.float64]) -> "_Scale":
        deviation = np.nanstd(targets, axis=0)
        return cls(np.nanmean(targets, axis=0), np.where(deviation > 0, deviation, 1))

    @classmethod
    def none(cls, n_targets: int) -> "_Scale":
        return cls(np.zeros(n_targets), np.ones(n_targets))

    def on(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return (values - self.centre) / self.deviation

    def off(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values * self.deviation + self.centre


class _Fit:
    """One network and what it learns from."""

    def __init__(
        self,
        network: nn.Module,
        values: NDArray[np.floating],
        targets: Tensor,
        recipe: Recipe,
        device: torch.device,
        *,
        is_binary: bool,
    ) -> None:
        self.network = network
        self._values = values
        self._targets = targets
        self._recipe = recipe
        self._device = device
        self._loss_of = binary_cross_entropy_with_logits if is_binary else mse_loss

    def train(self, train: NDArray[np.int64], validation: NDArray[np.int64], rng: np.random.Generator) -> float:
        """Go over the rows until the validation loss no longer falls; the best weights are kept."""
        optimiser = torch.optim.Adam(self.network.parameters(), lr=self._recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=_FACTOR, patience=_PLATEAU, min_lr=_LEAST_RATE
        )
        best, since = float("inf"), 0
        kept = {name: value.clone() for name, value in self.network.state_dict().items()}
        for _ in range(self._recipe.epochs):
            self.epoch(train, optimiser, rng)
            if self._recipe.settle:
                self.settle(train)
            loss = self._loss(self.outputs(validation), self._targets[validation]).item()
            schedule.step(loss)
            if loss < best:
                best, since = loss, 0
                kept = {name: value.clone() for name, value in self.network.state_dict().items()}
            else:
                since += 1
                if since >= _PATIENCE:
                    break
        self.network.load_state_dict(kept)
        return best

    def epoch(self, rows: NDArray[np.int64], optimiser: torch.optim.Optimizer, rng: np.random.Generator) -> None:
        """Take a step for each batch of the rows, in a new order."""
        self.network.train()
        order = rng.permutation(rows)
        for first in range(0, len(order), self._recipe.batch_size):
            batch = np.sort(order[first : first + self._recipe.batch_size])  # neighbours share pages of the mirror
            if len(batch) < 2:
                continue  # batch norm has no deviation of one row
            loss = self._loss(self.network(self._read(batch)), self._targets[batch].to(self._device))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation there
            optimiser.step()

    def settle(self, rows: NDArray[np.int64]) -> None:
        """Estimate the mean and variance of each batch norm from rows, without dropout.

        Those of training are of inputs that dropout has made more variable than the ones to predict from; where layers
        of both follow each other this adds up (Li et al., CVPR 2019, arXiv:1801.05134).
        """
        norms = [layer for layer in self.network.modules() if isinstance(layer, nn.BatchNorm1d)]
        momenta = [layer.momentum for layer in norms]
        self.network.eval()
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over batches
            layer.train()
        chosen = np.sort(np.random.default_rng(0).permutation(rows)[:_SETTLED_ROWS])
        n_batches = max(1, len(chosen) // self._recipe.batch_size)
        with torch.no_grad():
            for batch in np.array_split(chosen, n_batches):
                self.network(self._read(batch))
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum

    def outputs(self, rows: NDArray[np.int64]) -> Tensor:
        """Compute what the network gives of rows, `(n, targets)`, on the CPU."""
        self.network.eval()
        size = 4 * self._recipe.batch_size
        with torch.no_grad():
            found = [self.network(self._read(rows[first : first + size])) for first in range(0, len(rows), size)]
        return torch.cat(found).cpu()

    def _read(self, rows: NDArray[np.int64]) -> Tensor:
        """Read a batch, `(n, channels, pieces)`."""
        read = np.ascontiguousarray(self._values[rows].astype(np.float32))
        return torch.from_numpy(read).to(self._device).transpose(1, 2)

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        known = ~torch.isnan(targets)
        if not known.any():
            return outputs.sum() * 0
        return self._loss_of(outputs[known], targets[known])


def _initialise(network: nn.Module, deviation: float) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d):
            nn.init.normal_(layer.weight, std=deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
