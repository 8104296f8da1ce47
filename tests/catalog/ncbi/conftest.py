"""A server that speaks as NCBI does, and no waiting between requests, for all tests of the folder."""

from collections.abc import Iterator

import pytest
from entrez_server import EntrezServer, genes

from catalog.ncbi import client as eutils
from catalog.runtime import retry


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between requests; what NCBI allows has a test of its own."""
    monkeypatch.setattr(eutils, "_INTERVAL_S", 0.0)
    monkeypatch.setattr(eutils, "_INTERVAL_WITH_KEY_S", 0.0)
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.01)
    for name in ("NCBI_EMAIL", "NCBI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[EntrezServer]:
    with EntrezServer(genes(30)) as served:
        yield served
