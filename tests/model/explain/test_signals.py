"""What a model of signals does with them, compared with hiding and gating by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from catalog import Split
from model.explain.interpret import interpret
from model.networks.prism.config import PRESETS, PrismConfig
from model.networks.prism.expression import PrismModel
from model.predictors.build import build_predictor
from model.predictors.ensemble import Ensemble
from model.predictors.predictor import Predictor
from model.predictors.torch_predictor import TorchPredictor
from model.runs.folder import Run
from model.runs.scores import alternatives_of
from model.runs.signal_inputs import SignalRecord
from model.testing.signal_genes import TinySignalGenes, tiny_signal_genes
from model.training.config import TrainConfig

TRAIN, VALIDATION, TEST = (tiny_signal_genes(genes, seed=seed) for genes, seed in ((48, 0), (16, 1), (20, 2)))
LENGTH = 64
TINY = replace(PRESETS["best"], width=16, layers=1, kernel=5, heads=2)


def trained(config: PrismConfig, seed: int = 0) -> Predictor:
    training = TrainConfig(epochs=6, batch_size=8, learning_rate=5e-3, device="cpu", seed=seed)
    made = build_predictor(
        "prism-best", n_bins=LENGTH, channel_names=TRAIN.channel_names, config=config, training=training
    )
    made.fit(TRAIN, VALIDATION)
    return made


def run_of(predictor: Predictor) -> Run:
    record = SignalRecord(sets=("marks",), sequence="bases", signals=("active", "background"))
    split = Split(train=("none",), validation=(), test=tuple(TEST.gene_ids))
    return Run(predictor, "bases,marks", split, signals=record)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return trained(TINY)


@pytest.fixture(scope="module")
def written(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    found = interpret(run_of(predictor), TEST, out)
    assert found.left_out == {}
    assert {path.name for path in out.iterdir()} == {path.name for path in found.files}
    assert {path.stem for path in found.files} == {
        "observational_against_do",
        "gates",
        "signals_kept",
        "occlusion",
        "figures",
    }
    return out


def test_hiding_a_signal_in_a_part_is_putting_its_training_mean_there(predictor: Any, written: Path) -> None:
    table = pl.read_parquet(written / "occlusion.parquet")
    assert len(table) == 3 * (16 + 1)  # 16 parts of 4 bases: of up to 20, the number that divides 64
    features: Any = TEST[range(len(TEST))].features
    row = table.filter(signal="background").drop_nulls("start").row(7, named=True)
    mean = TRAIN[range(len(TRAIN))].features.signals[..., 1].double().log1p().mean().expm1()
    signals = features.signals.clone()
    signals[:, row["start"] + 32 : row["end"] + 32, 1] = float(mean)
    changed = TinySignalGenes(replace(features, signals=signals), TEST.targets)
    wanted = predictor.predict(changed) - predictor.predict(TEST)
    assert row["mean_change"] == pytest.approx(wanted.mean(), abs=1e-5)
    assert row["mean_absolute_change"] == pytest.approx(np.abs(wanted).mean(), abs=1e-5)


def test_hidden_parts_cover_the_window_once(written: Path) -> None:
    parts = pl.read_parquet(written / "occlusion.parquet").filter(signal="sequence").drop_nulls("start")
    covered = [base for first, end in parts.select("start", "end").iter_rows() for base in range(first, end)]
    assert covered == list(range(-LENGTH // 2, LENGTH // 2))


def test_the_signal_that_expression_is_made_of_counts_most(written: Path) -> None:
    whole = pl.read_parquet(written / "occlusion.parquet").filter(pl.col("start").is_null())
    assert whole.sort("mean_absolute_change")["signal"][-1] == "active"


def test_gates_are_those_of_the_model_gene_by_gene(predictor: Any, written: Path) -> None:
    model = predictor.model
    assert isinstance(model, PrismModel)
    _, signals, _ = model.inputs(TEST[range(len(TEST))].features)
    gates = model.network.gates(signals).detach().numpy()
    table = pl.read_parquet(written / "gates.parquet")
    row = table.filter(gene_id=TEST.gene_ids[3], state=1, component=5)
    assert row["gate"].item() == pytest.approx(gates[3, 1, 5], abs=1e-6)
    weight = model.network.signal_encoder.weight.detach().numpy()[:, 1]
    kept = pl.read_parquet(written / "signals_kept.parquet").filter(
        gene_id=TEST.gene_ids[3], state=1, signal="background"
    )
    wanted = np.linalg.norm(gates[3, 1] * weight) / np.linalg.norm(weight)
    assert kept["kept"].item() == pytest.approx(wanted, abs=1e-5)


def test_both_predictions_stand_side_by_side(predictor: Predictor, written: Path) -> None:
    table = pl.read_parquet(written / "observational_against_do.parquet")
    np.testing.assert_allclose(table["observational"], predictor.predict(TEST), rtol=1e-5)
    np.testing.assert_allclose(table["do"], alternatives_of(predictor, TEST)["do"], rtol=1e-5)


def test_an_ensemble_is_explained_by_the_mean_of_its_members(predictor: Predictor, tmp_path: Path) -> None:
    both = Ensemble([predictor, trained(TINY, seed=1)])
    interpret(run_of(both), TEST, tmp_path)
    table = pl.read_parquet(tmp_path / "observational_against_do.parquet")
    np.testing.assert_allclose(table["observational"], both.predict(TEST), rtol=1e-5)


def test_a_plain_model_says_that_it_has_no_gates(tmp_path: Path) -> None:
    found = interpret(run_of(trained(replace(TINY, n_states=0))), TEST, tmp_path)
    assert found.left_out == {"gates and averaged prediction": "prism-best was trained with n_states=0"}


def test_a_closed_form_is_refused_with_the_mend(tmp_path: Path) -> None:
    ridge = build_predictor("prism-ridge", n_bins=LENGTH, channel_names=TRAIN.channel_names)
    ridge.fit(TRAIN, VALIDATION)
    assert not isinstance(ridge, TorchPredictor)
    with pytest.raises(ValueError, match="interpret a run of prism"):
        interpret(run_of(ridge), TEST, tmp_path)
