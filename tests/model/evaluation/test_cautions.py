"""Scores that are easily read wrongly come with a warning, and others without one."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import Split
from model.evaluation.cautions import Caution, warn_of_collapse, warn_of_even_windows, warn_of_other_length
from model.evaluation.metrics import spread
from model.evaluation.tables import evaluate_table
from model.predictors.build import build_predictor
from model.predictors.torch_predictor import TorchPredictor
from model.runs.folder import Run, begin_run, finish_run, open_run
from model.runs.genes import WindowRecord
from model.runs.scores import evaluate
from model.testing import tiny_genes
from model.training.config import TrainConfig

GENES = tiny_genes(40, n_bins=9)
IDS = GENES.gene_ids
SPLIT = Split(train=tuple(IDS[:20]), validation=tuple(IDS[20:30]), test=tuple(IDS[30:]))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Train a small network on windows of 7 bins and open its run."""
    training = TrainConfig(epochs=6, batch_size=8, learning_rate=1e-2)
    predictor = build_predictor("gta-no-llm", n_bins=7, channel_names=GENES.channel_names, training=training)
    data = GENES.with_n_bins(7)
    begin_run(tmp_path, {}, feature_set="tiny", windows=WindowRecord(), split=SPLIT)
    predictor.fit(data.subset(IDS[:20]), data.subset(IDS[20:30]))
    finish_run(tmp_path, predictor, [], {})
    return open_run(tmp_path, device="cpu")


@given(st.integers(1, 10_000))
def test_only_windows_of_an_even_number_of_bins_are_warned_of(n_bins: int) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_even_windows(n_bins)
    said = [str(one.message) for one in caught]
    assert said == [] if n_bins % 2 else [f"take {n_bins - 1} or {n_bins + 1} bins" in text for text in said] == [True]


@pytest.mark.parametrize(
    ("scored", "said"),
    [
        pytest.param({}, "was never evaluated since", id="never"),
        pytest.param({51: 0.775, 45: 0.7}, "Spearman 0.700 at 45, 0.775 at 51", id="at two lengths"),
    ],
)
def test_another_length_than_in_training_comes_with_the_scores_at_any(scored: Mapping[int, float], said: str) -> None:
    with pytest.warns(Caution, match=rf"gta was trained on windows of 51 bins, and reads 101 now; .*{said}"):
        warn_of_other_length("gta", 101, 51, scored)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_length("gta", 51, 51, scored)


@given(st.floats(1e-6, 10), st.integers(0, 100))
def test_predictions_are_warned_of_below_a_hundredth_of_the_spread_of_the_targets(scale: float, seed: int) -> None:
    targets = np.random.default_rng(seed).normal(size=50)
    found = spread(scale * targets + 3, targets)
    assert found == pytest.approx(scale, rel=1e-6, abs=1e-9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_collapse("gta", found)
    assert len(caught) == (found < 0.01)


def test_a_run_notes_at_which_lengths_it_was_evaluated(run: Run) -> None:
    scores = evaluate(run, GENES.with_n_bins(7), draws=10)
    assert scores["spread"] > 0.01
    assert run.folder is not None
    again = open_run(run.folder, device="cpu")
    assert again.scored == {7: pytest.approx(scores["spearman"])}
    with pytest.warns(Caution, match=r"trained on windows of 7 bins, and reads 9 now; .* at 7: compare"):
        evaluate(again.with_n_bins(9), GENES.with_n_bins(9), draws=10)
    assert set(open_run(run.folder, device="cpu").scored) == {7, 9}
    (run.folder / "scored.json").write_text("[")
    assert open_run(run.folder, device="cpu").scored == {}


def test_an_even_number_of_bins_is_warned_of_when_a_run_reads_it(run: Run) -> None:
    with pytest.warns(Caution, match="was trained on windows of 7"), pytest.warns(Caution, match="edge between two"):
        evaluate(run.with_n_bins(8), GENES.with_n_bins(8), draws=10)


def test_a_collapsed_model_is_warned_of(run: Run) -> None:
    assert isinstance(run.predictor, TorchPredictor)
    run.predictor.model.target_scale *= 1e-4
    with pytest.warns(Caution, match=r"gta-no-llm hardly differ between genes: .* 0.0\d% of that of the targets"):
        scores = evaluate(run, GENES.with_n_bins(7), draws=10)
    assert scores["spread"] < 0.01


def test_a_collapsed_column_of_a_table_is_warned_of() -> None:
    targets = pl.DataFrame({"gene_id": IDS[:5], "value": [0.0, 1.0, 2.0, 5.0, 9.0]})
    flat = pl.DataFrame({"gene_id": IDS[:5], "flat": [1e-4, 2e-4, 0.0, 1e-4, 3e-4], "good": [0.0, 1.0, 2.0, 3.0, 4.0]})
    with pytest.warns(Caution, match="the predictions of flat hardly differ"):
        evaluate_table(flat, targets, draws=10)
