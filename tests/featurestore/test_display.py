"""What a person sees of a store and of what is read from it, and how they are used as Python's containers."""

from pathlib import Path

import numpy as np
import pytest

import featurestore
from catalog import Channel, Grid
from featurestore import FeatureReader, Store, Window, Windows
from featurestore.display import Display, plain
from featurestore.testing import built_store

LENGTHS = {"chr1": 1000, "chr2": 77}
GRID = Grid(bin_size=16, offsets=(0, 8))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return built_store(tmp_path / "s", LENGTHS, GRID)


def rows(shown: object) -> dict[str, str]:
    """Give what `repr` shows, by label."""
    assert isinstance(shown, Store | FeatureReader | Window | Windows)
    return dict(shown._display().rows)


# Containers


def test_a_store_holds_the_names_of_its_feature_sets(store: Store) -> None:
    built_store(store.url, LENGTHS, GRID, name="other")
    assert list(store) == store.feature_sets() == ["demo", "other"]
    assert len(store) == 2
    assert "demo" in store
    assert "motif" not in store
    assert 5 not in store
    assert store._ipython_key_completions_() == ["demo", "other"]


def test_a_store_without_feature_sets_is_a_store_all_the_same(tmp_path: Path, store: Store) -> None:
    empty = featurestore.create(tmp_path / "empty", store.assembly)
    assert (len(empty), bool(empty)) == (0, True)


def test_numpy_takes_windows_for_their_values(store: Store) -> None:
    window, windows = store["demo"].window("chr1", 500, n_bins=5), store["demo"].windows("chr1", [100, 500], n_bins=3)
    assert np.asarray(window) is window.values
    assert np.asarray(windows) is windows.values
    assert np.asarray(window, dtype=np.float64).dtype == np.float64
    assert np.array(window) is not window.values
    np.testing.assert_array_equal(np.array(window), window.values)
    assert np.mean(window) == window.values.mean()
    assert len(windows) == 2


DEMO = "3 channels of float16, bins of 16 bp at offsets 0, 8 bp, 100 % built, by demo, licence unknown"

# Words


def test_a_store_shows_its_assembly_sets_completeness_size_and_licence(store: Store) -> None:
    shown = rows(store)
    assert repr(store).startswith(f"<Store {store.url}>\n")
    assert shown["assembly"] == "tiny, 2 contigs, 1,077 bp"
    assert shown["demo"] == (DEMO)
    files = [path for path in Path(store.url).rglob("*") if path.is_file()]
    assert shown["size"].endswith(f" in {len(files)} objects")


def test_a_sealed_store_is_shown_from_its_card_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, _ = featurestore.seal(store)
    monkeypatch.setattr(type(store.objects), "walk", None)
    monkeypatch.setattr(type(store.objects), "folders", None)
    shown = rows(store)
    assert shown["sealed"] == f"top hash {manifest.top_hash}"
    assert shown["size"].endswith("objects, 100 % built")
    assert shown["demo"] == DEMO


def test_a_store_of_another_place_is_shown_without_listing_its_shards(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(store.objects), "local_folder", None)
    monkeypatch.setattr(type(store.objects), "walk", None)
    shown = rows(store)
    assert "built" not in shown["demo"]
    assert "status_of(store)" in shown["size"]


def test_what_cannot_be_read_is_said_and_is_no_error(store: Store) -> None:
    path = Path(store.url) / "features" / "demo" / "zarr.json"
    path.write_text("{")
    assert "is no JSON" in rows(store)["not read"]


def test_a_store_that_is_built_in_part_says_how_much(store: Store) -> None:
    commits = sorted((Path(store.url) / "commits").rglob("*.json"))
    for path in commits[: len(commits) // 2]:
        path.unlink()
    assert f", {100 * (len(commits) - len(commits) // 2) // len(commits)}" in rows(store)["demo"]


def test_a_feature_set_shows_its_channels_bins_and_licence(store: Store) -> None:
    shown = rows(store["demo"])
    assert shown["channels"] == "channel0, channel1, channel2"
    assert shown["bins"] == "16 bp, at offsets 0, 8 bp"
    assert shown["licence"] == "unknown"


def test_a_window_shows_its_shape_span_and_residual_and_not_its_values(store: Store) -> None:
    window = store["demo"].window("1", 500, n_bins=5)
    assert repr(window).splitlines()[0] == "<Window chr1:500>"
    assert rows(window) == {
        "values": "5 bins x 3 channels, float16",
        "bins start at": f"{window.starts[0]} to {window.starts[-1]} bp",
        "residual": f"{window.residual:+} bp, phase {window.phase}",
    }
    assert rows(store["demo"].windows("chr1", [100, 500], n_bins=3))["values"] == (
        "2 windows x 3 bins x 3 channels, float16"
    )


def test_names_of_others_steer_neither_a_terminal_nor_a_page() -> None:
    shown = Display("Store <script>\x1b[2J", (("a&b", "<img src=x>\n"),))
    assert plain("\x1b[2J\n") == "?[2J?"
    assert "\x1b" not in shown.text()
    assert len(shown.text().splitlines()) == 2
    for text in ("<script>", "\x1b", "<img", "a&b"):
        assert text not in shown.html()
    assert "&lt;script&gt;" in shown.html()


def test_a_notebook_shows_the_same_as_a_table(store: Store) -> None:
    html = store["demo"]._repr_html_()
    assert html.count("<tr>") == len(rows(store["demo"]))
    assert "channel0, channel1, channel2" in html


def test_long_lists_of_channels_are_cut_and_counted(tmp_path: Path) -> None:
    reader = built_store(tmp_path / "s", LENGTHS, GRID)["demo"]
    channels = tuple(Channel(name=f"c{number}") for number in range(3000))
    wide = reader.feature_set.model_copy(update={"channels": channels, "pad": (0.0,) * 3000})
    shown = FeatureReader(reader.objects, reader.assembly, wide, reader.source)
    assert rows(shown)["channels"] == "c0, c1, c2, c3, c4, c5, c6, c7, ... (3,000 in all)"
