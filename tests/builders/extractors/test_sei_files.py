"""Every way that a checkpoint of Sei can be written, and every way that it can be wrong."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sei_files import hollow_state, projector, published, rule_value, saved, shapes_of

from builders.extractors.sei.extractor import SeiExtractor
from builders.extractors.sei.network import (
    SeiCheckpointError,
    load_sei,
    read_checkpoint,
)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "module.module.model."])
def test_prefixes_of_wrappers_come_off_the_names(tmp_path: Path, prefix: str) -> None:
    state = {prefix + key: value for key, value in hollow_state().items()}
    assert list(read_checkpoint(saved(state, tmp_path))) == list(shapes_of(8))


def test_each_kind_of_file_gives_the_same_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    shapes = shapes_of(3)
    shapes = {key: shapes[key] for key in ("classifier.2.weight", "lconv1.0.bias")}
    state = hollow_state(3) | {key: rule_value(key, shape) for key, shape in shapes.items()}
    save_file({key: value.clone() for key, value in published(state).items()}, tmp_path / "sei.safetensors")
    files = [
        saved(published(state), tmp_path),
        saved(published(state), tmp_path, "old.pth", _use_new_zipfile_serialization=False),
        saved({"step": 12, "state_dict": state}, tmp_path, "selene.pth"),
        tmp_path / "sei.safetensors",
    ]
    for file in files:
        loaded = load_sei(file)
        assert loaded.n_profiles == 3
        assert not loaded.training
        for key in shapes:
            assert torch.equal(loaded.state_dict()[key], state[key])


def test_weights_stored_in_half_are_computed_in_single_precision(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in hollow_state().items()}
    assert {value.dtype for value in load_sei(saved(state, tmp_path)).state_dict().values()} == {torch.float32}


def test_one_error_lists_all_that_is_wrong_with_a_checkpoint(tmp_path: Path) -> None:
    state = hollow_state()
    del state["dconv3.1.bias"]
    state["conv1.0.weight"] = torch.zeros(1).expand(480, 480, 7)
    state["head.bias"] = torch.zeros(2)
    state["lconv1.0.bias"] = torch.zeros(480, dtype=torch.int64)
    state["epoch"] = 3
    with pytest.raises(SeiCheckpointError) as caught:
        load_sei(saved(published(state), tmp_path))
    for part in (
        r"missing dconv3.1.bias (960,)",
        r"conv1.0.weight has shape (480, 480, 7), expected (480, 480, 9)",
        r"unexpected head.bias (2,)",
        r"lconv1.0.bias is torch.int64",
        r"epoch is int",
        r"Zenodo record 4906997",
    ):
        assert part in str(caught.value)


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    state = hollow_state()
    state["module.conv1.0.bias"] = state["conv1.0.bias"]
    with pytest.raises(SeiCheckpointError, match="1 names are the same without"):
        read_checkpoint(saved(state, tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    state = hollow_state()
    weight = torch.zeros(960, 960, 5)
    weight[5, 7, 3] = value
    state["dconv2.1.weight"] = weight
    with pytest.raises(SeiCheckpointError, match=r"NaN or infinite weights in dconv2\.1\.weight; .*fetch it again"):
        load_sei(saved(state, tmp_path))


@pytest.mark.parametrize("zipped", [True, False], ids=["as torch saves now", "as torch before 1.6"])
def test_a_truncated_checkpoint_is_told_from_a_whole_one(tmp_path: Path, zipped: bool) -> None:
    path = saved(hollow_state(), tmp_path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(SeiCheckpointError, match=r"truncated or damaged .*fetch it again"):
        read_checkpoint(path)


def test_a_truncated_safetensors_file_is_told_from_a_whole_one(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "sei.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SeiCheckpointError, match="truncated, or no safetensors file"):
        read_checkpoint(path)


@pytest.mark.parametrize("file", ["sei.pth", "sei.safetensors", "projvec_targets.npy", "target.names"])
def test_a_file_that_git_lfs_has_not_fetched_is_named(tmp_path: Path, file: str) -> None:
    files = {"weights": saved(hollow_state(), tmp_path), "projector": projector(tmp_path, np.eye(61, 8) + 1)}
    pointer = tmp_path / file
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    files |= {{"projvec_targets.npy": "projector", "target.names": "names"}.get(file, "weights"): pointer}
    with pytest.raises(ValueError, match=rf"{file} \(\d+ bytes\) is a git-lfs pointer.*`git lfs pull`"):
        SeiExtractor(**files)


class Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("zipped", [True, False], ids=["as torch saves now", "as torch before 1.6"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved({"a": Payload()}, tmp_path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(SeiCheckpointError, match=r"holds pickled code \(posix\.system\).*save weights alone"):
        read_checkpoint(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "no checkpoint of torch", id="an empty file"),
        pytest.param(b"<!DOCTYPE html>", "it begins with b'<!DOCTYP'", id="an error page"),
        pytest.param(b"\x1f\x8b\x08\x00", "unpack it", id="the archive itself"),
    ],
)
def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "sei.pth"
    path.write_bytes(content)
    with pytest.raises(SeiCheckpointError, match=message):
        load_sei(path)


def test_a_file_that_holds_one_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeiCheckpointError, match="holds a Tensor, not parameters by name"):
        read_checkpoint(saved(torch.zeros(3), tmp_path))


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights at .*sei\.pth; expected sei\.pth of sei_model\.tar\.gz"):
        load_sei(tmp_path / "sei.pth")
