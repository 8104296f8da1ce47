"""Whatever is raised within a command, it ends with one line and 2."""

import re
from pathlib import Path

import pytest

from featurestore.cli.main import main
from featurestore.testing import random_sequences, write_fasta

RAISED = {
    "csv.Error": "a bug, not a mistake of yours: Error: told",
    "zlib.error": "a bug, not a mistake of yours: error: told",
    "zipfile.BadZipFile": "a bug, not a mistake of yours: BadZipFile: told",
    "OverflowError": "a bug, not a mistake of yours: OverflowError: told",
    "TypeError": "a bug, not a mistake of yours: TypeError: told",
    "AttributeError": "a bug, not a mistake of yours: AttributeError: told",
    "PanicException": "a bug, not a mistake of yours: PanicException: told",
    "ValueError": "told",
    "EOFError": "a file ends too early (told); it is truncated: fetch it or make it again",
}


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A plan whose extractor, a user's own, raises what its settings name."""
    (tmp_path / "raising.py").write_text(
        "import csv, os, zipfile, zlib\n"
        "class PanicException(BaseException):\n"
        "    pass\n"
        "def factory(options):\n"
        "    raise eval(os.environ['RAISED'])('told')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    fasta = write_fasta(tmp_path / "tiny.fa", random_sequences({"chr1": 64}))
    return ["plan", str(tmp_path / "s"), "--fasta", str(fasta), "--extractor", "raising:factory"]


@pytest.mark.parametrize("raised", RAISED)
def test_no_kind_of_error_shows_a_traceback(
    words: list[str], raised: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAISED", raised)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    where = r" \(.*/raising.py, line 5\); run the same command with FEATURESTORE_DEBUG=1 .* report that"
    told = RAISED[raised]
    assert re.fullmatch(re.escape(f"error: {told}") + (where if told.startswith("a bug") else ""), line), line


@pytest.mark.parametrize("raised", ["TypeError", "PanicException"])
def test_the_traceback_is_there_to_be_seen(words: list[str], raised: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAISED", raised)
    monkeypatch.setenv("FEATURESTORE_DEBUG", "1")
    with pytest.raises(BaseException, match="told") as caught:
        main(words)
    assert type(caught.value).__name__ == raised
    assert caught.traceback[-1].path.name == "raising.py"


def test_a_long_message_of_a_wrong_option_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "s", "chr1:5", "--n-bins", "x" * 10_000]) == 2
    assert len(capsys.readouterr().err) < 1000


def test_a_relative_path_where_the_current_folder_is_gone_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["info", "s"]) == 2
    assert capsys.readouterr().err == (
        "error: s is relative, and the current folder is gone; change to another, or give an absolute path\n"
    )
