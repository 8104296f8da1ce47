"""Windows and genes as tensors, for any training loop."""

from loaders.fetch import Residence, open_reader
from loaders.genes import GeneBatch, GeneDataset, gene_dataset
from loaders.torch_dataset import WindowDataset, data_loader

__all__ = ["GeneBatch", "GeneDataset", "Residence", "WindowDataset", "data_loader", "gene_dataset", "open_reader"]
