"""Gene files of every format tell the same genes, and one that cannot be read says how to mend it."""

import gzip
import logging
from pathlib import Path

import pytest
from gene_files import (
    WRITERS,
    Gene,
    as_mane,
    as_tsv,
    frame_of,
    gene_lists,
    one,
    read_text,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.genes.table import read_genes
from catalog.runtime.tables import TableError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("genes")


@settings(max_examples=25, deadline=None)
@given(genes=gene_lists(), is_packed=st.booleans(), line_end=st.sampled_from(["\n", "\r\n"]))
def test_every_format_tells_the_same_genes_packed_or_not_whatever_the_line_ends(
    folder: Path, genes: list[Gene], is_packed: bool, line_end: str
) -> None:
    for write in WRITERS.values():
        data = write(genes).replace("\n", line_end).encode()
        path = folder / "no telling name"
        path.write_bytes(gzip.compress(data) if is_packed else data)
        assert read_genes(path).equals(frame_of(genes))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("chr1\t100\t200\n", ("chr1:101-200", "chr1:101-200", "chr1", ".", 100, None), id="three columns"),
        pytest.param("chr1\t0\t1\n", ("chr1:1-1", "chr1:1-1", "chr1", ".", 0, None), id="the first base"),
        pytest.param("chr1\t100\t200\tA\n", ("A", "A", "chr1", ".", 100, None), id="four columns"),
        pytest.param("chr1\t100\t200\tA\t0\t-\n", ("A", "A", "chr1", "-", 199, None), id="BED6"),
        pytest.param("chr1\t100\t200\tA\t.\t.\n", ("A", "A", "chr1", ".", 100, None), id="BED6 with unknown strand"),
        pytest.param(
            "chr1\t100\t200\t.\t.\t-\n", ("chr1:101-200", "chr1:101-200", "chr1", "-", 199, None), id="no name"
        ),
        pytest.param("chr1\t100\t200\t-\tA\n", ("A", "A", "chr1", "-", 199, None), id="strand before name"),
        pytest.param("chr1\t100\t200\t.\tA\n", ("A", "A", "chr1", ".", 100, None), id="unknown strand before name"),
        pytest.param("chr1\t9\t20\t.\t-\n", ("chr1:10-20", "chr1:10-20", "chr1", "-", 19, None), id="strand fifth"),
        pytest.param("chr1 100 200 A 0 +\n", ("A", "A", "chr1", "+", 100, None), id="spaces"),
        pytest.param(
            'browser position chr1\ntrack name="x"\nchr1\t100\t200\tA\n',
            ("A", "A", "chr1", ".", 100, None),
            id="track line",
        ),
        pytest.param(
            "chr1\t100\t200\tA\t0\t+\t100\t200\tENSG00000000003.15\n",
            ("ENSG00000000003", "A", "chr1", "+", 100, None),
            id="Ensembl id in a later column",
        ),
        pytest.param(
            "#chr\tstart\tend\tgene\tlength\tstrand\tHG00096\nchr22\t99\t100\tENSG00000215270.3\t1049\t-\t0.7\n",
            ("ENSG00000215270", "ENSG00000215270", "chr22", "-", 99, None),
            id="matrix of QTLtools",
        ),
    ],
)
def test_a_bed_row_is_read_by_what_its_columns_hold(
    tmp_path: Path, text: str, expected: tuple[str, str, str, str, int, str | None]
) -> None:
    assert one(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("ENSG00000121410.13", "ENSG00000121410"),
        ("ENSG00000182378.15_PAR_Y", "ENSG00000182378_PAR_Y"),
        ("ENSG00000182378_PAR_Y", "ENSG00000182378_PAR_Y"),
        ("ENSG00000223972.5_2", "ENSG00000223972"),
        ("ENSMUSG00000064372.3", "ENSMUSG00000064372"),
        ("RP11-34P13.7", "RP11-34P13.7"),
    ],
)
def test_only_the_version_of_an_ensembl_id_is_stripped(tmp_path: Path, written: str, read: str) -> None:
    assert one(tmp_path, f"gene_id\tchrom\ttss\n{written}\tchr1\t5\n")[0] == read


@pytest.mark.parametrize(
    ("accession", "contig"),
    [
        ("NC_000001.11", "chr1"),
        ("NC_000022.10", "chr22"),
        ("NC_000023.11", "chrX"),
        ("NC_000024.10", "chrY"),
        ("NC_012920.1", "chrM"),
        ("NC_000067.7", "NC_000067.7"),
        ("NT_187636.1", "NT_187636.1"),
        ("NW_011332691.1", "NW_011332691.1"),
    ],
)
def test_accessions_of_human_chromosomes_get_their_names_and_no_others(
    tmp_path: Path, accession: str, contig: str
) -> None:
    assert one(tmp_path, as_mane([Gene("ENSG00000000001", "A", accession, 4, 9, "+", "")]))[2] == contig


@pytest.mark.parametrize(("column", "tss"), [("tss", 100), ("tss_1based", 99), ("TSS", 99)])
def test_the_name_of_the_position_column_says_where_counting_begins(tmp_path: Path, column: str, tss: int) -> None:
    assert one(tmp_path, f"gene,chromosome,{column}\nA,chr1,100\n")[4] == tss


@pytest.mark.parametrize(("written", "read"), [("1", "+"), ("-1", "-"), ("", "."), (".", "."), ("-", "-")])
def test_strands_come_in_one_spelling(tmp_path: Path, written: str, read: str) -> None:
    assert one(tmp_path, f"gene_id,chr,tss,strand\nA,chr1,100,{written}\n")[3] == read


def test_quotes_and_a_byte_order_mark_from_a_spreadsheet_do_not_matter(tmp_path: Path) -> None:
    row = one(tmp_path, '\ufeff"gene_id","chrom","tss","symbol"\r\n"A","chr1","100","a, b"\r\n')
    assert row == ("A", "a, b", "chr1", ".", 100, None)


def test_whole_numbers_that_pandas_wrote_as_decimals_are_read(tmp_path: Path) -> None:
    assert one(tmp_path, "gene_id\tchrom\ttss\nA\tchr1\t100.0\n")[4] == 100


def test_refseq_annotation_is_read_with_its_own_ids_and_escapes(tmp_path: Path) -> None:
    text = (
        "##gff-version 3\n"
        "NC_000024.10\tBestRefSeq\tgene\t101\t200\t.\t-\t.\tID=gene-SPRY3-2;Name=SPRY3;gene=SPRY3;gene_biotype=tRNA\n"
        "NC_000001.11\tCurated\tpseudogene\t101\t200\t.\t?\t.\tID=gene-A%2CB;Name=A%2CB;gene_biotype=pseudogene\n"
        "1\thavana\tncRNA_gene\t101\t200\t.\t+\t.\tID=gene:ENSG00000000009;gene_id=ENSG00000000009\n"
        "NC_000001.11\tCurated\tmRNA\t101\t200\t.\t+\t.\tID=rna-1;Parent=gene-SPRY3-2\n"
    )
    assert read_text(tmp_path, text).rows() == [
        ("SPRY3-2", "SPRY3", "chrY", "-", 199, "tRNA"),
        ("A,B", "A,B", "chr1", ".", 100, "pseudogene"),
        ("ENSG00000000009", "ENSG00000000009", "1", "+", 100, None),
    ]


def test_what_is_dropped_is_counted_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = ["A\tchr1\t1", "A\tchr1\t2", "B\tchr1\tNA", "C\t\t3", "\tchr1\t4", "D\tchr1\t5"]
    with caplog.at_level(logging.INFO, logger="catalog.genes"):
        genes = read_text(tmp_path, "\n".join(["gene_id\tchrom\ttss", *rows]))
    assert genes.select("gene_id", "tss").rows() == [("A", 1), ("D", 5)]
    said = caplog.text
    for reason in ("1 without gene id", "1 without contig", "1 without position", "1 repeated gene ids (A)", "2 genes"):
        assert reason in said
    assert "column 'tss', read as 0-based" in said


def test_plus_clinical_transcripts_are_dropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = as_mane([Gene("ENSG00000000001", "A", "chr1", 10, 20, "+", "")])
    text += text.splitlines()[1].replace("MANE Select", "MANE Plus Clinical") + "\n"
    with caplog.at_level(logging.INFO, logger="catalog.genes"):
        assert read_text(tmp_path, text).height == 1
    assert "dropped: 1 MANE Plus Clinical transcripts (A)" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "is empty.*fetch or export it again", id="empty"),
        pytest.param("\n\r\n", "is empty.*fetch or export it again", id="blank lines"),
        pytest.param("# nothing\n", "only comments; expected genes as MANE", id="only comments"),
        pytest.param("gene_id\tchrom\ttss\n", "0 genes .*nothing; this leaves no gene: check that", id="only a header"),
        pytest.param(
            "gene_id\tchrom\tmiddle\nA\tchr1\t5\n",
            r"has gene_id, chrom, middle; call that column tss \(0-based\), tss_1based",
            id="no position",
        ),
        pytest.param(
            "gene\tchrom\tstart\tend\nA\tchr1\t5\t6\n",
            r"start, end; call that column tss.*format='bed'",
            id="start and end",
        ),
        pytest.param("a,b\n1,2\n", "no column gene_id: it has a, b; accepted names are gene_id", id="no gene id"),
        pytest.param("gene_id,tss\nA,2\n", "no column contig: it has gene_id, tss; accepted.*seqnames", id="no contig"),
        pytest.param("ENSG00000000457,1,169863408\n", "put a header line above the first row", id="no header"),
        pytest.param("gene_id,chr,tss\nA,chr1,x\n", "'tss' .* whole numbers .*'x'; mend", id="position in words"),
        pytest.param("gene_id,chr,tss\nA,chr1,1.5\n", "whole numbers .*'1.5'", id="half a base"),
        pytest.param("gene_id,chr,TSS\nA,chr1,0\n", "read as 1-based, but holds 0; name it tss if", id="base 0 of 1"),
        pytest.param("gene_id,chr,tss,strand\nA,chr1,7,f\n", "strands 'f'; write them as", id="odd strand"),
        pytest.param(
            "gene_id\tchr\ttss\nA\tchr1\t7\nB\tch", "line 3 .* has 2 fields, expected 3.*truncated", id="cut row"
        ),
        pytest.param(
            "gene_id,chr,tss\nA,chr1,7,8\n",
            "line 2 .* has 4 fields, expected 3 .*name the first column too",
            id="wide row",
        ),
        pytest.param("chr1\t200\t100\tA\n", "hold no base, first chr1, 200, 100; BED is 0-based", id="backwards"),
        pytest.param("chr1\t100\t100\tA\n", "hold no base.*written p-1, p", id="no base"),
        pytest.param(
            'chr1\tx\texon\t1\t9\t.\t+\t.\tgene_id "A";\n',
            "no gene rows, only 1 exon; take an annotation",
            id="exons only",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_what_it_has_and_how_to_mend_it(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(TableError, match=f"(?s){message}"):
        read_text(tmp_path, text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            gzip.compress(as_tsv([Gene("A", "A", "1", 1, 2, "+", "")]).encode())[:-9], "truncated", id="cut gzip"
        ),
        pytest.param(gzip.compress(b""), "is empty", id="nothing in a gzip"),
        pytest.param(b"BZh91AY", "bzip2-compressed; unpack it", id="bzip2"),
        pytest.param(b"PK\x03\x04....", "Excel.*unpack it", id="spreadsheet"),
        pytest.param("gene_id\tchr\ttss\n".encode("utf-16"), "not UTF-8 text; export", id="UTF-16"),
        pytest.param(b"gene_id\tchr\ttss\nA\xe9\tchr1\t5\n", "UTF-8.*export it again", id="Latin-1 in a row"),
        pytest.param(b"gene\xe9\tchr\ttss\n", "not UTF-8.*export it again", id="Latin-1 in the header"),
    ],
)
def test_damaged_or_foreign_bytes_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "genes.tsv"
    path.write_bytes(data)
    with pytest.raises(TableError, match=message):
        read_genes(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no table at .*genes\.tsv; give the path"):
        read_genes(tmp_path / "genes.tsv")


def test_a_table_with_start_and_end_is_read_as_bed_if_told_so(tmp_path: Path) -> None:
    text = "chrom\tstart\tend\tgene\tstrand\nchr1\t5\t9\tA\t-\n"
    assert read_text(tmp_path, text, format="bed").rows() == [("A", "A", "chr1", "-", 8, None)]


def test_a_wrong_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format must be one of mane, gtf, gff3, bed, saf, table or None"):
        read_text(tmp_path, "x", format="vcf")
    with pytest.raises(TableError, match="is no MANE summary: it lacks Ensembl_Gene"):
        read_text(tmp_path, "gene_id\tchrom\ttss\nA\tchr1\t5\n", format="mane")
