"""Training GTA, or any other `ExpressionModel`, on the genes of a store.

Belongs here: one training from its start, or from where it was stopped, to its best epoch. Does not: its settings
(`model.training.config`), its steps (`model.training.lightning_module`), models (`model.networks.gta`,
`model.networks.bin_models`), the files of a finished one (`model.predictors.checkpoint`).
"""

import contextlib
import logging
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from catalog.runtime.progress import bar
from loaders import GeneDataset, data_loader
from model.device import choose_device
from model.networks.base import ExpressionModel
from model.training.config import WITHOUT_EFFECT, TrainConfig
from model.training.epoch_module import EpochModule, trains_by_epochs
from model.training.lightning_module import EpochCheckpoint, ExpressionModule, best_epoch, make_optimiser, write_metrics
from model.training.loggers import close_loggers, open_loggers
from model.training.micro_batch import find_micro_batch, looks_across_genes
from model.training.pretraining import pretrain_alignment, require_alignment
from model.training.report import Epoch, FitReport
from model.training.resume import Progress, digest_of, has_progress, identity_record, read_progress
from model.training.targets import require_targets


def fit(
    model: ExpressionModel, train: GeneDataset, validation: GeneDataset, config: TrainConfig, *, out: Path | None = None
) -> FitReport:
    """Train a model and leave it at its best epoch.

    Features and targets are standardised on the training genes first, and the alignment is pretrained where the
    settings ask for it. The frozen language model is not touched: it has no gradients and no optimiser state.

    Parameters
    ----------
    model
        Changed in place.
    train, validation
        Windows of `model.n_bins` bins.
    config
        How to train. On several devices a process each is spawned, so that a script needs its
        `if __name__ == "__main__"`.
    out
        Folder for `metrics.csv`, one line an epoch, and for the state after each epoch (`model.training.resume`): a
        training that was stopped resumes from there, with the outcome of one that was not, and a finished one is not
        repeated. Made if need be. None writes nothing. With a folder, and on a terminal, epochs are also printed to
        stderr, and where the training was resumed.

    Raises
    ------
    ValueError
        If the windows are not the model's, a target is not known, a prompt does not fit beside the bins, or there are
        fewer devices than `config.devices`.
    OtherTraining
        If the folder holds the state of another training.
    ModuleNotFoundError
        If the package that `config.log` asks for is not installed.
    """
    config = config.of_genes(len(train))
    device = choose_device(config.device)
    _require_fit(model, train, validation, config, device)
    started = time.perf_counter()
    if model.prefix_cache is not None and not model.prefix_cache.is_planned:
        model.plan_prompts([*train.prompts, *validation.prompts])
    if config.micro_batch_size == "auto":
        config = replace(config, micro_batch_size=find_micro_batch(model, train, config, device))
        if _announces(out):
            print(_accumulation(config), file=sys.stderr, flush=True)
    identity = _identity(model, train, validation, config)
    before = None if out is None else read_progress(out, identity)
    best, epochs = _best_and_epochs(model, train, validation, config, device, out, identity, before)
    if out is not None:
        write_metrics(out, epochs)
    model.load_own_state(best)
    model.eval()
    kept = best_epoch(epochs, config)
    return FitReport(
        seconds=time.perf_counter() - started + sum(epoch.seconds for epoch in (before.epochs if before else ())),
        validation_spearman=epochs[kept].validation_spearman,
        epochs=tuple(epochs),
        best_epoch=kept,
    )


def _require_fit(
    model: ExpressionModel,
    train: GeneDataset,
    validation: GeneDataset,
    config: TrainConfig,
    device: torch.device,
) -> None:
    """Refuse, before anything is written, what cannot be trained."""
    for dataset in (train, validation):
        require_targets(dataset)
        if dataset.n_bins != model.n_bins:
            raise ValueError(
                f"the model reads {model.n_bins} bins, but the windows have {dataset.n_bins}; "
                f"set dataset.n_bins = {model.n_bins}"
            )
        model.prompt_lengths(dataset.prompts)  # refuses prompts that do not fit beside the bins
    _check_count(device, config)
    if config.pretrain_steps:
        require_alignment(model)
    make_optimiser(model, config, n_genes=len(train))  # refuses multipliers of parts that the model lacks


def _best_and_epochs(
    model: ExpressionModel,
    train: GeneDataset,
    validation: GeneDataset,
    config: TrainConfig,
    device: torch.device,
    out: Path | None,
    identity: dict[str, Any],
    before: Progress | None,
) -> tuple[Mapping[str, Tensor], list[Epoch]]:
    """Start a training, or resume it from its last finished epoch; give the best epoch's state, and all epochs."""
    if before is not None and (before.is_stopped or len(before.epochs) >= config.epochs):
        return before.best, list(before.epochs)
    announces = _announces(out)
    if announces and out is not None and has_progress(out):
        print(_resumed(out, before, config), file=sys.stderr, flush=True)
    with contextlib.ExitStack() as stack:
        loggers = open_loggers(config, out)  # before the first long step, since they may refuse
        stack.callback(close_loggers, loggers)
        if before is not None:
            model.load_own_state(before.model)
        else:
            _begin(model, train, config, device)
        folder = out
        if folder is None and config.devices > 1:
            # Processes of several devices hand back what they learned in a folder.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return _train(model, train, validation, config, device, folder, identity, before, loggers, announces=announces)


def _begin(model: ExpressionModel, train: GeneDataset, config: TrainConfig, device: torch.device) -> None:
    """Do what comes before the first epoch."""
    standardise(model, train, config.batch_size)
    model.prepare(data_loader(train, batch_size=config.batch_size), seed=config.seed)
    if config.pretrain_steps:
        pretrain_alignment(
            model,
            train,
            steps=config.pretrain_steps,
            learning_rate=config.learning_rate,
            seed=config.seed,
            device=device,
        )


def _announces(out: Path | None) -> bool:
    return out is not None or sys.stderr.isatty()


def _accumulation(config: TrainConfig) -> str:
    return (
        f"batches of {config.batch_size}: {config.genes_at_once} genes fit at once, {config.parts_of_batch} parts a "
        "step and device"
    )


def _resumed(out: Path, before: Progress | None, config: TrainConfig) -> str:
    if before is None:
        return f"{out} holds a training whose state is damaged: it starts anew"
    return f"{out} holds a training that was stopped: it goes on after epoch {len(before.epochs)} of {config.epochs}"


def _train(
    model: ExpressionModel,
    train: GeneDataset,
    validation: GeneDataset,
    config: TrainConfig,
    device: torch.device,
    folder: Path | None,
    identity: dict[str, Any],
    before: Progress | None,
    loggers: list[Logger],
    *,
    announces: bool,
) -> tuple[dict[str, Tensor], list[Epoch]]:
    """Run the epochs that are left; give the state of the best one, and all epochs."""
    by_epochs = trains_by_epochs(model, config)
    kind = EpochModule if by_epochs else ExpressionModule
    module = kind(model, train, validation, config, before=before)
    each_epoch = EpochCheckpoint(config, folder=folder, identity=identity, announces=announces)
    each_epoch.best = {} if before is None else dict(before.best)
    with torch.random.fork_rng(), _quiet_lightning(), _ctrl_c():
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=config.devices,
            strategy=_strategy(device, config),
            # torch has it on GPUs alone: on CPUs a batch norm sees its own process's part of a batch.
            sync_batchnorm=config.devices > 1 and device.type == "cuda",
            precision="bf16-mixed" if config.autocast else "32-true",
            max_epochs=config.epochs - len(module.epochs),
            gradient_clip_val=None if by_epochs else config.gradient_clip_norm,
            accumulate_grad_batches=config.parts_of_batch,
            callbacks=[each_epoch],
            logger=loggers,
            # Ours is tensors and JSON; Lightning's is a pickle, with the frozen model in it.
            enable_checkpointing=False,
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
        trainer.fit(module)
    if config.devices == 1:
        return each_epoch.best, module.epochs
    assert folder is not None
    left = read_progress(folder, identity)
    assert left is not None, "the first rank writes its state after every epoch"
    return dict(left.best), list(left.epochs)


def _identity(
    model: ExpressionModel, train: GeneDataset, validation: GeneDataset, config: TrainConfig
) -> dict[str, Any]:
    """Say what decides the outcome of a training."""
    state = model.own_state()
    return {
        "training": {name: value for name, value in config.to_json().items() if name not in WITHOUT_EFFECT},
        **identity_record(train.identity),
        "n_bins": train.n_bins,
        **({} if train.orient == "forward" else {"orient": train.orient}),
        **({"jitter": train.jitter} if any(train.jitter) else {}),
        **_embedding_scale(model),
        **_micro_batch(model, config),
        "training genes": digest_of([*train.gene_ids, *train.prompts, train.targets]),
        "validation genes": digest_of([*validation.gene_ids, *validation.prompts, validation.targets]),
        "initial weights": digest_of(item for name in sorted(state) for item in (name, state[name])),
    }


def _embedding_scale(model: ExpressionModel) -> dict[str, float]:
    """Give the scale at which the language model reads its embeddings, unless it is 1; earlier versions left it out."""
    scale = 1.0 if model.backbone is None else model.backbone.embedding_scale
    return {} if scale == 1 else {"embedding scale": scale}


def _micro_batch(model: ExpressionModel, config: TrainConfig) -> dict[str, int]:
    """Give the micro-batch where it decides what is learned; earlier versions computed whole batches."""
    is_whole = config.parts_of_batch == 1
    return {} if is_whole or not looks_across_genes(model) else {"micro-batch": config.genes_at_once}


def _check_count(device: torch.device, config: TrainConfig) -> None:
    if device.type == "cuda" and config.devices > torch.cuda.device_count():
        raise ValueError(
            f"{config.devices} devices are set, and {torch.cuda.device_count()} GPUs are available; set "
            "fewer, or use `device='cpu'`"
        )


def _strategy(device: torch.device, config: TrainConfig) -> Any:
    if config.devices == 1:
        return "auto"
    # Spawned, not the script run again: a training may be called from anywhere, and a store does not survive a fork.
    return DDPStrategy(start_method="spawn", process_group_backend="nccl" if device.type == "cuda" else "gloo")


@torch.no_grad()
def standardise(model: ExpressionModel, train: GeneDataset, batch_size: int) -> None:
    """Set the means and scales of features and target from the training genes; what does not vary keeps scale 1."""
    if model.features == "standardised":
        mean, scale = _moments(train, batch_size)
        model.feature_mean.copy_(mean)
        model.feature_scale.copy_(_positive(scale))
    model.set_target_scale(train.targets)


def _moments(dataset: GeneDataset, batch_size: int) -> tuple[Tensor, Tensor]:
    """Give mean and standard deviation of each channel over all the bins, float64."""
    # Around the first gene: an offset large against the spread would eat the digits of the squares.
    origin = dataset[[0]].features.double().mean(dim=(0, 1))
    count, total, squares = 0, torch.zeros_like(origin), torch.zeros_like(origin)
    with bar("reading the scale of the features", unit="genes") as show:
        for number, batch in enumerate(data_loader(dataset, batch_size=batch_size), 1):
            rows = batch.features.double().flatten(0, 1) - origin
            count, total, squares = count + len(rows), total + rows.sum(dim=0), squares + rows.square().sum(dim=0)
            show(min(number * batch_size, len(dataset)), len(dataset))
    shift = total / count
    return origin + shift, (squares / count - shift.square()).clamp(min=0).sqrt()


def _positive(scale: Tensor) -> Tensor:
    return torch.where(scale > 1e-12, scale, torch.ones_like(scale))


@contextlib.contextmanager
def _ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C, where Lightning would exit the process and ignore it from then on."""
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if is_main else None
    try:
        yield
    except SystemExit as stopped:
        if isinstance(stopped.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stopped
        raise
    finally:
        if is_main and handler is not None:
            signal.signal(signal.SIGINT, handler)


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
