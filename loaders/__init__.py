"""Windows and genes as tensors, for any training loop; with Lightning, see `loaders.data_module`.

Names are found on first use, so that `featurestore bench-read` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loaders.batches import BatchLoader, data_loader
    from loaders.channels import Projection
    from loaders.fetch import Residence, open_reader
    from loaders.genes import GeneBatch, GeneDataset, collate, gene_dataset
    from loaders.memory import MemoryBudgetExceeded
    from loaders.sampler import GlobalBatchSampler
    from loaders.stats import Stats
    from loaders.stream import WindowStream
    from loaders.to_device import prefetch
    from loaders.together import AlignedDataset, JoinedDataset, aligned_dataset
    from loaders.torch_dataset import WindowDataset

__all__ = [
    "AlignedDataset",
    "BatchLoader",
    "GeneBatch",
    "GeneDataset",
    "GlobalBatchSampler",
    "JoinedDataset",
    "MemoryBudgetExceeded",
    "Projection",
    "Residence",
    "Stats",
    "WindowDataset",
    "WindowStream",
    "aligned_dataset",
    "collate",
    "data_loader",
    "gene_dataset",
    "open_reader",
    "prefetch",
]

_HOMES = {
    "batches": ("BatchLoader", "data_loader"),
    "channels": ("Projection",),
    "fetch": ("Residence", "open_reader"),
    "genes": ("GeneBatch", "GeneDataset", "collate", "gene_dataset"),
    "memory": ("MemoryBudgetExceeded",),
    "to_device": ("prefetch",),
    "sampler": ("GlobalBatchSampler",),
    "stats": ("Stats",),
    "stream": ("WindowStream",),
    "together": ("AlignedDataset", "JoinedDataset", "aligned_dataset"),
    "torch_dataset": ("WindowDataset",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"loaders.{module}"), name)
    raise AttributeError(f"module 'loaders' has no attribute {name!r}")
