import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.backbone import Backbone
from model.gta import GTA, PRESETS, GtaConfig
from model.testing import TinyGenes, tiny_genes, write_tiny_backbone
from model.training import RECIPES, TrainConfig, choose_device, fit, standardise

SMALL = GtaConfig(
    llm=False, readout="pooled", free_width=16, hidden=16, queries=2, normalise_tokens=True, attention_scale="head"
)


def _model(config: GtaConfig = SMALL, *, n_bins: int = 7, backbone: Backbone | None = None) -> GTA:
    torch.manual_seed(0)
    return GTA(config, n_bins=n_bins, channel_names=[f"channel {index}" for index in range(4)], backbone=backbone)


def _validation_mse(model: GTA, genes: TinyGenes) -> float:
    with torch.no_grad():
        batch = genes[range(len(genes))]
        predicted = model.eval()(batch.features, batch.prompts)
        return float((predicted - model.standardise_target(batch.targets)).square().mean())


def test_a_planted_signal_is_learned() -> None:
    report = fit(_model(), tiny_genes(400), tiny_genes(100, seed=1), TrainConfig(epochs=8, learning_rate=5e-3))
    assert report.validation_spearman > 0.8
    assert report.epochs[-1].train_mse < report.epochs[0].train_mse


def test_the_model_is_left_at_its_best_epoch() -> None:
    validation = tiny_genes(30, seed=1)
    best_was_last = []
    for seed in range(5):
        # At this rate training runs wild, so that the best epoch is seldom the last.
        config = TrainConfig(epochs=6, learning_rate=0.3, batch_size=8, seed=seed)
        model = _model()
        report = fit(model, tiny_genes(60), validation, config)
        errors = [epoch.validation_mse for epoch in report.epochs]
        assert report.best_epoch == errors.index(min(errors))
        assert _validation_mse(model, validation) == pytest.approx(min(errors), rel=1e-4)
        kept = report.epochs[report.best_epoch]
        assert report.validation_spearman == pytest.approx(kept.validation_spearman, nan_ok=True)
        best_was_last.append(report.best_epoch == len(errors) - 1)
    assert not all(best_was_last)


def test_a_last_batch_of_one_gene_is_trained_on() -> None:
    report = fit(_model(), tiny_genes(17), tiny_genes(9, seed=1), TrainConfig(epochs=2, batch_size=8))
    assert all(math.isfinite(epoch.train_mse) for epoch in report.epochs)


def test_training_stops_when_no_better_epoch_comes() -> None:
    config = TrainConfig(epochs=30, learning_rate=0.3, batch_size=8, patience=2)
    report = fit(_model(), tiny_genes(40), tiny_genes(20, seed=1), config)
    assert report.best_epoch is not None
    assert len(report.epochs) == report.best_epoch + 1 + config.patience < 30


def test_the_epoch_of_the_best_ranks_can_be_kept_instead() -> None:
    config = TrainConfig(epochs=5, learning_rate=0.1, monitor="spearman", batch_size=8)
    report = fit(_model(), tiny_genes(40), tiny_genes(20, seed=1), config)
    ranks = [
        -math.inf if math.isnan(epoch.validation_spearman) else epoch.validation_spearman for epoch in report.epochs
    ]
    assert ranks[report.best_epoch or 0] == max(ranks)


def test_the_same_seed_gives_the_same_model_and_leaves_the_callers_random_state_alone() -> None:
    states: list[dict[str, Tensor]] = []
    for _ in range(2):
        model = _model(GtaConfig(**SMALL.to_json() | {"dropout": 0.2}))
        torch.manual_seed(torch.initial_seed() + len(states))
        before = torch.random.get_rng_state()
        fit(model, tiny_genes(40), tiny_genes(20, seed=1), TrainConfig(epochs=2))
        assert torch.equal(torch.random.get_rng_state(), before)
        states.append(model.own_state())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_a_frozen_language_model_is_left_as_it_was(tmp_path: Path) -> None:
    backbone = Backbone(write_tiny_backbone(tmp_path / "llama", "llama"))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    model = _model(GtaConfig(readout="pooled", hidden=8), backbone=backbone)
    mix = model.text_prototypes.name_mix.weight.clone()
    fit(model, tiny_genes(16), tiny_genes(8, seed=1), TrainConfig(epochs=1, batch_size=8))
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert not torch.equal(model.text_prototypes.name_mix.weight, mix)


def test_training_says_nothing_and_writes_one_line_an_epoch(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        report = fit(
            _model(), tiny_genes(20), tiny_genes(10, seed=1), TrainConfig(epochs=3, patience=3), out=tmp_path / "run"
        )
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    with (tmp_path / "run" / "metrics.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["epoch"]) for line in lines] == [0, 1, 2]
    for line, epoch in zip(lines, report.epochs, strict=True):
        assert float(line["validation_mse"]) == pytest.approx(epoch.validation_mse, rel=1e-5)
        assert float(line["seconds"]) > 0
    assert sum(epoch.seconds for epoch in report.epochs) <= report.seconds
    assert not list((tmp_path / "run").glob("**/*.ckpt"))


def test_features_and_targets_are_standardised_on_the_training_genes() -> None:
    genes = tiny_genes(50)
    model = _model()
    standardise(model, genes, batch_size=7)
    rows = genes[range(50)].features.flatten(0, 1)
    torch.testing.assert_close(model.feature_mean, rows.mean(dim=0))
    torch.testing.assert_close(model.feature_scale, rows.std(dim=0, correction=0))
    standard = model.standardise_target(genes.targets)
    assert float(standard.mean()) == pytest.approx(0, abs=1e-5)
    assert float(standard.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_a_channel_far_from_zero_keeps_its_digits_and_a_constant_one_its_scale() -> None:
    genes = tiny_genes(50)
    features = genes[range(50)].features.clone()
    features[..., 1] = 1e6 + torch.randint(0, 8, features.shape[:2])
    features[..., 2] = 3.0
    model = _model()
    standardise(model, TinyGenes(features, genes.targets), batch_size=7)
    assert float(model.feature_scale[1]) == pytest.approx(float((features[..., 1] - 1e6).std(correction=0)), rel=1e-4)
    assert float(model.feature_scale[2]) == 1


def test_raw_features_stay_as_they_are() -> None:
    model = _model(GtaConfig(**SMALL.to_json() | {"features": "raw"}))
    standardise(model, tiny_genes(20), batch_size=7)
    assert model.feature_mean.tolist() == [0.0] * 4
    assert model.feature_scale.tolist() == [1.0] * 4


def test_there_is_a_recipe_for_every_preset() -> None:
    assert set(RECIPES) == set(PRESETS)
    for recipe in RECIPES.values():
        assert TrainConfig.from_json(recipe.to_json()) == recipe


def test_windows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reads 5 bins.*set dataset.n_bins = 5"):
        fit(_model(n_bins=5), tiny_genes(20), tiny_genes(10), TrainConfig())


def test_genes_without_a_target_are_refused() -> None:
    genes = tiny_genes(20)
    genes.targets[4] = math.nan
    with pytest.raises(ValueError, match=r"1 of 20 genes have no target"):
        fit(_model(), genes, tiny_genes(10), TrainConfig())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"device='cpu'"):
        choose_device("cuda")
    assert choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"epochs": 0}, "epochs counts from 1", id="no epoch"),
        pytest.param({"monitor": "loss"}, "'mse' or 'spearman'", id="unknown monitor"),
        pytest.param({"device": "tpu"}, "'auto', 'cpu' or 'cuda'", id="unknown device"),
        pytest.param({"learning_rate": 0.0}, "above 0", id="no learning"),
        pytest.param({"warm_up": 1.0}, "between 0 and 1", id="warm-up without end"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes)
