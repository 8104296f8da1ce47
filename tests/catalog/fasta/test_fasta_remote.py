"""FASTA at a URL: the bases of the file wherever it lies, in few requests."""

import gzip
import os
import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fasta_server import PLACES, SEQUENCES, TEXT, FastaServer, Place, bgzip, names, on_disk, on_the_web
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.extractors.sequence import bases
from catalog import Assembly, Fasta, FastaChanged, FastaError
from catalog.fasta import source as fasta_source
from featurestore.testing import assembly_of


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """FASTA as people have it: lines of any width, either break, any case, the last break there or not."""
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    lines = []
    for place, sequence in enumerate(draw(st.lists(st.text("ACGTNacgtn", min_size=1, max_size=60), min_size=1))):
        width = draw(st.integers(1, 25))
        lines.append(f">c{place}{draw(st.sampled_from(['', ' described']))}")
        lines += [sequence[at : at + width] for at in range(0, len(sequence), width)]
    return (newline.join(lines) + draw(st.sampled_from(["", newline, f"{newline}\n"]))).encode()


def sequences_of(text: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.decode().split():
        if line.startswith(">"):
            name = line[1:]
            found[name] = ""
        elif line != "described":
            found[name] += line
    return found


@pytest.mark.parametrize("place", PLACES)
@given(texts(), st.data())
@settings(max_examples=30, deadline=None)
def test_any_range_is_that_of_the_text_wherever_it_lies_and_however_it_is_packed(
    place: Place, running: FastaServer, tmp_path_factory: pytest.TempPathFactory, text: bytes, data: st.DataObject
) -> None:
    block_bytes = data.draw(st.sampled_from([0, 1, 5, 33, 1000]))
    content = bgzip(text, block_bytes) if block_bytes else text
    url = place(f"{next(names)}.fa", content, tmp_path_factory.mktemp("any"), running)
    sequences = sequences_of(text)
    with Fasta(url) as fasta, Fasta(url, index=fasta.index) as again:
        assert again.lengths == fasta.lengths == {name: len(sequence) for name, sequence in sequences.items()}
        for name, sequence in sequences.items():
            start = data.draw(st.integers(0, len(sequence) - 1))
            end = data.draw(st.integers(start + 1, len(sequence)))
            assert fasta.fetch(name, start, end).tobytes().decode() == sequence[start:end]
            assert again.fetch(name, start, end).tobytes().decode() == sequence[start:end]
        assert bases(fasta, "c0", -2, 1).tobytes().decode() == "NN" + sequences["c0"][0]
        assert Assembly.from_fasta(again).contigs == assembly_of(sequences).contigs


# Requests


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bgzip"])
def test_an_index_opens_a_file_with_one_question_and_a_range_is_one_request(server: FastaServer, packed: bool) -> None:
    content = bgzip(TEXT) if packed else TEXT
    url = on_the_web(f"{next(names)}.fa", content, Path(), server)
    with Fasta(url) as made:
        index = made.index
        assert sum(request.sent for request in server.take_requests()) < 1.4 * len(content), (
            "read through more than once"
        )
    with Fasta(url, index=index) as fasta:
        assert [request.method for request in server.take_requests()] == ["HEAD"]
        fasta.fetch("chr2", 0, 1)
        server.take_requests()
        found = fasta.fetch("chr1", 10, 399_990)
        assert found.tobytes().decode() == SEQUENCES["chr1"][10:399_990]
        (request,) = server.take_requests()
        assert request.sent <= min(len(content), 400_000 * 61 / 60 + 65_536)
        fasta.fetch("chr1", 200_000, 204_096)
        (request,) = server.take_requests()
        assert request.sent <= (2 * 65_536 if packed else 4096 * 61 / 60 + 2)


def test_the_client_makes_the_index_once_and_the_digests_once(server: FastaServer) -> None:
    url = on_the_web(f"{next(names)}.fa", TEXT, Path(), server)
    first = Assembly.from_fasta(url)
    assert sum(request.sent for request in server.take_requests()) > 2 * len(TEXT)
    assert Assembly.from_fasta(url) == first == assembly_of(SEQUENCES, name=first.name)
    assert sum(request.sent for request in server.take_requests()) < 0.2 * len(TEXT)


def test_a_genome_of_many_contigs_takes_few_requests_to_digest(server: FastaServer) -> None:
    contigs = {f"c{number}": "ACGT" for number in range(500)}
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items())
    url = on_the_web(f"{next(names)}.fa", text.encode(), Path(), server)
    assert Assembly.from_fasta(url).contigs == assembly_of(contigs).contigs
    assert len(server.take_requests()) < 12


def test_indexes_beside_a_file_are_used_unless_they_are_older(server: FastaServer, tmp_path: Path) -> None:
    name = next(names)
    content = bgzip(TEXT)
    url = on_the_web(f"{name}.fa.gz", content, Path(), server)
    with Fasta(on_disk("a.fa.gz", content, tmp_path, server)) as fasta:
        fai = "".join("\t".join(map(str, record)) + "\n" for record in fasta.index.records)
        server.files |= {f"/{name}.fa.gz.fai": fai.encode(), f"/{name}.fa.gz.gzi": fasta.index.gzi}
    with Fasta(url) as fasta:
        assert fasta.fetch("chr2", 5, 9).tobytes().decode() == SEQUENCES["chr2"][5:9]
        assert not fasta.cache.exists()
    assert sum(request.sent for request in server.take_requests()) < 2 * 65_536
    server.times |= {f"/{name}.fa.gz": 2_000_000, f"/{name}.fa.gz.fai": 1_000_000, f"/{name}.fa.gz.gzi": 3_000_000}
    with Fasta(url) as fasta:
        assert fasta.cache.exists()
    assert sum(request.sent for request in server.take_requests()) > len(content)


def test_a_damaged_index_beside_a_file_is_refused_by_name(server: FastaServer) -> None:
    url = on_the_web(f"{next(names)}.fa", b">c\nACGT\n", Path(), server)
    server.files[f"/{url.rpartition('/')[2]}.fai"] = b"<html>Not here</html>"
    with pytest.raises(FastaError, match=rf"cannot be indexed.*remove {re.escape(url)}\.fai"):
        Fasta(url)


def test_gzip_at_a_url_is_unpacked_once_into_the_cache(server: FastaServer) -> None:
    content = gzip.compress(TEXT)
    url = on_the_web(f"{next(names)}.fa.gz", content, Path(), server)
    with Fasta(url) as fasta:
        index = fasta.index
        assert (fasta.cache / "unpacked.fa").read_bytes() == TEXT
    assert len(content) < sum(request.sent for request in server.take_requests()) < len(content) + 100
    with Fasta(url, index=index) as fasta:
        assert fasta.fetch("chr2", 5, 90).tobytes().decode() == SEQUENCES["chr2"][5:90]
    assert [request.method for request in server.take_requests()] == ["HEAD"]


def test_a_url_is_shown_without_what_is_secret_in_it(server: FastaServer) -> None:
    url = on_the_web(f"{next(names)}.fa?signature=secret", b">c\nACGT\n", Path(), server)
    with Fasta(url) as fasta:
        assert fasta.url == url.removesuffix("?signature=secret")
        assert fasta.fetch("c", 1, 3).tobytes() == b"CG"
    assert all(request.path.endswith("secret") for request in server.take_requests()), "looked for an index beside it"
    assert Assembly.from_fasta(url).name == Path(fasta.url).stem


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bgzip"])
def test_threads_may_fetch_at_once(place: Place, packed: bool, server: FastaServer, tmp_path: Path) -> None:
    url = place(f"{next(names)}.fa", bgzip(TEXT) if packed else TEXT, tmp_path, server)
    starts = np.random.default_rng(1).integers(0, 390_000, 60).tolist()
    with Fasta(url) as fasta, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda start: fasta.fetch("chr1", start, start + 9_000).tobytes().decode(), starts))
    assert found == [SEQUENCES["chr1"][start : start + 9_000] for start in starts]


def test_a_large_range_is_requested_in_parts(server: FastaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = on_the_web(f"{next(names)}.fa", TEXT, Path(), server)
    monkeypatch.setattr(fasta_source, "_REQUEST_BYTES", 100_000)
    with Fasta(url) as fasta:
        server.take_requests()
        assert fasta.fetch("chr1", 0, 400_000).tobytes().decode() == SEQUENCES["chr1"]
    assert [request.sent for request in server.take_requests()] == [100_000] * 4 + [len(">chr1\n") + 6_666]


# A real object store


@pytest.mark.skipif("AWS_ENDPOINT_URL" not in os.environ, reason="no S3 server: AWS_ENDPOINT_URL is not set")
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzip], ids=["plain", "gzip", "bgzip"])
def test_a_genome_in_s3_is_read_in_place_and_its_change_found(pack: Callable[[bytes], bytes]) -> None:
    filesystem = fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    bucket = f"featurestore-{uuid.uuid4().hex[:12]}"
    filesystem.mkdir(bucket)
    url = f"s3://{bucket}/genome.fa.bin"
    named = {
        "key": os.environ["AWS_ACCESS_KEY_ID"],
        "secret": os.environ["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": os.environ["AWS_ENDPOINT_URL"],
    }
    try:
        filesystem.pipe_file(url, pack(TEXT))
        assert Assembly.from_fasta(url).contigs == assembly_of(SEQUENCES).contigs
        with Fasta(url, storage_options=named) as fasta, Fasta(url, index=fasta.index) as worker:
            assert worker.fetch("chr1", 5, 399_999).tobytes().decode() == SEQUENCES["chr1"][5:399_999]
            worker.check_unchanged()
            filesystem.pipe_file(url, pack(TEXT.lower()))
            with pytest.raises(FastaChanged, match=r"changed: it had .*ETag"):
                worker.check_unchanged()
            filesystem.rm(url)
            with pytest.raises(FastaChanged, match="is gone"):
                worker.check_unchanged()
        with pytest.raises(FileNotFoundError, match="no FASTA file at s3://"):
            Fasta(url)
        with pytest.raises(PermissionError, match="storage options: key, secret"):
            Fasta(url, storage_options=named | {"secret": "wrong"})
    finally:
        filesystem.rm(bucket, recursive=True)
