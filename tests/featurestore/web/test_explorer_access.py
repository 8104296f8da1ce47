"""The explorer for everybody: axe-core finds no serious violation on any of its pages, light or dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from explorer_pages import AXE, IN_A_BROWSER, half_built, opened, violations
from range_server import RangeServer, serve

from featurestore.web import publish_status

pytestmark = [*IN_A_BROWSER, pytest.mark.skipif(not AXE.exists(), reason="axe-core comes with `npm ci` in web/")]
VIEWS = {
    "a gene": "set=motif&at=MYC&bins=101",
    "a difference of sets, with a selection": "set=wide&set=motif&minus=motif&at=MYC&bins=51&select=9980_10050",
    "a difference of two genes": "set=motif&at=MYC&compare=MYCN&bins=51",
    "bins outside the contig": "set=motif&at=chr2:5&bins=101",
    "an error": "set=gone",
}


@pytest.fixture(params=["light", "dark"])
def visible(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    context = browser.new_context(color_scheme=request.param)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("query", VIEWS.values(), ids=VIEWS.keys())
def test_no_view_has_a_serious_violation(visible: Any, server: RangeServer, query: str) -> None:
    opened(visible, f"{server.url}/?{query}")
    visible.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert violations(visible) == []


def test_a_half_built_store_has_no_serious_violation(visible: Any, tmp_path: Path) -> None:
    half_built(tmp_path)
    with serve(tmp_path) as served:
        opened(visible, f"{served.url}/?set=motif&at=chr1:960&bins=101")
        assert violations(visible) == []


def test_the_page_of_a_build_has_no_serious_violation(visible: Any, tmp_path: Path) -> None:
    store = half_built(tmp_path)
    publish_status(store)
    store.unseal()
    with serve(tmp_path) as served:
        visible.goto(served.url)
        visible.wait_for_selector("progress")
        assert violations(visible) == []


def test_axe_finds_what_is_wrong(visible: Any, server: RangeServer) -> None:
    opened(visible, server.url)
    visible.evaluate("document.querySelector('#sort').parentElement.replaceWith(document.querySelector('#sort'))")
    assert any(one.startswith("select-name") for one in violations(visible))
