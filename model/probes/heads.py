"""Heads by name: what they read, and how they are fitted, by preset.

Belongs here: recipes, and one fit of any head. Does not: the fits themselves (`model.probes.linear`,
`model.probes.neural`).
"""

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.probes.kept import HeadShape, ProbeHead, of_linear, of_network
from model.probes.linear import fit_linear
from model.probes.networks import LEAST_PIECES
from model.probes.neural import Recipe, fit_network
from model.probes.representations import ONEHOT, Form, Layout
from model.probes.request import Preset
from model.probes.task import Task

_POOLED = ("ridge", "logistic", "mlp")
_LINEAR = ("ridge", "logistic")
_PENALTIES = tuple(float(value) for value in np.logspace(-2, 6, 17))
_OF_CLASSES = tuple(float(value) for value in np.logspace(-2, 4, 7))
_PAPER_PENALTY = (1e-3,)
DEVIATIONS = (
    "Classes: log-odds with the loss of log-odds; the released code gives the linear output of its MLP to a loss of "
    "probabilities.",
    "Padding is no part of a pooled vector; the released code averages padded tokens of DNABERT2.",
    "The 1x1 convolution that reduces channels comes before the first convolution, and not with one-hot, as the paper "
    "says; the released code bypasses it in one script and reduces one-hot in another.",
    "Dilations 1, 2, 4, 8, 16, 32, and ReLU before batch norm, as the paper says; the released code has 1, 1, 2, 4, 8, "
    "16, and batch norm first.",
    "The 1x1 convolution makes 196 channels, as the paper says; the released notebook 128.",
    "Batch norm before the exponential, whose argument is at most 10. Targets are brought to mean 0 and deviation 1. "
    "MPRAnn is trained without reverse complements.",
)
"""Where the preset `paper` differs from the code that the authors released, or from the paper."""


_VERSIONS = {"resnet": 2}
"""Raise that of a head with every change that changes its scores alone."""


def version_of(head: str) -> int:
    """Say which version of a head's code fits it."""
    return _VERSIONS.get(head, 1)


def form_of(head: str) -> Form:
    """Say which features a head reads."""
    return "pooled" if head in _POOLED else "along"


def is_random(head: str) -> bool:
    """Whether a head begins at random, so that seeds differ."""
    return head not in _LINEAR


def require_suited(head: str, task: Task) -> None:
    """Refuse, with a ValueError, a head that cannot read the rows of a task."""
    if head == "logistic" and not task.is_binary:
        raise ValueError("`heads=logistic` is for targets of 0 and 1, and these are numbers; take ridge")
    if form_of(head) == "pooled":
        return
    if not task.has_one_length:
        shortest = min(map(len, task.sequences))
        raise ValueError(
            f"`heads={head}` reads along sequences of one length, and these have {shortest:,} to {task.length:,} bp; "
            "cut or pad them with N, or take a head on pooled features: ridge, mlp"
        )


def require_pieces(head: str, label: str, bins: Layout, task: Task) -> None:
    """Refuse, with a ValueError, a representation of too few bins for the pools of a head along the sequence."""
    if form_of(head) == "along" and bins.pieces < LEAST_PIECES:
        size = bins.bin_size if bins.n_bins > 1 else bins.bin_size // bins.pieces
        raise ValueError(
            f"`heads={head}` needs at least {LEAST_PIECES} bins along a sequence, and {task.length} bases are "
            f"{bins.pieces} of {size} bp of {label}; take a smaller `resolution=`, or shorter words"
        )


def recipe_of(head: str, representation: str, preset: Preset) -> Recipe:
    """Give the training of a network on a representation, by its extractor's name."""
    is_onehot = representation == ONEHOT
    reduce = None if is_onehot or head in ("mlp", "mprann") else 196 if preset == "paper" else 64
    if preset == "default":
        # A residual network has dropout before each batch norm: of 700 rows its outputs lay off the mean, and training
        # stopped after an epoch. Those of a CNN did not.
        return Recipe(learning_rate=1e-3, batch_size=128, reduce=reduce, epochs=40, settle=head == "resnet")
    rate = 1e-3 if head in ("resnet", "mprann") or (is_onehot and head == "cnn") else 1e-4
    widths = (0.5, 1.0, 2.0) if head == "cnn" else (1.0,)
    batch_size = 512 if head == "mlp" else 128 if is_onehot else 64
    return Recipe(
        learning_rate=rate,
        batch_size=batch_size,
        widths=widths,
        reduce=reduce,
        init_sd=0.005 if head == "cnn" else None,
    )


class Fitted(NamedTuple):
    """What a fit found; the test rows were predicted once, after all choices."""

    predictions: NDArray[np.float64]
    """Of the test rows, shape `(rows, targets)`; of classes the log-odds."""
    chosen: dict[str, Any]
    """What the validation rows chose."""
    seconds: float
    head: ProbeHead
    """The fitted head itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """One fit: a head on a representation."""

    head: str
    representation: str
    """Name of the extractor: one-hot has recipes of its own."""
    preset: Preset
    seed: int
    share: float
    """Of the training rows, in the learning curve."""
    device: str

    def fit(self, task: Task, values: NDArray[np.floating]) -> Fitted:
        """Fit the head on training rows, choose on validation rows, predict test rows.

        Parameters
        ----------
        values
            Features of all rows, shape `(rows, pieces, channels)`.
        """
        began = time.perf_counter()
        train = some_of(task.rows(0), self.share)
        validation, test = task.rows(1), task.rows(2)
        fit = self._linear if self.head in _LINEAR else self._network
        predictions, chosen, head = fit(task, values, train, validation, test)
        if not np.isfinite(predictions).all():
            raise ValueError(f"{self.head} on {self.representation} diverged: a prediction is not finite")
        return Fitted(predictions, chosen, time.perf_counter() - began, head)

    def _linear(
        self,
        task: Task,
        values: NDArray[np.floating],
        train: NDArray[np.int64],
        validation: NDArray[np.int64],
        test: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], dict[str, Any], ProbeHead]:
        def part(rows: NDArray[np.int64]) -> NDArray[np.float64]:
            return np.asarray(values[rows], dtype=np.float64).reshape(len(rows), -1)

        is_paper = self.preset == "paper"
        fitted = fit_linear(
            (part(train), task.targets[train]),
            (part(validation), task.targets[validation]),
            penalties=_PAPER_PENALTY if is_paper else _OF_CLASSES if task.is_binary else _PENALTIES,
            is_binary=task.is_binary,
            standardise=not is_paper,
        )
        head = of_linear(self.head, fitted, pieces=values.shape[1])
        return fitted(part(test)), {"penalties": list(fitted.penalties)}, head

    def _network(
        self,
        task: Task,
        values: NDArray[np.floating],
        train: NDArray[np.int64],
        validation: NDArray[np.int64],
        test: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], dict[str, Any], ProbeHead]:
        recipe = recipe_of(self.head, self.representation, self.preset)
        tried = []
        for width in recipe.widths:
            shape = HeadShape(
                head=self.head,
                pieces=values.shape[1],
                channels=values.shape[2],
                targets=task.targets.shape[1],
                width=width,
                reduce=recipe.reduce,
            )
            trained = fit_network(
                shape.network,
                values,
                task.targets,
                train,
                validation,
                recipe=recipe,
                is_binary=task.is_binary,
                seed=self.seed,
                device=self.device,
            )
            tried.append((shape, trained))
        shape, best = tried[int(np.argmin([trained.loss for _, trained in tried]))]
        predictions = best.predict(test)
        head = of_network(shape, best.network, centre=best.centre, deviation=best.deviation)
        return predictions, {"width": shape.width, "validation_loss": best.loss}, head


def some_of(rows: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Take a share of rows, at least 10 or all: a larger share has all of a smaller one."""
    order = np.random.default_rng(0).permutation(rows)
    return np.sort(order[: max(min(10, len(rows)), round(share * len(rows)))])
