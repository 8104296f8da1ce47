"""Personal genomes over HTTP: the windows of the overlaid reader, also when the reference is written anew."""

from pathlib import Path

import numpy as np
import pytest
from overlay_stores import SPELLED, build_overlay_in_process, spelled_store, write_vcf
from served import client_of

from builders.overlays.request import OverlayRequest
from featurestore.format.layout import ContigLayout, commit_key, values_path
from featurestore.format.writer import write_shard
from featurestore.store import Store, open_store
from featurestore.testing.fixtures import ORIGIN, random_sequences, write_fasta

pytest.importorskip("cyvcf2", reason="the extra `variants` is not installed")
LENGTH = 800


@pytest.fixture
def store(tmp_path: Path) -> Store:
    sequences = random_sequences({"chr1": LENGTH})
    fasta = write_fasta(tmp_path / "genome.fa", sequences)
    store = spelled_store(str(tmp_path / "store"), fasta)
    reference = sequences["chr1"][399]
    vcf = write_vcf(tmp_path / "s.vcf", [f"chr1 400 {reference} {'A' if reference != 'A' else 'C'} 0|1"])
    request = OverlayRequest(
        feature_set="spelled", vcf=vcf, fasta=str(fasta), haplotype=2, extractor=SPELLED, device="cpu"
    )
    build_overlay_in_process(store.url, request)
    return store


def test_windows_are_those_of_the_overlaid_reader_under_a_tag_of_their_own(store: Store) -> None:
    path = "/v1/window?at=chr1:400&bins=9"
    with client_of(store) as client:
        assert client.get("/v1/sets").json()[0]["overlays"] == ["S/2"]
        plain, personal = client.get(path), client.get(f"{path}&overlay=S/2")
    assert personal.json()["overlay"] == "S/2"
    assert plain.headers["etag"] != personal.headers["etag"]
    reader = store["spelled"]
    for reply, expected in ((plain, reader), (personal, reader.with_overlay("S/2"))):
        values = expected.window("chr1", 400, n_bins=9).values
        np.testing.assert_array_equal(np.asarray(reply.json()["values"], values.dtype), values)
    assert plain.json()["values"] != personal.json()["values"]


def test_a_reference_that_was_read_and_then_written_anew_is_not_mixed_with_the_overlay(store: Store) -> None:
    """The chunk is in the cache from a reading without the overlay."""
    path = "/v1/window?at=chr1:400&bins=9"
    described = store.feature_set("spelled")
    layout = ContigLayout(described, LENGTH)
    with client_of(store) as client:
        assert client.get(path).status_code == 200
        first, end = layout.shard_span(0, 0)
        store.objects.delete(commit_key("spelled", "chr1", 0, 0))
        store.objects.delete(f"{values_path('spelled', 'chr1')}/c/0/0/0")
        rows = np.full((end - first, len(described.channels)), 7, np.float16)
        write_shard(store.objects, layout, rows, contig="chr1", phase=0, shard=0, origin=ORIGIN)
        found = client.get(f"{path}&overlay=S/2").json()["values"]
    expected = open_store(store.url)["spelled"].with_overlay("S/2").window("chr1", 400, n_bins=9).values
    np.testing.assert_array_equal(np.asarray(found, np.float16), expected)
    assert (expected == 7).any()
