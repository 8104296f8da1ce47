"""The explorer in a real browser: its store, and what a person does on the page."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT

from catalog import Grid
from featurestore.store import Store
from featurestore.testing.fixtures import build_set, built_store
from featurestore.upkeep.seal import seal
from featurestore.web import publish_explorer

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
"""Comes with `npm ci` in web/."""
IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on PATH"),
    pytest.mark.filterwarnings("default::ResourceWarning"),
]
GRID = Grid(bin_size=10, offsets=(0, 5))
LENGTHS = {"chr1": 20_000, "chr2": 3_000}
GENES = """\
chr1\tx\tgene\t10004\t10600\t.\t+\t.\tgene_id "G1"; gene_name "MYC";
chr1\tx\texon\t10004\t10100\t.\t+\t.\tgene_id "G1";
chr1\tx\texon\t10301\t10600\t.\t+\t.\tgene_id "G1";
chr1\tx\tCDS\t10051\t10100\t.\t+\t0\tgene_id "G1";
chr1\tx\tCDS\t10301\t10450\t.\t+\t0\tgene_id "G1";
chr2\tx\tgene\t11\t41\t.\t-\t.\tgene_id "G2"; gene_name "MYCN";
chr1\tx\tgene\t501\t700\t.\t+\t.\tgene_id "G3"; gene_name "<script>window.hit=1</script>";
"""


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


def explored_store(folder: Path) -> Path:
    """A sealed store of a float16, a float32 and a uint8 set, with the page."""
    store = built_store(folder / "store", LENGTHS, GRID, name="motif", chunk_bins=16, shard_bins=256)
    build_set(store, GRID, name="wide", chunk_bins=16, shard_bins=256, n_channels=5, dtype="float32")
    build_set(store, GRID, name="bytes", chunk_bins=16, shard_bins=256, dtype="uint8")
    seal(store)
    (folder / "genes.gtf").write_text(GENES)
    publish_explorer(store, genes=folder / "genes.gtf")
    return folder


def half_built(folder: Path) -> Store:
    """A sealed store that lacks rows 64 to 127 of chr1."""
    store = built_store(folder, {"chr1": 2_000}, Grid(bin_size=10), name="motif", chunk_bins=8, shard_bins=64)
    for key in ("commits/motif/chr1/0-1.json", "features/motif/chr1/values/c/0/1/0"):
        store.objects.delete(key)
    seal(store, partial=True)
    publish_explorer(store, genes=None)
    return store


def opened(page: Any, url: str) -> Any:
    page.goto(url)
    page.wait_for_selector("body[data-turn], #problem:not([hidden])")
    return page


def after(page: Any, act: Any) -> None:
    """Wait for the picture that follows an action."""
    before = int(page.evaluate("document.body.dataset.turn"))
    act()
    page.wait_for_selector(f"body[data-turn='{before + 1}']")


def problem(page: Any) -> str:
    page.wait_for_selector("#problem:not([hidden])")
    return str(page.inner_text("#problem"))


def slide(page: Any, n_bins: int) -> None:
    page.evaluate(f"b => {{ b.value = {n_bins}; b.dispatchEvent(new Event('input')) }}", page.query_selector("#bins"))


def table(page: Any, button: int = 0) -> list[list[str]]:
    with page.expect_download() as saved:
        page.locator("button", has_text="TSV").nth(button).click()
    return [line.split("\t") for line in Path(saved.value.path()).read_text().splitlines()]


def violations(page: Any) -> list[str]:
    """Say what axe-core calls serious or critical."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{one['id']}: {node['html']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
