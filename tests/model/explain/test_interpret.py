import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from catalog import Split
from featurestore.cli.main import main
from loaders import GeneDataset
from model.cli.interpret import app
from model.explain.attention import (
    attention_of,
    bins_read,
    channel_scores,
    channels_by_head,
    prototypes_table,
    weighs_bins,
)
from model.explain.interpret import interpret
from model.networks.gta_config import PRESETS
from model.predictors.build import build_predictor
from model.predictors.checkpoint import OtherStore
from model.predictors.ensemble import Ensemble
from model.predictors.predictor import Predictor
from model.predictors.torch_predictor import TorchPredictor
from model.runs.folder import Run
from model.runs.workflow import load_genes
from model.testing import write_tiny_backbone
from model.training.config import TrainConfig

N_BINS = 9
K = 3


@pytest.fixture(scope="module")
def genes(genome: Path) -> GeneDataset:
    tables = {"genes": genome / "genes.tsv", "targets": genome / "targets.tsv"}
    return load_genes(str(genome / "store"), "demo", **tables, n_bins=N_BINS)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "llama", "llama", positions=160)


def _fitted(name: str, genes: GeneDataset, backbone: Path | None = None, **changes: Any) -> Predictor:
    options: dict[str, Any] = {}
    if name.startswith("gta"):
        options["config"] = replace(PRESETS[name.removeprefix("gta-")], top_k=K, **changes)
    if not name.startswith("ridge"):
        options["training"] = TrainConfig(epochs=1, batch_size=8)
    made = build_predictor(name, n_bins=N_BINS, channel_names=genes.channel_names, backbone=backbone, **options)
    made.fit(genes, genes)
    return made


def _gta(genes: GeneDataset, backbone: Path | None = None, *, preset: str = "no-llm", **changes: Any) -> TorchPredictor:
    made = _fitted(f"gta-{preset}", genes, backbone, **changes)
    assert isinstance(made, TorchPredictor)
    return made


def _split(genes: GeneDataset) -> Split:
    ids = genes.gene_ids
    return Split(train=tuple(ids[:30]), validation=tuple(ids[30:36]), test=tuple(ids[36:]))


# The numbers


@pytest.mark.parametrize("preset", ["no-llm", "best"])
def test_attention_sums_to_one_and_its_tables_agree(preset: str, genes: GeneDataset, backbone: Path) -> None:
    predictor = _gta(genes, backbone, preset=preset)
    wanted = [genes.gene_ids[place] for place in (7, 2)]
    attention = attention_of(predictor, genes, wanted)
    np.testing.assert_allclose(attention.weights.sum(axis=-1), 1, rtol=1e-5)
    table = attention.table()
    assert table.columns == ["gene_id", "bin", "distance_bp", "head", "prototype", "weight"]
    assert table["gene_id"].unique(maintain_order=True).to_list() == wanted
    assert table.filter(pl.col("bin") == 0)["distance_bp"].unique().to_list() == [-16 * (N_BINS // 2)]
    alone = attention_of(predictor, genes, wanted[1:]).table()
    assert table.filter(pl.col("gene_id") == wanted[1])["weight"].to_numpy() == pytest.approx(
        alone["weight"].to_numpy()
    )
    keys = ["gene_id", "bin", "prototype"]
    slow = table.group_by(keys).agg(pl.col("weight").mean()).sort(keys)
    found = attention.over_heads_table().sort(keys)
    assert found.select(keys).equals(slow.select(keys))
    np.testing.assert_allclose(found["weight"], slow["weight"], rtol=1e-5)
    best = attention.best_table()
    largest = table.group_by("gene_id", "bin", "head").agg(pl.col("weight").max(), pl.len())
    assert len(best) == len(largest) == 2 * N_BINS * 8
    assert best.join(table, on=["gene_id", "bin", "head", "prototype", "weight"]).height == len(best)
    assert best.join(largest, on=["gene_id", "bin", "head", "weight"]).height == len(best)


def test_the_highest_prototype_of_a_gene_has_the_largest_weight_of_its_window(genes: GeneDataset) -> None:
    attention = attention_of(_gta(genes), genes, genes.gene_ids[:5])
    table = attention.highest_table()
    assert table.columns == ["gene_id", "bin", "distance_bp", "prototype", "weight"]
    means = attention.over_heads_table()
    for gene in genes.gene_ids[:5]:
        own = means.filter(gene_id=gene)
        name = own.sort("weight")["prototype"][-1]
        assert table.filter(gene_id=gene)["prototype"].to_list() == [name] * N_BINS
        assert table.filter(gene_id=gene)["weight"].to_list() == own.filter(prototype=name)["weight"].to_list()


def test_in_the_other_way_z_is_the_mean_of_the_bins_where_a_prototype_is_the_highest(genes: GeneDataset) -> None:
    predictor = _gta(genes)
    found = channel_scores(predictor, genes)
    weights = attention_of(predictor, genes, genes.gene_ids).weights.reshape(len(genes) * N_BINS, 8, -1)
    x = genes[range(len(genes))].features.double().numpy().reshape(len(genes) * N_BINS, -1)
    for head in range(8):
        top = weights[:, head].argmax(axis=-1)
        share = [(top == prototype).mean() for prototype in range(100)]
        slow = {place: (x[top == place].mean(axis=0) - x.mean(axis=0)) / x.std(axis=0) for place in set(top.tolist())}
        for prototype in range(100):
            if prototype in slow:
                np.testing.assert_allclose(found.highest[head, prototype], slow[prototype], rtol=1e-3, atol=1e-5)
            else:
                assert np.isnan(found.highest[head, prototype]).all()
        chosen = int(found.of_highest[head])
        assert share[chosen] * (1 - share[chosen]) == pytest.approx(max(one * (1 - one) for one in share))
        rows = found.by_head("highest").filter(head=head)
        np.testing.assert_allclose(rows["z"], slow[chosen], rtol=1e-3, atol=1e-5)


def test_figure_10_has_every_prototype_of_every_head_and_agrees_with_figure_6(genes: GeneDataset) -> None:
    found = channel_scores(_gta(genes), genes)
    table = found.all_heads(max_channels=2)
    kept = table["channel"].unique(maintain_order=True).to_list()
    assert table.height == 8 * 100 * len(kept) == 8 * 100 * 2
    largest = np.abs(found.weighted).max(axis=(0, 1))
    assert {genes.channel_names[place] for place in np.argsort(largest)[-2:]} == set(kept)
    both = table.join(found.by_head(), on=["head", "prototype", "channel"])
    assert both.height == 16
    assert both["z"].to_list() == both["z_right"].to_list()


@pytest.mark.parametrize("features", ["standardised", "raw"])
def test_z_scores_are_weighted_means_in_standard_deviations(features: str, genes: GeneDataset) -> None:
    predictor = _gta(genes, features=features)
    weights = attention_of(predictor, genes, genes.gene_ids).weights.reshape(len(genes) * N_BINS, 8, -1).astype(float)
    x = genes[range(len(genes))].features.double().numpy().reshape(len(genes) * N_BINS, -1)
    names, found = predictor.model.prototype_names(), channels_by_head(predictor, genes)
    assert found.columns == ["head", "prototype", "channel", "z"]
    for head in range(8):
        chosen = int(weights[:, head].std(axis=0).argmax())
        a = weights[:, head, chosen]
        rows = found.filter(pl.col("head") == head)
        assert rows["prototype"].unique().to_list() == [names[chosen]]
        assert rows["channel"].to_list() == list(genes.channel_names)
        slow = [(np.average(column, weights=a) - column.mean()) / column.std() for column in x.T]
        np.testing.assert_allclose(rows["z"], slow, rtol=1e-3, atol=1e-5)
        by_correlation = [np.corrcoef(a, column)[0, 1] * a.std() / a.mean() for column in x.T]
        np.testing.assert_allclose(rows["z"], by_correlation, rtol=1e-3, atol=1e-5)


def test_the_frequency_of_selected_bins_is_counted_gene_by_gene(genes: GeneDataset) -> None:
    predictor = _gta(genes, readout="topk")
    model = predictor.model.eval()
    slow = np.zeros(N_BINS)
    for gene in range(len(genes)):
        features = genes[gene].features
        with torch.no_grad():
            tokens = model.position(model.alignment(model.standardise_features(features), model.prototypes()))
            logits = model.readout.logit(tokens)[0, :, 0]
        for bin_ in sorted(range(N_BINS), key=lambda bin_: -float(logits[bin_]))[:K]:
            slow[bin_] += 1 / len(genes)
    found = bins_read(predictor, genes)
    assert found.columns == ["part", "bin", "distance_bp", "value"]
    assert found["part"].unique().to_list() == ["selected"]
    np.testing.assert_allclose(found["value"], slow, rtol=1e-6)
    assert found["value"].sum() == pytest.approx(K)


@pytest.mark.parametrize(
    ("name", "changes", "parts"),
    [
        pytest.param("gta-best", {"readout": "pooled", "queries": 2}, ["average 0", "average 1"], id="averages"),
        pytest.param("gta-no-llm", {"readout": "summed", "n_kernels": 2}, ["sum 0", "sum 1"], id="sums"),
        pytest.param("cnn", {}, [f"average {query}" for query in range(4)], id="a network on the bins"),
    ],
)
def test_weights_of_bins_sum_to_one_a_part_and_do_not_depend_on_batches(
    name: str, changes: dict[str, Any], parts: Sequence[str], genes: GeneDataset, backbone: Path
) -> None:
    predictor = _fitted(name, genes, backbone, **changes)
    assert isinstance(predictor, TorchPredictor)
    found = bins_read(predictor, genes)
    assert found["part"].unique(maintain_order=True).to_list() == parts
    np.testing.assert_allclose(found.group_by("part").agg(pl.col("value").sum())["value"], 1, rtol=1e-5)
    predictor.training = replace(predictor.training, batch_size=5)
    np.testing.assert_allclose(bins_read(predictor, genes)["value"], found["value"], rtol=1e-4)


def test_a_readout_of_the_centre_alone_weighs_no_bins(genes: GeneDataset) -> None:
    predictor = _fitted("mlp", genes)
    assert isinstance(predictor, TorchPredictor)
    assert not weighs_bins(predictor)
    with pytest.raises(ValueError, match=r"mlp does not choose.*topk, pooled or summed"):
        bins_read(predictor, genes)


def test_prototypes_are_listed_with_what_they_are_mixed_from(genes: GeneDataset, backbone: Path) -> None:
    table = prototypes_table(_gta(genes, backbone, preset="best"))
    assert table["prototype"][[0, 50, 99]].to_list() == ["vocabulary 0", "class name 50", "class name 99"]
    assert table["tokens"].list.len().min() > 0
    assert table["channels"].list.len().to_list() == [0] * 50 + [3] * 50
    assert table["channels"][50][0]["text"] in genes.channel_names


# The verb


def _train(genome: Path, out: Path, *options: str) -> Path:
    tables = [f"--{table}={genome / table}.tsv" for table in ("genes", "targets")]
    held_out = ["--test-contigs", "chr2", "--n-bins", "27", "--seed", "3"]
    assert main(["train", str(genome / "store"), *tables, *held_out, "--out", str(out), *options]) == 0
    return out


def _interpret(run: Path, genome: Path, out: Path, *options: str, store: str = "store") -> None:
    tables = [f"--{table}={genome / table}.tsv" for table in ("genes", "targets")]
    arguments = [str(run), "--store", str(genome / store), *tables, "--out", str(out), "--draws", "20", *options]
    app(arguments, standalone_mode=False)


@pytest.fixture(scope="module")
def gta_run(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _train(genome, tmp_path_factory.mktemp("run") / "run", "--model", "gta-paper", "--epochs", "1")


@pytest.mark.slow
def test_the_verb_writes_every_figure_with_its_numbers_and_prints_them(
    gta_run: Path, genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    _interpret(gta_run, genome, tmp_path / "out")
    printed = capsys.readouterr().out.split()
    assert sorted(printed) == sorted(str(path) for path in (tmp_path / "out").iterdir())
    tables = {path.stem: pl.read_parquet(path) for path in (tmp_path / "out").glob("*.parquet")}
    assert len(tables) == 11
    captions = (tmp_path / "out" / "figures.md").read_text()
    for name in tables:
        assert f"- `{name}`: " in captions, "each file is explained"
        for ending in (".png", ".svg"):
            genes = "_*" if name == "figure7_attention_by_head" else ""
            pictures = list((tmp_path / "out").glob(f"{name}{genes}{ending}"))
            assert len(pictures) == {"figure7_attention_by_head": 4, "prototypes": 0}.get(name, 1)
            assert all(path.stat().st_size > 5000 for path in pictures)
    predicted = tables["figure5_predicted_against_observed"]
    assert set(predicted["subset"]) == {"test"}
    assert tables["figure9_bins_read"]["value"].sum() == pytest.approx(25)
    error = (predicted["prediction"] - predicted["observed"]).abs()
    ranked = [predicted["gene_id"][place] for place in error.arg_sort().to_list()]
    shown = tables["figure7_attention"]["gene_id"].unique(maintain_order=True).to_list()
    assert shown == ranked[:2] + ranked[-2:], "the best and the worst"
    shown = tables["figure8_highest_prototype"]["gene_id"].unique(maintain_order=True).to_list()
    assert shown == [ranked[0], ranked[-1]]


def test_a_model_without_alignment_says_which_figures_it_has_not(
    genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _train(genome, tmp_path / "run", "--model", "ridge-centre")
    capsys.readouterr()
    _interpret(run, genome, tmp_path / "out", "--json", "--n-bins", "9")
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["files"]) == 7
    assert "only GTA has" in printed["left_out"]["figures 6, 7, 8 and 10"]
    assert "ridge-centre does not choose among bins" in printed["left_out"]["figure 9"]
    by_distance = pl.read_parquet(tmp_path / "out" / "contribution_by_distance.parquet")
    assert by_distance["distance_bp"].max() == 4 * 16
    assert by_distance["mean_absolute_change"].max() == 0, "it reads the centre bin alone"


@pytest.mark.parametrize("name", ["prompt-only", "ensemble"])
def test_other_models_without_alignment_get_what_applies(
    name: str, genes: GeneDataset, backbone: Path, tmp_path: Path
) -> None:
    predictor = _fitted("gta-prompt-only", genes, backbone) if name == "prompt-only" else _ensemble(genes)
    written = interpret(Run(predictor, "demo", _split(genes)), genes, tmp_path, draws=20)
    names = {"figure5_predicted_against_observed", "contribution_by_distance", "figures"}
    assert {path.stem for path in written.files} == names
    reason = "reads no bins" if name == "prompt-only" else "train one model, and interpret its run"
    assert reason in written.left_out["figures 6, 7, 8 and 10"]
    assert set(written.left_out) == {"figures 6, 7, 8 and 10", "figure 9"}


def _ensemble(genes: GeneDataset) -> Ensemble:
    return Ensemble([_gta(genes), _fitted("cnn", genes)])


def test_without_its_training_genes_a_ridge_is_not_asked_by_distance(genes: GeneDataset, tmp_path: Path) -> None:
    split = _split(genes)
    run, held_out = Run(_fitted("ridge-centre", genes), "demo", split), genes.subset(split.test)
    written = interpret(run, held_out, tmp_path, draws=20)
    assert "name its training genes in the tables" in written.left_out["contribution by distance"]


# What is refused


@pytest.mark.slow
def test_a_checkpoint_of_another_store_is_refused_unless_forced(gta_run: Path, genome: Path, tmp_path: Path) -> None:
    with pytest.raises(OtherStore, match="allow_other_store"):
        _interpret(gta_run, genome, tmp_path, store="other")
    assert not list(tmp_path.iterdir())
    forced = ["--allow-other-store", "--subset", "validation"]
    _interpret(gta_run, genome, tmp_path, *forced, "--genes-shown", "G3, ENSG1", store="other")
    shown = pl.read_parquet(tmp_path / "figure8_best_prototypes.parquet")["gene_id"].unique(maintain_order=True)
    assert shown.to_list() == ["ENSG3", "ENSG1"], "by symbol or id, in the order asked"
    assert (tmp_path / "figure7_attention_by_head_ENSG3.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"genes_shown": ["XYZ"]}, "no gene with .* is called 'XYZ'.*such as G0", id="who"),
        pytest.param({"genes_shown": [f"G{n}" for n in range(9)]}, "1 to 8 genes.*got 9: name fewer", id="too many"),
        pytest.param({"subset": "tests"}, "train, validation, test or all; got 'tests'", id="no such subset"),
    ],
)
def test_what_cannot_be_shown_is_refused(options: Any, message: str, genes: GeneDataset, tmp_path: Path) -> None:
    run = Run(_fitted("ridge-centre", genes), "demo", _split(genes))
    with pytest.raises(ValueError, match=message):
        interpret(run, genes, tmp_path, **options)


def test_too_few_genes_and_several_tasks_are_refused(genes: GeneDataset, tmp_path: Path) -> None:
    split = replace(_split(genes), test=tuple(genes.gene_ids[-2:]))
    ridge = _fitted("ridge-centre", genes)
    with pytest.raises(ValueError, match=r"2 test genes.*another `subset=`"):
        interpret(Run(ridge, "demo", split), genes, tmp_path)
    with pytest.raises(ValueError, match=r"predicts GM12878, K562.*trained on one of them"):
        interpret(Run(ridge, "demo", split, tasks=("GM12878", "K562")), genes, tmp_path)
