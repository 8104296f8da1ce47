"""Finding places in the explorer, and moving between them, in a real browser."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from explorer_pages import IN_A_BROWSER, after, opened, problem, slide
from range_server import RangeServer, serve

from featurestore.format.manifest import PAGE_GENES

pytestmark = IN_A_BROWSER


def shown(page: Any) -> tuple[int, int, int]:
    """First base, end and number of bins of what is seen."""
    found = re.match(r"chr\d:(-?[\d,]+)-([\d,]+)(?: minus \S+)?, (\d+) bins", page.inner_text(".facts"))
    assert found is not None
    start, end, n_bins = (int(part.replace(",", "")) for part in found.groups())
    return start, end, n_bins


def go(page: Any, text: str) -> None:
    page.fill("#at", text)
    after(page, lambda: page.press("#at", "Enter"))


@pytest.mark.parametrize(
    ("text", "centre"),
    [
        ("chr1:10,000", 10_000),
        ("1:10000", 10_000),
        ("CHR1: 10 000", 10_000),
        ("chr1:9,000-11,000", 10_000),
        ("chr1:9000..11000", 10_000),
        ("chr1", 10_000),
        ("chr1:", 10_000),
        ("myc", 10_003),
        ("g1", 10_003),
    ],
)
def test_a_place_is_found_however_it_is_written(page: Any, server: RangeServer, text: str, centre: int) -> None:
    opened(page, f"{server.url}/?set=motif&at=chr2:40&bins=51")
    go(page, text)
    assert page.is_hidden("#problem")
    start, end, _ = shown(page)
    assert abs((start + end) / 2 - centre) <= 2.5  # phases of 0 and 5 in bins of 10


@pytest.mark.parametrize("length", [10, 300, 1_990, 2_000, 6_000])
def test_a_region_is_shown_with_the_fewest_bins_that_cover_it(page: Any, server: RangeServer, length: int) -> None:
    opened(page, f"{server.url}/?set=motif&at=MYC&bins=51")
    first = 10_000 - length // 2
    go(page, f"chr1:{first}-{first + length}")
    start, end, n_bins = shown(page)
    assert n_bins % 2 == 1
    assert n_bins * 10 >= length > (n_bins - 2) * 10
    assert start - 5 <= first
    assert first + length <= end + 5
    after(page, lambda: slide(page, 101))
    assert shown(page)[2] == 101


def test_a_region_longer_than_the_longest_context_says_so(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=MYC&bins=51")
    go(page, "chr1:0-20,000")
    assert shown(page)[2] == 1001
    assert "its middle is shown" in page.inner_text("#readout")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chr1:500-400", "ends before it begins"),
        ("YC", "Names with it: MYC, MYCN"),
        ("chr1:abc", "nor a position such as chr1:1,000,000"),
        ("", "nor a position"),
    ],
)
def test_what_is_no_place_says_what_one_looks_like(page: Any, server: RangeServer, text: str, said: str) -> None:
    opened(page, f"{server.url}/?set=motif&at=MYC&bins=51")
    go(page, text)
    assert said in problem(page)


def test_names_are_offered_by_their_beginning_then_by_any_part(page: Any, server: RangeServer) -> None:
    opened(page, server.url)
    for typed, offered in {
        "my": ["MYC", "MYCN"],
        "yc": ["MYC", "MYCN"],
        "g2": ["G2"],
        "chr": ["chr1:", "chr2:"],
    }.items():
        page.fill("#at", typed)
        assert page.evaluate("[...document.querySelectorAll('#found option')].map(o => o.value)") == offered


def test_without_a_place_the_first_gene_whose_window_lies_inside_is_shown(
    page: Any, built: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(built / "store", tmp_path / "copy"))
    genes = [
        ["EDGE", "G4", "chr1", 300, "+"],
        ["INSIDE", "G5", "chr1", 10_003, "+"],
        ["LATER", "G6", "chr1", 9_000, "+"],
    ]
    (folder / PAGE_GENES).write_text(json.dumps(genes))
    with serve(folder) as served:
        for n_bins, symbol in ((51, "EDGE"), (101, "INSIDE"), (4001, "EDGE")):
            opened(page, f"{served.url}/?bins={n_bins}")
            assert page.inner_text("#title").startswith(symbol)


def test_a_gene_is_found_by_what_else_it_is_called_unless_another_has_that_symbol(
    page: Any, built: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(built / "store", tmp_path / "copy"))
    genes = [["ONE", "G1", "chr1", 9_000, "+", ["Two", "p53"]], ["TWO", "G2", "chr1", 10_000, "+"]]
    (folder / PAGE_GENES).write_text(json.dumps(genes))
    with serve(folder) as served:
        for typed, title in {"P53": "ONE (G1, strand +)", "two": "TWO (G2, strand +)"}.items():
            opened(page, f"{served.url}/?at={typed}&bins=51")
            assert page.inner_text("#title") == title
        page.fill("#at", "53")
        assert page.evaluate("[...document.querySelectorAll('#found option')].map(o => o.value)") == ["p53"]


def test_the_window_moves_by_half_its_length_and_stays_on_the_contig(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=chr1:10000&bins=101")
    after(page, lambda: page.click("#right"))
    assert page.input_value("#at") == "chr1:10505"
    after(page, lambda: page.click("#left"))
    assert page.input_value("#at") == "chr1:10000"
    opened(page, f"{server.url}/?set=motif&at=chr1:19990&bins=101")
    after(page, lambda: page.click("#right"))
    assert page.input_value("#at") == "chr1:19999"


def test_keys_and_the_wheel_change_the_context_and_keys_stay_in_the_picture(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=MYC&bins=201")
    page.focus("#panels canvas")
    seen = [201]
    for key in "--+":
        after(page, lambda key=key: page.keyboard.press(key))
        seen.append(shown(page)[2])
        assert page.evaluate("document.activeElement.tagName") == "CANVAS"
    assert seen[0] < seen[1] < seen[2] > seen[3]
    assert int(page.input_value("#bins")) == seen[3]
    page.hover("#panels canvas")
    page.keyboard.down("Control")
    after(page, lambda: page.mouse.wheel(0, 100))
    page.keyboard.up("Control")
    assert shown(page)[2] > seen[3]
    turn = page.get_attribute("body", "data-turn")
    page.mouse.wheel(0, 100)  # without Ctrl the page scrolls
    page.wait_for_timeout(200)
    assert page.get_attribute("body", "data-turn") == turn


def test_a_click_on_a_gene_goes_there(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=chr1:10400&bins=201")
    after(page, lambda: page.click(".genes g text"))
    assert page.inner_text("#title") == "MYC (G1, strand +)"


@pytest.mark.parametrize("width", [360, 800, 1200])
def test_ticks_stand_where_their_positions_are(browser: Any, server: RangeServer, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    opened(page, f"{server.url}/?set=motif&at=chr1:300&bins=201")
    start, end, _ = shown(page)
    ticks = page.eval_on_selector_all(
        ".ruler line", "all => all.map(one => [+one.getAttribute('x1'), one.nextSibling.textContent])"
    )
    total = page.evaluate("document.querySelector('#panels canvas').clientWidth")
    labels = min(190, round(0.3 * total))
    assert len(ticks) >= 2
    for x, text in ticks:
        number, unit = text.split(" ")
        base = float(number.replace(",", "")) * {"Mb": 1e6, "kb": 1e3, "bp": 1}[unit]
        assert base >= 0
        assert x == pytest.approx(labels + (base - start) / (end - start) * (total - labels), abs=0.01)
    names = page.evaluate(
        "[...document.querySelectorAll('.ruler text, .genes g text')].map(one => one.getBoundingClientRect().right)"
    )
    edge = page.evaluate("document.querySelector('#panels canvas').getBoundingClientRect().right")
    assert max(names) <= edge + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
