"""Overlays, differences and selected bins in the explorer, in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_pages import IN_A_BROWSER, after, opened, problem, slide, table
from overlay_stores import SPELLED, build_overlay_in_process, spelled_store, write_vcf
from range_server import RangeServer, serve

import featurestore
from builders.overlays.request import OverlayRequest
from featurestore.testing import random_sequences, write_fasta
from featurestore.upkeep.seal import seal
from featurestore.web import publish_explorer

pytestmark = IN_A_BROWSER
OVERLAY = "spelled+S/1"


@pytest.fixture(scope="module")
def personal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RangeServer]:
    """Serve a store with the overlays of two haplotypes on chr1 alone; both have the insertion."""
    pytest.importorskip("cyvcf2")
    folder = tmp_path_factory.mktemp("personal")
    sequences = random_sequences({"chr1": 4_000, "chr2": 800})
    fasta = write_fasta(folder / "g.fa", sequences)
    store = spelled_store(str(folder / "store"), fasta, offsets=(0, 8))
    bases = sequences["chr1"]
    changes = [f"chr1 {at} {bases[at - 1]} {'A' if bases[at - 1] != 'A' else 'C'} 1|0" for at in (1001, 1990, 3000)]
    vcf = write_vcf(folder / "s.vcf", [*changes, f"chr1 2500 {bases[2499]} {bases[2499]}TTT 1|1"])
    for haplotype in (1, 2):
        request = OverlayRequest(
            feature_set="spelled",
            vcf=vcf,
            fasta=str(fasta),
            haplotype=haplotype,
            extractor=SPELLED,
            contigs=("chr1",),
        )
        build_overlay_in_process(store.url, request)
    store = featurestore.open(store.url)
    seal(store)
    publish_explorer(store)
    with serve(folder / "store") as served:
        yield served


def values_of(rows: list[list[str]]) -> Any:
    return np.array([row[4:] for row in rows[1:]], float)


def run_python(page: Any) -> Any:
    return eval(page.inner_text("#python"), {"featurestore": featurestore})


@pytest.mark.parametrize("n_bins", [51, 201])
def test_a_window_through_an_overlay_has_the_values_of_python(page: Any, personal: RangeServer, n_bins: int) -> None:
    opened(page, f"{personal.url}/?set={OVERLAY.replace('+', '%2B')}&at=chr1:2000&bins={n_bins}")
    store = featurestore.open(personal.url)["spelled"]
    own, reference = (reader.window("chr1", 2000, n_bins=n_bins) for reader in (store.with_overlay("S/1"), store))
    np.testing.assert_array_equal(values_of(table(page)), own.values.astype(float))
    np.testing.assert_array_equal(run_python(page), own.values)
    differ = int((own.values != reference.values).any(axis=1).sum())
    assert differ > 0
    assert f"{differ} bins differ from the reference (marked)" in page.inner_text(".facts")


def test_an_overlay_minus_the_reference_is_zero_but_where_variants_are(page: Any, personal: RangeServer) -> None:
    opened(page, f"{personal.url}/?set=spelled&set={OVERLAY.replace('+', '%2B')}&at=chr1:2000&bins=101")
    after(page, lambda: page.select_option("#minus", "spelled"))
    assert page.eval_on_selector_all("#panels h2", "all => all.map(one => one.textContent)") == [
        "spelled",
        f"{OVERLAY} minus spelled",
    ]
    found = values_of(table(page, 1))
    store = featurestore.open(personal.url)["spelled"]
    own, reference = (reader.window("chr1", 2000, n_bins=101).values for reader in (store.with_overlay("S/1"), store))
    np.testing.assert_array_equal(found, own.astype(float) - reference.astype(float))
    assert set(found.any(axis=1)) == {True, False}


def test_two_overlays_are_subtracted(page: Any, personal: RangeServer) -> None:
    opened(page, f"{personal.url}/?set={OVERLAY.replace('+', '%2B')}&minus=spelled%2BS/2&at=chr1:2000&bins=101")
    store = featurestore.open(personal.url)["spelled"]
    one, two = (store.with_overlay(f"S/{n}").window("chr1", 2000, n_bins=101).values.astype(float) for n in (1, 2))
    assert (one != two).any()
    np.testing.assert_array_equal(values_of(table(page)), one - two)
    np.testing.assert_array_equal(run_python(page), one - two)


def test_an_overlay_that_is_not_built_on_a_contig_is_an_error(page: Any, personal: RangeServer) -> None:
    opened(page, f"{personal.url}/?set={OVERLAY.replace('+', '%2B')}&at=chr2:400&bins=51")
    assert "not built on chr2" in problem(page)


def test_two_sets_are_subtracted_by_the_names_of_their_channels(page: Any, server: RangeServer, built: Path) -> None:
    opened(page, f"{server.url}/?set=wide&minus=bytes&at=MYC&bins=51")
    store = featurestore.open(built / "store")
    wide, counts = (store[name].window("chr1", 10_003, n_bins=51).values.astype(float) for name in ("wide", "bytes"))
    rows = table(page)
    assert rows[0][4:] == ["channel0", "channel1", "channel2"]
    np.testing.assert_array_equal(values_of(rows), wide[:, :3] - counts)
    np.testing.assert_array_equal(run_python(page), wide[:, :3] - counts)


def test_dragged_bins_are_what_the_files_and_the_line_of_python_hold(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=wide&at=MYC&bins=51&find=channel1")
    whole = table(page)
    box = page.query_selector("canvas").bounding_box()
    width = (box["width"] - 190) / 51
    page.mouse.move(box["x"] + 190 + 10.5 * width, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 190 + 19.5 * width, box["y"] + 5, steps=4)
    page.mouse.up()
    assert page.inner_text("#panels button >> nth=0") == "TSV of 10 selected bins"
    chosen = table(page)
    assert chosen == [whole[0], *whole[11:21]]
    np.testing.assert_array_equal(values_of(chosen), run_python(page))
    link = page.url
    page.reload()
    assert page.url == link
    page.wait_for_selector("body[data-turn]")
    assert table(page) == chosen
    page.mouse.click(box["x"] + 300, box["y"] + 5)
    assert table(page) == whole


def test_bins_are_selected_by_the_keyboard_and_stay_so_when_the_context_grows(page: Any, server: RangeServer) -> None:
    opened(page, f"{server.url}/?set=motif&at=MYC&bins=51")
    page.focus("canvas")
    for key in ("ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    chosen = table(page)
    assert len(chosen) == 1 + 4
    after(page, lambda: slide(page, 101))
    assert table(page) == chosen
    page.focus("canvas")
    page.keyboard.press("Escape")
    assert len(table(page)) == 1 + 101
