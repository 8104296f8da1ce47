"""Fixtures of the explorer's tests in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from explorer_pages import browser as browser
from explorer_pages import explored_store
from explorer_pages import page as page
from range_server import RangeServer, serve


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explored_store(tmp_path_factory.mktemp("explorer"))


@pytest.fixture
def server(built: Path) -> Iterator[RangeServer]:
    with serve(built / "store") as served:
        yield served
