"""Prism as a predictor: it learns, says both predictions, trains on by steps, and keeps what it was fitted with."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.evaluation.metrics import spearman
from model.networks.prism.config import PRESETS, PrismConfig
from model.networks.prism.expression import PrismModel
from model.networks.prism.features import SignalFeatures
from model.predictors.build import build_predictor
from model.predictors.prism import controls
from model.predictors.saved import load_predictor
from model.predictors.torch_predictor import TorchPredictor
from model.runs.scores import alternatives_of
from model.runs.settings import split_settings
from model.testing.conformance import Build, SignalPredictorTests
from model.testing.signal_genes import NAMES, TinySignalGenes, tiny_signal_genes
from model.training.config import PRISM_RECIPES, TrainConfig
from model.training.fit import fit
from model.training.schedules import make_schedule

TINY = replace(PRESETS["best"], width=16, layers=1, kernel=5, heads=2)
QUICK = TrainConfig(epochs=2, batch_size=8, device="cpu")
TRAIN, VALIDATION, TEST = (tiny_signal_genes(genes, seed=seed) for genes, seed in ((64, 0), (24, 1), (40, 2)))


def predictor(config: PrismConfig = TINY, training: TrainConfig = QUICK) -> TorchPredictor:
    made = build_predictor("prism-best", n_bins=64, channel_names=TRAIN.channel_names, config=config, training=training)
    assert isinstance(made, TorchPredictor)
    return made


@pytest.fixture(scope="module")
def fitted() -> TorchPredictor:
    made = predictor(training=replace(QUICK, epochs=15, learning_rate=5e-3))
    made.fit(TRAIN, VALIDATION)
    return made


class TestPrism(SignalPredictorTests):
    @pytest.fixture(
        scope="class",
        params=[
            pytest.param(TINY, id="as in best"),
            pytest.param(replace(TINY, states="dictionary", predict="do"), id="dictionary"),
            pytest.param(replace(TINY, n_states=0, sequence=False, signals=()), id="covariates alone"),
        ],
    )
    @classmethod
    def build(cls, request: pytest.FixtureRequest) -> Build:
        return lambda genes: build_predictor(
            "prism-best", n_bins=genes.n_bins, channel_names=genes.channel_names, config=request.param, training=QUICK
        )


class TestRidge(SignalPredictorTests):
    @pytest.fixture(scope="class")
    @classmethod
    def build(cls) -> Build:
        return lambda genes: build_predictor("prism-ridge", n_bins=genes.n_bins, channel_names=genes.channel_names)


def test_it_learns_signals_and_covariates(fitted: TorchPredictor) -> None:
    observed = np.log1p(TEST.targets.numpy())
    assert spearman(fitted.predict(TEST), observed) > 0.8
    ridge = build_predictor("prism-ridge", n_bins=64, channel_names=TRAIN.channel_names)
    ridge.fit(TRAIN, VALIDATION)
    assert spearman(ridge.predict(TEST), observed) > 0.9


def test_the_other_prediction_is_that_of_a_model_set_to_report_it(fitted: TorchPredictor, tmp_path: Path) -> None:
    other = alternatives_of(fitted, TEST)
    assert list(other) == ["do"]
    assert not np.allclose(other["do"], fitted.predict(TEST), atol=1e-6)
    turned = predictor(replace(TINY, predict="do"))
    turned.model.load_own_state(fitted.model.own_state())
    turned.trained_on = fitted.trained_on
    np.testing.assert_allclose(turned.predict(TEST), other["do"], rtol=1e-5)
    np.testing.assert_allclose(turned.alternatives(TEST)["observational"], fitted.predict(TEST), rtol=1e-5)


def test_without_states_there_is_no_other_prediction() -> None:
    plain = predictor(replace(TINY, n_states=0))
    plain.fit(TRAIN, VALIDATION)
    assert plain.alternatives(TEST) == {}


def test_scales_are_those_of_the_training_genes_and_are_saved(fitted: TorchPredictor, tmp_path: Path) -> None:
    model, everything = fitted.model, TRAIN[range(len(TRAIN))].features
    assert isinstance(model, PrismModel)
    assert isinstance(everything, SignalFeatures)
    signals = everything.signals.flatten(0, 1).double().log1p()
    wanted = torch.cat([signals.mean(dim=0), everything.covariates.double().mean(dim=0)])
    spread = torch.cat([signals.std(dim=0, correction=0), everything.covariates.double().std(dim=0, correction=0)])
    torch.testing.assert_close(model.feature_mean.double(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.feature_scale.double(), spread, rtol=1e-5, atol=1e-6)
    fitted.save(tmp_path)
    again = load_predictor(tmp_path)
    assert isinstance(again, TorchPredictor)
    torch.testing.assert_close(again.model.own_state(), dict(model.own_state()), rtol=0, atol=0)


def test_the_paper_learns_log10_of_raw_signals_with_the_schedule_of_the_release() -> None:
    config, recipe = PRESETS["paper"], PRISM_RECIPES["paper"]
    assert (config.signal_transform, config.standardise_signals, config.standardise_covariates) == ("raw", False, False)
    assert (config.n_states, config.intervention_weight, config.diversity_weight) == (2, 1.0, 1.0)
    model = PrismModel(replace(config, trunk="cnn"), n_bins=64, channel_names=NAMES.channels())
    model.set_target_scale(torch.tensor([9.0, 99.0]))
    torch.testing.assert_close(model.standardise_target(torch.tensor([9.0, 99.0])), torch.tensor([1.0, 2.0]))
    raw = TRAIN[[0, 1]].features
    for given, kept in zip(model.inputs(raw), (raw.sequence, raw.signals, raw.covariates), strict=True):
        assert torch.equal(given, kept)
    # 15,000 genes: 1,875 steps a pass, 27 passes.
    resolved = recipe.of_genes(15_000)
    assert (resolved.epochs, resolved.steps_of_pass(15_000), resolved.steps) == (27, 1875, None)
    optimiser = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=recipe.learning_rate)
    few = replace(recipe, steps=None, epochs=10)
    schedule, rates = make_schedule(optimiser, few, factors=[1.0], n_genes=80), []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-5)
    assert max(rates) == rates[10] == pytest.approx(5e-4)
    assert schedule.get_last_lr()[0] == pytest.approx(1e-4)
    halfway = 1e-4 + (5e-4 - 1e-4) * (1 + math.cos(math.pi * 45 / 90)) / 2
    assert rates[55] == pytest.approx(halfway)


def test_a_cosine_training_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    recipe = replace(QUICK, schedule="cosine", learning_rate=1e-3, beta2=0.95, steps=16, batch_size=8)
    whole = predictor(training=recipe)
    whole.fit(TRAIN, VALIDATION)
    stopped = predictor(training=recipe)

    class Stop(Exception):
        pass

    validated = stopped.model.forward
    calls = iter(range(100))

    def stopping(*given: Any) -> torch.Tensor:
        if next(calls) >= 3:  # three batches of validation an epoch: in the second epoch
            raise Stop
        return validated(*given)

    stopped.model.forward = stopping  # type: ignore[method-assign]
    with pytest.raises(Stop):
        fit(stopped.model, TRAIN, VALIDATION, recipe, out=tmp_path)
    again = predictor(training=recipe)
    fit(again.model, TRAIN, VALIDATION, recipe, out=tmp_path)
    for name, value in whole.model.own_state().items():
        torch.testing.assert_close(again.model.own_state()[name], value, msg=name)


def test_controls_leave_out_a_part_each_and_read_covariates_alone_too() -> None:
    found = controls(TRAIN.channel_names)
    assert list(found) == [
        "concatenated",
        "sequence-only",
        "signals-only",
        "only-active",
        "only-background",
        "covariates-only",
    ]
    read = {}
    for name, settings in found.items():
        config, _ = split_settings(replace(TINY, gate=("background",)), QUICK, settings)
        model = PrismModel(config, n_bins=64, channel_names=TRAIN.channel_names)
        read[name] = (config.sequence, config.named_signals(NAMES.signals), model.network.gates)
    assert read == {
        "concatenated": (True, ("active", "background"), None),
        "sequence-only": (True, (), None),
        "signals-only": (False, ("active", "background"), None),
        "only-active": (False, ("active",), None),
        "only-background": (False, ("background",), None),
        "covariates-only": (False, (), None),
    }


def spoiled(**changes: torch.Tensor) -> TinySignalGenes:
    batch: Any = TRAIN[range(len(TRAIN))]
    return TinySignalGenes(replace(batch.features, **changes), batch.targets)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [(1, math.nan, "signal background is NaN"), (0, -1.0, "active has values below 0.*arcsinh")],
)
def test_signals_that_cannot_be_learned_from_are_refused_by_name(column: int, value: float, said: str) -> None:
    signals = TRAIN[range(len(TRAIN))].features.signals.clone()
    signals[3, 5, column] = value
    with pytest.raises(ValueError, match=said):
        predictor().fit(spoiled(signals=signals), VALIDATION)


def test_the_parts_that_are_trained_are_named_and_have_rates_of_their_own() -> None:
    made = predictor(training=replace(QUICK, learning_rate_multipliers={"gates": 0.1}))
    assert set(made.model.parameter_table()) == {"sequence_encoder", "signal_encoder", "trunk", "head", "gates"}
    made.fit(TRAIN, VALIDATION)
