"""Overlays of an extractor of tiles, by Dask workers, on an S3 server, and what a store says of them."""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from naive_haplotype import NaiveHaplotype
from numpy.typing import NDArray
from overlay_stores import SPELLED, build_in_process, build_overlay_in_process, spelled_store, write_vcf

import featurestore
from builders.extractors.base import ExtractorOptions, load_extractor
from builders.extractors.puffin.network import Puffin
from builders.overlays.haplotype import Edit
from builders.overlays.request import OverlayRequest
from builders.overlays.run import build_overlay
from builders.request import BuildRequest
from featurestore import seal, verify
from featurestore.cli import main as cli
from featurestore.format.manifest import CATALOG, CROISSANT, README
from featurestore.testing import random_sequences, write_fasta

BIN = 64
LENGTH = 24_000
OTHER = {"A": "C", "C": "G", "G": "T", "T": "A"}
ON_S3 = pytest.param("s3", marks=pytest.mark.skipif("AWS_ENDPOINT_URL" not in os.environ, reason="no S3 server"))


@pytest.fixture(scope="module")
def sequence() -> str:
    return random_sequences({"chr1": LENGTH}, seed=7)["chr1"]


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory, sequence: str) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", {"chr1": sequence})


@pytest.fixture(scope="module")
def vcf(tmp_path_factory: pytest.TempPathFactory, sequence: str) -> Path:
    """A base that is another, an insertion of 5 and a deletion of 40."""
    lines = [
        f"chr1 3001 {sequence[3000]} {OTHER[sequence[3000]]} 1|0",
        f"chr1 9000 {sequence[8999]} {sequence[8999]}ACGTA 1|0",
        f"chr1 15000 {sequence[14999:15040]} {sequence[14999]} 1|0",
    ]
    return write_vcf(tmp_path_factory.mktemp("calls") / "s.vcf", lines)


def rows_of(reader: featurestore.FeatureReader) -> NDArray[np.floating[Any]]:
    found: NDArray[np.floating[Any]] = reader.rows([featurestore.RowRequest("chr1", 0, 0, reader.n_rows("chr1", 0))])[0]
    return found


def test_an_extractor_of_tiles_gives_the_touched_bins_of_the_haplotype(
    sequence: str, fasta: Path, vcf: Path, tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(Puffin().state_dict(), tmp_path / "puffin.pth")
    weights = {"weights": str(tmp_path / "puffin.pth")}
    url = str(tmp_path / "tiles.store")
    request = BuildRequest(fasta=str(fasta), extractor="puffin", settings=weights, bin_size=BIN, device="cpu")
    store = build_in_process(url, request)
    plan = build_overlay_in_process(
        url, OverlayRequest(feature_set="puffin", vcf=vcf, fasta=str(fasta), settings=weights, device="cpu")
    )
    tiles: Any = load_extractor("puffin", ExtractorOptions(bin_size=BIN, device="cpu"), weights)
    alone = tiles.tiled(bin_size=BIN, n_bins=1)
    assert tiles.tile_bins > 1
    naive = NaiveHaplotype(
        sequence,
        [
            Edit(3000, 1, OTHER[sequence[3000]].encode()),
            Edit(9000, 0, b"ACGTA"),
            Edit(15000, 40, b""),
        ],
    )
    half = alone.input_length // 2
    centres = [row * BIN + BIN // 2 for row in range(LENGTH // BIN)]
    seen = "".join(naive.window(naive.lift(centre), half, alone.input_length - half) for centre in centres)
    windows = np.frombuffer(seen.encode(), dtype=np.uint8).reshape(len(centres), -1)
    expected = np.concatenate([alone(part)["puffin"] for part in np.array_split(windows, 8)])
    before, after = rows_of(store["puffin"]), rows_of(store["puffin"].with_overlay("S/1"))
    np.testing.assert_allclose(after[: len(centres)], expected, rtol=2e-3, atol=2e-3)
    touched = plan.bins["chr1"][0]
    others = np.setdiff1d(np.arange(len(before)), touched)
    assert after[others].tobytes() == before[others].tobytes()
    assert 0 < len(touched) < len(before) / 3
    assert (after[touched] != before[touched]).any(axis=1).mean() > 0.5


@pytest.fixture
def place_of(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """Give a folder, or a prefix of a bucket."""
    if request.param == "disk":
        yield lambda name: str(tmp_path / name)
        return
    filesystem = fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    bucket = f"featurestore-{uuid.uuid4().hex[:12]}"
    filesystem.mkdir(bucket)
    yield lambda name: f"s3://{bucket}/{name}"
    filesystem.rm(bucket, recursive=True)


@pytest.mark.slow
@pytest.mark.parametrize("place_of", ["disk", ON_S3], indirect=True)
def test_two_workers_give_the_overlay_of_one_process_on_disk_and_on_s3(
    place_of: Callable[[str], str], fasta: Path, vcf: Path
) -> None:
    request = OverlayRequest(
        feature_set="spelled", vcf=vcf, fasta=str(fasta), extractor=SPELLED, device="cpu", workers=2
    )
    stores = [spelled_store(place_of(name), fasta, bin_size=16, offsets=(0, 5)) for name in ("alone", "workers")]
    build_overlay_in_process(stores[0].url, request)
    report = build_overlay(stores[1].url, request)
    assert report.is_complete
    assert report.built == report.planned > 1
    again = build_overlay(stores[1].url, request)
    assert (again.built, again.was_there) == (0, report.planned)
    opened = [featurestore.open(store.url) for store in stores]
    alone, by_workers = (rows_of(store["spelled"].with_overlay("S/1")) for store in opened)
    assert alone.tobytes() == by_workers.tobytes()
    assert by_workers.tobytes() != rows_of(opened[1]["spelled"]).tobytes()
    assert verify(opened[1], crc=True).is_sound


def test_what_a_store_says_of_itself_lists_its_overlays(
    fasta: Path, vcf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = spelled_store(str(tmp_path / "s"), fasta, bin_size=BIN)
    for haplotype in (1, 2):
        build_overlay_in_process(
            store.url,
            OverlayRequest(
                feature_set="spelled",
                vcf=vcf,
                fasta=str(fasta),
                haplotype=haplotype,
                extractor=SPELLED,
                device="cpu",
            ),
        )
    sealed = featurestore.open(store.url)
    seal(sealed)
    (known,) = json.loads(sealed.objects.get(CATALOG))["feature_sets"]
    assert known["overlays"] == ["S/1", "S/2"]
    assert "| spelled | S/1 |" in sealed.objects.get(README).decode()
    places = [item["includes"][0] for item in json.loads(sealed.objects.get(CROISSANT))["distribution"][-2:]]
    assert places == ["overlays/spelled/S+1/**", "overlays/spelled/S+2/**"]
    assert list(Path(store.url).glob(places[0]))
    assert cli.main(["info", store.url]) == 0
    assert "overlays: S/1, S/2" in capsys.readouterr().out
