"""A web server of FASTA files, for all tests of the folder."""

import threading
from collections.abc import Iterator

import pytest
from fasta_server import FastaServer


@pytest.fixture(scope="module")
def running() -> Iterator[FastaServer]:
    with FastaServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(running: FastaServer) -> Iterator[FastaServer]:
    running.take_requests()
    yield running
    running.faults = []
    running.afterwards = lambda request: None


@pytest.fixture
def _tries_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "0.3")
