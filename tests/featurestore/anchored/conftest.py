"""A tiny genome, and a store with anchors on it, built once for the tests of this folder."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from anchor_stores import ANCHORS, COMPOSITION, LENGTHS, N_BINS, OPTIONS, write_anchors

import featurestore
from builders.anchored.run_anchors import build_anchors
from builders.run import build
from featurestore.anchored.reader import AnchoredReader, open_anchored
from featurestore.testing import random_sequences, write_fasta


@pytest.fixture(scope="package")
def sequences() -> dict[str, str]:
    made = random_sequences(LENGTHS, seed=3)
    made["chr2"] = "n" * 200 + made["chr2"][200:].lower()
    return made


@pytest.fixture(scope="package")
def fasta(tmp_path_factory: pytest.TempPathFactory, sequences: dict[str, str]) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "tiny.fa", sequences)


@pytest.fixture(scope="package")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_anchors(tmp_path_factory.mktemp("anchors") / "anchors.tsv", ANCHORS[::-1])


@pytest.fixture(scope="package")
def settings_of(fasta: Path, table: Path) -> dict[str, Any]:
    return {
        "anchors": table,
        "name": "some",
        "n_bins": N_BINS,
        "fasta": fasta,
        "extractor": COMPOSITION,
        "options": OPTIONS,
        "shard_anchors": 3,
        "workers": 1,
    }


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory, fasta: Path, settings_of: dict[str, Any]) -> Path:
    """A store with a grid on chr1, in two phases, and all anchors."""
    path = tmp_path_factory.mktemp("build") / "tiny.store"
    build(str(path), fasta=fasta, extractor=COMPOSITION, options=OPTIONS, offsets=(0, 8), contigs=["chr1"], workers=1)
    report = build_anchors(str(path), **settings_of)
    assert report.is_complete
    assert (report.planned, report.built, report.anchors) == (3, 3, 7)
    # A phase has a window in its place if the centre is 0 ("start", whose first 5 bins are outside) or 8 modulo 16.
    assert report.from_grid == N_BINS - 5 + 3 * N_BINS
    return path


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy.store"))


@pytest.fixture(scope="package")
def reader(built: Path) -> AnchoredReader:
    return open_anchored(featurestore.open(built), "composition", "some")
