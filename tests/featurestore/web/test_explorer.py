"""The explorer in a real browser, on stores served from a plain folder."""

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from explorer_pages import IN_A_BROWSER, after, half_built, opened, problem, slide, table
from matplotlib import image
from range_server import RangeServer, serve

from catalog import Grid
from featurestore.format.manifest import EXPLORER
from featurestore.store import Store, open_store
from featurestore.testing.fixtures import built_store
from featurestore.upkeep.seal import seal
from featurestore.web import publish_explorer

pytestmark = IN_A_BROWSER


@pytest.mark.parametrize("name", ["motif", "wide", "bytes"])
@pytest.mark.parametrize(("place", "n_bins"), [("chr1:10003", 251), ("chr2:40", 101)])
def test_the_page_gives_the_values_of_python_to_the_last_digit(
    page: Any, server: RangeServer, built: Path, name: str, place: str, n_bins: int
) -> None:
    opened(page, f"{server.url}/?set={name}&at={place}&bins={n_bins}")
    contig, centre = place.split(":")
    window = open_store(built / "store")[name].window(contig, int(centre), n_bins=n_bins)
    _, *rows = table(page)
    assert [int(row[1]) for row in rows] == window.starts.tolist()
    np.testing.assert_array_equal(np.array([row[4:] for row in rows], float), window.values.astype(float))
    assert f"residual {window.residual} bp" in page.inner_text(".facts")


def test_the_line_of_python_gives_the_window_that_is_seen(page: Any, server: RangeServer) -> None:
    import featurestore

    opened(page, f"{server.url}/?set=motif&at=MYC&bins=51")
    values = eval(page.inner_text("#python"), {"featurestore": featurestore})
    np.testing.assert_array_equal(np.array([row[4:] for row in table(page)[1:]], float), values.astype(float))


def test_a_gene_is_found_with_completion_and_the_keyboard_reads_its_bins(page: Any, server: RangeServer) -> None:
    opened(page, server.url)
    page.fill("#at", "my")
    assert page.evaluate("[...document.querySelectorAll('#found option')].map(o => o.value)") == ["MYC", "MYCN"]
    page.fill("#at", "MYC")
    after(page, lambda: page.press("#at", "Enter"))
    assert page.inner_text("#title") == "MYC (G1, strand +)"
    page.focus("canvas")
    page.keyboard.press("ArrowRight")
    first = page.inner_text("#readout")
    page.keyboard.press("ArrowDown")
    assert "channel0 at chr1:10000-10010" in first or "channel0 at chr1:9995-10005" in first
    assert "channel1" in page.inner_text("#readout")


def chunks_of(store: Store, n_bins: int) -> dict[tuple[Path, int], int]:
    """Stored bytes of each inner chunk that a window of `motif` at chr1:10000 touches, by shard and number."""
    window = store["motif"].window("chr1", 10_000, n_bins=n_bins)
    phase = int(window.starts[0] % 10 != 0)
    found = {}
    for row in (window.starts + 5 * phase) // 10:
        shard = Path(store.url) / f"features/motif/chr1/values/c/{phase}/{row // 256}/0"
        index = np.frombuffer(shard.read_bytes()[-16 * 16 - 4 : -4], "<u8").reshape(16, 2)
        found[shard, int(row % 256 // 16)] = int(index[row % 256 // 16, 1])
    return found


def test_a_step_of_the_slider_asks_for_new_chunks_only(page: Any, server: RangeServer, built: Path) -> None:
    store = open_store(built / "store")
    opened(page, f"{server.url}/?set=motif&at=chr1:10000&bins=101")
    server.asked.clear()
    after(page, lambda: slide(page, 151))
    before, touched = chunks_of(store, 101), chunks_of(store, 151)
    ranges = [wanted.removeprefix("bytes=").split("-") for _, wanted in server.asked if wanted]
    assert len(server.asked) == len(ranges) == len(touched.keys() - before.keys()) > 0
    assert sum(int(last) - int(first) + 1 for first, last in ranges) == sum(
        size for chunk, size in touched.items() if chunk not in before
    )
    server.asked.clear()
    after(page, lambda: slide(page, 101))
    assert server.asked == []


def png(page: Any) -> Any:
    """Download the picture, and decode it: `(height, width, 4)` from 0 to 255."""
    with page.expect_download() as saved:
        page.click("text=PNG")
    return np.rint(255 * image.imread(saved.value.path(), format="png")).astype(int)


def test_the_png_of_selected_bins_has_those_alone(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=chr2:5&bins=101")
    coloured = np.ptp(png(page)[..., :3], axis=-1) > 30
    assert coloured.any()
    opened(page, f"{server.url}/?set=motif&at=chr2:5&bins=101&select=-500_-100")
    assert page.inner_text("#panels button >> nth=1").startswith("PNG of 40 selected")
    outside = np.ptp(png(page)[..., :3], axis=-1) > 30
    assert not outside.any()


def test_the_png_has_the_pixels_of_the_picture(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=chr2:5&bins=101")
    saved_pixels = png(page)
    seen = page.evaluate(
        "c => [c.width, c.height, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]",
        page.query_selector("canvas"),
    )
    width, height, flat = seen
    pixels = np.array(flat).reshape(height, width, 4)
    assert saved_pixels.shape[:2] == (height, width)
    opaque = pixels[..., 3] == 255
    assert opaque.mean() > 0.4
    np.testing.assert_array_equal(saved_pixels[opaque][:, :3], pixels[opaque][:, :3])
    assert (saved_pixels[..., 3:] == 255).all()


def test_a_link_restores_everything(page: Any, browser: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=wide&at=MYC&bins=101&find=channel&sort=mean&compare=MYCN")
    facts, seen = page.inner_text(".facts"), page.text_content("#table")
    assert "minus chr2:40" in facts
    other = browser.new_page()
    opened(other, page.url)
    assert (other.inner_text(".facts"), other.text_content("#table")) == (facts, seen)
    assert other.input_value("#sort") == "mean"
    other.close()


def test_a_difference_is_that_of_the_two_windows(page: Any, server: RangeServer, built: Path) -> None:
    opened(page, f"{server.url}/?set=motif&at=chr1:10000&compare=chr1:5000&bins=51")
    reader = open_store(built / "store")["motif"]
    one, two = (reader.window("chr1", centre, n_bins=51).values.astype(float) for centre in (10000, 5000))
    np.testing.assert_array_equal(np.array([row[4:] for row in table(page)[1:]], float), one - two)


def test_genes_are_drawn_with_exons_coding_sequence_and_strand(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=MYC&bins=201")
    shapes = [(box.get_attribute("height"), box.bounding_box()) for box in page.query_selector_all(".genes rect")]
    assert [height for height, _ in shapes] == ["5", "5", "11", "11"]
    per_bp = page.evaluate("(document.querySelector('canvas').clientWidth - 190) / 2010")
    assert shapes[1][1]["width"] == pytest.approx(300 * per_bp, abs=0.5)
    assert shapes[1][1]["x"] - shapes[0][1]["x"] == pytest.approx(297 * per_bp, abs=0.5)
    page.click("#seen summary")
    assert "MYC, strand +, starts at 10,003; 10,003-10,600, 2 exons" in page.inner_text("#table")


def test_gene_models_are_fetched_once_a_contig_and_a_damaged_file_leaves_the_picture(
    page: Any, built: Path, tmp_path: Path
) -> None:
    folder = copied(built, tmp_path)
    (folder / "explorer_models/chr2.json").write_text("[[")
    with serve(folder) as served:
        opened(page, f"{served.url}/?set=motif&at=MYC&bins=51")
        after(page, lambda: slide(page, 101))
        assert [path for path, _ in served.asked if "models" in path] == ["/explorer_models/chr1.json"]
        page.fill("#at", "MYCN")
        after(page, lambda: page.press("#at", "Enter"))
        assert "chr2.json is damaged" in problem(page)
        assert page.query_selector("canvas") is not None


@pytest.mark.parametrize("sort", ["store", "name", "mean", "range", "centre"])
@pytest.mark.parametrize("place", ["chr1:10000", "chr2:40"])  # the second reaches past the contig
def test_channels_are_sorted_by_what_is_seen_of_them(
    page: Any, server: RangeServer, built: Path, sort: str, place: str
) -> None:
    opened(page, f"{server.url}/?set=wide&at={place}&bins=51&sort={sort}")
    contig, centre = place.split(":")
    reader = open_store(built / "store")["wide"]
    window = reader.window(contig, int(centre), n_bins=51)
    inside = (window.starts + 10 > 0) & (window.starts < reader.assembly.lengths[contig])
    seen = window.values[inside].astype(float)
    keys = {"mean": seen.mean(0), "range": np.ptp(seen, axis=0), "centre": window.values[25].astype(float)}
    order = np.argsort(-keys[sort], kind="stable") if sort in keys else np.arange(5)
    assert table(page)[0][4:] == [reader.channel_names[index] for index in order]


def test_sets_stand_above_each_other(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&set=wide&at=MYC")
    assert page.eval_on_selector_all("#panels h2", "all => all.map(one => one.textContent)") == ["motif", "wide"]
    assert parse_qs(urlsplit(page.url).query)["set"] == ["motif", "wide"]


def test_bins_outside_the_contig_are_said_and_not_coloured(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=chr2:5&bins=101")
    assert "50 outside the contig (hatched)" in page.inner_text(".facts")
    states = [row[3] for row in table(page)[1:]]
    assert states[:50] == ["outside the contig"] * 50
    assert set(states[50:]) == {"built"}


def test_what_was_never_built_is_hatched_and_never_zero(page: Any, tmp_path: Path) -> None:
    half_built(tmp_path)
    with serve(tmp_path) as served:
        opened(page, f"{served.url}/?set=motif&at=chr1:960&bins=101")
        assert "64 bins never built (hatched)" in page.inner_text(".facts")
        rows = [row for row in table(page)[1:] if row[3] == "never built"]
        assert {value for row in rows for value in row[4:]} == {"NaN"}
        page.click("#build summary")
        assert "68.0 %" in page.inner_text("#built")


def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built / "store", tmp_path / "copy"))


def test_a_flipped_byte_is_an_error_and_never_a_colour(page: Any, built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path)
    shard = folder / "features/motif/chr1/values/c/1/3/0"  # rows 768 to 1023 of the phase whose bin centre is 10,000
    data = bytearray(shard.read_bytes())
    index = np.frombuffer(data[-16 * 16 - 4 : -4], "<u8").reshape(16, 2)
    data[int(index[(1000 - 768) // 16, 0]) + 7] ^= 1
    shard.write_bytes(data)
    with serve(folder) as served:
        opened(page, f"{served.url}/?set=motif&at=chr1:10000&bins=51")
        assert "fail their checksum" in problem(page)
        assert page.query_selector("canvas") is None


def test_a_flipped_byte_in_a_shards_index_is_an_error(page: Any, built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path)
    for shard in (folder / "features/motif/chr1/values/c").rglob("*"):
        if shard.is_file():
            data = bytearray(shard.read_bytes())
            data[-10] ^= 1
            shard.write_bytes(data)
    with serve(folder) as served:
        opened(page, f"{served.url}/?set=motif&at=chr1:10000&bins=51")
        assert "fail their checksum" in problem(page)


def test_a_shard_that_was_not_copied_is_an_error(page: Any, built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path)
    shutil.rmtree(folder / "features/motif/chr1/values/c")
    with serve(folder) as served:
        opened(page, f"{served.url}/?set=motif&at=chr1:10000")
        assert "on record as built, but it is not there" in problem(page)


def test_a_server_without_ranges_is_named(page: Any, built: Path) -> None:
    with serve(built / "store", ranges=False) as served:
        opened(page, served.url)
        assert "ignores ranges" in problem(page)


def test_a_store_elsewhere_needs_cors_and_the_page_says_which_header(
    page: Any, server: RangeServer, built: Path
) -> None:
    with serve(built / "store") as closed:
        opened(page, f"{server.url}/?store={closed.url}")
        assert "Access-Control-Allow-Origin" in problem(page)
    with serve(built / "store", cors=True) as shared:
        opened(page, f"{server.url}/?store={shared.url}&at=MYC")
        assert page.is_hidden("#problem")
        assert shared.url in page.inner_text("#python")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        pytest.param("set=gone", "names the feature set", id="a set that is gone"),
        pytest.param("at=BRCA9", "is not one of 3 genes", id="a gene that is gone"),
        pytest.param("at=chr7:5", "no contig", id="a contig that is gone"),
        pytest.param("at=chr1:99999999", "lies outside chr1", id="a position past the end"),
        pytest.param("store=file:///etc/", "over HTTP", id="a store on disk"),
        pytest.param("store=nothing/", "no explorer.json", id="no store"),
    ],
)
def test_a_stale_link_says_what_is_not_there(page: Any, server: RangeServer, query: str, said: str) -> None:
    opened(page, f"{server.url}/?{query}")
    assert said in problem(page)


def test_a_link_to_a_store_that_was_sealed_anew_says_so(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=MYC&sealed=0123456789ab")
    assert "has changed since this link was made" in page.inner_text("#note")


def test_going_offline_in_mid_slide_is_said_and_mended_by_the_next_step(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=chr1:10000&bins=51")
    page.context.set_offline(True)
    after(page, lambda: slide(page, 501))
    assert "offline" in problem(page)
    page.context.set_offline(False)
    after(page, lambda: slide(page, 511))
    assert page.is_hidden("#problem")


def test_markup_in_names_is_text(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=<script>window.hit=1</script>")
    assert page.inner_text("#title").startswith("<script>")
    page.fill("#at", "<")
    assert page.evaluate("window.hit") is None


def test_a_damaged_description_is_named(page: Any, built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path)
    document = json.loads((folder / EXPLORER).read_text())
    document["sets"][0]["contigs"][0]["built"] = [[[0, "all"]]]
    (folder / EXPLORER).write_text(json.dumps(document))
    with serve(folder) as served:
        opened(page, served.url)
        assert "explorer.json is damaged" in problem(page)


def test_a_description_of_before_overlays_is_read(page: Any, built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path)
    document = json.loads((folder / EXPLORER).read_text())
    for one in document["sets"]:
        assert one.pop("overlays") == []
    (folder / EXPLORER).write_text(json.dumps(document))
    with serve(folder) as served:
        opened(page, f"{served.url}/?set=motif&at=MYC")
        assert page.is_hidden("#problem")
        assert page.query_selector("canvas") is not None


def test_21_907_channels_are_shown_some_at_a_time_and_found_by_name(page: Any, tmp_path: Path) -> None:
    store = built_store(
        tmp_path / "store", {"chr1": 640}, Grid(bin_size=10), n_channels=21_907, chunk_bins=16, shard_bins=64
    )
    seal(store)
    publish_explorer(store)
    with serve(tmp_path / "store") as served:
        opened(page, f"{served.url}/?at=chr1:320&bins=51&sort=mean")
        assert "40 of 21907 channels" in page.inner_text(".facts")
        after(page, lambda: page.fill("#find", "channel21906"))
        assert "1 of 1 channels" in page.inner_text(".facts")
