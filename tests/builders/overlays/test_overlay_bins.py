"""Every bin of an overlay is the extractor on the haplotype around its lifted centre, and the others are untouched."""

from pathlib import Path

import numpy as np
import pytest
from naive_haplotype import NaiveHaplotype
from overlay_stores import SEEN, SPELLED, build_overlay_in_process, spelled, spelled_store, write_vcf

import featurestore
from builders.overlays.haplotype import Edit
from builders.overlays.request import OverlayRequest
from featurestore import FeatureReader, NotBuilt, Store, verify
from featurestore.rows.overlays.declare import delete_overlay
from featurestore.rows.overlays.describe import OverlayMismatch
from featurestore.testing import random_sequences, write_fasta

BIN, OFFSETS = 16, (0, 5)
LENGTHS = {"chr1": 4000, "chr2": 400, "chr3": 40}


@pytest.fixture(scope="module")
def sequences() -> dict[str, str]:
    return random_sequences(LENGTHS, seed=5)


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory, sequences: dict[str, str]) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "tiny.fa", sequences)


def edits_and_lines(sequences: dict[str, str]) -> tuple[dict[str, list[Edit]], list[str]]:
    """Edits of the second haplotype, and the lines that say them."""
    one, two = sequences["chr1"], sequences["chr2"]
    other = {"A": "C", "C": "G", "G": "T", "T": "A"}
    edits = {
        "chr1": [
            Edit(0, 1, other[one[0]].encode()),
            Edit(901, 50, b""),
            Edit(1200, 0, b"ACGTACGTAC"),
            Edit(1300, 1, other[one[1300]].encode()),
            Edit(3999, 1, other[one[3999]].encode()),
        ],
        "chr2": [Edit(100, 1, other[two[100]].encode())],
    }
    lines = [
        f"chr1 1 {one[0]} {other[one[0]]} 0|1",
        f"chr1 901 {one[900:951]} {one[900]} 0|1",
        f"chr1 1200 {one[1199]} {one[1199]}ACGTACGTAC 1|1",
        f"chr1 1301 {one[1300]} {other[one[1300]]} 0|1",
        f"chr1 2001 {one[2000]} {other[one[2000]]} 1|0",
        f"chr1 4000 {one[3999]} {other[one[3999]]} 1/1",
        f"chr2 101 {two[100]} {other[two[100]]} 1|1",
    ]
    return edits, lines


@pytest.fixture
def request_of(tmp_path: Path, fasta: Path, sequences: dict[str, str]) -> OverlayRequest:
    vcf = write_vcf(tmp_path / "s.vcf", edits_and_lines(sequences)[1])
    return OverlayRequest(
        feature_set="spelled", vcf=vcf, fasta=str(fasta), haplotype=2, extractor=SPELLED, device="cpu"
    )


@pytest.fixture
def store(tmp_path: Path, fasta: Path) -> Store:
    return spelled_store(str(tmp_path / "tiny.store"), fasta, bin_size=BIN, offsets=OFFSETS)


def all_rows(reader: FeatureReader, contig: str, phase: int) -> np.ndarray:
    request = featurestore.RowRequest(contig, phase, 0, reader.n_rows(contig, phase))
    return reader.rows([request])[0]


def test_every_bin_is_that_of_the_haplotype_around_its_lifted_centre(
    store: Store, request_of: OverlayRequest, sequences: dict[str, str]
) -> None:
    plan = build_overlay_in_process(store.url, request_of)
    edits, _ = edits_and_lines(sequences)
    reference, personal = store["spelled"], store["spelled"].with_overlay("S/2")
    assert personal.overlay == "S/2"
    assert store.overlays("spelled") == ["S/2"]
    assert plan.overlay.counts == {"applied": 6}
    n_touched = 0
    for contig, sequence in sequences.items():
        naive = NaiveHaplotype(sequence, edits.get(contig, []))
        for phase, offset in enumerate(OFFSETS):
            before, after = all_rows(reference, contig, phase), all_rows(personal, contig, phase)
            touched = plan.bins[contig][phase].tolist()
            n_touched += len(touched)
            for row in range(len(before)):
                centre = row * BIN - offset + BIN // 2
                seen = naive.window(naive.lift(centre), BIN // 2 + SEEN, BIN // 2 + SEEN)
                expected = spelled(np.frombuffer(seen.encode(), dtype=np.uint8)[None])[0]
                assert after[row].tolist() == expected.astype(np.float16).tolist()
                if row not in touched:
                    assert after[row].tobytes() == before[row].tobytes()
    assert n_touched == plan.n_touched
    assert 0 < plan.n_touched < plan.n_total / 4


def test_windows_read_through_it_in_any_batch(store: Store, request_of: OverlayRequest) -> None:
    build_overlay_in_process(store.url, request_of)
    personal = store["spelled"].with_overlay("S/2")
    centres = np.arange(0, 4000, 37)
    many = personal.windows("chr1", centres, n_bins=9)
    for number, centre in enumerate(centres.tolist()):
        one = personal.window("chr1", centre, n_bins=9)
        np.testing.assert_array_equal(many.values[number], one.values)
        rows = all_rows(personal, "chr1", one.phase)
        inside = (one.starts + BIN > 0) & (one.starts < 4000)
        first = (one.starts[inside] + OFFSETS[one.phase]) // BIN
        np.testing.assert_array_equal(one.values[inside], rows[first])
    table = personal.to_polars("chr1", 0, 320)
    np.testing.assert_array_equal(table["a"].to_numpy(), all_rows(personal, "chr1", 0)[:20, 0].astype(np.float32))
    with pytest.raises(ValueError, match="is a patch, and no array of its own"):
        personal.to_xarray("chr1")


def test_a_build_goes_on_where_it_stopped_and_readers_wait_for_all_of_a_contig(
    store: Store, request_of: OverlayRequest
) -> None:
    build_overlay_in_process(store.url, request_of, most_shards=1)
    begun = store["spelled"].with_overlay("S/2")
    with pytest.raises(NotBuilt, match=r"lacks 2 shards of chr2; `.*build-overlay .*--sample S --haplotype 2"):
        begun.window("chr2", 100, n_bins=1)
    found = verify(store, crc=True)
    assert found.faults == []
    assert found.missing > 0
    build_overlay_in_process(store.url, request_of)
    found = verify(featurestore.open(store.url), crc=True)
    assert (found.faults, found.missing, found.strangers) == ([], 0, [])
    store["spelled"].with_overlay("S/2").window("chr1", 100, n_bins=1)


def test_an_overlay_of_other_variants_or_rules_is_refused_until_it_is_deleted(
    store: Store, request_of: OverlayRequest, tmp_path: Path, sequences: dict[str, str]
) -> None:
    build_overlay_in_process(store.url, request_of)
    fewer = write_vcf(tmp_path / "other.vcf", edits_and_lines(sequences)[1][:3])
    other = OverlayRequest(
        feature_set="spelled", vcf=fewer, fasta=request_of.fasta, haplotype=2, extractor=SPELLED, device="cpu"
    )
    with pytest.raises(OverlayMismatch, match=r"with other variants, counts; .*`featurestore delete-overlay` first"):
        build_overlay_in_process(store.url, other)
    assert delete_overlay(store.objects, "spelled", "S/2") > 0
    assert delete_overlay(store.objects, "spelled", "S/2") == 0
    assert store.overlays("spelled") == []
    found = verify(featurestore.open(store.url), crc=True)
    assert (found.faults, found.strangers) == ([], [])
    with pytest.raises(NotBuilt, match=r"no overlay 'S/2' of 'spelled'.*it has none"):
        store["spelled"].with_overlay("S/2")
    build_overlay_in_process(store.url, other)
    assert store["spelled"].with_overlay("S/2").window("chr2", 100, n_bins=1).values.shape == (1, 3)


def test_commit_records_name_the_overlays_own_fingerprint(store: Store, request_of: OverlayRequest) -> None:
    plan = build_overlay_in_process(store.url, request_of)
    records = list(store.commits("spelled+S+2").records())
    assert records
    assert {record.fingerprint for record in records} == {plan.overlay.fingerprint}
    assert plan.overlay.fingerprint != store.feature_set("spelled").fingerprint


def test_a_damaged_shard_of_an_overlay_is_found_and_repaired(store: Store, request_of: OverlayRequest) -> None:
    build_overlay_in_process(store.url, request_of)
    shard = next(Path(store.url).glob("overlays/spelled/S+2/chr1/values/c/0/*/0"))
    shard.write_bytes(b"x" + shard.read_bytes()[1:])
    found = verify(store, crc=True)
    assert [fault.where for fault in found.faults] == [str(shard.relative_to(store.url))]
    featurestore.repair(store, found)
    build_overlay_in_process(store.url, request_of)
    assert verify(featurestore.open(store.url), crc=True).faults == []
