"""Sei through a whole build: the store holds the extractor on each bin's sequence, and bad weights leave nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import featurestore
from benchmarks.sei_plain import rule_state
from builders.extractors.base import ExtractorOptions
from builders.extractors.sei.extractor import SeiExtractor
from builders.extractors.sequence import span_sequences
from builders.run import build
from builders.source import Span
from catalog import Fasta
from featurestore.cli.main import main
from featurestore.testing import random_sequences, write_fasta
from loaders import WindowDataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("sei-build")
    torch.save({f"module.model.{key}": value for key, value in rule_state(64).items()}, path / "sei.pth")
    np.save(path / "projector.npy", np.random.default_rng(0).normal(size=(61, 64)).astype(np.float32))
    sequences = random_sequences({"chr1": 9000, "short": 700}, seed=5)
    sequences["chr1"] = "N" * 4096 + sequences["chr1"][4096:]
    write_fasta(path / "tiny.fa", sequences)
    yield path
    (path / "sei.pth").unlink()  # 0.3 GB


def test_a_build_holds_what_the_extractor_gives_from_one_pass(folder: Path) -> None:
    options = ExtractorOptions(outputs=("classes", "profiles"), device="cpu")
    files = {"weights": folder / "sei.pth", "projector": folder / "projector.npy"}
    url = str(folder / "store")
    report = build(url, fasta=folder / "tiny.fa", extractor="sei", options=options, settings=files, workers=1)
    assert report.is_complete
    assert report.extractor_calls == 2  # a contig each; the bin of N takes the pad row
    store = featurestore.open(url)
    extractor = SeiExtractor(
        folder / "sei.pth", folder / "projector.npy", outputs=("classes", "profiles"), device="cpu"
    )
    with Fasta(folder / "tiny.fa") as fasta:
        sequence = span_sequences(fasta, [Span("chr1", -4096, 5)], 4096, 4096)
    expected = extractor(np.ascontiguousarray(sequence))
    for name in ("classes", "profiles"):
        window = store[name].window("chr1", 4096 + 2048, n_bins=5)
        # The batch differs between the two, and with it the order of summation; float16 keeps three digits.
        np.testing.assert_allclose(window.values, expected[name], rtol=2e-3, atol=2e-4)
        np.testing.assert_array_equal(window.values[0], window.values[1])
    described = store.feature_set("classes")
    assert "academic" in described.licence
    assert described.options["precision"] == "fp32"
    assert described.options["precision_error"]
    kept = WindowDataset(url, "classes", contigs=["chr1"], centres=[6000], n_bins=3, channels="signal")
    assert kept[0].shape == (3, 33)
    assert "L1" not in kept.channel_names


def test_a_build_for_a_gpu_can_be_planned_without_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--weights", str(folder / "sei.pth"), "--projector", str(folder / "projector.npy")]
    asked = ["plan", str(folder / "new"), "--fasta", str(folder / "tiny.fa"), "--extractor", "sei", *files]
    assert main([*asked, "--precision", "tf32"]) == 0
    assert "2 of 2 shards to build: 4 of 4 bins" in capsys.readouterr().out
    assert not (folder / "new").exists()


def test_weights_that_hold_nan_leave_no_store(folder: Path) -> None:
    state = rule_state(64)
    state["conv1.0.weight"][0, 0, 0] = float("nan")
    torch.save(state, folder / "nan.pth")
    options = ExtractorOptions(device="cpu")
    files = {"weights": folder / "nan.pth", "projector": folder / "projector.npy"}
    with pytest.raises(ValueError, match=r"NaN or infinite weights in conv1\.0\.weight.*fetch it again"):
        build(
            str(folder / "none"), fasta=folder / "tiny.fa", extractor="sei", options=options, settings=files, workers=1
        )
    assert not (folder / "none").exists()
    (folder / "nan.pth").unlink()
