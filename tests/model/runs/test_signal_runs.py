"""Prism by the commands: trained, scored, swept and explained from a store, as GTA is."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from prism_stores import PrismFiles, write_prism_files

from featurestore.cli.main import main
from loaders import WindowSettings
from model.networks.prism.features import SignalFeatures
from model.runs.signal_inputs import SignalInputs
from model.runs.signals import genes_with_signals, load_signal_genes, signals_of
from model.runs.workflow import open_run

QUICK = ["--epochs", "2", "--batch-size", "8", "--set", "width=16", "--set", "layers=1", "--set", "heads=2"]
SPLIT = ["--test-contigs", "chr3", "--validation-contigs", "chr2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> PrismFiles:
    return write_prism_files(tmp_path_factory.mktemp("prism"))


@pytest.fixture(scope="module")
def run(files: PrismFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["--model", "prism", *QUICK, "--epochs", "6", "--controls"]
    assert main(["train", *files.tables(), *files.signals(), *SPLIT, *words, f"--out={out}"]) == 0
    return out


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    return " ".join(capsys.readouterr().err.split())


def evaluated(files: PrismFiles, capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["evaluate", *map(str, words), *files.tables(), "--draws", "50", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_run_is_scored_with_both_predictions_its_controls_and_ridge(
    files: PrismFiles, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = evaluated(files, capsys, run)
    assert scores["model"] == "prism-best"
    assert scores["n_test"] == 18
    assert {"spearman", "pearson", "mse", "mae"} <= set(scores)
    assert [row["model"] for row in scores["beside"]] == [
        "prism-best (do)",
        "mean",
        "prism-ridge",
        "concatenated",
        "covariates-only",
        "only-active",
        "only-background",
        "only-coarse",
        "sequence-only",
        "signals-only",
    ]
    by_name = {row["model"]: row for row in scores["beside"]}
    # What expression was made of: the ridge reads both parts of it.
    assert by_name["prism-ridge"]["spearman"] > 0.8


def test_seeds_give_a_mean_and_spread_of_every_score(
    files: PrismFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "prism", "--preset", "best", *QUICK, "--seeds", "0,1", "--no-baselines"]
    assert main(["train", *files.tables(), *files.signals(), *SPLIT, *words, f"--out={tmp_path / 'run'}"]) == 0
    seeds = evaluated(files, capsys, tmp_path / "run")["seeds"]
    assert seeds["n"] == 2
    assert set(seeds["statistics"]) == {"mse", "mae", "pearson"}
    assert all(score["sd"] > 0 for score in seeds["statistics"].values())


def test_the_same_command_gives_a_finished_run_and_another_one_is_refused(
    files: PrismFiles, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *files.tables(), *files.signals(), *SPLIT, "--model", "prism", *QUICK, "--epochs", "6"]
    before = (run / "model.safetensors").stat().st_mtime_ns
    assert main([*words, f"--out={run}"]) == 0
    assert (run / "model.safetensors").stat().st_mtime_ns == before
    changed = tmp_path / "covariates.tsv"
    table = pl.read_csv(files.covariates, separator="\t")
    table.with_columns(pl.col("gc") + 1).write_csv(changed, separator="\t")
    assert "signals:" in refused(capsys, *words, f"--covariates={changed}", f"--out={run}")


def test_covariates_are_found_where_they_were_or_where_they_are_said_to_be(
    files: PrismFiles, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(run, tmp_path / "run")
    document = json.loads((moved / "run.json").read_text())
    document["signals"]["covariates"] = str(tmp_path / "gone.tsv")
    del document["digest"]
    (moved / "run.json").write_text(json.dumps(document))
    words = ["evaluate", moved, *files.tables(), "--draws", 50, "--no-baselines"]
    assert re.search(r"covariates length, gc.*gone.tsv is not there.*--covariates", refused(capsys, *words))
    assert main([*map(str, words), f"--covariates={files.covariates}"]) == 0


def test_a_store_without_the_signals_of_a_run_is_refused_by_name(
    files: PrismFiles, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poor = shutil.copytree(files.store, tmp_path / "poor.store")
    for part in ("features", "commits", "declared"):
        for place in (poor / part).glob("wide*"):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
    words = [*files.tables()[:2], f"--store={poor}", "--draws", "50"]
    assert "wide" in refused(capsys, "evaluate", run, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "prism"], "name their feature sets, `--signals`"),
        (["--model", "gta", "--signals", "marks"], "leave `--signals` out"),
        (["--context", "512"], "`--context` go with measured signals"),
        (["--model", "prism", "--signals", "marks", "--sequence", "bases", "--n-bins", "9"], "say `--context`"),
        (["--model", "prism", "--signals", "marks", "--anchors", "mane"], "`--anchors` are for windows of bins"),
        (["--model", "prism", "--preset", "paper", "--signals", "marks", "--sequence", "bases"], "bimamba_ref"),
        (["--signals", "marks", "--sequence", "bases", "--channels", "H3K4me3"], "H3K4me3"),
        (["--signals", "marks", "--sequence", "bases", "--set", "gate=H3K4me3"], "gate names H3K4me3"),
        (["--signals", "marks", "--sequence", "bases", "--context", "32"], "at least 64 bases"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step_with_the_mend(
    words: list[str], said: str, files: PrismFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "train", *files.tables(), *SPLIT, *words, f"--out={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_a_sweep_over_contexts_reads_one_store(
    files: PrismFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--signals", "marks", "--sequence", "bases", "--context", "64,128", *QUICK, "--draws", "50"]
    assert main(["sweep", *files.tables(), *SPLIT, *words, f"--out={tmp_path}"]) == 0
    table = (tmp_path / "tables.md").read_text()
    assert "by context length (bp)" in table
    scores = pl.read_csv(tmp_path / "scores.csv")
    assert scores.select("model", "n_bins").rows() == [
        (model, length) for length in (64, 128) for model in ("prism-best", "prism-ridge")
    ]
    assert scores["mae"].null_count() == 0


def test_a_run_reads_another_context_without_training_again(
    files: PrismFiles, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(files, capsys, run, "--context", 64, "--no-baselines")["n_bins"] == 64


def test_bins_are_repeated_for_their_bases_where_features_are_moved(files: PrismFiles) -> None:
    inputs = SignalInputs(signals=("marks", "wide"), sequence="bases", covariates=files.covariates, context=100)
    genes = load_signal_genes(str(files.store), inputs, genes=files.genes, targets=files.targets)
    source = signals_of(genes)
    assert source is not None
    batch = source.signals[[3, 0]]
    features: Any = genes[[3, 0]].features
    for moved in (features.to("cpu"), features[:2]):
        assert isinstance(moved, SignalFeatures)
        for part, wanted in zip((moved.sequence, moved.signals, moved.covariates), batch, strict=False):
            assert torch.equal(part, wanted)
    assert torch.equal(features[:1].signals, batch.signals[:1])
    fewer = genes.subset(genes.gene_ids[5:9])
    assert signals_of(fewer).signals.gene_ids == genes.gene_ids[5:9]
    assert genes_with_signals(source.signals).targets.equal(genes.targets)


def test_what_a_run_records_opens_the_same_genes(files: PrismFiles, run: Path) -> None:
    opened = open_run(run, device="cpu")
    assert opened.signals is not None
    assert opened.signals.sets == ("marks", "wide")
    assert opened.signals.signals == ("active", "background", "coarse")
    assert opened.signals.covariate_columns == ("length", "gc")
    assert opened.predictor.n_bins == 128
    assert replace(WindowSettings(), orient="forward").orient == opened.windows.orient
    assert np.isfinite(opened.scored.get(128, np.nan))


def test_a_run_is_explained_and_predicts_by_the_same_options(
    files: PrismFiles, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["interpret", str(run), *files.tables(), f"--out={tmp_path / 'figures'}"]) == 0
    assert str(tmp_path / "figures" / "occlusion.png") in capsys.readouterr().out.splitlines()
    assert main(["predict", str(run), *files.tables(), f"--out={tmp_path / 'predicted.parquet'}"]) == 0
    predicted = pl.read_parquet(tmp_path / "predicted.parquet")
    assert predicted.filter(subset="test")["prediction"].is_finite().all()
    both = pl.read_parquet(tmp_path / "figures" / "observational_against_do.parquet")
    joined = predicted.join(both, on="gene_id")
    assert len(joined) == 18
    np.testing.assert_allclose(joined["prediction do"], joined["do"], rtol=1e-5)
