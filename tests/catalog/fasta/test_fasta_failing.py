"""Servers and files that fail: transient errors go unnoticed, the rest is told with the mend."""

import threading
import time
from pathlib import Path

import fsspec
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from fasta_server import SEQUENCES, TEXT, FastaServer, bgzip, names, on_the_web

from catalog import Fasta, FastaError, FastaIndex
from catalog.fasta.source import open_source


@pytest.mark.usefixtures("_tries_briefly")
@pytest.mark.parametrize("fault", ["500", "503", "429", "cut"])
def test_a_fault_that_passes_is_no_failure(server: FastaServer, fault: str) -> None:
    url = on_the_web(f"{next(names)}.fa", TEXT, Path(), server)
    with Fasta(url) as fasta:
        server.faults = [fault, ""]
        assert fasta.fetch("chr1", 0, 400_000).tobytes().decode() == SEQUENCES["chr1"]
        server.faults = [fault, ""]
        fasta.check_unchanged()


@pytest.mark.usefixtures("_tries_briefly")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param("503", r"cannot be read \(HTTP 503", id="overloaded"),
        pytest.param("403", r"cannot be read \(HTTP 403", id="refused"),
        pytest.param("cut", r"cannot be read \(ClientPayloadError", id="a body cut short"),
    ],
)
def test_a_server_that_fails_is_told_with_the_mend(server: FastaServer, fault: str, message: str) -> None:
    url = on_the_web(f"{next(names)}.fa", TEXT, Path(), server)
    with Fasta(url) as fasta:
        server.faults = [fault]
        with pytest.raises(OSError, match=rf"{message}.*see that its server answers.*start again"):
            fasta.fetch("chr1", 0, 400_000)
        server.take_requests()
    if fault == "403":
        with pytest.raises(PermissionError, match="storage options: key, secret"):
            Fasta(url)
        assert len(server.take_requests()) == 2, "a refusal was asked again"


@pytest.mark.usefixtures("_tries_briefly")
def test_a_server_that_is_gone_is_told_with_the_mend(server: FastaServer) -> None:
    with FastaServer() as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        fasta = Fasta(on_the_web("a.fa", TEXT, Path(), other))
        other.faults = ["hang up"]
        other.shutdown()
    for failing in (lambda: fasta.fetch("chr1", 0, 400_000), fasta.check_unchanged, lambda: Fasta(f"{other.url}/a.fa")):
        with pytest.raises(OSError, match=r"a\.fa cannot be read .*see that its server answers") as caught:
            failing()
        assert not isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("url", ["memory://nowhere/a.fa", "{server}/nowhere/a.fa"])
def test_a_url_where_nothing_is_is_refused_with_the_mend(server: FastaServer, url: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no FASTA file at .*nowhere/a\.fa; give the URL of a \.fa"):
        Fasta(url.format(server=server.url))


def test_a_folder_is_refused_with_the_mend() -> None:
    fsspec.filesystem("memory").pipe_file("/folder/a.fa", b">c\nACGT\n")
    with pytest.raises(FileNotFoundError, match=r"is a folder; give the URL of a \.fa"):
        Fasta("memory://folder")


def test_a_server_without_ranges_is_refused_before_it_sends_everything(server: FastaServer) -> None:
    url = on_the_web(f"{next(names)}.fa", TEXT * 20, Path(), server)
    server.faults = ["no ranges"]
    with pytest.raises(FastaError, match=r"sends no parts of a file.*download it"):
        Fasta(url)
    assert len(server.take_requests()) == 2


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bgzip"])
def test_a_truncated_file_is_refused_with_the_mend(server: FastaServer, packed: bool) -> None:
    content = (bgzip(TEXT) if packed else TEXT + b">d\nAC\n")[:-3]
    url = on_the_web(f"{next(names)}.fa", content, Path(), server)
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


class FailsFirst:
    """A file system in memory that raises these errors first."""

    protocol = ("memory",)

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.n_requests = 0

    def info(self, path: str) -> dict[str, object]:
        self.n_requests += 1
        if self.errors:
            raise self.errors.pop(0)
        return {"size": 8, "type": "file"}

    def invalidate_cache(self, path: str) -> None:
        """Do nothing: nothing is kept."""


@pytest.mark.parametrize(
    ("error", "is_transient"),
    [
        pytest.param(ConnectionResetError("gone"), True, id="reset"),
        pytest.param(TimeoutError("slow"), True, id="no answer"),
        pytest.param(OSError(16, "SlowDown"), True, id="throttled, as s3fs says it"),
        pytest.param(EndpointConnectionError(endpoint_url="x"), True, id="no connection, as botocore says it"),
        pytest.param(NoCredentialsError(), False, id="no credentials"),
        pytest.param(NotADirectoryError("a"), False, id="a place that cannot be"),
        pytest.param(NotImplementedError("ranges"), False, id="a thing that it cannot do"),
    ],
)
@pytest.mark.usefixtures("_tries_briefly")
def test_only_transient_errors_are_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_transient: bool
) -> None:
    system = FailsFirst(error)
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url, **options: (system, url))
    if is_transient:
        assert open_source("memory://a.fa", None).size == 8
        assert system.n_requests == 2
    else:
        with pytest.raises(OSError, match=r"a\.fa cannot be read .*see that its server answers"):
            open_source("memory://a.fa", None)
        assert system.n_requests == 1


def test_a_mistake_in_a_program_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url, **options: (FailsFirst(KeyError("a mistake")), url))
    with pytest.raises(KeyError, match="a mistake"):
        open_source("memory://a.fa", None)


def test_a_genome_is_tried_for_as_long_as_a_store(server: FastaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "0.8")
    url = on_the_web(f"{next(names)}.fa", TEXT, Path(), server)
    with Fasta(url) as fasta:
        server.faults = ["503"]
        began = time.monotonic()
        with pytest.raises(OSError, match=r"HTTP 503.*FEATURESTORE_RETRY_S, now 0\.8 s"):
            fasta.fetch("chr1", 0, 10)
    assert 0.8 <= time.monotonic() - began < 5
