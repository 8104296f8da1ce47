"""The Lightning module of a training, and the callback that checkpoints each epoch.

Belongs here: batches, steps, epochs, the optimiser. Does not: settings and the trainer
(`model.training.fit`), the state on disk (`model.training.resume`).
"""

import atexit
import csv
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from catalog.runtime.files import replacing
from loaders import GeneBatch, GeneDataset, data_loader
from model.language.prefixes.prefetch import LookAhead
from model.language.prompt_lengths import bucketed_order
from model.networks.base import ExpressionModel
from model.networks.losses import masked_mse
from model.training.config import TrainConfig
from model.training.micro_batch import Part, Parts
from model.training.report import Epoch
from model.training.resume import Progress, moments_of, write_progress
from model.training.schedules import make_schedule
from model.training.targets import mean_spearman

T = TypeVar("T")


class ExpressionModule(LightningModule):
    """A model with what it is trained on.

    Parameters
    ----------
    before
        State to resume from; the model has its weights already.
    """

    STEPS_BY_BATCH: ClassVar[bool] = True
    """Whether Lightning steps the optimiser, after each batch."""

    def __init__(
        self,
        model: ExpressionModel,
        train: GeneDataset,
        validation: GeneDataset,
        config: TrainConfig,
        *,
        before: Progress | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.automatic_optimization = self.STEPS_BY_BATCH
        self.epochs: list[Epoch] = [] if before is None else list(before.epochs)
        self._train, self._validation = train, validation
        self._before = before
        self._losses: list[Tensor] = []
        self._shares = 0.0
        self._validated: list[tuple[Tensor, Tensor]] = []
        self._started = 0.0
        self._is_first_step = True

    def setup(self, stage: str) -> None:
        """Destroy the process group at exit."""
        # Lightning does so for nccl. Threads of gloo that live until the interpreter has ended may abort it.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            atexit.register(_leave_process_group)

    def train_dataloader(self) -> Iterable[Part]:
        """Give this rank's part of each batch; over all ranks, the batches are those of a single device."""
        config, ranks = self.config, self.trainer.world_size
        genes: Any = self._train
        if config.bucket_prompts:
            genes = _LengthBucketed(genes, self.model.prompt_lengths(self._train.prompts), config)
        loader = data_loader(
            genes,
            batch_size=config.batch_size // ranks,
            shuffle=not config.bucket_prompts,
            seed=config.seed,
            rank=self.global_rank,
            world_size=ranks,
        )
        loader.set_epoch(len(self.epochs))
        parts = Parts(loader, batch_size=config.device_batch_size, size=config.genes_at_once)
        return self._announced(parts, lambda part: part.genes.prompts)

    def val_dataloader(self) -> Iterable[GeneBatch]:
        """Give all the validation genes to every rank, so that all score an epoch alike."""
        loader = data_loader(self._validation, batch_size=self._validated_at_once(), rank=0, world_size=1)
        return self._announced(loader, lambda batch: batch.prompts)

    def _validated_at_once(self) -> int:
        """Give the batch as it is set, unless it did not fit in training."""
        return self.config.batch_size if self.config.parts_of_batch == 1 else self.config.genes_at_once

    def _announced(self, loader: Iterable[T], prompts_of: Callable[[T], Sequence[str]]) -> Iterable[T]:
        """Tell the model of the prompts of the next batches while it works on this one."""
        if self.model.prefix_cache is None:
            return loader
        return LookAhead(loader, lambda batch: self.model.announce(prompts_of(batch)))

    def configure_optimizers(self) -> Any:
        """Make the optimiser, with its state where a training is resumed."""
        optimiser, schedule = make_optimiser(self.model, self.config, n_genes=len(self._train))
        if self._before is not None:
            optimiser.load_state_dict(self._before.optimiser_state())
            schedule.load_state_dict(dict(self._before.schedule))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Seed the epoch (counter-based random numbers)."""
        # From seed, epoch and rank alone: a resumed epoch has the same dropout.
        drawn = np.random.SeedSequence([self.config.seed, len(self.epochs), self.global_rank]).generate_state(1)
        torch.manual_seed(int(drawn[0]))
        self._started = time.perf_counter()
        self._losses.clear()
        self._shares = 0.0
        self._validated.clear()

    def on_train_start(self) -> None:
        """Begin to measure what a step takes on a GPU."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._is_first_step = True

    def on_train_batch_end(self, outputs: Any, batch: Part, index: int) -> None:
        """Give the KV cache of prompts what the first step has left of the device's memory."""
        if self._is_first_step and self.model.prefix_cache is not None:
            self.model.prefix_cache.measure_step(len(batch.genes.prompts))
        self._is_first_step = False

    def training_step(self, batch: Part, index: int) -> Tensor:
        """Compute the loss of a batch, or what a part of it adds to that."""
        genes, share = batch
        wanted = self.model.standardise_target(genes.targets)
        loss = self.model.loss(genes.features, genes.prompts, wanted) * share
        self._losses.append(loss.detach())
        self._shares += share
        return loss * self.config.parts_of_batch  # by which Lightning divides

    def validation_step(self, batch: GeneBatch, index: int) -> None:
        """Collect predictions and targets."""
        wanted = self.model.standardise_target(batch.targets)
        self._validated.append((self.model(batch.features, batch.prompts), wanted))

    def on_validation_epoch_end(self) -> None:
        """Score the epoch."""
        predicted, wanted = (torch.cat(parts).double().cpu() for parts in zip(*self._validated, strict=True))
        of_batches = torch.stack(self._losses).sum() / self._shares
        loss = torch.as_tensor(self.trainer.strategy.reduce(of_batches, reduce_op="mean"))
        epoch = Epoch(
            train_mse=float(loss),
            validation_mse=float(masked_mse(predicted, wanted)),
            validation_spearman=mean_spearman(predicted.numpy(), wanted.numpy()),
            seconds=time.perf_counter() - self._started,
        )
        self.epochs.append(epoch)

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:  # type: ignore[override]  # torch's overloads
        """Give nothing to Lightning, which would write a frozen language model into a pickle; see `EpochCheckpoint`."""
        return {}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Take nothing from Lightning."""


def _leave_process_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def make_optimiser(
    model: ExpressionModel, config: TrainConfig, *, n_genes: int
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """Make the optimiser of what is trainable, a group for each learning rate, and its schedule.

    Raises
    ------
    ValueError
        If `config.learning_rate_multipliers` names a part that the model does not have.
    """
    parts: dict[float, list[Tensor]] = {}
    known = [part for part in model.parameter_table() if part != "frozen"]
    unknown = sorted(set(config.learning_rate_multipliers) - set(known))
    if unknown:
        raise ValueError(
            f"learning_rate_multipliers names {', '.join(unknown)}, but the parts of this model are {', '.join(known)}"
        )
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts.setdefault(config.learning_rate_multipliers.get(model.part_of(name), 1.0), []).append(parameter)
    groups = [{"params": part, "lr": config.learning_rate * factor} for factor, part in parts.items()]
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    # One kernel for all parameters, where launching a dozen takes longer than the arithmetic.
    is_fused = model.feature_mean.device.type == "cuda"
    optimiser = kind(
        groups,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=is_fused or None,
    )
    # Lightning takes this for a sign that gradients are scaled, and refuses to clip them. In bfloat16 none are.
    optimiser._step_supports_amp_scaling = False
    return optimiser, make_schedule(optimiser, config, factors=list(parts), n_genes=n_genes)


class EpochCheckpoint(Callback):
    """Checkpoint each epoch, keep the best one, and stop early.

    Parameters
    ----------
    folder
        Where the first rank writes `metrics.csv` and the state to resume from; None writes nothing.
    announces
        Whether it prints a line an epoch to stderr.
    """

    def __init__(
        self, config: TrainConfig, *, folder: Path | None, identity: dict[str, Any], announces: bool = False
    ) -> None:
        self.config = config
        self.folder = folder
        self.announces = announces
        self.identity = identity
        self.best: dict[str, Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Checkpoint the epoch that has just ended, validation included."""
        assert isinstance(module, ExpressionModule)
        best = best_epoch(module.epochs, self.config)
        if best == len(module.epochs) - 1:
            self.best = {name: value.detach().cpu().clone() for name, value in module.model.own_state().items()}
        is_stopped = trainer.strategy.reduce_boolean_decision(
            len(module.epochs) - 1 - best >= self.config.early_stopping_patience, all=False
        )
        trainer.should_stop = trainer.should_stop or is_stopped
        if self.folder is not None and trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics(dict(module.epochs[-1]._asdict()), step=len(module.epochs) - 1)
            (optimiser,), (schedule,) = trainer.optimizers, trainer.lr_scheduler_configs
            state = optimiser.state_dict()
            write_metrics(self.folder, module.epochs)
            write_progress(
                self.folder,
                Progress(
                    identity=self.identity,
                    epochs=tuple(module.epochs),
                    best=self.best,
                    model=module.model.own_state(),
                    moments=moments_of(state),
                    groups=state["param_groups"],
                    schedule=schedule.scheduler.state_dict(),
                    is_stopped=is_stopped,
                ),
            )
        if self.announces and trainer.is_global_zero:
            print(_line(module.epochs, best, self.config.epochs), file=sys.stderr, flush=True)
            if module.model.prefix_cache is not None:
                print(module.model.prefix_cache.report(), file=sys.stderr, flush=True)


def best_epoch(epochs: Sequence[Epoch], config: TrainConfig) -> int:
    """Give the index of the epoch to keep; the first of equally good ones."""

    def score(index: int) -> tuple[float, float]:
        epoch = epochs[index]
        error = math.inf if math.isnan(epoch.validation_mse) else epoch.validation_mse
        if config.monitor == "mse":
            return -error, 0.0
        # A constant prediction ranks nothing (NaN): any that does is better.
        ranked = epoch.validation_spearman
        return (-math.inf if math.isnan(ranked) else ranked), -error

    return max(range(len(epochs)), key=score)


def write_metrics(folder: Path, epochs: Sequence[Epoch]) -> None:
    """Write `metrics.csv`, one line an epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "metrics.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["epoch", *Epoch._fields])
        lines.writerows([index, *epoch] for index, epoch in enumerate(epochs))


def _line(epochs: Sequence[Epoch], best: int, most: int) -> str:
    epoch = epochs[-1]
    return (
        f"epoch {len(epochs)} of {most}: training error {epoch.train_mse:.4f}, validation error "
        f"{epoch.validation_mse:.4f}, Spearman {epoch.validation_spearman:.3f}, {epoch.seconds:.1f} s"
        f"{' (best)' if best == len(epochs) - 1 else ''}"
    )


class _LengthBucketed:
    """The genes of a dataset, put in another order each epoch, in which a batch has prompts of like length."""

    def __init__(self, genes: GeneDataset, lengths: NDArray[np.int64], config: TrainConfig) -> None:
        self._genes, self._lengths, self._config = genes, lengths, config
        self._order = np.arange(len(genes), dtype=np.int64)
        self._epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self._genes.set_epoch(epoch)
        if epoch != self._epoch:
            drawn = np.random.SeedSequence([self._config.seed, epoch]).generate_state(1)
            self._order = bucketed_order(self._lengths, self._config.batch_size, seed=int(drawn[0]))
            self._epoch = epoch

    def __len__(self) -> int:
        return len(self._genes)

    def __getitem__(self, places: list[int]) -> GeneBatch:
        return self._genes[self._order[places].tolist()]
