"""A feature set is named by --feature-set, and by what that was once called."""

import json
from pathlib import Path

import pytest

from catalog import Grid
from featurestore.cli.main import main
from featurestore.testing import built_store

LENGTHS = {"chr1": 300}
GRID = Grid(bin_size=16)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store of two sets of other values: one has two channels, the other three."""
    built_store(tmp_path / "s", LENGTHS, GRID, name="one", n_channels=2)
    built_store(tmp_path / "s", LENGTHS, GRID, name="other")
    return str(tmp_path / "s")


def out(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) in (0, 1)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("now", "once"),
    [
        (["get", "{}", "chr1:50", "--feature-set", "other"], ["get", "{}", "other", "chr1:50"]),
        (["get", "{}", "chr1:50", "--feature-set", "one"], ["get", "{}", "one", "chr1:50"]),
        (
            ["diff", "{}", "--feature-set-a", "one", "--feature-set-b", "other"],
            ["diff", "{}", "--set-a", "one", "--set-b", "other"],
        ),
        (["diff", "{}", "{}", "--feature-set", "one"], ["diff", "{}", "{}", "--set", "one"]),
    ],
)
def test_the_old_spelling_does_the_same(
    store: str, capsys: pytest.CaptureFixture[str], now: list[str], once: list[str]
) -> None:
    printed = [out(capsys, *(word.format(store) for word in words), "--json") for words in (now, once)]
    assert printed[0] == printed[1]
    assert json.loads(printed[0])


@pytest.mark.parametrize("flag", ["--feature-set", "--sets"])
def test_a_copy_takes_the_sets_that_are_named(store: str, tmp_path: Path, flag: str) -> None:
    assert main(["copy", store, str(tmp_path / "copy"), flag, "one"]) == 0
    assert [path.name for path in (tmp_path / "copy" / "features").iterdir() if path.is_dir()] == ["one"]


@pytest.mark.parametrize("flag", ["--feature-set", "--set"])
def test_reading_is_measured_on_the_named_set(store: str, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    verb = ["bench-read", store, "--n-bins", "3", "--batch-size", "2", "--batches", "2", "--json"]
    assert json.loads(out(capsys, *verb, flag, "other"))


def test_the_only_set_need_not_be_named(tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    built_store(tmp_path / "single", LENGTHS, GRID)
    assert out(capsys, "get", str(tmp_path / "single"), "chr1:50")
    assert main(["get", store, "chr1:50"]) == 2
    assert "has 2 feature sets (one, other); say which: `--feature-set NAME`" in capsys.readouterr().err


def test_help_shows_the_one_word_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for verb in ("get", "copy", "diff", "bench-read"):
        words = out(capsys, verb, "--help").split()
        assert "--feature-set" in words
        assert not {"--set", "--sets", "--set-a"} & set(words)
