from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from catalog import Grid
from catalog.genes.table import GENE_SCHEMA
from featurestore.testing import built_store
from loaders import GeneDataset, gene_dataset
from model.evaluation.metrics import spearman
from model.explain.occlusion import (
    bin_distances,
    contribution_by_distance,
    knock_out,
    mean_bin,
    own_fill,
    predict_occluded,
    spread_distances,
)
from model.networks.gta_config import PRESETS
from model.predictors.build import build_predictor
from model.predictors.ensemble import Ensemble
from model.predictors.predictor import Predictor
from model.predictors.torch_predictor import TorchPredictor
from model.testing import write_tiny_backbone
from model.testing.genes import OF_BINS
from model.training.config import TrainConfig

BIN = 16
N_BINS = 7
CENTRE = N_BINS // 2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "store"
    built_store(folder, {"chr1": 900, "chr2": 300}, Grid(bin_size=BIN, offsets=(0, 8)))
    return folder


def _dataset(store: Path, **settings: Any) -> GeneDataset:
    starts = [*(("chr1", tss) for tss in range(5, 900, 37)), ("chr2", 9), ("chr2", 290)]
    rows = [(f"ENSG{n}", f"G{n}", contig, "+-"[n % 2], tss, None) for n, (contig, tss) in enumerate(starts)]
    genes = pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")
    values = np.random.default_rng(0).exponential(size=len(genes))
    targets = genes.select("gene_id", value=pl.Series(values))
    return gene_dataset(store, "demo", genes, targets=targets, **{"n_bins": N_BINS} | settings)


@pytest.fixture(scope="module")
def genes(store: Path) -> GeneDataset:
    return _dataset(store)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "llama", "llama", positions=160)


def _fitted(name: str, genes: GeneDataset, backbone: Path | None = None) -> Predictor:
    options: dict[str, Any] = {}
    if name not in ("mean", "ridge-centre", "ridge-exponential"):
        # Fewer genes a batch than there are, so that a mask must find its gene.
        options["training"] = TrainConfig(epochs=1, batch_size=8)
    if name.startswith("gta"):
        options["config"] = replace(PRESETS[name.removeprefix("gta-")], top_k=3)
    made = build_predictor(name, n_bins=N_BINS, channel_names=genes.channel_names, backbone=backbone, **options)
    made.fit(genes, genes)
    return made


@pytest.fixture(scope="module")
def cnn(genes: GeneDataset) -> TorchPredictor:
    made = _fitted("cnn", genes)
    assert isinstance(made, TorchPredictor)
    return made


# Hiding bins


@pytest.mark.parametrize("name", OF_BINS)
def test_hiding_nothing_changes_nothing_and_hiding_all_leaves_the_prompt(
    name: str, genes: GeneDataset, backbone: Path
) -> None:
    predictor, fill = _fitted(name, genes, backbone), mean_bin(genes)
    shape = (len(genes), N_BINS)
    nothing = predict_occluded(predictor, genes, np.zeros(shape, dtype=bool), fill=fill)
    np.testing.assert_array_equal(nothing, predictor.predict(genes))
    alike = genes.subset(genes.gene_ids)
    alike.prompts = ["# Symbol: ABC1"] * len(alike)
    everything = predict_occluded(predictor, alike, np.ones(shape, dtype=bool), fill=fill)
    assert np.ptp(everything) < 1e-5


def test_an_ensemble_is_asked_as_any_other(genes: GeneDataset, cnn: TorchPredictor) -> None:
    both = Ensemble([cnn, _fitted("mlp", genes)])
    hidden = _random_mask(genes)
    slow = np.mean([predict_occluded(member, genes, hidden) for member in both.members], axis=0)
    np.testing.assert_allclose(predict_occluded(both, genes, hidden), slow, rtol=1e-6)


def test_a_hidden_bin_holds_the_fill_whatever_it_held(genes: GeneDataset, cnn: TorchPredictor) -> None:
    hidden, fill = _random_mask(genes), np.array([0.5, -2.0, 3.0])
    features = genes[range(len(genes))].features.clone()
    for gene in range(len(genes)):
        for bin_ in range(N_BINS):
            if hidden[gene, bin_]:
                features[gene, bin_] = torch.from_numpy(fill)
    with torch.no_grad():
        slow = cnn.model.to_log1p(cnn.model(features, genes.prompts)).numpy()
    np.testing.assert_allclose(predict_occluded(cnn, genes, hidden, fill=fill), slow, rtol=1e-5, atol=1e-6)


def test_a_ridge_on_the_centre_bin_is_changed_by_that_bin_alone(genes: GeneDataset) -> None:
    predictor, fill = _fitted("ridge-centre", genes), mean_bin(genes)
    whole = predictor.predict(genes)
    for bin_ in range(N_BINS):
        hidden = np.zeros((len(genes), N_BINS), dtype=bool)
        hidden[:, bin_] = True
        changed = predict_occluded(predictor, genes, hidden, fill=fill) != whole
        assert changed.any() == (bin_ == CENTRE)


def test_what_is_put_in_place_is_the_mean_bin_of_training(genes: GeneDataset, cnn: TorchPredictor) -> None:
    slow = genes[range(len(genes))].features.double().numpy().reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(mean_bin(genes), slow)
    kept = own_fill(cnn)
    assert kept is not None
    np.testing.assert_allclose(kept, slow, atol=1e-6)
    np.testing.assert_array_equal(own_fill(Ensemble([cnn, cnn])), kept)
    assert own_fill(_fitted("ridge-centre", genes)) is None


def _random_mask(genes: GeneDataset) -> Any:
    return np.random.default_rng(1).random((len(genes), genes.n_bins)) < 0.5


# By distance


@pytest.mark.parametrize("name", ["ridge-exponential", "cnn"])
def test_the_score_by_distance_is_that_of_windows_masked_one_by_one(name: str, genes: GeneDataset) -> None:
    predictor, fill = _fitted(name, genes), mean_bin(genes)
    whole, observed = predictor.predict(genes), np.log1p(genes.targets.numpy())
    frame = contribution_by_distance(predictor, genes, [0, BIN, 3 * BIN], fill=fill, draws=50)
    assert frame["distance_bp"].to_list() == [0, BIN, 3 * BIN]
    for row, reach in zip(frame.iter_rows(named=True), (0, 1, 3), strict=True):
        hidden = np.ones((len(genes), N_BINS), dtype=bool)
        hidden[:, CENTRE - reach : CENTRE + reach + 1] = False
        prediction = predict_occluded(predictor, genes, hidden, fill=fill)
        assert row["spearman"] == pytest.approx(spearman(prediction, observed))
        assert row["mean_absolute_change"] == pytest.approx(np.abs(prediction - whole).mean())
        assert row["two_sd"] > 0
    assert frame["mean_absolute_change"][-1] == 0, "the whole window"


def test_only_genes_with_a_target_are_scored(genes: GeneDataset, cnn: TorchPredictor) -> None:
    some = genes.subset(genes.gene_ids)
    some.targets[5:] = float("nan")
    (row,) = contribution_by_distance(cnn, some, [3 * BIN], draws=50).iter_rows(named=True)
    assert row["spearman"] == pytest.approx(spearman(cnn.predict(genes)[:5], np.log1p(genes.targets[:5].numpy())))
    some.targets[2:] = float("nan")
    with pytest.raises(ValueError, match=r"2 genes have a target.*give more genes"):
        contribution_by_distance(cnn, some, [0])


def test_predictions_that_are_all_equal_have_no_score(genes: GeneDataset) -> None:
    frame = contribution_by_distance(_fitted("mean", genes), genes, [0], fill=mean_bin(genes), draws=50)
    assert frame["spearman"].to_list() == frame["two_sd"].to_list() == [None]


@given(st.integers(1, 400), st.integers(1, 5000), st.integers(2, 20))
def test_distances_go_from_the_tss_to_the_end_of_the_window(n_bins: int, bin_size: int, count: int) -> None:
    distances = spread_distances(n_bins, bin_size, count)
    assert distances[0] == 0
    assert distances[-1] == np.abs(bin_distances(n_bins, bin_size)).max()
    assert distances == sorted(set(distances))
    assert all(distance % bin_size == 0 for distance in distances)
    assert len(distances) <= count


# Elements


@pytest.mark.parametrize("orient", ["forward", "gene"])
@pytest.mark.parametrize("n_bins", [6, 7])
def test_knocking_elements_out_is_a_loop_over_genes_and_elements(store: Path, orient: str, n_bins: int) -> None:
    genes = _dataset(store, orient=orient)
    predictor = _fitted("cnn", genes)
    genes.n_bins = predictor.n_bins = n_bins
    elements = pl.DataFrame(
        [("1", 100, 101), ("chr1", 130, 170), ("chr1", 160, 176), ("chr2", 0, 20), ("chr1", 0, 900)],
        schema=["contig", "start", "end"],
        orient="row",
    )
    reader, expected = genes.windows.reader, []
    for place, gene in enumerate(genes.genes.iter_rows(named=True)):
        starts = reader.window(gene["contig"], gene["tss"], n_bins=n_bins).starts.tolist()
        if orient == "gene" and gene["strand"] == "-":
            starts.reverse()
        one = genes.subset([gene["gene_id"]])
        for number, (contig, start, end) in enumerate(elements.iter_rows()):
            touched = [
                contig in (gene["contig"], gene["contig"].removeprefix("chr"))
                and any(start <= base < end for base in range(first, first + BIN))
                for first in starts
            ]
            if any(touched):
                change = predict_occluded(predictor, one, [touched])[0] - predictor.predict(genes)[place]
                expected.append((gene["gene_id"], number, (start + end) // 2 - gene["tss"], change))
    found = knock_out(predictor, genes, elements)
    assert found.columns == ["gene_id", "element", "distance_bp", "change"]
    assert [row[:3] for row in found.iter_rows()] == [row[:3] for row in expected]
    np.testing.assert_allclose(found["change"], [row[3] for row in expected], atol=1e-5)
    assert found["change"].abs().max() > 1e-3


def test_elements_out_of_every_window_give_an_empty_table(genes: GeneDataset, cnn: TorchPredictor) -> None:
    far = pl.DataFrame({"contig": ["chr2"], "start": [140], "end": [150]})
    assert knock_out(cnn, genes, far).shape == (0, 4)
    assert knock_out(cnn, genes, far.clear()).shape == (0, 4)


# What is refused


@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param(np.zeros((3, N_BINS), dtype=bool), id="too few genes"),
        pytest.param(np.zeros((27, N_BINS)), id="numbers"),
    ],
)
def test_a_mask_of_another_shape_is_refused(hidden: Any, genes: GeneDataset, cnn: TorchPredictor) -> None:
    with pytest.raises(ValueError, match=r"bool of shape \(27, 7\), got"):
        predict_occluded(cnn, genes, hidden)


def test_a_fill_is_asked_for_where_the_predictor_has_none(genes: GeneDataset, cnn: TorchPredictor) -> None:
    nothing = np.zeros((len(genes), N_BINS), dtype=bool)
    with pytest.raises(ValueError, match=r"ridge-centre keeps no mean bin.*give `fill=mean_bin\(train\)"):
        predict_occluded(_fitted("ridge-centre", genes), genes, nothing)
    with pytest.raises(ValueError, match=r"one number a channel, shape \(3,\); got shape \(2,\)"):
        predict_occluded(cnn, genes, nothing, fill=[0.0, 0.0])


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        pytest.param({"contig": ["chr1"], "start": [1]}, r"columns contig, start and end \(bp\); end is", id="no end"),
        pytest.param(
            {"contig": ["chr1"] * 2, "start": [1, 7], "end": [2, 7]}, r"row 1 runs from 7 to 7.*half-open", id="empty"
        ),
        pytest.param({"contig": ["chrZ"], "start": [1], "end": [2]}, "chrZ", id="unknown contig"),
    ],
)
def test_elements_that_are_none_are_refused(
    elements: dict[str, Any], message: str, genes: GeneDataset, cnn: TorchPredictor
) -> None:
    with pytest.raises((ValueError, LookupError), match=message):
        knock_out(cnn, genes, pl.DataFrame(elements))


def test_a_model_of_several_tasks_is_pointed_to_the_prediction_itself(genes: GeneDataset) -> None:
    config = replace(PRESETS["no-llm"], tasks=("a", "b"))
    made = build_predictor("gta-no-llm", n_bins=N_BINS, channel_names=genes.channel_names, config=config)
    assert isinstance(made, TorchPredictor)
    made.trained_on = _fitted("mean", genes).trained_on
    with pytest.raises(ValueError, match=r"2 tasks.*call predict_occluded"):
        knock_out(made, genes, pl.DataFrame({"contig": ["chr1"], "start": [1], "end": [2]}))
    assert predict_occluded(made, genes, _random_mask(genes)).shape == (len(genes), 2)
