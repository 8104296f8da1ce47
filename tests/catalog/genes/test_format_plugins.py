"""Gene tables in formats that other distributions read."""

import re
from pathlib import Path

import pytest
from distributions import install

from catalog import read_gene_table
from catalog.genes.format_plugins import GROUP, format_names
from catalog.runtime.plugins import PluginError

SOURCE = """
import polars as pl
from catalog.genes.format_plugins import GeneFormat

def read(path):
    rows = [line.split("|") for line in path.read_text().splitlines()[1:]]
    return pl.DataFrame(
        {
            "gene_id": [row[0] for row in rows],
            "symbol": [row[0] for row in rows],
            "contig": [row[1] for row in rows],
            "strand": [row[2] for row in rows],
            "tss": [int(row[3]) - 1 for row in rows],
        }
    )

piped = GeneFormat(recognises=lambda opening: opening.first == "PIPED", read=read)
lacking = GeneFormat(recognises=lambda opening: False, read=lambda path: pl.DataFrame({"gene_id": ["A"]}))
other = 5
"""
TEXT = "PIPED\nA|chr1|+|11\nB|chr1|-|21\nA|chr1|+|31\n"


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formats = {name: f"piped_genes:{name}" for name in ("piped", "lacking", "other")} | {"broken": "no_such_module:x"}
    install(tmp_path, "piped-genes", modules={"piped_genes": SOURCE}, plugins={GROUP: formats})
    monkeypatch.syspath_prepend(str(tmp_path))


def piped(folder: Path) -> Path:
    path = folder / "genes.piped"
    path.write_text(TEXT)
    return path


@pytest.mark.filterwarnings("ignore:the plug-in '(broken|other)':RuntimeWarning")
@pytest.mark.parametrize("format_", [None, "piped"])
def test_a_file_in_a_plug_ins_format_is_read_by_it_and_held_to_the_rules_of_all_gene_tables(
    tmp_path: Path, format_: str | None
) -> None:
    table = read_gene_table(piped(tmp_path), format=format_)
    assert table.genes.rows() == [("A", "A", "chr1", "+", 10, None), ("B", "B", "chr1", "-", 20, None)]
    assert table.report.format == "piped"
    assert table.report.dropped["repeated gene ids"].count == 1


def test_a_plug_in_that_cannot_be_imported_is_named_and_other_files_are_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "genes.bed"
    path.write_text("chr1\t10\t20\tA\t0\t+\n")
    with pytest.warns(RuntimeWarning) as warned:
        assert read_gene_table(path).genes["gene_id"].to_list() == ["A"]
    told = sorted(str(warning.message) for warning in warned)
    assert re.search(r"'broken' of piped-genes .*No module named 'no_such_module'", told[0])
    assert "the plug-in 'other' (featurestore.gene_formats) is a int, which is no catalog.genes" in told[1]
    with pytest.raises(PluginError, match="mend or uninstall it"):
        read_gene_table(path, format="broken")


def test_formats_are_listed_with_those_of_plug_ins() -> None:
    assert format_names() == ["mane", "gtf", "gff3", "bed", "saf", "table", "broken", "lacking", "other", "piped"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lacking", r"it read gene_id, where symbol, contig, strand, tss is missing"),
        ("other", "it lacks recognises, read; name a GeneFormat"),
    ],
)
def test_a_plug_in_that_breaks_its_promise_is_named(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        read_gene_table(piped(tmp_path), format=name)
