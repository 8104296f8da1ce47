"""No text of a user, a store or a file is markup, on a terminal or in a pipe."""

import io
import os
import sys
from pathlib import Path

import pytest

from catalog import Grid
from catalog.assembly import Assembly
from featurestore.cli.main import main
from featurestore.format import layout
from featurestore.store import create
from featurestore.testing.fixtures import assembly_of, build_set, random_sequences

CONTIGS = ("chr[/1]", "[bold]2[/bold]", ":dna:", "[link=x]y")
LENGTHS = dict.fromkeys(CONTIGS, 100)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose path, contigs and assembly look like markup; one shard is missing, and one file is a stranger."""
    folder = tmp_path / "brk[old]" / "q[" / "h].store"
    assembly = Assembly.of("[red]:smile:", assembly_of(random_sequences(LENGTHS)).contigs)
    opened = create(folder, assembly)
    build_set(opened, Grid(bin_size=16))
    (folder / layout.commit_key("demo", CONTIGS[0], 0, 1)).unlink()
    (folder / "no[/thing]").parent.mkdir()
    (folder / "no[/thing]").touch()
    return folder


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_is_printed_is_what_it_is_called(
    store: Path, tmp_path: Path, is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = str(tmp_path / "c.json")
    words = {
        ("info", str(store)): [str(store), "[red]:smile:"],
        ("status", str(store)): CONTIGS,
        ("get", str(store), "[bold]2[/bold]:50", "--n-bins", "3"): ["[bold]2[/bold]"],
        ("get", str(store), "[/nowhere]:50"): ["[/nowhere]"],
        ("verify", str(store)): ["not of this store: no[/thing]"],
        ("seal", str(store)): [str(store)],
        ("plan", str(store), "--fasta", "[/no].fa"): ["[/no].fa"],
        ("catalog", "add", str(store), "--name", "mine", "--catalog", listed): [str(store)],
        ("catalog", "list", "--offline", "--catalog", listed): ["[red]:smile:"],
        ("catalog", "show", "mine", "--catalog", listed): [str(store), "[red]:smile:"],
        ("catalog", "show", "[/none]", "--catalog", listed): ["[/none]"],
        ("copy", str(store), str(tmp_path / "to[/b]")): [str(tmp_path / "to[/b]")],
        ("diff", str(store), str(tmp_path / "to[/b]")): [str(store), str(tmp_path / "to[/b]")],
        ("no[/such]",): ["no[/such]"],
        ("get", "--no[/such]"): ["--no[/such]"],
    }
    for command, shown in words.items():
        out, err = (Terminal(), Terminal()) if is_terminal else (io.StringIO(), io.StringIO())
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("COLUMNS", "300")
        assert main(list(command)) in (0, 1, 2)
        printed = out.getvalue() + err.getvalue()
        assert [text for text in shown if text not in printed] == [], f"{command}: {printed}"


def test_control_characters_are_shown_as_question_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sequences = random_sequences({"evil\x1b[31m": 100})
    opened = create(tmp_path / "s", assembly_of(sequences))
    build_set(opened, Grid(bin_size=16))
    for verb in ("info", "status", "verify"):
        assert main([verb, str(tmp_path / "s")]) == 0
    assert main(["get", str(tmp_path / "s"), "none\x1b[31m:5"]) == 2
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert "evil?[31m" in printed.out


def test_a_name_that_is_no_text_is_printed_all_the_same(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / os.fsdecode(b"caf\xe9.tsv")
    assert main(["get", str(store), "[bold]2[/bold]:50", "--n-bins", "3", "--out", str(out)]) == 0
    assert r"caf\udce9.tsv: 3 bins" in capsys.readouterr().out
    assert main(["info", str(out)]) == 2
    assert "caf?.tsv" in capsys.readouterr().err
