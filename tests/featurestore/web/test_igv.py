"""Exported tracks in igv.js, the genome browser that web pages embed: it loads them, and holds the store's values."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import ROOT
from explorer_pages import IN_A_BROWSER
from range_server import serve

from catalog import Grid
from featurestore.export import ExportRequest, export
from featurestore.store import Store
from featurestore.testing.fixtures import built_store, values_of

pytest.importorskip("pybigtools")
IGV = ROOT / "web/node_modules/igv/dist/igv.min.js"
pytestmark = [*IN_A_BROWSER, pytest.mark.skipif(not IGV.exists(), reason="igv.js comes with `npm ci` in web/")]
LENGTHS = {"chr1": 5_000, "chr2": 700}
PAGE = '<!doctype html><meta charset="utf-8"><div id="igv"></div><script src="igv.min.js"></script>'
OPEN = """async ([reference, tracks, hub, genome]) => {
    window.browser = await igv.createBrowser(document.getElementById('igv'), {reference, locus: 'chr1:1-2000', tracks});
    if (!hub) return;
    const groups = await (await igv.loadHub(hub)).getGroupedTrackConfigurations(genome);
    await window.browser.loadTrackList(groups.flatMap(group => group.tracks));
}"""
TRACKS = "window.browser.trackViews.map(one => one.track).filter(one => one.type === 'wig').map(one => one.name)"
INTERVALS = """async ([name, contig, end]) => {
    const track = window.browser.trackViews.map(one => one.track).find(one => one.name === name);
    return (await track.getFeatures(contig, 0, end, 1)).map(one => [one.start, one.end, one.value]);
}"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Whole but for rows 64 to 127 of chr1."""
    store = built_store(tmp_path / "store", LENGTHS, Grid(bin_size=10), chunk_bins=8, shard_bins=64)
    for key in ("commits/demo/chr1/0-1.json", "features/demo/chr1/values/c/0/1/0"):
        store.objects.delete(key)
    return store


def opened(page: Any, folder: Path, url: str, *, tracks: list[dict[str, str]], hub: str | None = None) -> None:
    """Open igv.js on a genome of which it knows the lengths alone."""
    shutil.copy(IGV, folder)
    (folder / "page.html").write_text(PAGE)
    (folder / "genome.sizes").write_text("".join(f"{name}\t{length}\n" for name, length in LENGTHS.items()))
    page.goto(f"{url}/page.html")
    reference = {"id": "tiny", "name": "tiny", "format": "chromsizes", "fastaURL": "genome.sizes"}
    page.evaluate(OPEN, [reference, tracks, hub, "tiny"])


def assert_igv_has_the_values(page: Any, store: Store, names: list[str]) -> None:
    """Compare each base of chr1 with the store; a base in no interval was never built."""
    described = store["demo"].feature_set
    for channel, name in enumerate(names):
        bases = np.full(LENGTHS["chr1"], np.nan, np.float32)
        for start, end, value in page.evaluate(INTERVALS, [name, "chr1", LENGTHS["chr1"]]):
            bases[start:end] = value
        wanted = np.repeat(values_of(described, LENGTHS["chr1"], 0)[:, channel].astype(np.float32), 10)
        wanted[640:1280] = np.nan
        np.testing.assert_array_equal(bases, wanted)


@pytest.mark.parametrize("form", ["bigwig", "bedgraph"])
def test_igv_shows_the_stores_values_and_nothing_where_nothing_was_built(
    page: Any, store: Store, tmp_path: Path, form: str
) -> None:
    made = export(store["demo"], ExportRequest(out=tmp_path / "out", format=form))
    tracks = [{"name": path.stem, "url": f"out/{path.name}", "format": form, "type": "wig"} for path in made.files]
    with serve(tmp_path) as served:
        opened(page, tmp_path, served.url, tracks=tracks)
        assert_igv_has_the_values(page, store, [track["name"] for track in tracks])


def test_igv_opens_a_hub(page: Any, store: Store, tmp_path: Path) -> None:
    export(store["demo"], ExportRequest(out=tmp_path / "out", format="hub", email="you@example.org"))
    with serve(tmp_path) as served:
        opened(page, tmp_path, served.url, tracks=[], hub=f"{served.url}/out/hub.txt")
        names = page.evaluate(
            "window.browser.trackViews.map(one => one.track).filter(one => one.type === 'wig').map(one => one.name)"
        )
        assert names == ["channel0", "channel1", "channel2"]
        assert_igv_has_the_values(page, store, names)
