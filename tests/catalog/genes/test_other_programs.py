"""Gene tables and targets as other programs write them: GTEx, R, featureCounts, htseq, BioMart, UCSC, GENCODE."""

from pathlib import Path

import polars as pl
import pytest
from gene_files import one, read_text
from hypothesis import given
from hypothesis import strategies as st

from catalog.expression.targets import read_samples, read_targets
from catalog.genes.anchors import read_anchors
from catalog.genes.identifiers import plain_ids
from catalog.runtime.tables import TableError

COUNTS = "# Program:featureCounts v2.0.1; Command:x\nGeneid\tChr\tStart\tEnd\tStrand\tLength\ta.bam\n"
BIOMART = "Gene stable ID\tChromosome/scaffold name\tGene start (bp)\tGene end (bp)\tStrand\tGene name\tGene type\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            COUNTS + "ENSG01.5\tchr1;chr1\t11;31\t20;40\t-;-\t20\t7\n",
            ("ENSG01", "ENSG01", "chr1", "-", 39, None),
            id="featureCounts",
        ),
        pytest.param("GeneID\tChr\tStart\tEnd\tStrand\nA\t1\t11\t20\t+\n", ("A", "A", "1", "+", 10, None), id="SAF"),
        pytest.param(
            BIOMART + "ENSG01\t1\t11\t20\t-1\tTP53\tprotein_coding\n",
            ("ENSG01", "TP53", "1", "-", 19, "protein_coding"),
            id="BioMart",
        ),
        pytest.param(
            "Gene stable ID,Chromosome/scaffold name,Strand,Transcription start site (TSS)\nENSG01,1,-1,20\n",
            ("ENSG01", "ENSG01", "1", "-", 19, None),
            id="BioMart's start sites",
        ),
        pytest.param(
            "#bin\tname\tchrom\tstrand\ttxStart\ttxEnd\tname2\n5\tNM_1\tchr1\t-\t10\t20\tTP53\n",
            ("TP53", "TP53", "chr1", "-", 19, None),
            id="UCSC's table browser",
        ),
        pytest.param(
            "chrom\tchromStart\tchromEnd\tname\tscore\tstrand\nchr1\t10\t20\tA\t0\t+\n",
            ("A", "A", "chr1", "+", 10, None),
            id="UCSC's names of BED",
        ),
        pytest.param("gene;chrom;tss\nA;chr1;5\n", ("A", "A", "chr1", ".", 5, None), id="semicolons"),
        pytest.param('"chr" "tss"\n"A" "chr1" 5\n', ("A", "A", "chr1", ".", 5, None), id="R's row names"),
        pytest.param("gene chrom tss\nA chr1 5\n", ("A", "A", "chr1", ".", 5, None), id="blanks"),
        pytest.param("gene,chrom,tss\rA,chr1,5\r", ("A", "A", "chr1", ".", 5, None), id="line ends of a classic Mac"),
        pytest.param("chr1\t10\t20\tA\t0\t-1\n", ("A", "A", "chr1", "-", 19, None), id="BED with -1"),
        pytest.param(
            'chr1\tx\tgene\t11\t20\t.\t-1\t.\tgene_id "A";\n', ("A", "A", "chr1", "-", 19, None), id="GTF with -1"
        ),
        pytest.param("gene,chr,tss,strand\nA,chr1,5,*\n", ("A", "A", "chr1", ".", 5, None), id="Bioconductor's *"),
    ],
)
def test_a_gene_table_of_another_program_gives_its_genes(
    tmp_path: Path, text: str, expected: tuple[str, str, str, str, int, str | None]
) -> None:
    assert one(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            'chr1\tx\tgene\t5\t9\t.\t+\t.\tgene_id "A";\nchr1\tx\tgene\t0\t9\t.\t+\t.\tgene_id "B";\n',
            r"line 2 of .* begins at 0 \(1 such rows\); positions here count from 1; if the table counts from 0, add 1",
            id="GTF from 0",
        ),
        pytest.param(
            'chr1\tx\tgene\t50\t9\t.\t-\t.\tgene_id "A";\n',
            "line 1 of .* begins at 50 and ends at 9 .*the smaller position comes first on both strands",
            id="GTF backwards",
        ),
        pytest.param(BIOMART + "A\t1\t20\t11\t1\tx\ty\n", "begins at 20 and ends at 11", id="BioMart backwards"),
        pytest.param(
            COUNTS + "A\tchr1;chr1\t11\t20;40\t-;-\t20\t7\n", "different numbers of exons, first A", id="ragged exons"
        ),
        pytest.param(COUNTS + "A\tchr1\t11;31\t\t-;-\t20\t7\n", "different numbers of exons, first A", id="no end"),
        pytest.param(COUNTS + "A\tchr1\t\t20\t-\t20\t7\n", "whole numbers .*it holds ''", id="no start"),
    ],
)
def test_positions_that_cannot_be_are_named_with_the_mend(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_text(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("#1.2\n2\t1\nName\tDescription\tGTEX-1\nENSG01.5\tX\t1.5\nENSG02.1\tY\t2\n", id="GTEx"),
        pytest.param(
            "#1.2\n2\t1\nid\tName\tDescription\tG\n0\tENSG01.5\tX\t1.5\n1\tENSG02\tY\t2\n", id="GTEx of a tissue"
        ),
        pytest.param('"tpm"\n"ENSG01" 1.5\n"ENSG02" 2\n', id="R's row names"),
        pytest.param('"","tpm"\n"ENSG01",1.5\n"ENSG02",2\n', id="R's csv"),
        pytest.param('"gene" "tpm"\n"1" "ENSG01" 1.5\n"2" "ENSG02" 2\n', id="R's numbers of rows"),
        pytest.param("gene;tpm\nENSG01;1.5\nENSG02;2\n", id="semicolons"),
        pytest.param(COUNTS + "ENSG01\tchr1\t11\t20\t+\t20\t1.5\nENSG02\tchr1\t11\t20\t+\t20\t2\n", id="featureCounts"),
        pytest.param(
            BIOMART.replace("\n", "\ttpm\n") + "ENSG01\t1\t2\t3\t1\tX\ty\t1.5\nENSG02\t1\t2\t3\t-1\tY\ty\t2\n",
            id="BioMart",
        ),
        pytest.param(
            "gene\tcount\nENSG01_TP53\t1.5\nENSG02.7_MT-ND1\t2\n__no_feature\t9\n__ambiguous\t9\n", id="htseq"
        ),
        pytest.param("gene\tcount\nN_unmapped\t9\nENSG01|TP53\t1.5\nENST1.2|ENSG02.3|x|\t2\n", id="STAR and GENCODE"),
    ],
)
def test_targets_of_another_program_give_their_values(tmp_path: Path, text: str) -> None:
    (tmp_path / "t").write_text(text)
    assert read_targets(tmp_path / "t").rows() == [("ENSG01", 1.5), ("ENSG02", 2.0)]
    assert read_samples(tmp_path / "t").rows() == [("ENSG01", 1.5), ("ENSG02", 2.0)]


def test_a_table_without_header_and_decimal_commas_are_named(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("ENSG01\t5\nENSG02\t7\n")
    with pytest.raises(TableError, match="put a header line above the first row, such as gene_id and tpm"):
        read_targets(tmp_path / "t")
    (tmp_path / "t").write_text("gene;tpm\nENSG01;1,5\nENSG02;0,25\n")
    with pytest.raises(TableError, match=r"decimal commas, as in 1,5; write 1\.5"):
        read_targets(tmp_path / "t")
    with pytest.raises(TableError, match=r"decimal commas, as in 1,5; write 1\.5"):
        read_targets(tmp_path / "t", column="tpm")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("ENSG00000223972.5", "ENSG00000223972"),
        ("ENSG00000223972.5_2", "ENSG00000223972"),
        ("ENSG00000182378.15_PAR_Y", "ENSG00000182378_PAR_Y"),
        ("ENST00000456328.2|ENSG00000223972.5|OTTHUMG1.2|-|DDX11L1|", "ENSG00000223972"),
        ("ENSG00000223972.5_DDX11L1", "ENSG00000223972"),
        ("ENSMUSG00000064372|mt-Tp", "ENSMUSG00000064372"),
        (" ENSG00000223972.5 ", "ENSG00000223972"),
        ("ENSG00000168487_ENST00000306349", "ENSG00000168487_ENST00000306349"),
        ("TP53|7157", "TP53|7157"),
        ("HLA-A_1", "HLA-A_1"),
        ("ENSA", "ENSA"),
    ],
)
def test_ids_come_in_one_spelling(written: str, read: str) -> None:
    assert pl.DataFrame({"id": [written, None]}).select(plain_ids("id"))["id"].to_list() == [read, None]


@given(st.text())
def test_an_id_in_its_one_spelling_stays_as_it_is(text: str) -> None:
    once = pl.DataFrame({"id": [text]}).select(plain_ids("id"))
    assert once.select(plain_ids("id")).equals(once)


def test_anchors_take_strands_as_genes_do(tmp_path: Path) -> None:
    from gene_files import assembly_of

    (tmp_path / "a").write_text("name chrom position strand\nA chr1 5 -1\nB chr1 7 *\n")
    assert [tuple(anchor) for anchor in read_anchors(tmp_path / "a", assembly_of(chr1=9))] == [
        ("A", "chr1", 5, "-"),
        ("B", "chr1", 7, "."),
    ]
