"""The page of a build, in a real browser: while shards are missing, when some failed, and once the store is sealed."""

import json
from pathlib import Path
from typing import Any

import pytest
from explorer_pages import IN_A_BROWSER, opened, problem
from range_server import serve

from catalog import Grid
from featurestore import Failure, FailureLog
from featurestore.format.manifest import PAGE_STATUS
from featurestore.store import Store, open_store
from featurestore.testing.fixtures import built_store
from featurestore.upkeep.seal import seal
from featurestore.web import publish_explorer, publish_status

pytestmark = IN_A_BROWSER
KEYS = ("commits/motif/chr1/0-1.json", "features/motif/chr1/values/c/0/1/0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Nine of ten shards, the tenth failed."""
    store = built_store(tmp_path, {"chr1": 2_000, "chr2": 300}, Grid(bin_size=10, offsets=(0, 5)), name="motif",
                        chunk_bins=8, shard_bins=64)  # fmt: skip
    for key in KEYS:
        store.objects.delete(key)
    reason = "<b>out of memory</b>"
    note = Failure(feature_set="motif", contig="chr1", phase=0, shard=1, run="r", attempts=2, reason=reason)
    FailureLog(store.objects, "motif").put(note)
    return store


def test_a_build_is_shown_by_contig_and_phase_with_its_failed_shards(page: Any, store: Store, tmp_path: Path) -> None:
    publish_status(store)
    with serve(tmp_path) as served:
        page.goto(served.url)
        page.wait_for_selector("progress")
        cells = [row.all_inner_texts() for row in page.locator("#built tbody tr").all()[:2]]
        text = page.inner_text("#built")
        assert page.is_hidden("#form")
    rows = [" ".join(cell.split()) for (cell,) in cells]
    assert rows == ["chr1 3 of 4 shards, 1 failed 4 of 4 shards", "chr2 1 of 1 shards 1 of 1 shards"]
    assert "The build is not complete, as of 20" in text
    assert "motif chr1 phase 0 shard 1" in text
    assert "<b>out of memory</b>" in text


def test_speed_and_time_left_are_those_of_the_latest_run(page: Any, store: Store, tmp_path: Path) -> None:
    status = publish_status(store).to_json()
    work = {"feature_set": "motif", "worker": "w", "device": "cpu", "shards": 1}
    hour = {"began": "2026-01-01T10:00:00+00:00", "ended": "2026-01-01T11:00:00+00:00"}
    status["work"] = [
        work | {"run": "old", "bins": 10**9} | hour,
        work | {"run": "new", "bins": 100, "began": "2026-01-02T10:00:00+00:00", "ended": "2026-01-02T10:00:10+00:00"},
        work | {"run": "new", "bins": 300, "began": "2026-01-02T10:00:05+00:00", "ended": "2026-01-02T10:00:20+00:00"},
    ]
    (tmp_path / PAGE_STATUS).write_text(json.dumps(status))
    with serve(tmp_path) as served:
        page.goto(served.url)
        page.wait_for_selector("progress")
        # 400 bins in 20 s; one shard of as many bins as the nine have on average
        bins = sum(row["bins"] for row in status["contigs"])
        assert f"20 bins/s in the latest run, time left {-(-bins // 9 // 20)} s" in page.inner_text("#built")


def test_the_page_becomes_the_explorer_when_the_store_is_sealed(page: Any, store: Store, tmp_path: Path) -> None:
    publish_status(store)
    with serve(tmp_path) as served:
        page.goto(served.url)
        page.wait_for_selector("progress")
        seal(open_store(tmp_path), partial=True)
        page.wait_for_selector("#panels canvas")
        page.click("#build summary")
        page.wait_for_selector("progress")
        assert "68.0 %" in page.inner_text("#built")


def test_a_damaged_status_is_named(page: Any, store: Store, tmp_path: Path) -> None:
    publish_status(store)
    (tmp_path / PAGE_STATUS).write_text('{"contigs": [{"shards": "many"}]}')
    with serve(tmp_path) as served:
        page.goto(served.url)
        assert "explorer_status.json is damaged" in problem(page)


def test_nobody_on_record_says_how_to_begin(page: Any, store: Store, tmp_path: Path) -> None:
    seal(store, partial=True)
    publish_explorer(store)
    (tmp_path / "explorer.json").unlink()
    with serve(tmp_path) as served:
        opened(page, served.url)
        assert "featurestore explorer STORE --watch 10" in problem(page)
