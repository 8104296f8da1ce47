"""The alignment learns from bins all over the genome before it sees a gene."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from catalog import Grid
from featurestore.testing import built_store, values_of
from loaders import GeneDataset, WindowDataset, gene_dataset
from model.language.backbone import Backbone
from model.networks.base import ExpressionModel
from model.networks.bin_models import BinModel, BinModelConfig
from model.networks.gta import GTA
from model.networks.gta_config import PRESETS, GtaConfig
from model.testing import write_tiny_backbone
from model.training.config import TrainConfig
from model.training.fit import fit, standardise
from model.training.pretraining import pretrain_alignment

FREE = GtaConfig(**PRESETS["no-llm"].to_json() | {"free_width": 16})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def genes(tmp_path_factory: pytest.TempPathFactory) -> GeneDataset:
    store = tmp_path_factory.mktemp("pretraining") / "genome.store"
    built_store(store, {"chr1": 9000, "chr2": 7000, "chr3": 8000}, Grid(bin_size=16, offsets=(0, 8)))
    rows = [(f"G{index}", "chr1" if index % 2 else "chr2", 100 + 90 * index) for index in range(40)]
    table = pl.DataFrame(rows, schema=["gene_id", "contig", "tss"], orient="row").with_columns(
        symbol="gene_id", strand=pl.lit("+")
    )
    values = np.random.default_rng(0).gamma(2.0, size=len(rows))
    targets = pl.DataFrame({"gene_id": table["gene_id"], "value": values})
    return gene_dataset(store, "demo", table, targets=targets, n_bins=5)


def _model(genes: GeneDataset, config: GtaConfig = FREE, **settings: Any) -> GTA:
    torch.manual_seed(0)
    model = GTA(config, n_bins=5, channel_names=genes.channel_names, **settings)
    standardise(model, genes, 16)
    return model


def _pretrain(model: ExpressionModel, genes: GeneDataset, steps: int, seed: int = 0) -> float:
    return pretrain_alignment(model, genes, steps=steps, learning_rate=3e-3, seed=seed, device=CPU)


def test_tokens_come_to_tell_what_a_bin_holds(genes: GeneDataset) -> None:
    model = _model(genes)
    first, last = _pretrain(model, genes, 1), _pretrain(model, genes, 150)
    assert last < 0.7 * first


def test_only_alignment_and_prototypes_change(genes: GeneDataset, tmp_path: Path) -> None:
    backbone = Backbone(write_tiny_backbone(tmp_path / "llama", "llama"))
    for model in (_model(genes), _model(genes, PRESETS["best"], backbone=backbone)):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        _pretrain(model, genes, 2)
        changed = {name.split(".")[0] for name, value in model.state_dict().items() if not value.equal(before[name])}
        assert changed == {"alignment", "text_prototypes" if model.config.llm else "free_prototypes"}


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_random_state_alone(genes: GeneDataset) -> None:
    models = [_model(genes) for _ in range(3)]
    before = torch.random.get_rng_state()
    for model, seed in zip(models, (0, 0, 1), strict=True):
        _pretrain(model, genes, 3, seed)
    assert torch.equal(torch.random.get_rng_state(), before)
    one, same, other = (model.alignment.query.weight for model in models)
    assert one.equal(same)
    assert not one.equal(other)


def test_bins_come_from_the_contigs_of_the_training_genes_alone(
    genes: GeneDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[WindowDataset] = []
    elsewhere = WindowDataset.elsewhere

    def noted(self: WindowDataset, *where: Any) -> WindowDataset:
        read.append(elsewhere(self, *where))
        return read[-1]

    monkeypatch.setattr(WindowDataset, "elsewhere", noted)
    _pretrain(_model(genes), genes, 20)
    contigs = np.asarray(read[0].contigs)
    assert set(contigs) == {"chr1", "chr2"}
    # Evenly over the bases: 9,000 of 16,000 lie on chr1. Four standard deviations of 640 draws.
    assert abs((contigs == "chr1").mean() - 9 / 16) < 0.08
    assert all(read[0].centres < np.where(contigs == "chr1", 9000, 7000))


def test_training_pretrains_where_the_settings_say_so(genes: GeneDataset) -> None:
    def trained(steps: int) -> torch.Tensor:
        model = _model(genes)
        fit(model, genes, genes, TrainConfig(epochs=1, pretrain_steps=steps))
        return model.alignment.query.weight.detach()

    by_hand = _model(genes)
    pretrain_alignment(
        by_hand, genes, steps=4, learning_rate=TrainConfig().learning_rate, seed=TrainConfig().seed, device=CPU
    )
    fit(by_hand, genes, genes, TrainConfig(epochs=1))
    assert trained(4).equal(by_hand.alignment.query.weight)
    assert not trained(0).equal(trained(4))


@pytest.mark.parametrize("kind", ["prompt alone", "no alignment"])
def test_a_model_without_alignment_is_refused_before_anything_is_trained(
    genes: GeneDataset, kind: str, tmp_path: Path
) -> None:
    model: ExpressionModel
    if kind == "no alignment":
        model = BinModel(BinModelConfig(kind="mlp"), n_bins=5, channel_names=genes.channel_names)
    else:
        backbone = Backbone(write_tiny_backbone(tmp_path / "llama", "llama", positions=160))
        model = GTA(PRESETS["prompt-only"], n_bins=5, channel_names=genes.channel_names, backbone=backbone)
    with pytest.raises(ValueError, match="pretrain_steps=0"):
        fit(model, genes, genes, TrainConfig(epochs=1, pretrain_steps=4), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_windows_elsewhere_are_those_of_a_dataset_made_there(genes: GeneDataset) -> None:
    grid = genes.windows.reader.feature_set.grid
    moved = genes.windows.elsewhere(["chr3", "chr1"], [4321, 77])
    moved.n_bins = 3
    contigs, centres = ("chr3", "chr1"), np.array([4321, 77])
    phases, firsts, _ = grid.place(centres, 3)
    for place, contig in enumerate(contigs):
        length = genes.windows.reader.assembly.lengths[contig]
        values = values_of(genes.windows.reader.feature_set, length, int(phases[place]))
        expected = values[firsts[place] : firsts[place] + 3].astype(np.float32)
        np.testing.assert_array_equal(moved[place].numpy(), expected)
    with pytest.raises(ValueError, match="chr1"):
        genes.windows.elsewhere(["chr1"], [9001])
