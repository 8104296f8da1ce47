"""The main job runs from end to end, by the commands that it prints."""

import contextlib
import io
import json
import shlex
from pathlib import Path

import polars as pl
import pytest
from checkout import ROOT

from featurestore.cli.main import main
from model.cli.demo import CONTEXTS, SHORT_WAY


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["demo", "--out", str(out), "--size", "tiny"]) == 0
    (out / "printed.txt").write_text(printed.getvalue())
    return out


@pytest.mark.slow
def test_it_shows_a_store_and_another_context_length_before_it_trains(demo: Path) -> None:
    before, _, after = (demo / "printed.txt").read_text().partition("$ featurestore train")
    assert after
    typed = [line for line in SHORT_WAY.format(store=str(demo / "genome.store")).splitlines() if line]
    found = [line.removeprefix(">>> ") for line in before.splitlines() if line.startswith(">>> ")]
    assert found == typed
    given = [line for line in before.splitlines() if line.startswith(("(", "torch.Size"))]
    assert given == [
        "(251, 27) [485376 489472] -576",
        "torch.Size([251, 27])",
        "torch.Size([101, 27])",
    ]
    assert "Extractor calls since the build: 0." in before


@pytest.mark.slow
def test_it_ends_with_the_line_that_opens_the_explorer_and_the_store_has_the_page(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = (demo / "printed.txt").read_text()
    line = printed.rstrip().splitlines()[-1].strip()
    assert line.startswith("featurestore serve ")
    assert line.partition(" --model")[0] in printed.partition("$ featurestore train")[0]
    assert f"\n{line.replace(str(demo), 'demo-out')}\n" in (ROOT / "README.md").read_text()
    assert main([*shlex.split(line)[1:], "--dry-run"]) == 0
    assert capsys.readouterr().out == f"genome\t{demo / 'genome.store'}\n"
    assert len(json.loads((demo / "genome.store/explorer_genes.json").read_text())) == 60
    assert (demo / "genome.store/index.html").exists()


def test_the_readme_has_the_lines_that_the_demo_prints() -> None:
    blocks = (ROOT / "README.md").read_text().split("```python\n")[1:]
    (block,) = (block for block in blocks if 'featurestore.open("demo-out/genome' in block)
    readme = [line.split("  # ")[0] for line in block.split("```")[0].splitlines() if line]
    shown = [line.split("  # ")[0] for line in SHORT_WAY.format(store="demo-out/genome.store").splitlines() if line]
    assert [line.replace('"', "'") for line in readme] == [line.replace('"', "'") for line in shown]


@pytest.mark.slow
def test_the_report_has_every_model_at_every_context_and_no_call_after_the_build(demo: Path) -> None:
    report = json.loads((demo / "report.json").read_text())
    scored = {(row["model"], row["n_bins"]) for row in report["results"]}
    assert {("gta-best", n) for n in CONTEXTS} <= scored
    assert {("ridge-exponential", n) for n in CONTEXTS} <= scored
    assert {("gta-paper", 251), ("gta-no-llm", 251)} <= scored
    for row in report["results"]:
        assert set(row) >= {"model", "n_bins", "n_test", "spearman", "two_sd"}
        assert row["n_test"] == report["results"][0]["n_test"] > 0
    assert report["extractor_calls_in_build"] > 0
    assert report["extractor_calls_after_build"] == 0
    for stage in ("simulate", "build", "train", "predict"):
        assert report["stages"][stage]["seconds"] > 0
        assert report["stages"][stage]["bytes"] > 0
    assert report["stages"]["evaluate"]["bytes"] == 0
    assert "torch" in report["versions"]


@pytest.mark.slow
def test_the_report_compares_contexts_pair_by_pair_on_the_same_genes(demo: Path) -> None:
    report = json.loads((demo / "report.json").read_text())
    score = {(row["model"], row["n_bins"]): row["spearman"] for row in report["results"]}
    expected = {
        f"{model}: 251 - {shorter} bins": score[model, 251] - score[model, shorter]
        for model in ("gta-best", "ridge-exponential")
        for shorter in (51, 101)
    }
    expected |= {
        f"{model} - {other}": score[model, 251] - score[other, 251]
        for model, other in (
            ("gta-no-llm", "ridge-centre"),
            ("gta-best", "gta-no-llm"),
            ("gta-best", "ridge-centre"),
        )
    }
    found = {row["label"]: row["value"] for row in report["differences"]}
    assert found == pytest.approx(expected)
    assert all(row["two_sd"] >= 0 for row in report["differences"])
    page = (demo / "report.html").read_text()
    assert [label for label in expected if f"<td>{label}</td>" not in page] == []
    assert page.index("<img") < page.index("<table")
    assert "paired differences" in (demo / "printed.txt").read_text()


@pytest.mark.slow
def test_the_page_holds_its_figures_and_says_that_all_is_simulated(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "simulated" in page
    assert "untrained" in page
    assert "<script" not in page
    assert "http" not in page.split("</style>")[1].replace("https://", "")


@pytest.mark.slow
def test_the_predictions_cover_every_gene_and_say_which_were_held_out(demo: Path) -> None:
    frame = pl.read_parquet(demo / "predictions.parquet")
    assert set(frame["subset"]) == {"train", "validation", "test"}
    assert frame["prediction"].is_finite().all()
    assert len(frame) == 60


@pytest.mark.slow
def test_a_command_of_the_report_can_be_run_again_as_it_stands(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads((demo / "report.json").read_text())
    (line,) = (command for command in report["commands"] if "evaluate" in command and "ridge-centre-51 " in command)
    assert main(shlex.split(line)[1:]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == next(row for row in report["results"] if (row["model"], row["n_bins"]) == ("ridge-centre", 51))
