import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurestore.cli.main import main
from model.evaluation.metrics import spearman
from model.language.backbone import Backbone
from model.language.prefixes.cache import PrefixCache
from model.networks.bin_models import BIN_MODELS
from model.networks.gta_config import PRESETS, GtaConfig
from model.predictors.build import build_predictor, default_training, reads_language
from model.predictors.checkpoint import CheckpointError
from model.predictors.predictor import Predictor
from model.predictors.saved import load_predictor
from model.predictors.torch_predictor import TorchPredictor
from model.testing import TinyGenes, tiny_genes, write_tiny_backbone
from model.testing.genes import OF_BINS
from model.training.config import TrainConfig
from model.training.targets import masked_mse, mean_spearman, require_targets

TRAIN, VALIDATION, TEST = tiny_genes(24), tiny_genes(12, seed=1), tiny_genes(9, seed=2)
NAMES = TRAIN.channel_names
QUICK = TrainConfig(epochs=1, batch_size=8)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "llama", "llama")


def _fitted(name: str, backbone: Path, **changes: Any) -> Predictor:
    options: dict[str, Any] = {"training": QUICK}
    if name.startswith("gta"):
        options["config"] = replace(PRESETS[name.removeprefix("gta-")], top_k=3, **changes)
    predictor = build_predictor(name, n_bins=7, channel_names=NAMES, backbone=backbone, **options)
    predictor.fit(TRAIN, VALIDATION)
    return predictor


def _of_length(n_bins: int) -> TinyGenes:
    return tiny_genes(9, n_bins=n_bins, seed=2)


@pytest.mark.parametrize("name", OF_BINS)
def test_a_predictor_is_asked_about_other_windows_without_training_again(
    name: str, backbone: Path, tmp_path: Path
) -> None:
    predictor = _fitted(name, backbone)
    expected = {}
    for n_bins in (5, 12):
        predictor.n_bins = n_bins
        expected[n_bins] = predictor.predict(_of_length(n_bins))
        assert np.isfinite(expected[n_bins]).all()
        with pytest.raises(ValueError, match=rf"set dataset.n_bins = {n_bins}"):
            predictor.predict(TEST)
    # Saved while it is set to another length, it still comes back as it was trained.
    predictor.save(tmp_path / "run")
    again = load_predictor(tmp_path / "run", dataset=TEST)
    assert again.n_bins == 7
    for n_bins, prediction in expected.items():
        again.n_bins = n_bins
        np.testing.assert_allclose(again.predict(_of_length(n_bins)), prediction, rtol=1e-4, atol=1e-5)


def test_a_predictor_trained_at_another_length_than_it_was_made_for_comes_back(backbone: Path, tmp_path: Path) -> None:
    predictor = build_predictor("gta-no-llm", n_bins=11, channel_names=NAMES, training=QUICK)
    predictor.n_bins = 7
    predictor.fit(TRAIN, VALIDATION)
    predictor.save(tmp_path / "run")
    again = load_predictor(tmp_path / "run")
    assert again.n_bins == 7
    np.testing.assert_array_equal(again.predict(TEST), predictor.predict(TEST))


def test_a_checkpoint_of_before_the_newer_options_loads(backbone: Path, tmp_path: Path) -> None:
    predictor = _fitted("gta-best", backbone)
    predictor.save(tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.json"
    document = json.loads(path.read_text())
    del document["digest"], document["settings"]["built_for"]
    for option in ("data_attention", "lora_rank", "lora_alpha", "sequence", "distance_position", "tasks", "task_line"):
        del document["settings"]["config"][option]
    path.write_text(json.dumps(document))
    np.testing.assert_array_equal(load_predictor(tmp_path / "run").predict(TEST), predictor.predict(TEST))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"lora_rank": 2}, id="adapters"),
        pytest.param({"data_attention": "bidirectional"}, id="bidirectional"),
        pytest.param({"distance_position": "learned"}, id="learned positions"),
        pytest.param({"distance_position": "sinusoidal"}, id="sinusoidal positions"),
    ],
)
def test_every_option_survives_the_disk(changes: dict[str, Any], backbone: Path, tmp_path: Path) -> None:
    predictor = _fitted("gta-best", backbone, **changes)
    predictor.save(tmp_path / "run")
    np.testing.assert_array_equal(load_predictor(tmp_path / "run").predict(TEST), predictor.predict(TEST))


def test_bidirectional_bins_see_what_lies_to_their_right(backbone: Path) -> None:
    changed = TEST[range(9)].features.clone()
    changed[:, -1] += 5
    seen = {}
    for data_attention in ("causal", "bidirectional"):
        config = replace(PRESETS["best"], data_attention=data_attention)
        made = build_predictor("gta-best", n_bins=7, channel_names=NAMES, backbone=backbone, config=config)
        assert isinstance(made, TorchPredictor)
        model = made.model.eval()
        hidden: list[torch.Tensor] = []
        model.readout.register_forward_pre_hook(lambda _, given, kept=hidden: kept.append(given[0]))
        for features in (TEST[range(9)].features, changed):
            model(features, TEST.prompts)
        seen[data_attention] = not torch.allclose(hidden[0][:, 0], hidden[1][:, 0], atol=1e-4)
    assert seen == {"causal": False, "bidirectional": True}


# Several tasks


def _of_tasks(genes: TinyGenes, *, unknown: float = 0.3) -> TinyGenes:
    """Add a task that runs against the first, and forget some targets of each."""
    log = genes.targets.log1p()
    targets = torch.stack([log, log.max() - log], dim=1).expm1()
    forgotten = torch.rand(targets.shape, generator=torch.Generator().manual_seed(len(genes))) < unknown
    forgotten[forgotten.all(dim=1)] = False
    targets[forgotten] = math.nan
    return TinyGenes(genes[range(len(genes))].features, targets, prompts=genes.prompts)


@pytest.mark.slow
@pytest.mark.parametrize("task_line", ["", "# Cell type: {task}"])
def test_several_tasks_are_learned_from_the_genes_that_are_known_in_each(
    task_line: str, backbone: Path, tmp_path: Path
) -> None:
    train, validation = (_of_tasks(tiny_genes(size, seed=size)) for size in (240, 60))
    config = replace(PRESETS["best" if task_line else "no-llm"], tasks=("GM12878", "K562"), task_line=task_line)
    predictor = build_predictor(
        "gta-best" if task_line else "gta-no-llm",
        n_bins=7,
        channel_names=NAMES,
        backbone=backbone,
        config=config,
        training=TrainConfig(epochs=8, batch_size=16, learning_rate=4e-3),
    )
    report = predictor.fit(train, validation)
    assert report.validation_spearman > 0.6
    prediction = predictor.predict(validation)
    assert prediction.shape == (60, 2)
    assert spearman(prediction[:, 0], prediction[:, 1]) < -0.6, "the tasks run against each other"
    predictor.save(tmp_path / "run")
    np.testing.assert_array_equal(load_predictor(tmp_path / "run").predict(validation), prediction)


def test_what_is_not_known_adds_nothing_to_error_or_gradient() -> None:
    wanted = torch.tensor([[1.0, math.nan], [2.0, 3.0]])
    predicted = torch.tensor([[0.0, 100.0], [2.0, 5.0]], requires_grad=True)
    error = masked_mse(predicted, wanted)
    error.backward()
    assert float(error.detach()) == pytest.approx((1 + 0 + 4) / 3)
    assert predicted.grad is not None
    torch.testing.assert_close(predicted.grad, torch.tensor([[-2 / 3, 0.0], [0.0, 4 / 3]]))
    assert float(masked_mse(predicted.detach(), wanted * math.nan)) == 0


def test_ranks_are_compared_task_by_task_over_known_genes() -> None:
    predicted, wanted = (np.random.default_rng(seed).normal(size=(30, 2)) for seed in (0, 1))
    wanted[:7, 1] = math.nan
    slow = (spearman(predicted[:, 0], wanted[:, 0]) + spearman(predicted[7:, 1], wanted[7:, 1])) / 2
    assert mean_spearman(predicted, wanted) == pytest.approx(slow)
    assert mean_spearman(predicted[:, 0], wanted[:, 0]) == pytest.approx(spearman(predicted[:, 0], wanted[:, 0]))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param((3, slice(None)), math.nan, "1 of 24 genes have no target", id="a gene known in no task"),
        pytest.param((3, 1), -1.0, "below 0", id="below zero"),
        pytest.param((slice(1, None), 1), math.nan, "column 1.*known for 1 of 24.*leave it out", id="a task unknown"),
    ],
)
def test_targets_that_teach_nothing_are_refused(place: Any, value: float, message: str) -> None:
    genes = _of_tasks(TRAIN, unknown=0)
    genes.targets[place] = value
    with pytest.raises(ValueError, match=message):
        require_targets(genes)


# Names


def test_every_name_has_its_recipe_and_says_whether_it_reads_language(backbone: Path) -> None:
    for name in OF_BINS:
        made = build_predictor(name, n_bins=7, channel_names=NAMES, backbone=backbone, **_small(name))
        assert (default_training(name) is not None) == isinstance(made, TorchPredictor)
        loaded = made.model.backbone if isinstance(made, TorchPredictor) else None
        assert reads_language(name) == (loaded is not None)
    assert {"gta-prompt-only", "gta-sequence-only", "mlp", "cnn", "transformer"} <= set(OF_BINS)


def _small(name: str) -> dict[str, Any]:
    """Give what a model with a selector takes in windows of a few bins."""
    preset = PRESETS.get(name.removeprefix("gta-"))
    return {"config": replace(preset, top_k=3)} if preset and preset.readout == "topk" else {}


def test_a_language_model_that_is_loaded_already_is_used_with_its_prefixes(backbone: Path) -> None:
    cache = PrefixCache(Backbone(backbone))
    options: dict[str, Any] = {"n_bins": 7, "channel_names": NAMES, "training": QUICK}
    shared = build_predictor("gta-best", backbone=cache.backbone, prefix_cache=cache, **options)
    alone = build_predictor("gta-best", backbone=backbone, **options)
    assert isinstance(shared, TorchPredictor)
    assert shared.model.backbone is cache.backbone
    for predictor in (shared, alone):
        predictor.fit(TRAIN, VALIDATION)
    np.testing.assert_allclose(shared.predict(TEST), alone.predict(TEST), rtol=1e-4, atol=1e-4)
    assert cache.held_bytes > 0


def test_a_language_model_cut_otherwise_is_refused(backbone: Path, tmp_path: Path) -> None:
    _fitted("gta-best", backbone).save(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"3 blocks.*has 2; load it with `max_layers=3`"):
        load_predictor(tmp_path / "run", backbone=Backbone(backbone, max_layers=2))


@pytest.mark.parametrize(("name", "config"), [("mlp", GtaConfig()), ("gta-no-llm", BIN_MODELS["mlp"])])
def test_a_configuration_of_another_model_is_refused(name: str, config: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is set by a (GtaConfig|BinModelConfig)"):
        build_predictor(name, n_bins=7, channel_names=NAMES, config=config)


# From the command line


@pytest.mark.parametrize("name", ["gta-sequence-only", "gta-prompt-only", *BIN_MODELS])
def test_every_control_is_trained_and_scored_by_the_commands(
    name: str, genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [f"--{table}={genome / table}.tsv" for table in ("genes", "targets")]
    run = tmp_path / "run"
    options = ["--model", name, "--n-bins", "9", "--epochs", "2", "--seed", "3", "--test-contigs", "chr2"]
    capsys.readouterr()
    assert main(["train", str(genome / "store"), *tables, *options, "--out", str(run), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["model"] == name
    assert summary["trainable_parameters"] > 0
    training = json.loads((run / "checkpoint.json").read_text())["settings"]["training"]
    assert (training["epochs"], training["seed"]) == (2, 3)
    assert (run / "backbone").is_dir() == name.startswith("gta-")
    moved = shutil.move(run, tmp_path / "moved")
    assert main(["evaluate", str(moved), "--store", str(genome / "store"), *tables, "--draws", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == name
