"""The store that tests of several loaders read."""

import pytest
from tiny_windows import GRID, LENGTHS

from featurestore.testing import built_store


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("loaders") / "tiny.store"
    built_store(path, LENGTHS, GRID)
    return str(path)
