"""Training GTA on the genes of a store.

Belongs here: the loop, its settings, which epoch is kept. Does not: the model (`model.gta`), the files of a checkpoint
(`model.checkpoint`).
"""

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from loaders import GeneBatch, GeneDataset, data_loader
from model.fit_report import Epoch, FitReport
from model.gta import GTA
from model.metrics import spearman
from model.targets import require_targets


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How GTA is trained. Plain JSON values."""

    epochs: int = 10
    """Passes over the training genes, at most."""
    batch_size: int = 16
    """Genes a step."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    warm_up: float = 0.2
    """Fraction of the steps in which the rate rises."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Norm that gradients are cut to."""
    monitor: Literal["mse", "spearman"] = "mse"
    """What decides, on the validation genes, which epoch is kept. Ranks of a few hundred genes are the noisier."""
    patience: int = 10
    """Stop after this many epochs without a better one."""
    seed: int = 0
    device: str = "auto"
    """`cpu`, `cuda`, or `auto` for the GPU if there is one."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} counts from 1, got {getattr(self, name)}")
        if self.monitor not in ("mse", "spearman"):
            raise ValueError(f"monitor is 'mse' or 'spearman', got {self.monitor!r}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device is 'auto', 'cpu' or 'cuda', got {self.device!r}")
        if not self.learning_rate > 0 or not 0 < self.warm_up < 1:
            raise ValueError(
                f"learning_rate is above 0 and warm_up a fraction between 0 and 1; got {self.learning_rate} and "
                f"{self.warm_up}"
            )

    def to_json(self) -> dict[str, Any]:
        """Give the values for a JSON document."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "TrainConfig":
        """Take back what `to_json` gave."""
        return cls(**document)


RECIPES: Mapping[str, TrainConfig] = MappingProxyType(
    {
        "paper": TrainConfig(epochs=5, learning_rate=1e-3),
        "best": TrainConfig(epochs=5, learning_rate=2e-3),
        "no-llm": TrainConfig(epochs=5, learning_rate=2e-3),
    }
)
"""How the presets of `model.gta.PRESETS` are trained."""


def fit(
    model: GTA, train: GeneDataset, validation: GeneDataset, config: TrainConfig, *, out: Path | None = None
) -> FitReport:
    """Train a model and leave it at its best epoch.

    Features and targets are standardised on the training genes first. The frozen language model is not touched: it has
    no gradients and no optimiser state.

    Parameters
    ----------
    model
        Changed in place.
    train, validation
        Windows of `model.n_bins` bins.
    config
        How to train.
    out
        Folder for `metrics.csv`, one line an epoch; made if need be. None writes nothing.

    Raises
    ------
    ValueError
        If the windows are not the model's, a target is not known, or a CUDA device is asked for and there is none.
    """
    for dataset in (train, validation):
        require_targets(dataset)
        if dataset.n_bins != model.n_bins:
            raise ValueError(
                f"the model reads {model.n_bins} bins, but the windows have {dataset.n_bins}; "
                f"set dataset.n_bins = {model.n_bins}"
            )
    device = choose_device(config.device)
    lesson = _Lesson(model, config, steps=config.epochs * -(-len(train) // config.batch_size))
    keeper = _BestEpoch(config)
    started = time.perf_counter()
    with _seeded(config.seed), _quiet_lightning():
        standardise(model, train, config.batch_size)
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=config.epochs,
            gradient_clip_val=config.clip,
            callbacks=[keeper],
            logger=CSVLogger(out, name="", version="") if out else False,
            # Ours is tensors and JSON; Lightning's is a pickle, with the frozen model in it.
            enable_checkpointing=False,
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
        trainer.fit(
            lesson,
            data_loader(train, batch_size=config.batch_size, shuffle=True, seed=config.seed),
            data_loader(validation, batch_size=config.batch_size, shuffle=False, seed=config.seed),
        )
    keeper.restore(model)
    model.eval()
    best = keeper.best
    return FitReport(
        seconds=time.perf_counter() - started,
        validation_spearman=lesson.epochs[best].validation_spearman,
        epochs=tuple(lesson.epochs),
        best_epoch=best,
    )


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda` into a device.

    Raises
    ------
    ValueError
        If CUDA is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("no CUDA device is to be seen; use device='cpu', or 'auto' to take a GPU only if there is one")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@torch.no_grad()
def standardise(model: GTA, train: GeneDataset, batch_size: int) -> None:
    """Set the means and scales of features and target from the training genes; what does not vary keeps scale 1."""
    if model.config.features == "standardised":
        mean, scale = _moments(train, batch_size)
        model.feature_mean.copy_(mean)
        model.feature_scale.copy_(_positive(scale))
    wanted = train.targets.double()
    wanted = wanted.log1p() if model.config.target == "log1p" else wanted
    model.target_mean.copy_(wanted.mean())
    model.target_scale.copy_(_positive(wanted.std(correction=0)))


def _moments(dataset: GeneDataset, batch_size: int) -> tuple[Tensor, Tensor]:
    """Give mean and standard deviation of each channel over all the bins, float64."""
    # Around the first gene: an offset large against the spread would eat the digits of the squares.
    origin = dataset[[0]].features.double().mean(dim=(0, 1))
    count, total, squares = 0, torch.zeros_like(origin), torch.zeros_like(origin)
    for batch in data_loader(dataset, batch_size=batch_size):
        rows = batch.features.double().flatten(0, 1) - origin
        count, total, squares = count + len(rows), total + rows.sum(dim=0), squares + rows.square().sum(dim=0)
    shift = total / count
    return origin + shift, (squares / count - shift.square()).clamp(min=0).sqrt()


def _positive(scale: Tensor) -> Tensor:
    return torch.where(scale > 1e-12, scale, torch.ones_like(scale))


class _Lesson(LightningModule):
    """One model under training; Lightning's view of it."""

    def __init__(self, model: GTA, config: TrainConfig, *, steps: int) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.steps = steps
        self.epochs: list[Epoch] = []
        self._losses: list[Tensor] = []
        self._validated: list[tuple[Tensor, Tensor]] = []
        self._started = 0.0

    def configure_optimizers(self) -> Any:
        trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(trainable, lr=self.config.learning_rate, weight_decay=self.config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.config.learning_rate, total_steps=self.steps, pct_start=self.config.warm_up
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        self._started = time.perf_counter()
        self._losses.clear()
        self._validated.clear()

    def training_step(self, batch: GeneBatch, index: int) -> Tensor:
        wanted = self.model.standardise_target(batch.targets)
        loss = nn.functional.mse_loss(self.model(batch.features, batch.prompts), wanted)
        self._losses.append(loss.detach())
        return loss

    def validation_step(self, batch: GeneBatch, index: int) -> None:
        wanted = self.model.standardise_target(batch.targets)
        self._validated.append((self.model(batch.features, batch.prompts), wanted))

    def on_validation_epoch_end(self) -> None:
        predicted, wanted = (torch.cat(parts).double().cpu() for parts in zip(*self._validated, strict=True))
        epoch = Epoch(
            train_mse=float(torch.stack(self._losses).mean()),
            validation_mse=float((predicted - wanted).square().mean()),
            validation_spearman=spearman(predicted.numpy(), wanted.numpy()),
            seconds=time.perf_counter() - self._started,
        )
        self.epochs.append(epoch)
        self.log_dict(epoch._asdict(), batch_size=1)


class _BestEpoch(Callback):
    """Keep the state of the best epoch in memory, and stop when no better one has come for long."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.best = 0
        self._score = (float("-inf"), float("-inf"))
        self._state: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, lesson: LightningModule) -> None:
        assert isinstance(lesson, _Lesson)
        epoch = lesson.epochs[-1]
        score = (-epoch.validation_mse, -epoch.validation_mse)
        if self.config.monitor == "spearman":
            # A constant prediction ranks nothing (NaN): any that does is better.
            ranked = epoch.validation_spearman
            score = (float("-inf") if ranked != ranked else ranked, -epoch.validation_mse)
        if score > self._score or not self._state:
            self.best, self._score = len(lesson.epochs) - 1, score
            self._state = {name: value.detach().cpu().clone() for name, value in lesson.model.own_state().items()}
        elif len(lesson.epochs) - 1 - self.best >= self.config.patience:
            trainer.should_stop = True

    def restore(self, model: GTA) -> None:
        model.load_own_state(self._state)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from our own seed, and leave the caller's random state as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's remarks (devices found, workers, subscriptions) off the terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
