"""Fixtures of the explorer's tests in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from explorer_pages import BROWSER, explored_store
from range_server import RangeServer, serve


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explored_store(tmp_path_factory.mktemp("explorer"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser's driver is in the extra `dev`")
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 1000}, accept_downloads=True)
    opened = context.new_page()
    opened.crashes = []
    opened.on("pageerror", lambda error: opened.crashes.append(str(error)))
    opened.set_default_timeout(20_000)
    yield opened
    assert opened.crashes == []
    context.close()


@pytest.fixture
def server(built: Path) -> Iterator[RangeServer]:
    with serve(built / "store") as served:
        yield served
