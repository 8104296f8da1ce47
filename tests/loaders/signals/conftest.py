"""The store that tests of signals read."""

import pytest
from signal_stores import signal_store


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("signals") / "tiny.store"
    signal_store(path)
    return str(path)
