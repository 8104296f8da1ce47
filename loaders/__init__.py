"""Windows and genes as tensors, for any training loop; with Lightning, see `loaders.data_module`.

Names are found on first use, so that `featurestore bench-read` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loaders.batching.device_prefetch import prefetch
    from loaders.batching.loader import BatchLoader, data_loader
    from loaders.batching.sampler import GlobalBatchSampler
    from loaders.batching.stream import WindowStream
    from loaders.channels import Projection
    from loaders.combined import AlignedDataset, JoinedDataset, aligned_dataset
    from loaders.genes import GeneBatch, GeneDataset, collate, gene_dataset
    from loaders.residence.memory import MemoryBudgetExceeded
    from loaders.residence.open import Residence, open_reader
    from loaders.stats import Stats
    from loaders.windows import WindowDataset

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
    "batching.loader": ("BatchLoader", "data_loader"),
    "channels": ("Projection",),
    "residence.open": ("Residence", "open_reader"),
    "genes": ("GeneBatch", "GeneDataset", "collate", "gene_dataset"),
    "residence.memory": ("MemoryBudgetExceeded",),
    "batching.device_prefetch": ("prefetch",),
    "batching.sampler": ("GlobalBatchSampler",),
    "stats": ("Stats",),
    "batching.stream": ("WindowStream",),
    "combined": ("AlignedDataset", "JoinedDataset", "aligned_dataset"),
    "windows": ("WindowDataset",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"loaders.{module}"), name)
    raise AttributeError(f"module 'loaders' has no attribute {name!r}")
