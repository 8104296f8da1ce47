"""Code blocks of the pages run, or say why not; no page shows an option that does not exist."""

import contextlib
import gzip
import io
import re
import shutil
from pathlib import Path
from typing import Any

import code_blocks
import pybigtools
import pytest
import typer
from code_blocks import PAGES, SHELL, Block
from overlay_stores import build_in_process

from builders import BuildRequest
from catalog import Fasta
from featurestore.cli import main as cli

BLOCKS = [block for page in PAGES for block in code_blocks.blocks(page)]
RUN_PAGES = [page for page in PAGES if any(block.is_run for block in code_blocks.blocks(page))]
_EXPECTED = re.compile(r"^\s*print\(.*\)  # (.+)$", re.MULTILINE)


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


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_compiles_and_its_commands_and_options_exist(block: Block, verbs: Any) -> None:
    if block.language == "python":
        compile(block.code, str(block), "exec")
        return
    for words in code_blocks.commands(block.code):
        verb, rest = verb_of(verbs, words)
        known = {name for option in verb.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        asked = {word.split("=")[0] for word in rest if re.match(r"--[a-z]", word)}
        assert asked <= known, f"{block}: featurestore {words[0]} has no {sorted(asked - known)}"
        if not re.search(r"\.\.\.|[$\[]", " ".join(rest)) and "--help-options" not in rest:
            verb.make_context(words[0], list(rest))  # every required option is there, and each value has its type


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_whose_blocks_are_not_all_run_says_why(page: Path) -> None:
    left = [block for block in code_blocks.blocks(page) if not block.is_run]
    assert not left or code_blocks.reason(page), f"{left[0]} is not run: mark it, or say why"


def test_blocks_that_are_run_are_counted() -> None:
    """So that marks do not get lost: raise the number with the pages."""
    assert sum(block.is_run for block in BLOCKS) >= 13


def test_an_option_that_does_not_exist_would_be_found(verbs: Any) -> None:
    block = Block(page=Path("x.md"), line=1, language="bash", code="featurestore info s --no-such-option", is_run=False)
    with pytest.raises(AssertionError, match="no-such-option"):
        test_a_block_compiles_and_its_commands_and_options_exist(block, verbs)


def build_inputs(folder: Path, *, store: str) -> None:
    """Make a simulated genome and its store, as the pages name them."""
    size = ("--n-genes", "60", "--n-contigs", "4", "--contig-length", "5100000")
    assert cli.main(["simulate", str(folder / "genome"), *size]) == 0
    build_in_process(
        str(folder / store),
        BuildRequest(fasta=str(folder / "genome" / "genome.fa"), extractor="motif", offsets=(0, 2048)),
    )


def write_more(page: str, folder: Path) -> None:
    """Write what pages call by the names of real files: the variants of a person, and signals of a genome."""
    genome = folder / "genome" / "genome.fa"
    with Fasta(str(genome)) as fasta:
        lengths = dict(fasta.lengths)
        ref = fasta.fetch("sim2", 900_000, 900_001).tobytes().decode().upper()
    if page == "overlays.md":
        header = "##fileformat=VCFv4.2\n##FORMAT=<ID=GT,Number=1,Type=String,Description=x>\n##contig=<ID=sim2>\n"
        columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tNA12878\n"
        row = f"sim2\t900001\t.\t{ref}\t{'A' if ref != 'A' else 'C'}\t.\t.\t.\tGT\t1|0\n"
        (folder / "NA12878.vcf.gz").write_bytes(gzip.compress((header + columns + row).encode()))
    if page == "tracks.md":
        shutil.copy(genome, folder / "hg38.fa")
        for name, value in (("h3k27ac.bw", 1.5), ("dnase.bw", 2.5)):
            file = pybigtools.open(str(folder / name), "w")
            file.write(lengths, ((contig, 1000, 2000, value) for contig in sorted(lengths)))


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_their_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if page.name != "start.md":  # which makes its own
        build_inputs(tmp_path, store="demo-out/genome.store" if page.name == "README.md" else "genome.store")
        write_more(page.name, tmp_path)
    names: dict[str, Any] = {}
    for block in (block for block in code_blocks.blocks(page) if block.is_run):
        if block.language in SHELL:
            for words in code_blocks.commands(block.code):
                assert cli.main(words) == 0, f"{block}: featurestore {' '.join(words)}"
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.code, str(block), "exec"), names)
        if expected := _EXPECTED.findall(block.code):
            assert printed.getvalue().splitlines() == expected, str(block)
