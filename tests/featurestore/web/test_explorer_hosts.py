"""The explorer on static hosts as they are, and on stores of earlier versions, in a real browser."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_pages import IN_A_BROWSER, after, opened, slide, table
from range_server import serve

from featurestore.format.manifest import EXPLORER, PAGE_GENES
from featurestore.store import open_store

pytestmark = IN_A_BROWSER
EMPTY_MODULE = [0, 97, 115, 109, 1, 0, 0, 0]
VIEW = "set=motif&at=chr1:10003&bins=101"


def values(page: Any) -> Any:
    return np.array([row[4:] for row in table(page)[1:]], float)


@pytest.fixture(scope="module")
def expected(built: Path) -> Any:
    return open_store(built / "store")["motif"].window("chr1", 10_003, n_bins=101).values.astype(float)


def test_a_host_that_knows_no_suffix_ranges_shows_the_same_values(page: Any, built: Path, expected: Any) -> None:
    with serve(built / "store", suffixes=False) as served:

        def refused() -> list[str]:
            return [path for path, wanted in served.asked if (wanted or "").startswith("bytes=-")]

        opened(page, f"{served.url}/?{VIEW}")
        np.testing.assert_array_equal(values(page), expected)
        before = refused()
        assert 0 < len(before) == len(set(before))  # once a shard, of those asked for at the same time
        after(page, lambda: slide(page, 1001))
        assert page.is_hidden("#problem")
        assert refused() == before  # then never again


def test_a_host_that_refuses_what_it_does_not_have_shows_the_store_without_genes(
    page: Any, built: Path, tmp_path: Path, expected: Any
) -> None:
    folder = Path(shutil.copytree(built / "store", tmp_path / "copy"))
    (folder / PAGE_GENES).unlink()
    with serve(folder, missing=403) as served:
        opened(page, f"{served.url}/?{VIEW}")
        np.testing.assert_array_equal(values(page), expected)
        assert page.is_hidden("#problem")


@pytest.mark.parametrize("name", ["motif", "wide", "bytes"])
def test_without_webassembly_the_values_are_the_same(page: Any, built: Path, name: str) -> None:
    policy = "script-src 'unsafe-inline'"  # as a host may say; WebAssembly would need another word
    with serve(built / "store", policy=policy) as served:
        opened(page, f"{served.url}/?set={name}&at=chr1:10003&bins=101")
        assert (
            page.evaluate("WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])).then(() => 1, () => 0)")
            == 0
        )
        window = open_store(built / "store")[name].window("chr1", 10_003, n_bins=101)
        np.testing.assert_array_equal(values(page), window.values.astype(float))


def test_a_store_of_before_overlays_says_what_may_be_missing_and_how_to_mend_it(
    page: Any, built: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(built / "store", tmp_path / "copy"))
    with serve(folder) as served:
        opened(page, f"{served.url}/?{VIEW}")
        assert page.is_hidden("#note")
        document = json.loads((folder / EXPLORER).read_text())
        for one in document["sets"]:
            del one["overlays"]
        (folder / EXPLORER).write_text(json.dumps(document))
        opened(page, f"{served.url}/?{VIEW}")
        said = page.inner_text("#note")
        assert "did not list overlays" in said
        assert "featurestore seal" in said
        assert page.query_selector("#panels canvas") is not None
