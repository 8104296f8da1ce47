import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.evaluation.metrics import mse
from model.networks.gta_config import PRESETS
from model.predictors.build import build_predictor
from model.predictors.ensemble import Ensemble, seed_ensemble
from model.predictors.predictor import Predictor
from model.predictors.saved import load_predictor
from model.predictors.torch_predictor import TorchPredictor
from model.testing import tiny_genes, write_tiny_backbone
from model.training.config import TrainConfig

TRAIN, VALIDATION, TEST = tiny_genes(40), tiny_genes(16, seed=1), tiny_genes(20, seed=2)
NAMES = TRAIN.channel_names
QUICK = TrainConfig(epochs=2, batch_size=8)


def _fitted() -> Ensemble:
    ensemble = seed_ensemble("gta-no-llm", seeds=(0, 1, 2), n_bins=7, channel_names=NAMES, training=QUICK)
    ensemble.fit(TRAIN, VALIDATION)
    return ensemble


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return _fitted()


def test_an_ensemble_predicts_the_mean_of_its_members_and_their_spread(ensemble: Ensemble) -> None:
    alone = np.stack([member.predict(TEST) for member in ensemble.members]).astype(float)
    found = ensemble.predict_spread(TEST)
    np.testing.assert_allclose(found.mean, alone.mean(axis=0), rtol=1e-6)
    by_hand = np.sqrt(((alone - alone.mean(axis=0)) ** 2).sum(axis=0) / 2)
    np.testing.assert_allclose(found.spread, by_hand, rtol=1e-5)
    assert by_hand.min() > 1e-4, "other seeds, other members"
    np.testing.assert_array_equal(ensemble.predict(TEST), found.mean)


def test_the_mean_errs_no_more_than_its_members_do_on_average(ensemble: Ensemble) -> None:
    observed = np.log1p(TEST.targets.numpy())
    errors = [mse(member.predict(TEST), observed) for member in ensemble.members]
    assert mse(ensemble.predict(TEST), observed) < np.mean(errors)


def test_an_ensemble_comes_back_from_its_folder(ensemble: Ensemble, tmp_path: Path) -> None:
    ensemble.save(tmp_path / "run")
    again = load_predictor(tmp_path / "run", dataset=TEST)
    assert isinstance(again, Ensemble)
    assert (again.name, again.n_bins, again.trained_on) == ("ensemble", 7, ensemble.trained_on)
    np.testing.assert_array_equal(again.predict(TEST), ensemble.predict(TEST))
    one = load_predictor(tmp_path / "run" / "member-1")
    np.testing.assert_array_equal(one.predict(TEST), ensemble.members[1].predict(TEST))


def test_what_is_set_on_an_ensemble_is_set_on_every_member() -> None:
    ensemble = _fitted()
    ensemble.n_bins = 5
    ensemble.allow_other_store = True
    assert {(member.n_bins, member.allow_other_store) for member in ensemble.members} == {(5, True)}
    shorter = tiny_genes(20, seed=2)
    shorter.n_bins = 5
    assert np.isfinite(ensemble.predict(shorter)).all()


def test_a_frozen_language_model_is_loaded_once_for_all_members(tmp_path: Path) -> None:
    backbone = write_tiny_backbone(tmp_path / "llama", "llama")
    made = seed_ensemble(
        "gta-best",
        seeds=(0, 1),
        n_bins=7,
        channel_names=NAMES,
        backbone=backbone,
        config=replace(PRESETS["best"], layers=2),
        training=QUICK,
    )
    made.fit(TRAIN, VALIDATION)
    made.save(tmp_path / "run")
    loaded = load_predictor(tmp_path / "run")
    assert isinstance(loaded, Ensemble)
    for ensemble in (made, loaded):
        models = [member.model for member in ensemble.members if isinstance(member, TorchPredictor)]
        assert len(models) == 2
        assert models[0].backbone is models[1].backbone is not None
        assert models[0].prefix_cache is models[1].prefix_cache is not None
    np.testing.assert_allclose(loaded.predict(TEST), made.predict(TEST), rtol=1e-5)


def test_members_with_adapters_share_nothing(tmp_path: Path) -> None:
    backbone = write_tiny_backbone(tmp_path / "llama", "llama")
    config = replace(PRESETS["best"], lora_rank=2)
    made = seed_ensemble(
        "gta-best", seeds=(0, 1), n_bins=7, channel_names=NAMES, backbone=backbone, config=config, training=QUICK
    )
    made.fit(TRAIN, VALIDATION)
    made.save(tmp_path / "run")
    np.testing.assert_array_equal(load_predictor(tmp_path / "run").predict(TEST), made.predict(TEST))


def test_predictors_of_different_kinds_can_be_asked_as_one(tmp_path: Path) -> None:
    members: list[Predictor] = [
        build_predictor(name, n_bins=7, channel_names=NAMES) for name in ("mlp", "ridge-centre")
    ]
    ensemble = Ensemble(members)
    report = ensemble.fit(TRAIN, VALIDATION, out=tmp_path / "log")
    assert report.validation_spearman > 0.2
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["member-0"], "a closed form has no course to log"
    ensemble.save(tmp_path / "run")
    np.testing.assert_array_equal(load_predictor(tmp_path / "run").predict(TEST), ensemble.predict(TEST))
    assert json.loads((tmp_path / "run" / "checkpoint.json").read_text())["kind"] == "ensemble"


def test_an_ensemble_that_was_not_fitted_is_neither_saved_nor_asked(tmp_path: Path) -> None:
    unfitted = seed_ensemble("cnn", seeds=(0, 1), n_bins=7, channel_names=NAMES)
    assert unfitted.trained_on is None
    with pytest.raises(RuntimeError, match=r"before save"):
        unfitted.save(tmp_path / "run")
    with pytest.raises(RuntimeError, match=r"call fit"):
        unfitted.predict(TEST)


def test_an_ensemble_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"save a single predictor as it is"):
        Ensemble([build_predictor("mean", n_bins=7, channel_names=NAMES)])


def test_members_of_other_lengths_are_refused() -> None:
    members = [build_predictor("mean", n_bins=n_bins, channel_names=NAMES) for n_bins in (7, 5)]
    with pytest.raises(ValueError, match=r"5, 7 bins; set n_bins of each"):
        Ensemble(members)


@pytest.mark.parametrize(
    ("name", "seeds", "message"),
    [
        pytest.param("mlp", (0, 0), "seed of its own", id="one seed twice"),
        pytest.param("ridge-centre", (0, 1), "make one of it with build_predictor", id="a closed form"),
    ],
)
def test_seeds_that_make_no_ensemble_are_refused(name: str, seeds: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seed_ensemble(name, seeds=seeds, n_bins=7, channel_names=NAMES)
