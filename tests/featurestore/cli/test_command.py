"""The command as a process: which files it runs, what others' distributions may break, its version and completion."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from distributions import install

from catalog import Grid
from featurestore.testing import built_store, random_sequences, write_fasta

COMMAND = Path(sys.executable).with_name("featurestore")
PACKAGES = ("catalog", "featurestore", "builders", "loaders", "model")


def run(*arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a file in the place of each of our packages."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for package in PACKAGES:
        (folder / f"{package}.py").write_text(f"raise SystemExit('{package} of the user was run')\n")
    return folder


def test_the_command_runs_its_own_packages_whatever_the_path_and_the_folder_hold(hostile: Path, tmp_path: Path) -> None:
    built_store(tmp_path / "s", {"chr1": 100}, Grid(bin_size=16))
    done = run("info", tmp_path / "s", "--json", folder=hostile, PYTHONPATH=str(hostile))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["feature_sets"][0]["name"] == "demo"


def test_so_do_its_workers_which_find_an_extractor_in_the_current_folder(hostile: Path, tmp_path: Path) -> None:
    (hostile / "mine.py").write_text(
        "from builders.testing import CompositionExtractor\nclass Mine(CompositionExtractor):\n    pass\n"
    )
    fasta = write_fasta(tmp_path / "tiny.fa", random_sequences({"chr1": 640}))
    done = run(
        *("build", tmp_path / "s", "--fasta", fasta, "--extractor", "mine:Mine.from_options", "--bin-size", 16),
        *("--workers", 1, "--device", "cpu"),
        folder=hostile,
        PYTHONPATH=str(hostile),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ],
)
def test_a_plug_in_that_cannot_be_imported_is_named_and_the_other_verbs_work(
    source: str, reason: str, tmp_path: Path
) -> None:
    plugins = {"featurestore.commands": {"theirs": "their_verbs:app"}}
    install(tmp_path, "their-distribution", modules={"their_verbs": source}, plugins=plugins)
    done = run("simulate", "--help", folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: featurestore simulate")
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: the plug-in 'theirs' of their-distribution (featurestore.commands: their_verbs:")
    assert reason in line


@pytest.mark.slow
def test_it_runs_in_a_folder_that_is_gone_with_its_streams_closed(tmp_path: Path) -> None:
    built_store(tmp_path / "s", {"chr1": 100}, Grid(bin_size=16))
    script = f'mkdir gone && cd gone && rmdir ../gone && exec "{COMMAND}" status "{tmp_path / "s"}" <&- >&-'
    # Python itself cannot start there if an entry of PYTHONPATH is relative.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    there: dict[str, Any] = {"cwd": tmp_path, "env": variables, "timeout": 120}
    ended = subprocess.run(["/bin/sh", "-c", f"{script} 2>&-"], **there)
    told = subprocess.run(["/bin/sh", "-c", script], stderr=subprocess.PIPE, text=True, **there)
    assert (ended.returncode, told.returncode, told.stderr) == (0, 0, "")


def test_the_version_is_that_of_the_distribution(tmp_path: Path) -> None:
    done = run("--version", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, version("genomic-featurestore") + "\n", "")


@pytest.mark.slow
def test_a_shell_completes_verbs(tmp_path: Path) -> None:
    variables = {"_FEATURESTORE_COMPLETE": "complete_bash", "COMP_WORDS": "featurestore ve", "COMP_CWORD": "1"}
    assert run(folder=tmp_path, **variables).stdout.split() == ["verify"]
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # whatever shell, if any, runs the tests
    assert "_featurestore_completion" in run("--show-completion", "bash", folder=tmp_path, **named).stdout
