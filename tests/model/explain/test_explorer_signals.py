"""The explorer over a served run of measured signals, in a real browser: predictions, changes by signal, hiding."""

from collections.abc import Iterator
from typing import Any

import pytest
from explorer_pages import AXE, IN_A_BROWSER, violations
from explorer_pages import browser as browser  # a fixture
from explorer_pages import page as page
from prism_stores import write_prism_files
from served import served

from featurestore.cli.main import main
from featurestore.store import open_store
from featurestore.upkeep.seal import seal

pytestmark = IN_A_BROWSER
GENE, TSS = "ENSG00000000005", 900
SHOWN = f"at={GENE}&set=wide&bins=51"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a sealed store with a tiny Prism."""
    folder = tmp_path_factory.mktemp("signals")
    files = write_prism_files(folder)
    small = ["--set", "width=16", "--set", "layers=1", "--set", "heads=2", "--epochs", "1", "--no-baselines"]
    words = [*files.tables(), *files.signals(), *small, "--test-contigs", "chr3", "--orient", "gene", "--device", "cpu"]
    assert main(["train", "--model", "prism", *words, f"--out={folder / 'run'}"]) == 0
    store = open_store(files.store)
    seal(store)
    with served(store, genes=files.genes, model=folder / "run", device="cpu") as url:
        yield url


def asked(page: Any, query: str) -> Any:
    """Ask the server itself, from the page."""
    return page.evaluate("q => fetch(`/v1/predict?${q}`).then(reply => reply.json())", query)


def first(page: Any, url: str, query: str) -> str:
    """Open the page, and wait for its prediction."""
    page.goto(f"{url}/stores/a/?{query}")
    page.wait_for_selector("#model[data-turn]")
    return str(page.inner_text("#prediction"))


def test_the_page_shows_both_predictions_and_only_what_the_run_has(page: Any, url: str) -> None:
    text = first(page, url, SHOWN)
    reply = asked(page, f"gene={GENE}")
    assert f"predicts {reply['prediction'][0]:.3f} (do: {reply['alternatives']['do']:.3f})" in text
    assert "from 128 bases of bases, marks, wide" in text
    assert page.is_hidden("#attention")
    assert page.is_visible("#occlusion")
    assert page.is_visible("#hide")
    assert page.is_hidden("#problem")


def test_changes_are_shown_by_signal_and_part(page: Any, url: str) -> None:
    first(page, url, f"{SHOWN}&explain=occlusion")
    found = asked(page, f"gene={GENE}&explain=occlusion")["occlusion_by_signal"]
    words = page.inner_text("#explained")
    for name, change in zip(found["signals"], found["whole"], strict=True):
        assert f"{name} {change:+.3f}" in words
    page.click("#explained details summary")
    rows = [row.split("\t") for row in page.locator("#explained table tbody tr").all_inner_texts()]
    assert len(rows) == 10
    for where, name, value in rows:
        part = found["starts"].index(int(where.partition(":")[2].partition("-")[0].replace(",", "")))
        assert float(value) == found["change"][part][found["signals"].index(name)]
    if AXE.exists():
        assert violations(page) == []


def test_hidden_bases_change_the_prediction(page: Any, url: str) -> None:
    text = first(page, url, f"{SHOWN}&hide={TSS - 10}_{TSS + 10}")
    hidden = asked(page, f"gene={GENE}&hide={TSS - 10}-{TSS + 10}")["hidden"]
    assert f"Without 20 hidden bases it is {hidden['prediction'][0]:.3f} ({hidden['change'][0]:+.3f})" in text
    assert "within the window" in first(page, url, f"{SHOWN}&hide=1_20")
