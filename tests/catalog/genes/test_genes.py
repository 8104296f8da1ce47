"""Gene tables: written and read back as they were, and matched to the contigs of an assembly."""

import logging
from pathlib import Path

import polars as pl
import pytest
from gene_files import (
    Gene,
    assembly_of,
    frame_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.assembly import AssemblyMismatch
from catalog.genes.table import GENE_SCHEMA, match_contigs, read_genes, write_genes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("genes")


texts = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            texts.filter(lambda text: not text.startswith("ENS")),
            texts,
            texts.filter(lambda text: not text.startswith("NC_")),
            st.sampled_from("+-."),
            st.integers(0, 2**62),
            texts | st.none(),
        ),
        min_size=1,
        unique_by=lambda row: row[0],
    ),
    name=st.sampled_from(["genes.tsv", "genes.tsv.gz"]),
)
def test_a_written_gene_table_reads_back_as_it_was(folder: Path, rows: list[tuple[object, ...]], name: str) -> None:
    genes = pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")
    write_genes(genes, folder / name)
    assert read_genes(folder / name).equals(genes)


def test_writing_twice_gives_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    genes = frame_of([Gene("g", "s", "chr1", 5, 6, "+", "x")])
    for name in ("one.tsv.gz", "two.tsv.gz"):
        write_genes(genes, tmp_path / name)
    assert (tmp_path / "one.tsv.gz").read_bytes() == (tmp_path / "two.tsv.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.tsv.gz", "two.tsv.gz"]


def test_a_text_that_would_break_the_table_is_refused_with_how_to_mend_it(tmp_path: Path) -> None:
    broken = frame_of([Gene("g", "two\nlines", "chr1", 5, 6, "+", "x")])
    with pytest.raises(ValueError, match=r"'symbol' holds a tab or a line break.*replace_all"):
        write_genes(broken, tmp_path / "genes.tsv")
    assert not list(tmp_path.iterdir())


def test_a_frame_of_another_schema_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gene table has the columns .*cast\(GENE_SCHEMA\)"):
        write_genes(pl.DataFrame({"gene_id": ["a"]}), tmp_path / "genes.tsv")


def genes_at(*places: tuple[str, int]) -> pl.DataFrame:
    return frame_of([Gene(f"g{i}", f"g{i}", contig, tss, tss + 1, "+", "x") for i, (contig, tss) in enumerate(places)])


def test_contigs_take_the_spelling_of_the_assembly_and_genes_off_it_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    genes = genes_at(("1", 0), ("chr2", 99), ("chr2", 100), ("chrM", 5), ("chrUn", 1), ("chr3", 4), ("1", 50))
    assembly = assembly_of(chr1=100, **{"2": 100}, MT=10, NC_000003__12=9)
    with caplog.at_level(logging.INFO, logger="catalog.genes"):
        matched = match_contigs(genes, assembly)
    assert matched.select("gene_id", "contig", "tss").rows() == [
        ("g0", "chr1", 0),
        ("g1", "2", 99),
        ("g3", "MT", 5),
        ("g5", "NC_000003.12", 4),
        ("g6", "chr1", 50),
    ]
    assert matched.schema == GENE_SCHEMA
    assert "tiny: 5 genes; dropped: 1 on contigs that it lacks (chrUn), 1 past the end" in caplog.text


def test_matching_twice_changes_nothing() -> None:
    assembly = assembly_of(chr1=100, NC_000003__12=9)
    once = match_contigs(genes_at(("1", 0), ("3", 4), ("chrUn", 1)), assembly)
    assert match_contigs(once, assembly).equals(once)


def test_genes_of_another_assembly_are_refused_with_the_contigs_of_both() -> None:
    with pytest.raises(AssemblyMismatch, match=r"genes are on II, III, the assembly has chr1 \(100 bp\); take a gene"):
        match_contigs(genes_at(("II", 0), ("III", 4)), assembly_of(chr1=100))
