"""Genes for Lightning's Trainer.

Belongs here: `GeneDataModule`. Does not: batches (`loaders.batching.loader`), splits (`catalog.genes.splits`). Needs
lightning, which the extra `model` brings, so this module is imported on its own: `from loaders.data_module import
GeneDataModule`. (A module named `lightning` would hide the library from scripts in its folder.)
"""

from collections.abc import Iterable, Sequence
from typing import Any

from lightning.pytorch import LightningDataModule

from catalog.genes.splits import Split
from catalog.runtime.tables import listed
from loaders.batching.loader import BatchLoader, data_loader
from loaders.batching.sampler import Uneven
from loaders.genes import GeneDataset


class GeneDataModule(LightningDataModule):
    """Training, validation and test genes of one dataset.

    Training genes are shuffled; validation and test genes come in order, without jitter. On several ranks each reads
    its own batches (make no sampler of Lightning's: none is needed). With `uneven="repeat"` a rank may see a gene of
    the first batches twice: judge models on one rank where that matters. Training resumes in the middle of an epoch
    from Lightning's checkpoints, on any number of ranks.

    Parameters
    ----------
    dataset
        All the genes.
    split
        Which are which; ids that the dataset lacks (no target, other contigs) are left out.
    batch_size, seed, drop_last, buffer_blocks, uneven, num_workers, pin_memory
        As in `loaders.data_loader`; `drop_last` holds for training alone.

    Raises
    ------
    ValueError
        If none of the training genes is in the dataset.
    """

    def __init__(
        self,
        dataset: GeneDataset,
        split: Split,
        *,
        batch_size: int = 16,
        seed: int = 0,
        drop_last: bool = False,
        buffer_blocks: int | None = None,
        uneven: Uneven = "repeat",
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.split = split
        self._shuffle: dict[str, Any] = {"shuffle": True, "seed": seed, "drop_last": drop_last}
        self._shuffle["buffer_blocks"] = buffer_blocks
        self._loading: dict[str, Any] = {
            "batch_size": batch_size,
            "uneven": uneven,
            "num_workers": num_workers,
            "pin_memory": pin_memory,
        }
        self._train: BatchLoader | None = None
        self._state: dict[str, Any] | None = None
        self._training = dataset.subset(split.train)
        if not len(self._training):
            raise ValueError(
                f"none of the {len(split.train)} training genes ({listed(split.train)}) is in the dataset "
                f"({listed(dataset.gene_ids)}); give both the same identifiers"
            )

    def train_dataloader(self) -> BatchLoader:
        """Make the loader of the training genes, at the place of a checkpoint that was loaded, else of the epoch."""
        loader = data_loader(self._training, **self._shuffle, **self._loading)
        n_batches = len(loader)
        if self._state is not None:
            loader.load_state_dict(self._state)
            self._state = None
        elif self.trainer is not None:
            loader.set_epoch(self.trainer.current_epoch)
        if self.trainer is not None and len(loader) != n_batches:
            # Resumed on other ranks. Lightning counts batches when it asks for a loader, by default once a run: the
            # epochs to come would all be as long as this one.
            self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]  # not declared, but there
        self._train = loader
        return loader

    def val_dataloader(self) -> Iterable[Any]:
        """Make the loader of the validation genes; an empty list if there are none."""
        return self._in_order(self.split.validation)

    def test_dataloader(self) -> Iterable[Any]:
        """Make the loader of the test genes; an empty list if there are none."""
        return self._in_order(self.split.test)

    def predict_dataloader(self) -> Iterable[Any]:
        """Make the loader of the test genes."""
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """Give the place in the training epoch, for Lightning's checkpoint."""
        return {} if self._train is None else {"train": self._train.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the place that the next training loader begins at.

        Lightning gives a loader its state only after it has noted the loader's length, which is another one when the
        number of ranks has changed; so it is kept here as well.
        """
        self._state = state_dict["train"]

    def _in_order(self, gene_ids: Sequence[str]) -> Iterable[Any]:
        genes = self.dataset.subset(gene_ids)
        return data_loader(genes.unjittered(), **self._loading) if len(genes) else []
