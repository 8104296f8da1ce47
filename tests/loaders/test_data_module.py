"""Lightning's Trainer over the genes of a store: each part of the split, and resuming in the middle of an epoch."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from catalog import Grid
from catalog.expression.targets import TARGET_SCHEMA
from catalog.genes.splits import Split
from catalog.genes.table import GENE_SCHEMA
from featurestore.testing import built_store
from loaders import BatchLoader, GeneBatch, GeneDataset, data_loader, gene_dataset
from loaders.data_module import GeneDataModule

# Lightning's advice, and what torch has to say about Lightning, are not ours to heed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
]

TSS = list(range(3, 1000, 37))
IDS = [f"ENSG{tss}" for tss in TSS]
SPLIT = Split(train=tuple(IDS[:17]), validation=tuple(IDS[17:22]), test=tuple(IDS[22:]))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> GeneDataset:
    path = tmp_path_factory.mktemp("lightning") / "tiny.store"
    built_store(path, {"chr1": 1000}, Grid(bin_size=16))
    table = pl.DataFrame(
        [(gene, gene, "chr1", "+", tss, None) for gene, tss in zip(IDS, TSS, strict=True)],
        schema=GENE_SCHEMA,
        orient="row",
    )
    targets = pl.DataFrame({"gene_id": IDS, "value": TSS}, schema=TARGET_SCHEMA)
    return gene_dataset(path, "demo", table, targets=targets, n_bins=3, jitter_bp=30)


class Linear(LightningModule):
    """A linear model that notes what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(9, 1)
        self.trained: list[tuple[int, list[int], float]] = []
        self.judged: list[int] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-7)

    def training_step(self, batch: GeneBatch, index: int) -> torch.Tensor:
        self.trained.append((self.current_epoch, batch.indices.tolist(), float(batch.features.sum())))
        predicted: torch.Tensor = self.layer(batch.features.flatten(1))[:, 0]
        return (predicted - batch.targets).square().mean()

    def validation_step(self, batch: GeneBatch, index: int) -> None:
        self.judged.extend(batch.indices.tolist())

    def test_step(self, batch: GeneBatch, index: int) -> None:
        self.judged.extend(batch.indices.tolist())


def module(dataset: GeneDataset, split: Split = SPLIT, **settings: Any) -> GeneDataModule:
    return GeneDataModule(dataset, split, **({"batch_size": 3, "seed": 4} | settings))


def fit(data: GeneDataModule | BatchLoader, folder: Path, *, resume: str | None = None, **settings: Any) -> Linear:
    model = Linear()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=[ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")],
        **({"max_epochs": 3} | settings),
    )
    trainer.fit(model, data, ckpt_path=resume)  # a loader or a module, in one argument
    return model


def test_a_trainer_sees_every_training_gene_each_epoch_in_another_order(dataset: GeneDataset, tmp_path: Path) -> None:
    seen = fit(module(dataset), tmp_path, max_epochs=2)
    epochs = [[place for epoch, batch, _ in seen.trained if epoch == number for place in batch] for number in (0, 1)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(17))] * 2
    assert epochs[0] != epochs[1]
    assert len(seen.trained) == 12
    assert seen.judged == [0, 1, 2, 3, 4] * 2


@pytest.mark.parametrize(
    "stopped", [pytest.param(4, id="mid-epoch"), pytest.param(6, id="at the end"), pytest.param(9, id="second epoch")]
)
def test_a_trainer_resumes_from_a_checkpoint_with_the_batches_that_were_left(
    dataset: GeneDataset, tmp_path: Path, stopped: int
) -> None:
    whole = fit(module(dataset), tmp_path)
    assert len(whole.trained) == 18
    rest = fit(module(dataset), tmp_path, resume=str(tmp_path / f"step={stopped}.ckpt"))
    assert rest.trained == whole.trained[stopped:]


def test_a_trainer_resumes_with_batches_of_another_size_and_judges_every_epoch(
    dataset: GeneDataset, tmp_path: Path
) -> None:
    # As on other ranks, an epoch then has another number of batches than the one that is resumed.
    whole = fit(module(dataset), tmp_path)
    rest = fit(module(dataset, batch_size=2), tmp_path, resume=str(tmp_path / "step=2.ckpt"))
    n_batches = [sum(1 for epoch, _, _ in rest.trained if epoch == number) for number in range(3)]
    assert n_batches == [6, 9, 9]
    assert rest.judged == [0, 1, 2, 3, 4] * 3

    def places(seen: Linear) -> list[int]:
        return [place for _, batch, _ in seen.trained for place in batch]

    assert places(rest) == places(whole)[6:]


@pytest.mark.filterwarnings("ignore:You defined a .validation_step.")
def test_a_loader_without_a_module_resumes_too(dataset: GeneDataset, tmp_path: Path) -> None:
    def loader() -> BatchLoader:
        return data_loader(dataset, batch_size=8, shuffle=True)

    whole = fit(loader(), tmp_path, max_epochs=2)
    rest = fit(loader(), tmp_path, max_epochs=2, resume=str(tmp_path / "step=3.ckpt"))
    assert len(whole.trained) == 8
    assert rest.trained == whole.trained[3:]


def test_a_checkpoint_of_other_ranks_gives_the_rest_of_its_epoch(dataset: GeneDataset) -> None:
    data = module(dataset)
    alone = module(dataset).train_dataloader()
    wanted = [batch.indices.tolist() for batch in alone]
    state = dict(alone.state_dict(), epoch=0, position=6, steps=1)  # of two ranks, one step each
    data.load_state_dict({"train": state})
    loader = data.train_dataloader()
    assert len(loader) == 1 + 4, "what Lightning counts to: the step that was, and those that are left"
    assert [batch.indices.tolist() for batch in loader] == wanted[2:]
    assert data.state_dict()["train"]["epoch"] == 1
    fresh = data.train_dataloader()
    assert fresh.state_dict()["position"] == 0, "a place is taken once"


def test_genes_are_judged_in_order_and_without_jitter(dataset: GeneDataset) -> None:
    (batch,) = module(dataset, batch_size=99).test_dataloader()
    assert batch.targets.tolist() == TSS[22:]
    still = dataset.unjittered().subset(SPLIT.test)
    assert torch.equal(batch.features, still[range(len(still))].features)
    model = Linear()
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_checkpointing=False)
    trainer.test(model, datamodule=module(dataset), verbose=False)
    assert model.judged == list(range(len(SPLIT.test)))


@pytest.mark.filterwarnings("ignore:Total length of")
def test_a_split_without_validation_genes_is_trained_on_all_the_same(dataset: GeneDataset, tmp_path: Path) -> None:
    split = Split(train=SPLIT.train, validation=(), test=("elsewhere",))
    seen = fit(module(dataset, split), tmp_path, max_epochs=1)
    assert (len(seen.trained), seen.judged) == (6, [])
    assert module(dataset, split).test_dataloader() == []


def test_a_split_of_other_genes_is_refused_with_names_of_both(dataset: GeneDataset) -> None:
    split = Split(train=("TSPAN6",), validation=(), test=())
    with pytest.raises(ValueError, match=r"none of the 1 training genes \(TSPAN6\) is in the dataset \(ENSG3, "):
        module(dataset, split)
