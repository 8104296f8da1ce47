"""Our own extractors and sources prove themselves with the kits that ship; one that is not sequence is built."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import featurestore
from builders import AnchorRequest, BuildRequest, plan_build, run_anchor_build, run_build
from builders.execution.recompute import recompute
from builders.execution.source_spec import SourceSpec, describe_source
from builders.extractors.base import ExtractorOptions
from builders.request import FeaturesRequest
from builders.testing import ExtractorTests, SourceTests
from featurestore import FingerprintMismatch
from featurestore.anchored.reader import open_anchored
from featurestore.cli.main import main
from featurestore.testing import random_sequences, write_fasta

COMPOSITION = "builders.testing:CompositionExtractor.from_options"
WAVE = "wave_source:WaveSource.from_options"


class TestMotif(ExtractorTests):
    factory: ClassVar[str] = "motif"
    options: ClassVar[ExtractorOptions] = ExtractorOptions(bin_size=512)
    rtol: ClassVar[float] = 0.0


class TestComposition(ExtractorTests):
    factory: ClassVar[str] = COMPOSITION
    other_settings: ClassVar[Mapping[str, Any]] = {"precision": "bf16"}
    options: ClassVar[ExtractorOptions] = ExtractorOptions(bin_size=64)
    rtol: ClassVar[float] = 0.0


class TestCompositionOverAFasta(SourceTests):
    rtol: ClassVar[float] = 0.0

    @pytest.fixture
    def spec(self, tmp_path: Path) -> SourceSpec:
        fasta = write_fasta(tmp_path / "g.fa", random_sequences({"chr1": 5003, "short": 5}))
        return describe_source(FeaturesRequest(fasta=str(fasta), extractor=COMPOSITION, bin_size=128, device="cpu"))


class TestWave(SourceTests):
    factory: ClassVar[str] = WAVE
    settings: ClassVar[Mapping[str, Any]] = {"period": "300"}
    other_settings: ClassVar[Mapping[str, Any]] = {"period": 301}


# A source that is not sequence


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", random_sequences({"chr1": 9000, "short": 50}))


def wave(fasta: Path | None, period: float = 300.0, **changed: Any) -> BuildRequest:
    chosen = {"bin_size": 16, "workers": 1, "shard_bins": 256, "settings": {"period": period}} | changed
    return BuildRequest(fasta=None if fasta is None else str(fasta), source=WAVE, **chosen)


def by_hand(start: int, period: float = 300.0) -> float:
    """Give the wave of the bin of 16 bp that begins there."""
    return float(np.float16(np.sin(2 * np.pi * (start + 8) / period)))


def test_a_source_that_is_not_sequence_is_planned_built_resumed_and_read(fasta: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "s")
    request = wave(fasta, offsets=(0, 8))
    assert len(plan_build(url, request).todo) == 3 * 2 + 2
    assert run_build(url, request).is_complete
    again = run_build(url, wave(None, offsets=(0, 8)))
    assert (again.built, again.extractor_calls, again.is_complete) == (0, 0, True)
    window = featurestore.open(url)["wave"].window("chr1", 4000, n_bins=5)
    assert window.values[:, 0].tolist() == [by_hand(int(start)) for start in window.starts]
    with pytest.raises(FingerprintMismatch, match="another store"):
        run_build(url, wave(None, period=299.0))


def test_it_needs_a_genome_for_a_new_store_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give the genome that the store is for, `fasta=FILE`"):
        run_build(str(tmp_path / "s"), wave(None))
    assert not (tmp_path / "s").exists()


def test_its_bins_are_recomputed_from_the_settings_on_record(fasta: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "s")
    run_build(url, wave(fasta))
    store = featurestore.open(url)
    assert recompute(store, 10**4, source=WAVE) == []
    with pytest.raises(FingerprintMismatch, match="give the same files, settings and version"):
        recompute(store, 1, source=WAVE, settings={"period": "299"})


def test_windows_around_anchors_are_read_from_it(fasta: Path, tmp_path: Path) -> None:
    url, anchors = str(tmp_path / "s"), tmp_path / "anchors.tsv"
    anchors.write_text("name\tcontig\tposition\na\tchr1\t4001\nb\tchr1\t4030\nc\tshort\t3\n")
    common = {"fasta": str(fasta), "source": WAVE, "settings": {"period": 300}, "bin_size": 16, "workers": 1}
    report = run_anchor_build(url, AnchorRequest(anchors=anchors, name="some", n_bins=5, **common))
    assert report.is_complete
    values = open_anchored(featurestore.open(url), "wave", "some").windows(["b", "c"])[:, :, 0]
    assert values[0].tolist() == [by_hand(4030 - 8 + 16 * number) for number in range(-2, 3)]
    assert values[1].tolist() == [by_hand(3 - 8 + 16 * number) if number >= 0 else 0 for number in range(-2, 3)]


def test_the_command_lists_its_settings_and_builds_it(
    fasta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--source", WAVE, "--help-options"]) == 0
    assert "period  float  [required]\n    Bases a wave (bp)." in capsys.readouterr().out
    asked = ["build", str(tmp_path / "s"), "--fasta", str(fasta), "--source", WAVE, "--bin-size", "16"]
    assert main([*asked, "--workers", "1"]) == 2
    assert "period has to be set (float): Bases a wave (bp)." in capsys.readouterr().err
    assert main([*asked, "--workers", "1", "--set", "period=300"]) == 0
    assert main(["verify", str(tmp_path / "s"), "--recompute", "9", "--source", WAVE]) == 0


def test_an_extractor_lists_its_settings_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--extractor", "dinucleotide", "--help-options"]) == 0
    assert capsys.readouterr().out == "dinucleotide has no settings of its own\n"
    assert main(["plan", "--extractor=sei", "--help-options"]) == 0
    shown = capsys.readouterr().out
    assert "weights  path  [required]" in shown
    assert "precision  fp32|tf32|bf16  [default fp32]" in shown
