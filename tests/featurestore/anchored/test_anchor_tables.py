"""Tables of anchors: those of one's own, and the start sites of genes."""

from pathlib import Path

import pytest
from anchor_stores import write_anchors
from checkout import SHARED

from catalog import Assembly, AssemblyMismatch, TableError
from catalog.genes.anchors import Anchor, read_anchors
from catalog.genes.table import read_genes
from featurestore.testing import assembly_of, random_sequences

MANE = SHARED / "data" / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz"


# The table


def test_genes_are_anchored_at_their_start_sites(tmp_path: Path) -> None:
    assembly = assembly_of(random_sequences({"chr2": 900, "chr1": 500}))
    path = tmp_path / "genes.bed"
    path.write_text(
        "chr1\t10\t40\tplus\t0\t+\nchr1\t10\t40\tminus\t0\t-\n2\t700\t800\tother\t0\t+\n9\t1\t2\toff\t0\t+\n"
    )
    expected = [Anchor("other", "chr2", 700, "+"), Anchor("plus", "chr1", 10, "+"), Anchor("minus", "chr1", 39, "-")]
    assert read_anchors(path, assembly) == expected
    assert read_anchors(path, assembly, contigs=["1"]) == expected[1:]
    with pytest.raises(ValueError, match=r"no anchor on chr3?2?; name other contigs"):
        read_anchors(write_anchors(tmp_path / "a.tsv", [Anchor("a", "chr1", 3)]), assembly, contigs=["chr2"])


@pytest.mark.parametrize(
    ("text", "error", "mend"),
    [
        pytest.param("a\tchr1\t3\na\tchr1\t9\n", TableError, "give each one its own, as in a-1 and a-2", id="repeats"),
        pytest.param("\tchr1\t3\n", TableError, "row 1 of .* lacks name", id="no name"),
        pytest.param("a\tchr1\t\n", TableError, "fill it in, or remove the row", id="no position"),
        pytest.param("a\tchr1\t3.5\n", TableError, "must hold whole numbers", id="half a base"),
        pytest.param("", TableError, "put an anchor on each line", id="no rows"),
        pytest.param("a\tchr9\t3\n", AssemblyMismatch, "rename its contigs", id="another assembly"),
        pytest.param("a\tchr1\t500\n", AssemblyMismatch, "take a gene table of that assembly", id="past the end"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str, error: type[Exception], mend: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("name\tcontig\tposition\n" + text)
    with pytest.raises(error, match=mend):
        read_anchors(path, assembly_of(random_sequences({"chr1": 500})))


def test_a_table_of_anchors_lacks_no_column_and_has_known_strands(tmp_path: Path) -> None:
    assembly = assembly_of(random_sequences({"chr1": 500}))
    path = tmp_path / "a.tsv"
    path.write_text("name\tposition\na\t3\n")
    with pytest.raises(
        TableError, match="no column contig: it has name, position; a table of anchors has name, contig"
    ):
        read_anchors(path, assembly)
    path.write_text("name\tcontig\tposition\tstrand\na\tchr1\t3\tforward\n")
    with pytest.raises(TableError, match=r"write them as '\+', '-', or '\.'"):
        read_anchors(path, assembly)


@pytest.mark.skipif(not MANE.exists(), reason="needs the MANE summary in FEATURESTORE_SHARED")
def test_every_mane_gene_of_a_chromosome_is_an_anchor() -> None:
    genes = read_genes(MANE).filter(contig="chr22")
    contigs = assembly_of({"chr22": "A"}).contigs[0].model_copy(update={"length": 50_818_468})
    anchors = read_anchors(MANE, Assembly.of("chr22 of GRCh38", (contigs,)))
    assert {(anchor.name, anchor.centre) for anchor in anchors} == set(zip(genes["gene_id"], genes["tss"], strict=True))
    assert [anchor.centre for anchor in anchors] == sorted(genes["tss"])
