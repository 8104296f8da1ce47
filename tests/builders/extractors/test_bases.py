"""The sequence set is the genome, one code a base."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import featurestore
from builders.execution.recompute import recompute
from builders.extractors.base import ExtractorOptions
from builders.request import SequenceRequest
from builders.run import run_build
from builders.testing import ExtractorTests
from featurestore import verify
from featurestore.anchored.reader import open_anchored
from featurestore.cli.main import main
from featurestore.testing import random_sequences, write_fasta


class TestBases(ExtractorTests):
    factory: ClassVar[str] = "bases"
    options: ClassVar[ExtractorOptions] = ExtractorOptions(bin_size=1)
    sequences: ClassVar[int] = 40
    rtol: ClassVar[float] = 0.0


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = random_sequences({"chr1": 150_001, "short": 5}, seed=4)
    made["chr1"] = made["chr1"][:400].lower() + "N" * 300 + "RYu" + made["chr1"][703:]
    return made


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory, genome: dict[str, str]) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", genome)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, fasta: Path) -> Path:
    path = tmp_path_factory.mktemp("store") / "s"
    assert main(["build-sequence", str(path), "--fasta", str(fasta), "--workers", "1"]) == 0
    return path


def codes(sequence: str) -> list[int]:
    return ["ACGTN".index({"U": "T"}.get(base, base if base in "ACGT" else "N")) for base in sequence.upper()]


def test_every_base_of_the_genome_is_in_the_store_and_past_its_ends_there_is_n(
    store: Path, genome: dict[str, str]
) -> None:
    reader = featurestore.open(store)["sequence"]
    assert (reader.feature_set.dtype, reader.channel_names) == ("uint8", ("sequence",))
    for contig, sequence in genome.items():
        n_bins = len(sequence) + 20
        window = reader.window(contig, n_bins // 2 - 10, n_bins=n_bins)
        assert window.values.dtype == np.uint8
        first = int(window.starts[0])
        expected = [4] * -first + codes(sequence) + [4] * (n_bins + first - len(sequence))
        assert window.values[:, 0].tolist() == expected


def test_it_is_sound_and_recomputed_to_the_base(store: Path, fasta: Path) -> None:
    opened = featurestore.open(store)
    assert verify(opened, crc=True).is_sound
    assert recompute(opened, 5000, fasta=str(fasta)) == []


def test_a_shard_has_at_most_64_mb_and_a_chunk_64_kib(store: Path) -> None:
    described = featurestore.open(store).feature_set("sequence")
    assert described.chunk_bins == 1 << 16
    assert described.shard_bins == 1 << 26


def test_a_second_build_computes_nothing(store: Path, fasta: Path) -> None:
    again = run_build(str(store), SequenceRequest(fasta=str(fasta), workers=1))
    assert (again.built, again.is_complete) == (0, True)


@pytest.mark.slow
def test_windows_around_anchors_hold_it_too(fasta: Path, genome: dict[str, str], tmp_path: Path) -> None:
    anchors = tmp_path / "tss.tsv"
    anchors.write_text("name\tcontig\tposition\na\tchr1\t70000\nb\tchr1\t70003\nc\tshort\t1\n")
    asked = ["build-anchors", str(tmp_path / "s"), "--anchors", str(anchors), "--name", "tss", "--n-bins", "11"]
    chosen = ["--fasta", str(fasta), "--extractor", "bases", "--bin-size", "1", "--dtype", "uint8", "--workers", "1"]
    assert main([*asked, *chosen]) == 0
    windows = open_anchored(featurestore.open(tmp_path / "s"), "sequence", "tss").windows(["a", "b", "c"])[:, :, 0]
    for values, centre in zip(windows[:2], (70_000, 70_003), strict=True):
        assert values.tolist() == codes(genome["chr1"][centre - 5 : centre + 6])
    assert windows[2].tolist() == [4] * 4 + codes(genome["short"]) + [4] * 2


def test_bins_of_several_bases_are_refused(fasta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(tmp_path / "s"), "--fasta", str(fasta), "--extractor", "bases"]) == 2
    assert "a base is coded alone: give `--bin-size 1`, got 4096" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
