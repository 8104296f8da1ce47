"""Training of models without a language model: a whole epoch is one step of Lightning's.

Belongs here: the batches of an epoch and the loop over them. Does not: what an epoch is scored by, and its state
(`model.training.lightning_module`).

Such a model takes milliseconds a batch, and what Lightning does around each takes as long on a GPU, where kernels are
launched faster than they are accounted for. Here nothing stands between two batches, and nothing waits for the device
before the epoch ends. With windows on the device (`residence="device"`) the order, the targets and the plan of windows
are moved once an epoch. What is learned is the same, but for rounding.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Protocol, TypeGuard

import torch
from torch import Tensor

from loaders import GeneBatch, GeneDataset
from loaders.batching.sampler import epoch_order
from model.networks.base import ExpressionModel
from model.training.config import TrainConfig
from model.training.lightning_module import ExpressionModule
from model.training.micro_batch import Part


def trains_by_epochs(model: ExpressionModel, config: TrainConfig) -> bool:
    """Tell whether whole epochs can be run at once: no language model, one device, batches that fit in one part."""
    return model.backbone is None and config.devices == 1 and config.parts_of_batch == 1


class EpochModule(ExpressionModule):
    """A model with what it is trained on, an epoch at a time; the arguments are those of `ExpressionModule`."""

    STEPS_BY_BATCH: ClassVar[bool] = False
    _batches: Iterable[GeneBatch] = ()

    def train_dataloader(self) -> Iterable[Any]:
        """Give one item an epoch, for which `training_step` runs all batches."""
        windows = getattr(self._train, "windows", None)
        if gathers_on_device(windows) and not self.config.bucket_prompts:
            self._batches = GatheredBatches(self._train, windows, self.config, first_epoch=len(self.epochs))
        else:
            self._batches = _Whole(super().train_dataloader())
        return [0]

    def training_step(self, batch: Any, index: int) -> None:  # type: ignore[override]  # there it is one batch
        """Run the batches of an epoch."""
        optimiser: Any = self.optimizers(use_pl_optimizer=False)
        schedule: Any = self.lr_schedulers()
        clip = self.config.gradient_clip_norm
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        for genes in self._batches:
            optimiser.zero_grad()
            wanted = self.model.standardise_target(genes.targets.to(self.device))
            loss = self.model.loss(genes.features.to(self.device), genes.prompts, wanted)
            self._losses.append(loss.detach())
            self._shares += 1.0
            with torch.autocast(self.device.type, enabled=False):
                torch.autograd.backward(loss)
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, clip)
                optimiser.step()
            # Lightning holds autocast for the whole epoch, and with it what weights were as bfloat16.
            torch.clear_autocast_cache()
            schedule.step()


class DeviceWindows(Protocol):
    """Windows that can be gathered on the device by number."""

    @property
    def is_on_device(self) -> bool:
        """Whether they are."""
        ...

    def gathered(self, numbers: Tensor) -> Tensor:
        """Gather some, int64, `(windows, n_bins, channels)`."""
        ...


def gathers_on_device(windows: object) -> TypeGuard[DeviceWindows]:
    """Tell whether windows are gathered on the device by number."""
    return bool(getattr(windows, "is_on_device", False))


class GatheredBatches:
    """Batches of genes whose windows are on the device; each pass is the next epoch, in the order of `data_loader`."""

    def __init__(self, genes: GeneDataset, windows: DeviceWindows, config: TrainConfig, *, first_epoch: int) -> None:
        self._genes, self._windows, self._config = genes, windows, config
        self._epoch = first_epoch

    def __iter__(self) -> Iterator[GeneBatch]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        self._genes.set_epoch(epoch)
        order = epoch_order(len(self._genes), seed=self._config.seed, epoch=epoch)
        numbers = torch.from_numpy(order)
        prompts, targets = self._genes.prompts, self._genes.targets[numbers]
        for first in range(0, len(order), self._config.batch_size):
            chosen = slice(first, first + self._config.batch_size)
            features = self._windows.gathered(numbers[chosen])
            # Moved once, with the first batch, which tells where the windows are.
            numbers, targets = numbers.to(features.device), targets.to(features.device)
            words = [prompts[place] for place in order[chosen].tolist()]
            yield GeneBatch(features, words, targets[chosen], numbers[chosen])


class _Whole:
    """Batches of a loader that gives each as a single part."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[GeneBatch]:
        return (part.genes for part in self._parts)
