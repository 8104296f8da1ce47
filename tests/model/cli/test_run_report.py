"""The page of a run, as `featurestore evaluate RUN --report PAGE` writes it."""

import html
import json
import re
from pathlib import Path

import pytest
from format1 import unpack_format1

from catalog import Grid
from featurestore.cli.main import main
from featurestore.format import layout
from featurestore.testing.fixtures import built_store
from featurestore.upkeep.status import status_of
from model.evaluation.run_report import build_map


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_format1(tmp_path_factory.mktemp("reported"))


def words(place: Path, *names: str) -> list[str]:
    tables = [f"--{name}={place / name}.tsv" for name in ("genes", "targets", "annotations")]
    return [*names, *tables]


def evaluated(place: Path, run: str, page: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    capsys.readouterr()
    folder, store = str(place / "runs" / run), str(place / "genome.store")
    options = ["--draws", "50", "--json", "--report", str(page), *more]
    assert main([*words(place, "evaluate", folder, "--store", store), *options]) == 0
    scores: dict[str, object] = json.loads(capsys.readouterr().out)
    return scores


def cells(page: str) -> list[list[str]]:
    """Give the rows of all tables of a page."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", row)] for row in rows]


def test_the_page_of_a_run_has_the_scores_and_paired_differences_that_evaluate_prints(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "pages" / "cnn.html"
    other = place / "runs" / "mlp"
    scores = evaluated(place, "cnn", page, capsys, "--beside", str(other))
    rows = cells(page.read_text())
    beside = {Path(score["model"]).name: score for score in scores["beside"]}  # type: ignore[attr-defined]
    assert {"mlp", "ridge-centre"} <= set(beside)
    for name, score in {"cnn": scores, **beside}.items():
        shown = ["undefined" if score[key] is None else f"{score[key]:.3f}" for key in ("spearman", "two_sd")]
        assert [name, *shown] in [row[:3] for row in rows], name
    for name, score in beside.items():
        if (lead := score["lead"])["value"] is not None:
            assert [f"cnn - {name}", f"{lead['value']:+.3f}", f"{lead['two_sd']:.3f}"] in [row[:3] for row in rows]


def test_it_has_every_section_and_needs_no_script_and_no_network(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(place, "cnn", tmp_path / "page.html", capsys)
    page = (tmp_path / "page.html").read_text()
    found = re.findall(r"<h2>(.*?)</h2>", page)
    assert [re.sub(r"\d+", "N", title) for title in found] == [
        "Scores on N genes (test)",
        "By contig",
        "Learning",
        "What was built",
        "Cost",
        "Do it again",
    ]
    assert page.count("data:image/png;base64,") == 5
    assert "<script" not in page
    assert "http" not in page.split("</style>")[1]
    assert re.search(r"(\d+) of \1 shards are committed\.", page)
    (commands,) = re.findall(r"<pre class=commands>(.*?)</pre>", page, re.DOTALL)
    assert [line.split()[1] for line in commands.splitlines()] == ["build", "evaluate"]
    assert "white-space: pre-wrap" in page


def test_the_line_that_trained_a_run_is_on_its_page(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "runs" / "trained <here>"
    options = ["--model", "ridge-centre", "--n-bins", "11", "--test-contigs", "sim2", "--out", str(out)]
    line = [*words(place, "train", str(place / "genome.store")), *options]
    assert main(line) == 0
    evaluated(place, out.name, tmp_path / "page.html", capsys)
    page = (tmp_path / "page.html").read_text()
    (commands,) = re.findall(r"<pre class=commands>(.*?)</pre>", page, re.DOTALL)
    (trained,) = (text for text in html.unescape(commands).splitlines() if text.startswith("featurestore train"))
    assert trained.endswith(f"--out '{out}'")
    assert "<here>" not in page
    assert "<h2>Learning</h2>" not in page  # a closed form has no epochs
    assert main(line) == 0  # it is finished, and stays what it is
    assert "holds this run, finished" in capsys.readouterr().out


def test_a_table_of_predictions_has_no_page(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "predictions.csv"
    table.write_text("gene_id,model\nG1,1\n")
    options = [
        "--predictions",
        str(table),
        "--targets",
        str(place / "targets.tsv"),
        "--report",
        str(tmp_path / "p.html"),
    ]
    assert main(["evaluate", *options]) == 2
    assert "leave out RUN, --store, --beside and --report" in " ".join(capsys.readouterr().err.split())


def test_the_map_of_a_build_says_how_much_of_each_contig_and_phase_is_there(tmp_path: Path) -> None:
    grid = Grid(bin_size=16, offsets=(0, 8))
    store = built_store(tmp_path, {"chr1": 16 * 16, "chr2": 16 * 8}, grid)  # shards of four bins
    Path(tmp_path, layout.commit_key("demo", "chr1", 0, 1)).unlink()
    figure = build_map(status_of(store).phases, store.assembly.lengths)
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["chr1 demo +0", "chr1 demo +8", "chr2 demo +0", "chr2 demo +8"]
    assert [text.get_text().strip() for text in axes.texts] == ["75%", "100%", "100%", "100%"]
