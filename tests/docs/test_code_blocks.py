"""Code blocks of the pages run, or say why not; no page shows an option that does not exist."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import code_blocks
import page_inputs
import pytest
import typer
import yaml
from checkout import ROOT
from code_blocks import DATA, PAGES, SHELL, TEXT, Block
from page_runner import PageRunner

from featurestore.cli import main as cli

BLOCKS = [block for page in PAGES for block in code_blocks.blocks(page)]
CODE = [block for block in BLOCKS if block.language not in (*DATA, *TEXT)]
RUN_PAGES = [page for page in PAGES if any(block.is_run for block in code_blocks.blocks(page))]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
_EXTRAS = re.compile(r"pip install [^`\n]*?\[([\w,]+)\]")


@pytest.fixture(scope="module")
def verbs() -> Any:
    cli._add_verbs()
    return typer.main.get_command(cli.app)


def verb_of(group: Any, words: list[str]) -> tuple[Any, list[str]]:
    """Find the verb of a command, and the words after it."""
    while hasattr(group, "commands"):
        assert words[0] in group.commands, f"there is no command {words[0]}"
        group, words = group.commands[words[0]], words[1:]
    return group, words


@pytest.mark.parametrize("block", CODE, ids=str)
def test_a_block_compiles_and_its_commands_and_options_exist(block: Block, verbs: Any) -> None:
    if block.language == "python":
        compile(block.code, str(block), "exec")
    if block.language not in SHELL:
        return
    done = subprocess.run(["bash", "-n"], input=block.code, text=True, capture_output=True)
    assert done.returncode == 0, f"{block}: {done.stderr}"
    for words in code_blocks.commands(block.code):
        verb, rest = verb_of(verbs, words)
        known = {name for option in verb.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        asked = {word.split("=")[0] for word in rest if re.match(r"--[a-z]", word)}
        assert asked <= known, f"{block}: featurestore {words[0]} has no {sorted(asked - known)}"
        if not re.search(r"\.\.\.|[$\[]", " ".join(rest)) and "--help-options" not in rest:
            verb.make_context(words[0], list(rest))  # every required option is there, and each value has its type


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in DATA], ids=str)
def test_data_that_a_page_shows_is_read_by_what_reads_such_files(block: Block) -> None:
    read = {"json": json.loads, "yaml": lambda text: list(yaml.safe_load_all(text)), "toml": tomllib.loads}
    assert read[block.language](block.code)


def test_the_files_of_the_recipes_for_clusters_are_read_by_what_reads_them() -> None:
    folder = ROOT / "docs" / "clusters"
    assert {item["kind"] for item in yaml.safe_load_all((folder / "kubernetes.yaml").read_text())} >= {"Job", "Service"}
    assert subprocess.run(["bash", "-n", str(folder / "slurm.sbatch")], check=False).returncode == 0
    for name in ("slurm.py", "ssh.py"):
        compile((folder / name).read_text(), name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_is_run_or_says_why_not(page: Path) -> None:
    for block in (block for block in code_blocks.blocks(page) if block in CODE):
        assert block.is_run or block.run_by or block.reason, f"{block}: write <!-- run --> above it, or why not"
        if block.is_run and block.language in code_blocks.SHELL and not block.is_served:
            serves = [words for words in code_blocks.commands(block.code) if words[0] == "serve"]
            assert not serves, f"{block} would never end: give the line a block with <!-- run: until stopped -->"
        if block.run_by:
            is_of_a_folder = page.name == "README.md" and page.parent != ROOT
            named = str(page.parent.relative_to(ROOT)) if is_of_a_folder else page.name
            assert named in block.run_by.read_text(encoding="utf-8"), f"{block.run_by} says nothing of {named}"
    assert code_blocks.unfenced(page) == [], "fence it, with its language"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_extras_that_a_page_installs_exist(page: Path) -> None:
    named = {name for names in _EXTRAS.findall(page.read_text(encoding="utf-8")) for name in names.split(",")}
    assert named <= EXTRAS | {"cu13"}, page.name


def test_blocks_that_are_run_are_counted() -> None:
    """So that marks do not get lost: raise the number with the pages."""
    assert sum(block.is_run or block.run_by is not None for block in BLOCKS) >= 58


def test_what_is_wrong_with_a_block_would_be_found(verbs: Any, tmp_path: Path) -> None:
    block = Block(page=Path("x.md"), line=1, language="bash", code="featurestore info s --no-such-option")
    with pytest.raises(AssertionError, match="no-such-option"):
        test_a_block_compiles_and_its_commands_and_options_exist(block, verbs)
    page = tmp_path / "x.md"
    page.write_text(
        "# X\n\n    featurestore info genome.store\n\n- an item\n\n    of two paragraphs\n\n```bash\ntrue\n```\n"
    )
    assert code_blocks.unfenced(page) == ["    featurestore info genome.store\n"]
    (found,) = code_blocks.blocks(page)
    assert (found.line, found.is_run, found.reason) == (9, False, None)


@pytest.mark.parametrize("code", ["featurestore info none.store", "false | cat", 'echo "$UNSET"'])
def test_a_line_that_fails_ends_its_block(code: str, tmp_path: Path) -> None:
    block = Block(page=Path("x.md"), line=1, language="bash", code=f"{code}\ntrue")
    with PageRunner(tmp_path, smaller={}) as reader, pytest.raises(AssertionError, match=r"x\.md:1 ended with"):
        reader.run(block)


def test_a_command_has_the_folder_variables_and_streams_of_its_line(tmp_path: Path) -> None:
    code = "mkdir sub; cd sub; export COLUMNS=60; featurestore models --json > models.json; test -s models.json; pwd"
    with PageRunner(tmp_path, smaller={}) as reader:
        printed = reader.run(Block(page=Path("x.md"), line=1, language="bash", code=code))
    assert printed == f"{tmp_path / 'sub'}\n"
    assert json.loads((tmp_path / "sub" / "models.json").read_text())


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_inputs.simulate(tmp_path_factory.mktemp("pages"))


def test_every_row_of_inputs_is_of_a_page_that_is_run() -> None:
    names = {page.name for page in RUN_PAGES}
    assert set(page_inputs.INPUTS) <= names
    for name, changes in page_inputs.SMALLER.items():
        (page,) = (page for page in RUN_PAGES if page.name == name)
        code = "".join(block.code for block in code_blocks.blocks(page) if block.is_run)
        assert [words for words in changes if words not in code] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_their_order(page: Path, shared: Path, tmp_path: Path) -> None:
    smaller, apart = page_inputs.SMALLER.get(page.name, {}), page.name in page_inputs.APART
    with (
        page_inputs.surroundings(page.name, tmp_path),
        PageRunner(tmp_path, smaller=smaller, apart=apart) as reader,
    ):
        page_inputs.INPUTS.get(page.name, lambda folder, shared: None)(tmp_path, shared)
        for block in (block for block in code_blocks.blocks(page) if block.is_run):
            reader.run(block)
