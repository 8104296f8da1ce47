import csv
import importlib.util
import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.device import choose_device
from model.language.backbone import Backbone
from model.networks.gta import GTA
from model.networks.gta_config import PRESETS, GtaConfig
from model.testing import TinyGenes, tiny_genes, write_tiny_backbone
from model.training.config import RECIPES, TrainConfig
from model.training.fit import fit, standardise
from model.training.lightning_module import make_optimiser
from model.training.resume import OtherTraining
from model.training.targets import masked_mse

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
    config = TrainConfig(epochs=30, learning_rate=0.3, batch_size=8, early_stopping_patience=2)
    report = fit(_model(), tiny_genes(40), tiny_genes(20, seed=1), config)
    assert report.best_epoch is not None
    assert len(report.epochs) == report.best_epoch + 1 + config.early_stopping_patience < 30


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


def test_training_without_a_folder_says_nothing_where_stderr_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    fit(_model(), tiny_genes(20), tiny_genes(10, seed=1), TrainConfig(epochs=1))
    assert capfd.readouterr() == ("", "")


def test_training_into_a_folder_writes_and_prints_one_line_an_epoch(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):  # the second finds all epochs there
        report = fit(
            _model(),
            tiny_genes(20),
            tiny_genes(10, seed=1),
            TrainConfig(epochs=3, early_stopping_patience=3),
            out=tmp_path / "run",
        )
    said = capfd.readouterr()
    assert said.out == ""
    assert [line.partition(":")[0] for line in said.err.splitlines()] == [f"epoch {n} of 3" for n in (1, 2, 3)]
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


DROPOUT = GtaConfig(**SMALL.to_json() | {"dropout": 0.3})


class Stopped(TinyGenes):
    """Genes that raise when an epoch begins, as Ctrl-C does."""

    stop_at = 3

    def set_epoch(self, epoch: int) -> None:
        if epoch == self.stop_at:
            raise KeyboardInterrupt


def test_a_training_stopped_by_ctrl_c_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    config, validation = TrainConfig(epochs=6, batch_size=8), tiny_genes(12, seed=1)
    whole = _model(DROPOUT)
    expected = fit(whole, tiny_genes(24), validation, config)
    genes = tiny_genes(24)
    stopped = Stopped(genes[range(24)].features, genes.targets, prompts=genes.prompts)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(_model(DROPOUT), stopped, validation, config, out=tmp_path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + Stopped.stop_at
    resumed = _model(DROPOUT)
    report = fit(resumed, genes, validation, config, out=tmp_path)
    for name, value in whole.own_state().items():
        assert value.equal(resumed.own_state()[name]), name
    assert [epoch[:3] for epoch in report.epochs] == [epoch[:3] for epoch in expected.epochs]
    assert report.best_epoch == expected.best_epoch


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(0, "holds a training that was stopped: it goes on after epoch 1 of 2", id="whole"),
        pytest.param(1, "holds a training whose state is damaged: it starts anew", id="damaged"),
    ],
)
def test_a_training_says_where_it_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], damage: int, said: str
) -> None:
    config, parts = TrainConfig(epochs=2), (tiny_genes(20), tiny_genes(10, seed=1))
    model = _model()

    def stop(*_: object) -> None:
        raise InterruptedError("the process ends after the first epoch")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.training.lightning_module._line", stop)
        with pytest.raises(InterruptedError):
            fit(model, *parts, config, out=tmp_path)
    (tensors,) = tmp_path.glob("resume-*.safetensors")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= damage
    tensors.write_bytes(content)
    capfd.readouterr()
    fit(_model(), *parts, config, out=tmp_path)
    lines = capfd.readouterr().err.splitlines()
    assert said in lines[0]
    assert len(lines) == 1 + (1 + damage)


def test_a_training_that_stopped_early_does_not_go_on(tmp_path: Path) -> None:
    config = TrainConfig(epochs=30, learning_rate=0.3, batch_size=8, early_stopping_patience=2)
    reports = [fit(_model(), tiny_genes(40), tiny_genes(20, seed=1), config, out=tmp_path / "run") for _ in range(2)]
    assert len(reports[0].epochs) < 30
    assert reports[0].epochs == reports[1].epochs


@pytest.mark.parametrize("what", ["settings", "genes", "weights"])
def test_the_state_of_another_training_is_refused(tmp_path: Path, what: str) -> None:
    config = TrainConfig(epochs=1)
    fit(_model(), tiny_genes(20), tiny_genes(10, seed=1), config, out=tmp_path)
    model, genes = _model(), tiny_genes(20)
    if what == "settings":
        config = TrainConfig(epochs=2)
    elif what == "genes":
        genes = tiny_genes(20, seed=2)
    else:
        model.free_prototypes.data.add_(1)
    with pytest.raises(OtherTraining, match=r"of another configuration.*another folder with `out=`, or `restart=True`"):
        fit(model, genes, tiny_genes(10, seed=1), config, out=tmp_path)


def test_a_state_from_before_an_option_goes_on_where_the_option_has_its_default(tmp_path: Path) -> None:
    parts = (tiny_genes(20), tiny_genes(10, seed=1))
    fit(_model(), *parts, TrainConfig(epochs=2), out=tmp_path)
    document = json.loads((tmp_path / "resume.json").read_text())
    for name in ("schedule", "optimiser"):
        del document["identity"]["training"][name]
    (tmp_path / "resume.json").write_text(json.dumps(document))
    fit(_model(), *parts, TrainConfig(epochs=2), out=tmp_path)
    with pytest.raises(OtherTraining, match=r"training: "):
        fit(_model(), *parts, TrainConfig(epochs=2, optimiser="adam"), out=tmp_path)


def test_a_training_on_other_bins_is_another_unless_its_record_is_too_old_to_tell(tmp_path: Path) -> None:
    config, validation = TrainConfig(epochs=1), tiny_genes(10, seed=1)
    genes = tiny_genes(20)
    wider = TinyGenes(genes[range(20)].features, genes.targets, prompts=genes.prompts, bin_size=256)
    fit(_model(), genes, validation, config, out=tmp_path)
    with pytest.raises(OtherTraining, match="bin size: 128 there, 256 now"):
        fit(_model(), wider, validation, config, out=tmp_path)
    document = json.loads((tmp_path / "resume.json").read_text())
    for name in ("assembly", "feature set", "extractor", "bin size", "type of values"):
        del document["identity"][name]
    (tmp_path / "resume.json").write_text(json.dumps(document))
    fit(_model(), wider, validation, config, out=tmp_path)


@pytest.mark.parametrize("damage", ["resume.json", "resume-1.safetensors"])
def test_a_damaged_state_is_trained_anew(tmp_path: Path, damage: str) -> None:
    states = []
    for _ in range(2):
        model = _model()
        fit(model, tiny_genes(20), tiny_genes(10, seed=1), TrainConfig(epochs=1), out=tmp_path)
        states.append(model.own_state())
        file = tmp_path / damage
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert all(value.equal(states[1][name]) for name, value in states[0].items())


def _largest_difference(one: GTA, other: GTA) -> float:
    pairs = [(value, other.own_state()[name]) for name, value in one.own_state().items() if value.is_floating_point()]
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.slow
def test_two_processes_train_on_the_batches_of_one(tmp_path: Path) -> None:
    genes, validation, models = tiny_genes(32), tiny_genes(12, seed=1), []
    # Without a batch norm, which on CPUs sees each process's part of a batch alone.
    without_norm = GtaConfig(**SMALL.to_json() | {"readout": "topk", "top_k": 3})
    for devices in (1, 2):
        model = _model(without_norm)
        config = TrainConfig(epochs=2, batch_size=8, devices=devices, device="cpu")
        report = fit(model, genes, validation, config, out=tmp_path / str(devices))
        assert len(report.epochs) == 2
        models.append(model)
    start = _model(without_norm)
    standardise(start, genes, 8)
    assert _largest_difference(models[0], models[1]) < 1e-5 < 1e-3 < _largest_difference(models[0], start)


def test_batches_of_like_prompts_hold_every_gene_once_an_epoch(tmp_path: Path) -> None:
    backbone = Backbone(write_tiny_backbone(tmp_path / "llama", "llama"))
    seen: list[list[int]] = []

    class Noting(TinyGenes):
        def __getitem__(self, index: Any) -> Any:
            batch = super().__getitem__(index)
            seen.append(batch.indices.tolist())
            return batch

    genes = tiny_genes(48)
    noting = Noting(genes[range(48)].features, genes.targets, prompts=genes.prompts)
    model = _model(GtaConfig(readout="pooled", hidden=8, features="raw"), backbone=backbone)
    config = TrainConfig(epochs=2, batch_size=4, bucket_prompts=True)
    fit(model, noting, tiny_genes(8, seed=1), config)
    epochs = [[place for batch in seen[start : start + 12] for place in batch] for start in (0, 12)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(48))] * 2
    assert epochs[0] != epochs[1]
    kinds = [{noting.prompts[place] for place in batch} for batch in seen]
    assert sum(map(len, kinds)) / len(kinds) < 1.5, "four prompts, equally often: batches of one each but at the seams"


@given(steps=st.integers(1, 40), warmup_fraction=st.sampled_from([0.1, 0.2, 0.25, 0.5, 1 / 3]))
def test_the_learning_rate_peaks_once_and_is_above_zero_at_every_step(steps: int, warmup_fraction: float) -> None:
    config = TrainConfig(epochs=steps, batch_size=100, warmup_fraction=warmup_fraction, learning_rate=1.0)
    optimiser, schedule = make_optimiser(_model(), config, n_genes=100)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0.3 < rates[peak] <= 1
    assert min(rates) > 0


def test_one_epoch_of_five_steps_is_trained() -> None:
    report = fit(
        _model(), tiny_genes(40), tiny_genes(10, seed=1), TrainConfig(epochs=1, batch_size=8, warmup_fraction=0.2)
    )
    assert math.isfinite(report.epochs[0].train_mse)


def test_parts_may_have_learning_rates_of_their_own() -> None:
    model = _model()
    config = TrainConfig(learning_rate_multipliers={"prototypes": 5.0}, learning_rate=1e-3)
    optimiser, _ = make_optimiser(model, config, n_genes=20)
    peaks = {id(parameter): group["max_lr"] for group in optimiser.param_groups for parameter in group["params"]}
    assert len(peaks) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert peaks[id(parameter)] == pytest.approx(5e-3 if name == "free_prototypes" else 1e-3)
    with pytest.raises(
        ValueError, match=r"learning_rate_multipliers names heads, but the parts of this model are .*prototypes"
    ):
        make_optimiser(model, TrainConfig(learning_rate_multipliers={"heads": 2.0}), n_genes=20)


def test_optimiser_schedule_and_clipping_are_those_that_torch_has() -> None:
    genes, config = tiny_genes(8), TrainConfig(epochs=2, batch_size=8, learning_rate=0.1)
    for changes in (
        {"optimiser": "adam", "schedule": "constant", "gradient_clip_norm": None, "weight_decay": 0.3},
        {"optimiser": "adamw", "schedule": "constant", "gradient_clip_norm": 0.01, "weight_decay": 0.3},
    ):
        config = replace(config, **changes)  # type: ignore[arg-type]  # of several types
        fitted, expected = _model(), _model()
        fit(fitted, genes, genes, config)
        standardise(expected, genes, batch_size=8)
        kind = torch.optim.Adam if config.optimiser == "adam" else torch.optim.AdamW
        optimiser = kind(expected.parameters(), lr=0.1, weight_decay=0.3)
        states, errors = [], []
        for _ in range(2):
            batch = genes[range(8)]
            optimiser.zero_grad()
            expected.train()
            masked_mse(expected(batch.features, batch.prompts), expected.standardise_target(batch.targets)).backward()
            if config.gradient_clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(expected.parameters(), config.gradient_clip_norm)
            optimiser.step()
            states.append({name: value.detach().clone() for name, value in expected.own_state().items()})
            with torch.no_grad():
                predicted = expected.eval()(batch.features, batch.prompts)
                errors.append(float(masked_mse(predicted, expected.standardise_target(batch.targets))))
        for name, value in fitted.own_state().items():
            # Adam divides a gradient that is nothing but rounding by its own size: a few elements go either way.
            apart = (value - states[int(np.argmin(errors))][name]).abs()
            assert float((apart < 1e-4).double().mean()) > 0.99, name


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_tensorboards_log_without_the_package_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pip install tensorboard, or take `log=\"csv\"`"):
        fit(_model(), tiny_genes(20), tiny_genes(10), TrainConfig(log="tensorboard"), out=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"epochs": 0}, "epochs counts from 1", id="no epoch"),
        pytest.param({"monitor": "loss"}, "'mse', 'spearman'", id="unknown monitor"),
        pytest.param({"device": "tpu"}, "'auto', 'cpu', 'cuda'", id="unknown device"),
        pytest.param({"learning_rate": 0.0}, "above 0", id="no learning"),
        pytest.param({"warmup_fraction": 1.0}, "between 0 and 1", id="warm-up without end"),
        pytest.param({"seed": -1}, "seed counts from 0", id="a seed below 0"),
        pytest.param({"devices": 3}, "batch_size is a multiple of devices; got 16", id="an odd share"),
        pytest.param(
            {"learning_rate_multipliers": {"alignment": 0.0}}, "factors above 0", id="a part that does not learn"
        ),
        pytest.param({"schedule": "linear"}, "'one-cycle', 'cosine', 'constant'", id="unknown schedule"),
        pytest.param({"optimiser": "sgd"}, "'adam', 'adamw'", id="unknown optimiser"),
        pytest.param({"gradient_clip_norm": 0.0}, "None for no clipping", id="gradients cut to nothing"),
        pytest.param({"log": "neptune"}, "'csv', 'tensorboard', 'wandb', 'mlflow'", id="unknown log"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes)
