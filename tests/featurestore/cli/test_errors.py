"""Errors name parameters of Python below the command line, and options on it."""

import ast
import csv
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from checkout import ROOT
from hypothesis import given
from hypothesis import strategies as st
from obstore.exceptions import BaseError

from builders.execution.scheduling import BuildStopped
from catalog import UnknownContig
from featurestore.cli.errors import explain, in_one_line, in_options, verb_of

app = typer.Typer()
inner = typer.Typer()
app.add_typer(inner, name="catalog")


@app.command()
def build(
    n_bins: int = 1,
    dtype: str = "float16",
    channels: str | None = None,
    storage_option: str | None = None,
    crc: bool = typer.Option(False, "--crc/--quick"),
    feature_set: str | None = typer.Option(None, "--feature-set", "-f", "--set"),
) -> None:
    pass


@inner.command()
def add(catalog: str | None = None, name: str | None = None) -> None:
    pass


COMMAND = typer.main.get_command(app)
BUILD = verb_of(COMMAND, ["build", "--n-bins", "3"])
ADD = verb_of(COMMAND, ["catalog", "add", "build"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("give `n_bins=`", "give `--n-bins`"),
        ("give `n_bins=251`", "give `--n-bins 251`"),
        ('with `dtype="float32"` it fits', "with `--dtype float32` it fits"),
        ("name some: `channels=['a', 'b']`", "name some: `--channels a,b`"),
        ("keys go to `storage_options=`", "keys go to `--storage-option`"),
        ("`crc=True` reads all, `crc=False` does not", "`--crc` reads all, `--quick` does not"),
        ("read all: `channels=None`", "read all: `no --channels`"),
        ("choose with `feature_set=`", "choose with `--feature-set`"),
        ("`other=3` is not of this verb", "`other=3` is not of this verb"),
        ("got n_bins=3 and `featurestore.open(url)`", "got n_bins=3 and `featurestore.open(url)`"),
    ],
)
def test_a_parameter_in_backquotes_becomes_the_option_of_the_verb_that_ran(text: str, shown: str) -> None:
    assert in_options(text, BUILD) == shown


def test_the_verb_that_ran_decides() -> None:
    assert in_options("give another `name=` or `place=`", ADD) == "give another `--name` or `--catalog`"
    assert in_options("give another `name=` or `place=`", BUILD) == "give another `name=` or `place=`"


def test_a_library_that_is_not_installed_is_told_by_its_extra_also_where_a_plug_in_needed_it() -> None:
    plugin_error = ImportError("the plug-in cannot be loaded")
    plugin_error.__cause__ = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    assert explain(plugin_error, BUILD) == (
        "this verb needs torch: pip install '.[model]' in the checkout of genomic-featurestore"
    )
    assert explain(ModuleNotFoundError("No module named 'x'", name="x"), BUILD) == "No module named 'x'"


def test_an_error_without_words_is_told_by_its_kind() -> None:
    assert explain(MemoryError(), BUILD) == "MemoryError"


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            OSError(28, "No space left on device", "/a"),
            "/a: No space left on device; make room there, or write elsewhere",
        ),
        (OSError(28, "No space left on device"), "No space left on device; make room there, or write elsewhere"),
        (FileNotFoundError(2, "No such file or directory", b"/a"), "/a: No such file or directory; check the path"),
        (OSError(28, "could not write s3://b; make room there"), "[Errno 28] could not write s3://b; make room there"),
        (OSError("without a number"), "without a number"),
    ],
)
def test_what_the_operating_system_refuses_comes_with_what_helps(error: OSError, shown: str) -> None:
    assert explain(error, BUILD) == shown


@given(st.text())
def test_a_message_is_one_short_line_that_keeps_its_beginning_and_its_end(part: str) -> None:
    for text in (part, f"what is wrong: {part}{'x' * 600}{part}; how to mend it"):
        line = in_one_line(text)
        assert len(line) <= 500
        assert line == "" or line.isprintable()
    assert line.startswith("what is wrong: ")
    assert line.endswith("; how to mend it")


MISTAKES = (FileNotFoundError, ValueError, UnknownContig, BuildStopped, MemoryError, BaseError)
BUGS = (TypeError, AttributeError, KeyError, IndexError, ZeroDivisionError, AssertionError, RecursionError)


@pytest.mark.parametrize("kind", [*MISTAKES, *BUGS, csv.Error, zipfile.BadZipFile, zlib.error])
def test_an_error_that_no_input_should_raise_says_where_it_arose_and_how_to_see_more(kind: type[Exception]) -> None:
    try:
        raise kind("two\nlines")
    except kind as error:
        shown = explain(error, BUILD)
    if kind in MISTAKES:
        assert shown == "two lines"
    else:
        assert re.fullmatch(
            rf"a bug, not a mistake of yours: {kind.__name__}: two lines \(cli/test_errors.py, line \d+\); "
            "run the same command with FEATURESTORE_DEBUG=1 in the environment for the traceback, and report that",
            shown,
        )


def messages(path: Path) -> Iterator[str]:
    """Give the texts of the errors that a module raises, values left out, and commands in backquotes too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for text in node.exc.args:
                parts = [part.value for part in ast.walk(text) if isinstance(part, ast.Constant)]
                yield re.sub(r"`[^`]*`", "", "".join(map(str, parts)))


@pytest.mark.parametrize("package", ["builders", "catalog", "featurestore", "loaders", "model"])
def test_no_error_below_the_command_line_names_a_flag(package: str) -> None:
    modules = [path for path in (ROOT / package).rglob("*.py") if "cli" not in {path.stem, path.parent.name}]
    assert [text for path in modules for text in messages(path) if re.search(r"(^|\s|\()--[a-z]", text)] == []
