"""The explorer in Chromium, beside igv.js over bigWig: first picture, steps of the slider, requests and bytes.

    python benchmarks/web.py            # writes benchmarks/results/web.json
    python benchmarks/web.py --quick    # one small store, without igv.js: does it run here at all?

Needs the extras `dev` and `tracks`, Chromium, and `npm ci` in web/. Both read from one static server on loopback, cold,
in a new browser context each time: the explorer a sealed store, igv.js the same values of the channels that the page
draws, exported as one bigWig a channel. "First" is from navigation until the picture is there; a step is from the
slider's event until the wider picture is drawn, for igv.js from `browser.search` of the same bases until it resolves.
Figures are medians, with the slowest.
"""

import argparse
import gzip
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]

from range_server import RangeServer, serve  # noqa: E402

from benchmarks.machine import machine, versions  # noqa: E402
from catalog import Grid  # noqa: E402
from featurestore.export import ExportRequest, export  # noqa: E402
from featurestore.format.layout import chunk_bins  # noqa: E402
from featurestore.store import Store  # noqa: E402
from featurestore.testing.fixtures import built_store  # noqa: E402
from featurestore.upkeep.seal import seal  # noqa: E402
from featurestore.web import publish_explorer  # noqa: E402

IGV = ROOT / "web/node_modules/igv/dist/igv.min.js"
GRID = Grid(bin_size=1024, offsets=(0, 512))
LENGTH = 8_000_000
CENTRE = LENGTH // 2
FIRST = 51
STEPS = {"step of 10 bins": range(61, 252, 10), "step of 100 bins": range(351, 1002, 100)}
"""The slider moves by 10; dragged fast, it skips some."""
DRAWN = 40
"""Channels that the page draws at once."""
CHANNELS = {"512 channels": 512, "21,907 channels": 21_907}

STEP = """n => new Promise(done => {
    const bins = document.querySelector('#bins'), began = performance.now();
    new MutationObserver((_, seen) => { seen.disconnect(); done(performance.now() - began); })
        .observe(document.body, {attributes: true, attributeFilter: ['data-turn']});
    bins.value = n;
    bins.dispatchEvent(new Event('input'));
})"""
IGV_PAGE = """<!doctype html><meta charset="utf-8"><div id="igv"></div><script src="igv.min.js"></script><script>
igv.createBrowser(document.getElementById("igv"), CONFIG).then(browser => { window.browser = browser; });
</script>"""
IGV_STEP = """async locus => {
    const began = performance.now();
    await browser.search(locus);
    return performance.now() - began;
}"""
FETCHED = """() => ["navigation", "resource"].flatMap(kind => performance.getEntriesByType(kind))
    .map(one => one.encodedBodySize)"""


def store_of(folder: Path, n_channels: int, length: int) -> Store:
    store = built_store(
        folder / "store",
        {"chr1": length},
        GRID,
        n_channels=n_channels,
        chunk_bins=chunk_bins(n_channels, bin_size=GRID.bin_size),
        shard_bins=1 << 11,
    )
    seal(store)
    publish_explorer(store)
    return store


def locus(n_bins: int) -> str:
    """Give the bases of a window as igv.js writes them (1-based)."""
    half = n_bins * GRID.bin_size // 2
    return f"chr1:{CENTRE - half + 1}-{CENTRE + half}"


def cold(browser: Browser) -> Page:
    return browser.new_context(viewport={"width": 1200, "height": 1000}).new_page()


def fetched(page: Page) -> dict[str, int]:
    """Count what the page fetched so far, itself and its scripts included."""
    sizes = page.evaluate(FETCHED)
    return {"first_requests": len(sizes), "first_bytes": sum(sizes)}


def explorer_run(browser: Browser, server: RangeServer) -> dict[str, Any]:
    page = cold(browser)
    began = time.perf_counter()
    page.goto(f"{server.url}/?at=chr1:{CENTRE}&bins={FIRST}", wait_until="commit")
    page.wait_for_selector("#panels canvas")
    found = {"first picture": [1000 * (time.perf_counter() - began)]} | fetched(page)
    page.wait_for_selector("body[data-turn]")
    for name, steps in STEPS.items():
        found[name] = [page.evaluate(STEP, n_bins) for n_bins in steps]
    found["step back"] = [page.evaluate(STEP, n_bins) for n_bins in range(901, 200, -100)]
    page.context.close()
    return found


def igv_run(browser: Browser, server: RangeServer) -> dict[str, Any]:
    page = cold(browser)
    began = time.perf_counter()
    page.goto(f"{server.url}/igv.html", wait_until="commit")
    page.wait_for_function("window.browser")
    found = {"first picture": [1000 * (time.perf_counter() - began)]} | fetched(page)
    for name, steps in STEPS.items():
        found[name] = [page.evaluate(IGV_STEP, locus(n_bins)) for n_bins in steps]
    page.context.close()
    return found


def put_igv(store: Store, folder: Path, length: int) -> None:
    """Export the channels that the page draws, and a page of igv.js that shows them."""
    reader = store[store.feature_sets()[0]]
    names = reader.channel_names[:DRAWN]
    made = export(reader, ExportRequest(out=folder / "tracks", format="bigwig", channels=names))
    shutil.copy(IGV, folder)
    (folder / "genome.sizes").write_text(f"chr1\t{length}\n")
    config = {
        "reference": {"id": "made", "name": "made", "format": "chromsizes", "fastaURL": "genome.sizes"},
        "locus": locus(FIRST),
        "tracks": [
            {"name": path.stem, "url": f"tracks/{path.name}", "format": "bigwig", "type": "wig", "height": 20}
            for path in made.files
        ],
    }
    (folder / "igv.html").write_text(IGV_PAGE.replace("CONFIG", json.dumps(config)))


def summed(runs: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {name: runs[0][name] for name in ("first_requests", "first_bytes")}
    for name in ("first picture", *STEPS, "step back"):
        times = [time for one in runs for time in one.get(name, ())]
        if times:
            found[f"{name} (ms)"] = {"median": statistics.median(times), "slowest": max(times)}
    return found


def measured(browser: Browser, n_channels: int, *, repeats: int, length: int, with_igv: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = store_of(folder, n_channels, length)
        if with_igv:
            put_igv(store, folder, length)
        runs: dict[str, list[dict[str, Any]]] = {"explorer": [], "igv.js": []}
        with serve(folder / "store") as stored, serve(folder) as beside:
            for _ in range(repeats):
                runs["explorer"].append(explorer_run(browser, stored))
                if with_igv:
                    runs["igv.js"].append(igv_run(browser, beside))
        found = {name: summed(one) for name, one in runs.items() if one}
        if with_igv:
            ours, theirs = found["explorer"], found["igv.js"]
            parts = [part for part in theirs if part.endswith("(ms)")]
            found["igv.js over the explorer"] = {part: theirs[part]["median"] / ours[part]["median"] for part in parts}
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    page = (ROOT / "featurestore/web/static/index.html").read_bytes()
    result: dict[str, Any] = {
        "machine": machine(),
        "versions": versions("zarr", "playwright"),
        "page_bytes": {"plain": len(page), "gzipped": len(gzip.compress(page))},
        "aims": {"first picture (ms)": 1000, "step of 10 bins (ms)": 100, "gzipped": 150_000},
    }
    with sync_playwright() as play:
        found = shutil.which("chromium") or shutil.which("google-chrome")
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        result["chromium"] = browser.version
        for name, n_channels in CHANNELS.items():
            if quick and n_channels > 1000:
                continue
            has_peer = IGV.exists() and not quick and n_channels < 1000
            result[name] = measured(browser, n_channels, repeats=1 if quick else 5, length=LENGTH, with_igv=has_peer)
            print(name, json.dumps(result[name], indent=1))
        browser.close()
    if not quick:
        (ROOT / "benchmarks/results/web.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
