"""Bins that are computed again tell whether a store holds what its extractor gives."""

import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import featurestore
from builders.execution.recompute import recompute
from builders.execution.source_spec import describe_source
from builders.execution.throughput import measure
from builders.extractors.base import ExtractorOptions
from builders.plan import plan_build
from builders.request import BuildRequest
from builders.run import build
from catalog import AssemblyMismatch, Fasta, FastaError
from featurestore import ContigLayout, FingerprintMismatch, Store, verify, write_shard
from featurestore.cli.main import main
from featurestore.format import layout
from featurestore.testing import ORIGIN, random_sequences, write_fasta

COMPOSITION = "builders.testing:CompositionExtractor.from_options"
OPTIONS = ExtractorOptions(bin_size=16, device="cpu")


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", random_sequences({"chr1": 9000, "chr2": 333}))


@pytest.fixture
def store(tmp_path: Path, fasta: Path) -> Store:
    settings = {"extractor": COMPOSITION, "options": OPTIONS, "offsets": (0, 8), "workers": 1, "shard_bins": 256}
    assert build(str(tmp_path / "s"), fasta=fasta, **settings).is_complete
    return featurestore.open(tmp_path / "s")


def test_every_bin_of_a_whole_store_is_found_as_it_is(store: Store, fasta: Path) -> None:
    assert recompute(store, 10**6, fasta=str(fasta), extractor=COMPOSITION, device="cpu") == []


def test_a_shard_of_other_values_with_a_true_checksum_is_found(store: Store, fasta: Path) -> None:
    feature_set = store.feature_set("composition")
    shape = ContigLayout(feature_set, 9000)
    first, end = shape.shard_span(1, 2)
    store.objects.delete(layout.commit_key("composition", "chr1", 1, 2))
    values = np.full((end - first, 5), 3.0)
    write_shard(store.objects, shape, values, contig="chr1", phase=1, shard=2, origin=ORIGIN)
    assert verify(store, crc=True).is_sound
    faults = recompute(store, 10**6, fasta=str(fasta), extractor=COMPOSITION, device="cpu")
    assert [fault.where for fault in faults] == [layout.shard_key("composition", "chr1", 1, 2)]
    assert "build again" in faults[0].mend
    words = ["verify", store.url, "--recompute", "100000", "--fasta", str(fasta), "--extractor", COMPOSITION]
    assert main([*words, "--device", "cpu", "--feature-set", "length"]) == 0
    assert main([*words, "--device", "cpu", "--feature-set", "composition"]) == 1
    assert main(["verify", store.url, "--feature-set", "length"]) == 2
    # A few bins find it as often as the shard has bins.
    share = (end - first) / sum(commit.n_bins for commit in store.commits("composition").records())
    found = sum(
        bool(recompute(store, 5, fasta=str(fasta), extractor=COMPOSITION, device="cpu", seed=seed))
        for seed in range(60)
    )
    assert abs(found / 60 - (1 - (1 - share) ** 5)) < 0.25


def test_another_genome_or_extractor_is_refused(
    store: Store, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "newer_composition.py").write_text(
        "from builders.testing import CompositionExtractor\n"
        "class Newer(CompositionExtractor):\n"
        "    def __init__(self, bin_size, precision='fp32'):\n"
        "        super().__init__(bin_size)\n"
        "        self.fingerprint = 'other weights'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    other = write_fasta(tmp_path / "other.fa", random_sequences({"chr1": 9000, "chr2": 333}, seed=5))
    with pytest.raises(AssemblyMismatch):
        recompute(store, 1, fasta=str(other), extractor=COMPOSITION)
    with pytest.raises(FingerprintMismatch, match="give the same files"):
        recompute(store, 1, fasta=str(fasta), extractor="newer_composition:Newer.from_options")
    with pytest.raises(ValueError, match="at least 1 bin"):
        recompute(store, 0, fasta=str(fasta), extractor=COMPOSITION)


def test_an_index_newer_than_the_genome_but_of_another_file_is_no_witness(
    store: Store, fasta: Path, tmp_path: Path
) -> None:
    path = tmp_path / "g.fa"
    path.write_bytes(fasta.read_bytes())
    renamed = fasta.read_text().replace(">chr1", ">x").replace(">chr2", ">chr1").replace(">x", ">chr2")
    (tmp_path / "other.fa").write_text(renamed)
    with Fasta(tmp_path / "other.fa") as other:
        Path(f"{path}.fai").write_text("".join("\t".join(map(str, record)) + "\n" for record in other.index.records))
    with pytest.raises(FastaError, match=r"does not have the header of chr2.*remove .*g\.fa\.fai"):
        recompute(store, 5, fasta=str(path), extractor=COMPOSITION, device="cpu")


def test_a_genome_whose_time_stamp_was_set_back_is_digested_anew(store: Store, fasta: Path, tmp_path: Path) -> None:
    path = tmp_path / "g.fa"
    shutil.copy2(fasta, path)
    assert recompute(store, 5, fasta=str(path), extractor=COMPOSITION, device="cpu") == []
    stamp = path.stat().st_mtime_ns
    write_fasta(path, random_sequences({"chr1": 9000, "chr2": 333}, seed=5))
    os.utime(path, ns=(stamp, stamp))
    with pytest.raises(AssemblyMismatch):
        recompute(store, 5, fasta=str(path), extractor=COMPOSITION, device="cpu")


def test_a_plan_reckons_with_the_speed_of_the_last_run_or_one_tried_out(
    store: Store, fasta: Path, tmp_path: Path
) -> None:
    request = BuildRequest(fasta=str(fasta), extractor=COMPOSITION, bin_size=16, shard_bins=256)
    assert plan_build(str(tmp_path / "none"), request).measured_speed == 0
    assert not (tmp_path / "none").exists()
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    plan = plan_build(store.url, replace(request, offsets=(0, 8, 4)))
    assert plan.measured_speed > 0
    assert plan.hours(plan.measured_speed) == pytest.approx(plan.bins_todo / plan.measured_speed / 3600)
    assert plan.bins_todo == -(-(9000 + 4) // 16) + -(-(333 + 4) // 16)
    spec = describe_source(request)
    with closing(spec.make()) as source:
        assert measure(source, spec.assembly, seconds=0.05) > 0
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
