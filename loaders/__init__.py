"""Windows and genes as tensors, for any training loop; with Lightning, see `loaders.data_module`.

Names are found on first use, so that `featurestore bench-read` needs no torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loaders.batching.device_prefetch import prefetch
    from loaders.batching.loader import BatchLoader, data_loader
    from loaders.batching.sampler import GlobalBatchSampler
    from loaders.batching.stream import WindowStream
    from loaders.genes import GeneBatch, GeneDataset, collate, gene_dataset
    from loaders.projection import Projection
    from loaders.residence.memory import MemoryBudgetExceeded
    from loaders.residence.open import Residence, open_reader
    from loaders.settings import WindowSettings
    from loaders.signals.batch import SignalGeneBatch, StoredGenes
    from loaders.signals.dataset import SignalGeneDataset
    from loaders.signals.genes import signal_gene_dataset
    from loaders.signals.scaling import SignalScaling
    from loaders.signals.settings import SignalSettings
    from loaders.stats import Stats
    from loaders.windows.aligned import AlignedDataset, aligned_dataset
    from loaders.windows.anchored import AnchoredWindows
    from loaders.windows.grid import WindowDataset
    from loaders.windows.joined import JoinedDataset
    from loaders.windows.source import WindowSource
    from loaders.windows.stacked import StackedDataset

__all__ = [
    "AlignedDataset",
    "AnchoredWindows",
    "BatchLoader",
    "GeneBatch",
    "GeneDataset",
    "GlobalBatchSampler",
    "JoinedDataset",
    "MemoryBudgetExceeded",
    "Projection",
    "Residence",
    "SignalGeneBatch",
    "SignalGeneDataset",
    "SignalScaling",
    "SignalSettings",
    "StackedDataset",
    "Stats",
    "StoredGenes",
    "WindowDataset",
    "WindowSettings",
    "WindowSource",
    "WindowStream",
    "aligned_dataset",
    "collate",
    "data_loader",
    "gene_dataset",
    "open_reader",
    "prefetch",
    "signal_gene_dataset",
]

_DOOR = {
    "AlignedDataset": "loaders.windows.aligned",
    "AnchoredWindows": "loaders.windows.anchored",
    "BatchLoader": "loaders.batching.loader",
    "GeneBatch": "loaders.genes",
    "GeneDataset": "loaders.genes",
    "JoinedDataset": "loaders.windows.joined",
    "Projection": "loaders.projection",
    "SignalGeneDataset": "loaders.signals.dataset",
    "StackedDataset": "loaders.windows.stacked",
    "Stats": "loaders.stats",
    "WindowDataset": "loaders.windows.grid",
    "WindowSettings": "loaders.settings",
    "WindowStream": "loaders.batching.stream",
    "aligned_dataset": "loaders.windows.aligned",
    "data_loader": "loaders.batching.loader",
    "gene_dataset": "loaders.genes",
    "open_reader": "loaders.residence.open",
    "prefetch": "loaders.batching.device_prefetch",
    "signal_gene_dataset": "loaders.signals.genes",
}
"""Shown by `dir()` and tab completion."""
_MORE = {
    "GlobalBatchSampler": "loaders.batching.sampler",
    "MemoryBudgetExceeded": "loaders.residence.memory",
    "Residence": "loaders.residence.open",
    "SignalGeneBatch": "loaders.signals.batch",
    "SignalScaling": "loaders.signals.scaling",
    "SignalSettings": "loaders.signals.settings",
    "StoredGenes": "loaders.signals.batch",
    "WindowSource": "loaders.windows.source",
    "collate": "loaders.genes",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    import featurestore  # noqa: F401  # refuses another `catalog` in the place of ours
    from catalog.runtime.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, door=_DOOR, more=_MORE)
