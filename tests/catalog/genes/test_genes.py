"""Gene tables: every format tells the same genes, and every drop is counted."""

import gzip
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from checkout import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.assembly import Assembly, AssemblyMismatch, Contig
from catalog.genes.table import GENE_SCHEMA, match_contigs, read_genes, write_genes
from catalog.tables import TableError

DATA = SHARED / "data"
MANE = DATA / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real inputs at {DATA}; set FEATURESTORE_SHARED")


class Gene(NamedTuple):
    gene_id: str
    symbol: str
    contig: str
    start: int
    end: int
    strand: str
    biotype: str

    @property
    def tss(self) -> int:
        return self.end - 1 if self.strand == "-" else self.start


def as_mane(genes: Sequence[Gene]) -> str:
    header = "#NCBI_GeneID\tEnsembl_Gene\tHGNC_ID\tsymbol\tname\tRefSeq_nuc\tRefSeq_prot\tEnsembl_nuc\tEnsembl_prot"
    header += "\tMANE_status\tGRCh38_chr\tchr_start\tchr_end\tchr_strand"
    rows = [
        f"GeneID:1\t{g.gene_id}.7\tHGNC:1\t{g.symbol}\ta name\tNM\tNP\tENST\tENSP\tMANE Select\t"
        f"{g.contig}\t{g.start + 1}\t{g.end}\t{g.strand}"
        for g in genes
    ]
    return "\n".join([header, *rows, ""])


def as_gtf(genes: Sequence[Gene]) -> str:
    lines = ["##description: made up"]
    for g in genes:
        where = f"{g.start + 1}\t{g.end}\t.\t{g.strand}\t."
        tags = f'gene_id "{g.gene_id}.2"; gene_type "{g.biotype}"; gene_name "{g.symbol}"; level 2;'
        lines.append(f"{g.contig}\tHAVANA\tgene\t{where}\t{tags}")
        # A transcript that starts elsewhere must not matter.
        lines.append(f'{g.contig}\tHAVANA\ttranscript\t{g.start + 1}\t{g.start + 1}\t.\t{g.strand}\t.\t{tags} tag "x";')
    return "\n".join([*lines, ""])


def as_gff3(genes: Sequence[Gene]) -> str:
    rows = [
        f"{g.contig}\tensembl\tgene\t{g.start + 1}\t{g.end}\t.\t{g.strand}\t.\t"
        f"ID=gene:{g.gene_id};Name={g.symbol};biotype={g.biotype};gene_id={g.gene_id};version=3"
        for g in genes
    ]
    return "\n".join(["##gff-version 3", "##sequence-region 1 1 9", *rows, "###", ""])


def as_headed_bed(genes: Sequence[Gene]) -> str:
    rows = [f"{g.contig}\t{g.start}\t{g.end}\t{g.symbol}\t0\t{g.strand}\t{g.gene_id}\t{g.biotype}" for g in genes]
    return "\n".join(["#chr\tstart\tend\tname\tscore\tstrand\tEnsembl_ID\tgene_type", *rows, ""])


def as_tsv(genes: Sequence[Gene]) -> str:
    rows = [f"{g.gene_id}\t{g.symbol}\t{g.contig}\t{g.tss}\t{g.strand}\t{g.biotype}" for g in genes]
    return "\n".join(["gene_id\tsymbol\tcontig\ttss\tstrand\tbiotype", *rows, ""])


def as_expecto_csv(genes: Sequence[Gene]) -> str:
    rows = [f"{g.gene_id},{g.symbol},{g.contig},{g.strand},{g.tss + 1},{g.tss + 99},{g.biotype}" for g in genes]
    return "\n".join(["id,symbol,seqnames,strand,TSS,CAGE_representative_TSS,type", *rows, ""])


WRITERS: dict[str, Callable[[Sequence[Gene]], str]] = {
    "mane": as_mane,
    "gtf": as_gtf,
    "gff3": as_gff3,
    "bed with header": as_headed_bed,
    "tsv": as_tsv,
    "csv of ExPecto": as_expecto_csv,
}


@st.composite
def gene_lists(draw: st.DrawFn) -> list[Gene]:
    numbers = draw(st.lists(st.integers(0, 99_999_999_999), min_size=1, max_size=6, unique=True))
    genes = []
    for number in numbers:
        start = draw(st.integers(0, 2**32))
        genes.append(
            Gene(
                gene_id=f"ENSG{number:011d}",
                symbol=draw(st.sampled_from(["OR4F5", "LA16c-4G1.3", "HLA-A", "C1orf112"])),
                contig=draw(st.sampled_from(["chr1", "X", "NT_187636.1", "GL000192.1"])),
                start=start,
                end=start + draw(st.integers(1, 10**6)),
                strand=draw(st.sampled_from("+-")),
                biotype="protein_coding",
            )
        )
    return genes


def frame_of(genes: Sequence[Gene]) -> pl.DataFrame:
    rows = [(g.gene_id, g.symbol, g.contig, g.strand, g.tss, g.biotype) for g in genes]
    return pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")


def read_text(folder: Path, text: str, *, name: str = "genes", **options: str) -> pl.DataFrame:
    path = folder / name
    path.write_bytes(text.encode())
    return read_genes(path, **options)


def one(folder: Path, text: str) -> tuple[str, str, str, str, int, str | None]:
    (row,) = read_text(folder, text).rows()
    return row


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
            "gene_id\tchr\ttss\nA\tchr1\t7\nB\tch", "row 2 .* has 2 fields, expected 3.*truncated", id="cut row"
        ),
        pytest.param("gene_id,chr,tss\nA,chr1,7,8\n", "cannot be read as 3 columns .*export it again", id="wide row"),
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
    with pytest.raises(ValueError, match="format must be one of mane, gtf, gff3, bed, table or None"):
        read_text(tmp_path, "x", format="vcf")
    with pytest.raises(TableError, match="is no MANE summary: it lacks Ensembl_Gene"):
        read_text(tmp_path, "gene_id\tchrom\ttss\nA\tchr1\t5\n", format="mane")


def assembly_of(**lengths: int) -> Assembly:
    names = {name.replace("__", "."): length for name, length in lengths.items()}
    return Assembly.of("tiny", tuple(Contig(name=name, length=n, digest=f"SQ.{name}") for name, n in names.items()))


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


@needs_data
def test_mane_gives_one_tss_a_gene() -> None:
    genes = read_genes(MANE)
    assert genes.height == genes["gene_id"].n_unique() == 19_338
    assert genes.schema == GENE_SCHEMA
    assert genes["strand"].is_in(["+", "-"]).all()
    assert sorted(set(genes["contig"].str.extract("^(chr|NT_|NW_)"))) == ["NT_", "NW_", "chr"]


@needs_data
def test_mane_starts_lie_where_the_pieces_of_the_genome_say() -> None:
    # grch38_regions/README.md, counted from 1 there.
    stated = {
        "OR4F5": ("chr1", 65_419, "+"),
        "PERM1": ("chr1", 982_093, "-"),
        "FAM110C": ("chr2", 46_505, "-"),
        "MYT1L": ("chr2", 2_331_275, "-"),
        "SLC5A1": ("chr22", 32_043_261, "+"),
        "SLC5A4": ("chr22", 32_255_347, "-"),
        "RFPL2": ("chr22", 32_205_073, "-"),
        "C22orf42": ("chr22", 32_159_303, "-"),
    }
    genes = read_genes(MANE)
    rows = {symbol: (contig, tss + 1, strand) for _, symbol, contig, strand, tss, _ in genes.rows()}
    assert {symbol: rows[symbol] for symbol in stated} == stated
    mini = assembly_of(chr1=1_000_000, chr2=2_333_275, chrM=16_569)
    inside = match_contigs(genes, mini)
    chr1 = "OR4F5 OR4F29 OR4F16 SAMD11 NOC2L KLHL17 PLEKHN1 PERM1"
    chr2 = "FAM110C SH3YL1 ACP1 ALKAL2 TMEM18 SNTG2 TPO PXDN MYT1L"
    assert " ".join(inside.filter(pl.col("contig") == "chr1").sort("tss")["symbol"]) == chr1
    assert " ".join(inside.filter(pl.col("contig") == "chr2").sort("tss")["symbol"]) == chr2
    assert inside.height == 17


@needs_data
def test_mane_agrees_with_the_rampage_table_on_every_start() -> None:
    path = DATA / "gm12878_rampage" / "gm12878_rampage_rpm_at_mane_tss.tsv"
    table = pl.read_csv(path, separator="\t").select(gene_id="ensembl_gene", tss_1based="tss_1based", other="strand")
    both = read_genes(MANE).join(table, on="gene_id")
    assert both.height == 19_338
    assert (both["tss"] + 1 == both["tss_1based"]).all()
    assert (both["strand"] == both["other"]).all()
    # 62 genes on alternate loci have no contig there.
    own = read_genes(path)
    assert own.height == 19_338 - 62
    assert own.drop("biotype").equals(both.filter(pl.col("contig").str.starts_with("chr"))[own.drop("biotype").columns])


@needs_data
def test_gencode_and_geuvadis_agree_on_every_gene_that_they_share() -> None:
    gencode = read_genes(DATA / "geuvadis_chr22" / "gencode.v19.annotation.chr22.gtf.gz")
    geuvadis = read_genes(DATA / "geuvadis_chr22" / "genes.50percent.chr22.bed.gz")
    assert (gencode.height, geuvadis.height) == (1_206, 608)
    both = gencode.join(geuvadis, on="gene_id")
    assert both.height == 598
    assert (both["tss"] == both["tss_right"]).all()
    assert (both["strand"] == both["strand_right"]).all()


@needs_data
def test_starts_in_expecto_are_counted_from_one_since_most_then_equal_gencode() -> None:
    gencode = read_genes(DATA / "geuvadis_chr22" / "gencode.v19.annotation.chr22.gtf.gz")
    expecto = read_genes(DATA / "gene_tss_tables" / "expecto_geneanno.csv")
    assert expecto.height == 24_339
    both = gencode.join(expecto, on="gene_id")
    assert (both.height, (both["tss"] == both["tss_right"]).sum()) == (516, 482)


@needs_data
@pytest.mark.parametrize(
    ("name", "n_genes", "first"),
    [
        (
            "abc_CollapsedGeneBounds.hg38.bed",
            20_622,
            ("ENSG00000237613", "FAM138A", "chr1", "-", 36_080, "lincRNA"),
        ),
        (
            "expecto_geneanno.pc.sorted.bed",
            18_625,
            ("ENSG00000237613", "ENSG00000237613", "chr1", "-", 36_080, None),
        ),
        (
            "selene_gencode_v28_hg38_protein_coding_l12_genes.bed.gz",
            19_865,
            ("OR4F5", "OR4F5", "chr1", "+", 65_419, None),
        ),
        (
            "selene_gencode_v28_hg19_protein_coding_l12_genes.bed.gz",
            19_894,
            ("OR4F5", "OR4F5", "chr1", ".", 65_419, None),
        ),
    ],
)
def test_published_beds_are_read(name: str, n_genes: int, first: tuple[str, ...]) -> None:
    genes = read_genes(DATA / "gene_tss_tables" / name)
    assert genes.height == n_genes
    assert genes.row(0) == first


@needs_data
def test_published_annotations_in_gff3_are_read() -> None:
    ensembl = read_genes(DATA / "ncbi_gene" / "ensembl_GRCh38_115.gff")
    refseq = read_genes(DATA / "ncbi_gene" / "ncbi_GRCh38.p14.gff")
    assert (ensembl.height, refseq.height) == (14, 20)
    assert refseq["gene_id"].is_in(["SPRY3", "SPRY3-2"]).sum() == 2
    shared = ensembl.join(refseq, on="symbol", suffix="_refseq")
    assert shared.height > 5
    # RefSeq also has the copies of pseudoautosomal genes on Y.
    on_x_or_autosome = shared.filter(pl.col("contig_refseq") != "chrY")
    assert shared.height - on_x_or_autosome.height == 1
    assert (("chr" + on_x_or_autosome["contig"]) == on_x_or_autosome["contig_refseq"]).all()
