"""Runs of an earlier version, saved under the names that options had then."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from format1 import unpack_format1

from featurestore.cli.main import main
from model.networks.gta_config import GtaConfig
from model.runs.workflow import load_genes, open_run, predict
from model.training.config import TrainConfig

RUNS = ("cnn", "ridge", "paper", "best", "mlp")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack a store of format 1 with the runs that were trained on it."""
    return unpack_format1(tmp_path_factory.mktemp("format1"))


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_an_earlier_version_predicts_as_it_did(place: Path, name: str) -> None:
    run = open_run(place / "runs" / name, device="cpu")
    dataset = load_genes(
        str(place / "genome.store"),
        run.feature_set,
        genes=place / "genes.tsv",
        targets=place / "targets.tsv",
        annotations=place / "annotations.tsv",
        n_bins=run.predictor.n_bins,
    )
    expected = np.load(place / "expected.npz")[f"pred_{name}"]
    np.testing.assert_allclose(predict(run, dataset)["prediction"].to_numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_finished_run_of_an_earlier_version_is_known_again(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "runs" / "mlp", tmp_path / "mlp")
    tables = [f"--{name}={place / name}.tsv" for name in ("genes", "targets", "annotations")]
    old = ["--model=mlp", "--n-bins=11", "--epochs=1", "--set", "width=4", "--no-baselines", "--device=cpu"]
    before = json.loads((tmp_path / "mlp" / "run.json").read_text())
    assert {"rates", "warm_up", "clip", "patience"} < set(before["asked"])
    held_out = place / "split.json"
    held_out.write_text(json.dumps(before["split"]))
    command = ["train", str(place / "genome.store"), *tables, *old, f"--split={held_out}", f"--out={tmp_path / 'mlp'}"]
    assert main(command) == 0
    assert "holds this run, finished" in capsys.readouterr().out


def test_configurations_are_read_under_the_names_that_they_had() -> None:
    gta = {"tokens_beside": True, "sums": 3, "precision": "bfloat16", "tasks": ["a", "b"]}
    assert GtaConfig.from_json(gta) == GtaConfig(skip_connection=True, n_kernels=3, precision="bf16", tasks=("a", "b"))
    training = {"rates": {"alignment": 2.0}, "warm_up": 0.1, "clip": 0.5, "patience": 3}
    assert TrainConfig.from_json(training) == TrainConfig(
        learning_rate_multipliers={"alignment": 2.0},
        warmup_fraction=0.1,
        gradient_clip_norm=0.5,
        early_stopping_patience=3,
    )


def test_a_setting_may_be_named_as_it_was(place: Path, tmp_path: Path) -> None:
    tables = [f"--{name}={place / name}.tsv" for name in ("genes", "targets")]
    settings = ["--set", "sums=2", "--set", "warm_up=0.5", "--set", "hidden=4", "--set", "free_width=8"]
    command = ["train", str(place / "genome.store"), *tables, "--model=gta-no-llm", "--n-bins=3", "--epochs=1"]
    assert main([*command, *settings, "--no-baselines", "--out", str(tmp_path / "run")]) == 0
    asked = json.loads((tmp_path / "run" / "run.json").read_text())["asked"]
    assert (asked["n_kernels"], asked["warmup_fraction"]) == (2, 0.5)
