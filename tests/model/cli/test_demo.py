"""The main job runs from end to end, by the commands that it prints."""

import json
import shlex
from pathlib import Path

import polars as pl
import pytest

from featurestore.cli.main import main
from model.cli.demo import CONTEXTS


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--out", str(out), "--size", "tiny"]) == 0
    return out


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


def test_the_page_holds_its_figures_and_says_that_all_is_simulated(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "simulated" in page
    assert "untrained" in page
    assert "<script" not in page
    assert "http" not in page.split("</style>")[1].replace("https://", "")


def test_the_predictions_cover_every_gene_and_say_which_were_held_out(demo: Path) -> None:
    frame = pl.read_parquet(demo / "predictions.parquet")
    assert set(frame["subset"]) == {"train", "validation", "test"}
    assert frame["prediction"].is_finite().all()
    assert len(frame) == 60


def test_a_command_of_the_report_can_be_run_again_as_it_stands(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads((demo / "report.json").read_text())
    (line,) = (command for command in report["commands"] if "evaluate" in command and "ridge-centre-51 " in command)
    assert main(shlex.split(line)[1:]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == next(row for row in report["results"] if (row["model"], row["n_bins"]) == ("ridge-centre", 51))
