"""FASTA at a URL and on a shared disk: the bases of the file, few requests, and a word when the file is another."""

import gzip
import hashlib
import io
import itertools
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pytest
from Bio import bgzf as bio
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.sequence import bases
from catalog import Assembly, Fasta, FastaChanged, FastaError, FastaIndex
from catalog.fasta import source as fasta_source
from catalog.fasta.bgzf import END
from catalog.folders import cache_directory
from featurestore.testing import assembly_of, random_sequences

biopython: Any = bio  # it has no annotations
_names = (f"genome-{number}" for number in itertools.count())


class Request(NamedTuple):
    method: str
    path: str
    sent: int
    """Bytes of the body."""


class Server(ThreadingHTTPServer):
    """Files over HTTP, by ranges. Keeps what was asked, and can be told to answer wrongly."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.times: dict[str, float] = {}
        self.log: list[Request] = []
        self.faults: list[str] = []
        """What goes wrong with the next requests, one each; the last one stays."""
        self.afterwards: Callable[[Request], None] = lambda request: None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def asked(self) -> list[Request]:
        """Give what was asked since the last call."""
        log, self.log = self.log, []
        return log

    def next_fault(self) -> str:
        return self.faults.pop(0) if len(self.faults) > 1 else next(iter(self.faults), "")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each reply waits 40 ms for the acknowledgement of its headers
    server: Server

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def _serve(self, *, with_body: bool) -> None:
        fault = self.server.next_fault()
        body = self.server.files.get(self.path)
        if fault == "hang up":
            self.close_connection = True
            return
        if body is None or fault.isdigit():
            self._answer(int(fault) if fault.isdigit() else 404, b"", with_body=with_body)
            return
        size, status, extra = len(body), 200, {"ETag": f'"{hashlib.sha256(body).hexdigest()[:8]}"'}
        if fault == "no ETag":
            extra = {}
        if self.path in self.server.times:
            extra["Last-Modified"] = formatdate(self.server.times[self.path], usegmt=True)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and fault != "no ranges":
            start, end = int(asked[1]), min(int(asked[2]) + 1, size)
            body, status = body[start:end], 206
            extra["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        assert self.headers["Accept-Encoding"] == "identity"
        self._answer(status, body, with_body=with_body, kept=0.5 if fault == "cut" else 1, extra=extra)

    def _answer(
        self, status: int, body: bytes, *, with_body: bool, kept: float = 1, extra: dict[str, str] | None = None
    ) -> None:
        sent = body[: int(len(body) * kept)] if with_body else b""
        request = Request(self.command, self.path, len(sent))
        self.server.log.append(request)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = kept < 1
        self.server.afterwards(request)


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    running.asked()
    yield running
    running.faults = []
    running.afterwards = lambda request: None


@pytest.fixture
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fasta_source, "_WAITS_S", (0.0, 0.01))


# Ways to put a file where it can be read


def on_disk(name: str, content: bytes, folder: Path, _: Server) -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


def in_memory(name: str, content: bytes, _: Path, __: Server) -> str:
    fsspec.filesystem("memory").pipe_file(f"/{name}", content)
    return f"memory://{name}"


def on_the_web(name: str, content: bytes, _: Path, server: Server) -> str:
    server.files[f"/{name}"] = content
    return f"{server.url}/{name}"


PLACES = [
    pytest.param(on_disk, id="disk"),
    pytest.param(in_memory, id="memory"),
    pytest.param(on_the_web, id="web"),
]
Place = Callable[[str, bytes, Path, Server], str]


def bgzip(text: bytes, block_bytes: int = 1 << 16) -> bytes:
    out = io.BytesIO()
    writer = biopython.BgzfWriter(fileobj=out)
    for start in range(0, len(text), block_bytes):
        writer.write(text[start : start + block_bytes])
        writer.flush()
    return out.getvalue() + END


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
def test_any_stretch_is_that_of_the_text_wherever_it_lies_and_however_it_is_packed(
    place: Place, running: Server, tmp_path_factory: pytest.TempPathFactory, text: bytes, data: st.DataObject
) -> None:
    block_bytes = data.draw(st.sampled_from([0, 1, 5, 33, 1000]))
    content = bgzip(text, block_bytes) if block_bytes else text
    url = place(f"{next(_names)}.fa", content, tmp_path_factory.mktemp("any"), running)
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

SEQUENCES = random_sequences({"chr1": 400_000, "chr2": 3_000}, seed=8)
TEXT = "".join(
    f">{name}\n" + "".join(f"{sequence[at : at + 60]}\n" for at in range(0, len(sequence), 60))
    for name, sequence in SEQUENCES.items()
).encode()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bgzip"])
def test_an_index_opens_a_file_with_one_question_and_a_stretch_is_one_request(server: Server, packed: bool) -> None:
    content = bgzip(TEXT) if packed else TEXT
    url = on_the_web(f"{next(_names)}.fa", content, Path(), server)
    with Fasta(url) as made:
        index = made.index
        assert sum(request.sent for request in server.asked()) < 1.4 * len(content), "read through more than once"
    with Fasta(url, index=index) as fasta:
        assert [request.method for request in server.asked()] == ["HEAD"]
        fasta.fetch("chr2", 0, 1)
        server.asked()
        found = fasta.fetch("chr1", 10, 399_990)
        assert found.tobytes().decode() == SEQUENCES["chr1"][10:399_990]
        (request,) = server.asked()
        assert request.sent <= min(len(content), 400_000 * 61 / 60 + 65_536)
        fasta.fetch("chr1", 200_000, 204_096)
        (request,) = server.asked()
        assert request.sent <= (2 * 65_536 if packed else 4096 * 61 / 60 + 2)


def test_the_client_makes_the_index_once_and_the_digests_once(server: Server) -> None:
    url = on_the_web(f"{next(_names)}.fa", TEXT, Path(), server)
    first = Assembly.from_fasta(url)
    assert sum(request.sent for request in server.asked()) > 2 * len(TEXT)
    assert Assembly.from_fasta(url) == first == assembly_of(SEQUENCES, name=first.name)
    assert sum(request.sent for request in server.asked()) < 0.2 * len(TEXT)


def test_a_genome_of_many_contigs_takes_few_requests_to_digest(server: Server) -> None:
    contigs = {f"c{number}": "ACGT" for number in range(500)}
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items())
    url = on_the_web(f"{next(_names)}.fa", text.encode(), Path(), server)
    assert Assembly.from_fasta(url).contigs == assembly_of(contigs).contigs
    assert len(server.asked()) < 12


def test_indexes_beside_a_file_are_used_unless_they_are_older(server: Server, tmp_path: Path) -> None:
    name = next(_names)
    content = bgzip(TEXT)
    url = on_the_web(f"{name}.fa.gz", content, Path(), server)
    with Fasta(on_disk("a.fa.gz", content, tmp_path, server)) as fasta:
        fai = "".join("\t".join(map(str, record)) + "\n" for record in fasta.index.records)
        server.files |= {f"/{name}.fa.gz.fai": fai.encode(), f"/{name}.fa.gz.gzi": fasta.index.gzi}
    with Fasta(url) as fasta:
        assert fasta.fetch("chr2", 5, 9).tobytes().decode() == SEQUENCES["chr2"][5:9]
        assert not fasta.cache.exists()
    assert sum(request.sent for request in server.asked()) < 2 * 65_536
    server.times |= {f"/{name}.fa.gz": 2_000_000, f"/{name}.fa.gz.fai": 1_000_000, f"/{name}.fa.gz.gzi": 3_000_000}
    with Fasta(url) as fasta:
        assert fasta.cache.exists()
    assert sum(request.sent for request in server.asked()) > len(content)


def test_a_damaged_index_beside_a_file_is_refused_by_name(server: Server) -> None:
    url = on_the_web(f"{next(_names)}.fa", b">c\nACGT\n", Path(), server)
    server.files[f"/{url.rpartition('/')[2]}.fai"] = b"<html>Not here</html>"
    with pytest.raises(FastaError, match=rf"cannot be indexed.*remove {re.escape(url)}\.fai"):
        Fasta(url)


def test_gzip_at_a_url_is_unpacked_once_into_the_cache(server: Server) -> None:
    content = gzip.compress(TEXT)
    url = on_the_web(f"{next(_names)}.fa.gz", content, Path(), server)
    with Fasta(url) as fasta:
        index = fasta.index
        assert (fasta.cache / "unpacked.fa").read_bytes() == TEXT
    assert len(content) < sum(request.sent for request in server.asked()) < len(content) + 100
    with Fasta(url, index=index) as fasta:
        assert fasta.fetch("chr2", 5, 90).tobytes().decode() == SEQUENCES["chr2"][5:90]
    assert [request.method for request in server.asked()] == ["HEAD"]


def test_a_url_is_shown_without_what_is_secret_in_it(server: Server) -> None:
    url = on_the_web(f"{next(_names)}.fa?signature=secret", b">c\nACGT\n", Path(), server)
    with Fasta(url) as fasta:
        assert fasta.url == url.removesuffix("?signature=secret")
        assert fasta.fetch("c", 1, 3).tobytes() == b"CG"
    assert all(request.path.endswith("secret") for request in server.asked()), "looked for an index beside it"
    assert Assembly.from_fasta(url).name == Path(fasta.url).stem


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bgzip"])
def test_threads_may_fetch_at_once(place: Place, packed: bool, server: Server, tmp_path: Path) -> None:
    url = place(f"{next(_names)}.fa", bgzip(TEXT) if packed else TEXT, tmp_path, server)
    starts = np.random.default_rng(1).integers(0, 390_000, 60).tolist()
    with Fasta(url) as fasta, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda start: fasta.fetch("chr1", start, start + 9_000).tobytes().decode(), starts))
    assert found == [SEQUENCES["chr1"][start : start + 9_000] for start in starts]


def test_a_large_stretch_is_asked_for_in_parts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = on_the_web(f"{next(_names)}.fa", TEXT, Path(), server)
    monkeypatch.setattr(fasta_source, "_REQUEST_BYTES", 100_000)
    with Fasta(url) as fasta:
        server.asked()
        assert fasta.fetch("chr1", 0, 400_000).tobytes().decode() == SEQUENCES["chr1"]
    assert [request.sent for request in server.asked()] == [100_000] * 4 + [6_666]


# A file that changed


def set_time(path: Path, ns: int) -> None:
    os.utime(path, ns=(ns, ns))


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b">d\nAC\n")


def rewritten_in_place(path: Path) -> None:
    stamp = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(3)
        file.write(b"T")
    set_time(path, stamp + 1)


def replaced(path: Path) -> None:
    stamp = path.stat().st_mtime_ns
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().lower())
    set_time(other, stamp + 1)
    other.rename(path)


def rewritten_and_put_back(path: Path) -> None:
    kept = path.with_name("kept")
    kept.write_bytes(path.read_bytes())
    set_time(kept, path.stat().st_mtime_ns)
    rewritten_in_place(path)
    kept.rename(path)


def deleted(path: Path) -> None:
    path.unlink()


CHANGES = [appended, rewritten_in_place, replaced, rewritten_and_put_back, deleted]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzip], ids=["plain", "gzip", "bgzip"])
def test_a_file_on_a_disk_that_changed_is_found(
    tmp_path: Path, change: Callable[[Path], None], pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(pack(b">c\nACGTACGT\n"))
    with Fasta(path) as fasta:
        fasta.fetch("c", 2, 6)
        fasta.check_unchanged()
        change(path)
        with pytest.raises(FastaChanged, match=r"a\.fa (changed: it had|is gone).*put that back.*store of its own"):
            fasta.check_unchanged()


def test_reads_go_on_from_the_file_that_was_opened_when_another_takes_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(TEXT)
    with Fasta(path) as fasta:
        replaced(path)
        assert fasta.fetch("chr1", 0, 400_000).tobytes().decode() == SEQUENCES["chr1"]


def test_a_file_that_no_longer_fits_its_index_is_changed_rather_than_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(TEXT)
    with Fasta(path) as fasta:
        path.write_bytes(TEXT[:1000])
        with pytest.raises(FastaChanged, match="put that back"):
            fasta.fetch("chr1", 300_000, 300_100)


def test_a_copy_or_a_file_whose_name_changed_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(TEXT)
    with Fasta(path) as fasta:
        index = fasta.index
        set_time(path, path.stat().st_mtime_ns)
        fasta.check_unchanged()
    with Fasta(path.rename(tmp_path / "b.fa"), index=index) as moved:
        moved.check_unchanged()
        assert moved.fetch("chr2", 0, 3_000).tobytes().decode() == SEQUENCES["chr2"]


@pytest.mark.parametrize("place", PLACES)
def test_the_index_of_another_version_is_refused(place: Place, server: Server, tmp_path: Path) -> None:
    name = f"{next(_names)}.fa"
    with Fasta(place(name, TEXT, tmp_path, server)) as fasta:
        index = fasta.index
    url = place(name, TEXT.replace(b"ACGT", b"TTTTT", 1), tmp_path, server)
    with pytest.raises(FastaChanged, match=r"not the file that was indexed.*open it without the index"):
        Fasta(url, index=index)


@pytest.mark.parametrize("place", PLACES[1:])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzip], ids=["plain", "gzip", "bgzip"])
def test_a_remote_file_that_changed_is_found(
    place: Place, pack: Callable[[bytes], bytes], server: Server, tmp_path: Path
) -> None:
    name = f"{next(_names)}.fa"
    with Fasta(place(name, pack(b">c\nACGT\n"), tmp_path, server)) as fasta:
        fasta.check_unchanged()
        place(name, pack(b">c\nACGG\n"), tmp_path, server)
        with pytest.raises(FastaChanged, match=r"changed: it had.*put that back.*store of its own"):
            fasta.check_unchanged()


def test_without_an_etag_the_time_of_change_tells(server: Server) -> None:
    name = f"/{next(_names)}.fa"
    server.faults = ["no ETag"]
    server.files[name], server.times[name] = b">c\nACGT\n", 1_000_000
    with Fasta(f"{server.url}{name}") as fasta:
        assert "Last-Modified" in fasta.version
        fasta.check_unchanged()
        server.times[name] += 1
        with pytest.raises(FastaChanged, match=r"changed: it had 8 bytes, Last-Modified"):
            fasta.check_unchanged()


def test_a_remote_file_that_is_gone_is_found(server: Server) -> None:
    url = on_the_web(f"{next(_names)}.fa", b">c\nACGT\n", Path(), server)
    with Fasta(url) as fasta:
        server.files.clear()
        with pytest.raises(FastaChanged, match=r"is gone; .*put that back"):
            fasta.check_unchanged()
        with pytest.raises(FastaChanged, match="is gone"):
            fasta.fetch("c", 0, 4)


class _ChangesWhileRead(Fasta):
    def pieces(self) -> Iterator[tuple[str, np.ndarray]]:
        yield from super().pieces()
        appended(Path(self.url))


def test_digests_of_a_file_that_changed_meanwhile_are_neither_given_nor_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(b">c\nACGT\n")
    with _ChangesWhileRead(path) as fasta:
        with pytest.raises(FastaChanged):
            Assembly.from_fasta(fasta)
        assert not (fasta.cache / "contigs.json").exists()


def test_an_index_of_a_file_that_changed_meanwhile_is_not_kept(server: Server) -> None:
    url = on_the_web(f"{next(_names)}.fa", TEXT, Path(), server)
    before = sorted(cache_directory().rglob("*"))

    def change(request: Request) -> None:
        if request.sent == len(TEXT):
            server.files[request.path] = TEXT.lower()

    server.afterwards = change
    with pytest.raises(FastaChanged, match="changed: it had"):
        Fasta(url)
    assert sorted(cache_directory().rglob("*")) == before


# Servers that fail


@pytest.mark.usefixtures("_no_patience")
@pytest.mark.parametrize("fault", ["500", "503", "429", "cut"])
def test_a_fault_that_passes_is_no_failure(server: Server, fault: str) -> None:
    url = on_the_web(f"{next(_names)}.fa", TEXT, Path(), server)
    with Fasta(url) as fasta:
        server.faults = [fault, ""]
        assert fasta.fetch("chr1", 0, 400_000).tobytes().decode() == SEQUENCES["chr1"]
        server.faults = [fault, ""]
        fasta.check_unchanged()


@pytest.mark.usefixtures("_no_patience")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param("503", r"cannot be read \(HTTP 503", id="overloaded"),
        pytest.param("403", r"cannot be read \(HTTP 403", id="refused"),
        pytest.param("cut", r"cannot be read \(ClientPayloadError", id="a body cut short"),
    ],
)
def test_a_server_that_fails_is_told_with_the_mend(server: Server, fault: str, message: str) -> None:
    url = on_the_web(f"{next(_names)}.fa", TEXT, Path(), server)
    with Fasta(url) as fasta:
        server.faults = [fault]
        with pytest.raises(OSError, match=rf"{message}.*see that its server answers.*start again"):
            fasta.fetch("chr1", 0, 400_000)
        server.asked()
    if fault == "403":
        with pytest.raises(PermissionError, match="storage options: key, secret"):
            Fasta(url)
        assert len(server.asked()) == 2, "a refusal was asked again"


@pytest.mark.usefixtures("_no_patience")
def test_a_server_that_is_gone_is_told_with_the_mend(server: Server) -> None:
    with Server() as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        fasta = Fasta(on_the_web("a.fa", TEXT, Path(), other))
        other.faults = ["hang up"]
        other.shutdown()
    for failing in (lambda: fasta.fetch("chr1", 0, 400_000), fasta.check_unchanged, lambda: Fasta(f"{other.url}/a.fa")):
        with pytest.raises(OSError, match=r"a\.fa cannot be read .*see that its server answers") as caught:
            failing()
        assert not isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("url", ["memory://nowhere/a.fa", "{server}/nowhere/a.fa"])
def test_a_url_where_nothing_is_is_refused_with_the_mend(server: Server, url: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no FASTA file at .*nowhere/a\.fa; give the URL of a \.fa"):
        Fasta(url.format(server=server.url))


def test_a_folder_is_refused_with_the_mend() -> None:
    fsspec.filesystem("memory").pipe_file("/folder/a.fa", b">c\nACGT\n")
    with pytest.raises(FileNotFoundError, match=r"is a folder; give the URL of a \.fa"):
        Fasta("memory://folder")


def test_a_server_without_ranges_is_refused_before_it_sends_everything(server: Server) -> None:
    url = on_the_web(f"{next(_names)}.fa", TEXT * 20, Path(), server)
    server.faults = ["no ranges"]
    with pytest.raises(FastaError, match=r"sends no parts of a file.*download it"):
        Fasta(url)
    assert len(server.asked()) == 2


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bgzip"])
def test_a_truncated_file_is_refused_with_the_mend(server: Server, packed: bool) -> None:
    content = (bgzip(TEXT) if packed else TEXT + b">d\nAC\n")[:-3]
    url = on_the_web(f"{next(_names)}.fa", content, Path(), server)
    with pytest.raises(FastaError, match=r"truncated; fetch it again|no sequence for d; fetch it again"):
        Fasta(url)


def test_an_index_given_for_a_shorter_file_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(b">c\nACGT\n")
    with Fasta(path) as fasta:
        whole = fasta.index
    longer = FastaIndex.from_fai("c\t9\t3\t4\t5\n", version=whole.version, packing="plain")
    with pytest.raises(FastaError, match=r"ends before the last base.*open it without an index"):
        Fasta(path, index=longer)


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
