"""What Sei can be set to: its fingerprint, its precision, and settings that do not fit."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from checkout import ROOT
from numpy.typing import NDArray
from sei_files import hollow_state, projector, published, rule_state, saved

from builders.extractors.base import Extractor, ExtractorOptions, load_extractor
from builders.extractors.sei.extractor import SeiExtractor
from builders.extractors.sei.network import (
    SeiCheckpointError,
    SeiNetwork,
)
from builders.extractors.sei.pointwise import can_fuse
from builders.extractors.sei.precision import ERROR_SOURCE, MEASURED_ERRORS, PRECISIONS, arithmetic
from builders.testing import ExtractorTests


@pytest.mark.parametrize("length", [4095, 4097, 2048])
def test_a_sequence_of_another_length_is_refused_by_network_and_extractor(tmp_path: Path, length: int) -> None:
    extractor = SeiExtractor(saved(hollow_state(), tmp_path), outputs=("profiles",), device="cpu")
    with pytest.raises(ValueError, match=r"\(batch, 4096\), uint8; got .*fill up with N"):
        extractor(np.full((1, length), ord("N"), dtype=np.uint8))
    with torch.device("meta"), pytest.raises(ValueError, match=r"\(batch, 4, 4096\), got .*fill up with N"):
        SeiNetwork(8)(torch.zeros(1, 4, length))


def test_an_extractor_is_made_from_options_without_reading_the_weights(tmp_path: Path) -> None:
    vectors = projector(tmp_path, np.ones((61, 8)))
    weights = saved(hollow_state(value=float("nan")), tmp_path)  # only the first call looks at values
    extractor = load_extractor("sei", ExtractorOptions(device="cpu"), {"weights": weights, "projector": vectors})
    assert isinstance(extractor, Extractor)
    assert list(extractor.channels) == ["classes"]
    assert (extractor.input_length, extractor.batch_size) == (4096, 8)
    with pytest.raises(SeiCheckpointError, match="NaN"):
        extractor(np.full((1, 4096), ord("N"), dtype=np.uint8))


def test_the_fingerprint_follows_the_files_and_not_what_is_asked_of_them(tmp_path: Path) -> None:
    weights, vectors = saved(hollow_state(), tmp_path), projector(tmp_path, np.ones((61, 8)))
    one = SeiExtractor(weights, vectors)
    names = tmp_path / "target.names"
    names.write_text("".join(f"cell | mark{index} | lab\n" for index in range(8)))
    assert SeiExtractor(weights, vectors, ("profiles", "embedding"), names=names).fingerprint == one.fingerprint
    other = tmp_path / "other"
    other.mkdir()
    other_vectors = SeiExtractor(weights, projector(other, np.full((61, 8), 2.0)))
    other_weights = SeiExtractor(saved(hollow_state(value=0.25), other), vectors)
    assert len({one.fingerprint, other_vectors.fingerprint, other_weights.fingerprint}) == 3
    assert one.options["weights"] == "sei.pth"


def test_precision_is_part_of_the_fingerprint_and_its_error_is_on_record(tmp_path: Path) -> None:
    weights = saved(hollow_state(), tmp_path)
    made = {name: SeiExtractor(weights, outputs=("profiles",), precision=name) for name in PRECISIONS}
    assert len({extractor.fingerprint for extractor in made.values()}) == 3
    for name, extractor in made.items():
        assert extractor.options["precision"] == name
        assert extractor.options["precision_error"] == {**MEASURED_ERRORS[name], "source": ERROR_SOURCE}


def test_the_errors_on_record_are_those_that_the_benchmark_measured() -> None:
    rows = json.loads((ROOT / ERROR_SOURCE).read_text())["rows"]
    measured = {row["precision"]: row["error"] for row in rows if row["name"] != "plain" and row["device"] == "cpu"}
    assert set(measured) == set(PRECISIONS)
    for precision, stated in MEASURED_ERRORS.items():
        for name, value in stated.items():
            assert value == pytest.approx(measured[precision][name], rel=0.5), (precision, name)


def test_tf32_is_refused_once_the_device_turns_out_to_be_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    extractor = SeiExtractor(saved(hollow_state(), tmp_path), outputs=("profiles",), precision="tf32")
    with pytest.raises(ValueError, match="the device is a CPU; use precision='fp32'"):
        extractor(np.full((1, 4096), ord("N"), dtype=np.uint8))


def test_what_float32_means_is_set_only_for_the_length_of_a_block() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with arithmetic("fp32"):
            assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (False, "highest")
        with arithmetic("tf32"):
            assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "high")
        assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "high")
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({}, "give projector=projvec_targets.npy", id="classes without a projector"),
        pytest.param({"outputs": ("logits",)}, "outputs classes, profiles, embedding; got logits", id="unknown output"),
        pytest.param({"outputs": ()}, "got none", id="no output"),
        pytest.param({"precision": "fp8"}, "fp32, tf32, bf16, not 'fp8'; use precision='fp32'", id="fp8"),
        pytest.param(
            {"outputs": ("profiles",), "precision": "tf32", "device": "cpu"},
            "the device is a CPU; use precision='fp32', or 'bf16'",
            id="tf32 on a CPU",
        ),
        pytest.param(
            {"outputs": ("profiles",), "fused": True}, "kernels for GPUs.*use fused=False", id="fused on a CPU"
        ),
        pytest.param(
            {"outputs": ("profiles",), "results": "float64"}, "returns float16 or float32, not 'float64'", id="results"
        ),
        pytest.param(
            {"outputs": ("profiles",), "device": "gpu"}, "cpu, cuda, cuda:0, .*got 'gpu'", id="no such kind of device"
        ),
    ],
)
def test_an_option_without_such_a_value_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeiExtractor(saved(hollow_state(), tmp_path), **options)


def test_options_without_weights_say_where_the_weights_are() -> None:
    with pytest.raises(ValueError, match=r"weights has to be set .*sei\.pth.*Zenodo record 4906997"):
        load_extractor("sei", ExtractorOptions())


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    extractor = SeiExtractor(saved(hollow_state(), tmp_path), outputs=("profiles",), device="cuda:99")
    with pytest.raises(ValueError, match="use device='cpu'"):
        extractor(np.full((1, 4096), ord("N"), dtype=np.uint8))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        pytest.param(np.ones((40, 8)), r"shape \(61, 8\).*got \(40, 8\)", id="only the named classes"),
        pytest.param(np.ones((8, 61)), r"got \(8, 61\)", id="transposed"),
        pytest.param(np.full((61, 8), "a"), "must hold numbers", id="text"),
        pytest.param(np.zeros((61, 8)), "no direction", id="zeros"),
        pytest.param(np.full((61, 8), np.nan), "no direction", id="NaN"),
    ],
)
def test_a_projector_that_does_not_fit_is_refused(tmp_path: Path, vectors: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeiExtractor(saved(hollow_state(), tmp_path), projector(tmp_path, vectors))


def test_a_projector_that_is_missing_or_no_array_is_refused(tmp_path: Path) -> None:
    weights = saved(hollow_state(), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"expected projvec_targets\.npy"):
        SeiExtractor(weights, tmp_path / "none.npy")
    page = tmp_path / "page.npy"
    for data in (b"<!DOCTYPE html>", b"PK\x03\x04 no zip", b"\x93NUMPY\x01\x00\x08\x00{'descr'"):
        page.write_bytes(data)
        with pytest.raises(ValueError, match=r"no array that numpy can read .*expected projvec_targets\.npy"):
            SeiExtractor(weights, page)
    np.savez(tmp_path / "many.npz", vectors=np.ones((61, 8)))
    with pytest.raises(ValueError, match=r"no array that numpy can read \(it begins b'PK"):
        SeiExtractor(weights, tmp_path / "many.npz")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param(7, "has 7 lines, 7 of them distinct, but the weights predict 8", id="one too few"),
        pytest.param([0, 1, 2, 3, 4, 5, 6, 6], "has 8 lines, 7 of them distinct", id="one twice"),
    ],
)
def test_names_that_do_not_fit_the_profiles_are_refused(tmp_path: Path, lines: int | list[int], message: str) -> None:
    names = tmp_path / "target.names"
    names.write_text("".join(f"cell | mark{n} | lab\n" for n in (range(lines) if isinstance(lines, int) else lines)))
    weights = saved(hollow_state(), tmp_path)
    with pytest.raises(ValueError, match=f"{message}.*or leave names out"):
        SeiExtractor(weights, outputs=("profiles",), names=names)
    names.write_bytes(b"\xff\n" * 8)
    with pytest.raises(ValueError, match=r"line 1 of .*target\.names is not UTF-8 text"):
        SeiExtractor(weights, outputs=("profiles",), names=names)
    with pytest.raises(FileNotFoundError, match=r"expected target\.names"):
        SeiExtractor(weights, outputs=("profiles",), names=tmp_path / "none")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("conforming")
    saved(published(rule_state(8)), folder)
    projector(folder, np.random.default_rng(0).normal(size=(61, 8)))
    yield folder
    (folder / "sei.pth").unlink()  # 0.3 GB, and pytest keeps the folders of three runs


@pytest.mark.slow
class TestSei(ExtractorTests):
    factory: ClassVar[str] = "sei"
    other_settings: ClassVar[Mapping[str, Any]] = {"precision": "bf16"}
    sequences: ClassVar[int] = 2

    @pytest.fixture
    def chosen(self, files: Path) -> Mapping[str, Any]:
        return {"weights": files / "sei.pth", "projector": str(files / "projvec_targets.npy")}


def test_steps_are_fused_by_default_only_where_kernels_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builders.extractors.sei.pointwise.find_spec", lambda name: object())
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    assert not can_fuse()  # no compiler
    monkeypatch.setenv("CC", sys.executable)
    assert can_fuse()
    monkeypatch.setattr("builders.extractors.sei.pointwise.find_spec", lambda name: None)
    assert not can_fuse()  # no Triton
