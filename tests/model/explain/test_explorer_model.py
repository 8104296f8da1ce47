"""The explorer over `featurestore serve --model`, in a real browser: prediction, what it rests on, bins hidden."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import uvicorn
from explorer_pages import AXE, IN_A_BROWSER, after, slide, violations
from explorer_pages import browser as browser  # a fixture
from explorer_pages import page as page

from featurestore.cli.main import main
from featurestore.store import open_store
from featurestore.upkeep.seal import seal
from featurestore.web.serving.app import make_app
from featurestore.web.serving.request import NamedPlace, ServeRequest
from model.testing import write_tiny_backbone

pytestmark = IN_A_BROWSER
N_BINS = 7


@pytest.fixture(scope="module")
def url(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a sealed copy of the genome's store with a tiny GTA."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copytree(genome / "store", folder / "store")
    seal(open_store(folder / "store"))
    backbone = write_tiny_backbone(folder / "llama", "llama", positions=160)
    tables = f"--genes {genome}/genes.tsv --targets {genome}/targets.tsv --test-contigs chr2"
    words = f"train {genome}/store {tables} --model gta-best --n-bins {N_BINS} --epochs 1 --device cpu"
    assert main([*words.split(), "--backbone", str(backbone), "--out", str(folder / "run")]) == 0
    request = ServeRequest(genes=genome / "genes.tsv", model=folder / "run", device="cpu")
    app = make_app([NamedPlace("tiny", str(folder / "store"))], request)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def predicted(page: Any, act: Any) -> str:
    """Wait for the prediction that follows an action."""
    before = page.get_attribute("#model", "data-turn")
    act()
    page.wait_for_selector(f"#model[data-turn]:not([data-turn='{before}'])")
    return str(page.inner_text("#prediction"))


def first(page: Any, url: str, query: str) -> str:
    """Open the page, and wait for its prediction."""
    page.goto(f"{url}/stores/tiny/?{query}")
    page.wait_for_selector("#model[data-turn]")
    return str(page.inner_text("#prediction"))


def asked(page: Any, query: str) -> Any:
    """Ask the server itself, from the page."""
    return page.evaluate("q => fetch(`/v1/predict?${q}`).then(reply => reply.json())", query)


def test_the_page_shows_the_prediction_of_the_server_and_follows_the_context(page: Any, url: str) -> None:
    text = first(page, url, f"at=G4&bins={N_BINS}")
    reply = asked(page, f"gene=G4&bins={N_BINS}")
    assert f"predicts {reply['prediction'][0]:.3f} log(1 + expression) from {N_BINS} bins of demo" in text
    assert f"a gene of the {reply['subset'].replace('train', 'training')} set" in text
    assert page.is_hidden("#problem")
    wider = predicted(page, lambda: after(page, lambda: slide(page, 51)))
    assert f"predicts {asked(page, 'gene=G4&bins=51')['prediction'][0]:.3f}" in wider


def test_hidden_bins_change_the_prediction_and_a_link_restores_it(page: Any, url: str) -> None:
    whole = first(page, url, f"at=G4&bins={N_BINS}")
    assert "Select bins first" in predicted_text_after(page, "#hide")
    page.focus("#panels canvas")
    for key in ("ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    without = predicted(page, lambda: page.click("#hide"))
    start, end = re.search(r"select=(-?\d+)_(\d+)", page.url).groups()  # type: ignore[union-attr]
    hidden = asked(page, f"gene=G4&bins={N_BINS}&hide={start}-{end}")["hidden"]
    assert len(hidden["bins"]) == 2
    assert f"Without 2 hidden bins it is {hidden['prediction'][0]:.3f} ({hidden['change'][0]:+.3f})" in without
    assert first(page, url, page.url.partition("?")[2]) == without
    assert predicted(page, lambda: page.click("#unhide")) == whole


def predicted_text_after(page: Any, button: str) -> str:
    page.click(button)
    return str(page.inner_text("#prediction"))


def test_attention_and_occlusion_are_shown_by_bin(page: Any, url: str) -> None:
    first(page, url, f"at=G5&bins={N_BINS}")
    predicted(page, lambda: page.check("#occlusion"))
    predicted(page, lambda: page.check("#attention"))
    headings = page.eval_on_selector_all("#explained h3", "all => all.map(one => one.textContent)")
    assert [one.split(" ")[0] for one in headings] == ["Change", "Attention"]
    reply = asked(page, f"gene=G5&bins={N_BINS}&explain=occlusion&explain=attention")
    page.click("#explained details summary >> nth=0")
    rows = page.locator("#explained table").first.locator("tbody tr").all_inner_texts()
    shown = {float(row.split("\t")[-1]) for row in rows}
    assert shown == set(reply["occlusion"])
    (strongest, *_) = sorted(enumerate(reply["occlusion"]), key=lambda one: -abs(one[1]))
    start = reply["first_start"] + strongest[0] * reply["bin_size"]
    assert f"It changes most without {reply['contig']}:{start:,}-" in page.inner_text("#explained .facts >> nth=0")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        if AXE.exists():
            assert violations(page) == []
    link = page.url
    assert "explain=attention" in link
    assert "explain=occlusion" in link


def test_what_the_model_cannot_do_is_said_beside_it_and_the_picture_stays(page: Any, url: str) -> None:
    text = first(page, url, f"at=G4&bins={N_BINS}&hide=999000_999010")
    assert "within the window" in text
    assert page.query_selector("#panels canvas") is not None
