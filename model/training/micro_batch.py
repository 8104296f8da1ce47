"""Micro-batches: how many genes are computed at once, where a batch does not fit in memory (gradient accumulation).

Belongs here: cutting batches into parts, finding the largest part that fits. Does not: the steps
(`model.training.lightning_module`), settings (`model.training.config`).

The loss of a batch is a mean over the targets that are known, so each part counts by its share of them; the gradients
of the parts then add to those of the batch. What looks at several genes at once is another matter: batch norm takes the
statistics of a part (ghost batch norm, Hoffer et al. 2017), and dropout draws other masks.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from loaders import BatchLoader, GeneBatch, GeneDataset
from model.device import available_bytes
from model.networks.base import ExpressionModel
from model.training.config import TrainConfig

_OF_FREE = 0.25
"""Of the memory that is free on a CPU, for what a step keeps for its gradients: these take as much again, and the KV
cache of prompts takes half."""


class Part(NamedTuple):
    """Genes that are computed at once."""

    genes: GeneBatch
    share: float
    """Of the targets of its batch that are known; 1 in all a batch."""


class Parts:
    """Cuts each batch of a loader into parts of nearly equal size.

    Every batch has equally many, on every rank: where a last batch has fewer genes than parts, its first gene fills up
    with a share of 0.

    Parameters
    ----------
    loader
        Of whole batches, of at most `batch_size` genes.
    size
        Most genes a part.
    """

    def __init__(self, loader: BatchLoader, *, batch_size: int, size: int) -> None:
        self._loader = loader
        self.count = -(-batch_size // size)

    def __len__(self) -> int:
        return len(self._loader) * self.count

    def __iter__(self) -> Iterator[Part]:
        for batch in self._loader:
            yield from parts_of(batch, self.count)


def parts_of(batch: GeneBatch, count: int) -> Iterator[Part]:
    """Cut a batch into so many parts."""
    if count == 1:
        yield Part(batch, 1.0)
        return
    known = ~batch.targets.isnan()
    total = max(1, int(known.sum()))
    for places in np.array_split(np.arange(len(batch.prompts)), count):
        chosen = slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 1)
        share = int(known[chosen].sum()) / total if len(places) else 0.0
        part = GeneBatch(batch.features[chosen], batch.prompts[chosen], batch.targets[chosen], batch.indices[chosen])
        yield Part(part, share)


def looks_across_genes(model: nn.Module) -> bool:
    """Tell whether a model learns otherwise in parts: by batch norm or dropout."""
    return any(
        isinstance(module, _BatchNorm) or (isinstance(module, nn.Dropout) and module.p > 0)
        for module in model.modules()
    )


def find_micro_batch(model: ExpressionModel, train: GeneDataset, config: TrainConfig, device: torch.device) -> int:
    """Find how many genes fit on a device, at most its part of a batch.

    On a GPU by trying steps, of half as many genes each time, until one fits; on a CPU from what a step of one gene
    keeps for its gradients, and what memory is free. The gene with the longest prompt is tried, and the model is left
    as it was.

    Raises
    ------
    MemoryError
        If not even one gene fits.
    """
    gene = int(model.prompt_lengths(train.prompts).argmax())
    home = model.feature_mean.device
    before = {name: value.detach().cpu().clone() for name, value in model.own_state().items()}
    model.to(device).train()

    def step(genes: int) -> None:
        batch = train[[gene] * genes]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.autocast):
            wanted = model.standardise_target(batch.targets.to(device))
            loss = model.loss(batch.features.to(device), batch.prompts, wanted)
        torch.autograd.backward(loss)
        model.zero_grad(set_to_none=True)

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        if device.type == "cuda":
            found = largest_that_fits(step, config.device_batch_size)
            torch.cuda.empty_cache()
        else:
            each = kept_bytes(lambda: step(2)) - kept_bytes(lambda: step(1))
            found = min(config.device_batch_size, int(available_bytes() * _OF_FREE) // max(1, each))
    model.to(home).load_own_state(before)
    if not found:
        raise MemoryError(
            "a training step of a single gene does not fit in memory; take fewer bins or blocks, or `precision='bf16'`"
        )
    return found


def largest_that_fits(step: Callable[[int], None], most: int) -> int:
    """Try a step with so many genes, then half as many, until one does not run out of a GPU's memory; 0 if none."""
    genes = most
    while genes:
        try:
            step(genes)
        except torch.OutOfMemoryError:
            genes //= 2
        else:
            return genes
    return 0


def kept_bytes(step: Callable[[], None]) -> int:
    """Count the bytes that a step keeps for its gradients, each piece of memory once."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(sizes.values())
