"""Reports: each row of a gene file is kept or counted with its reason, and what may surprise is noted."""

import logging
from pathlib import Path

import polars as pl
import pytest
from checkout import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.assembly import Assembly, Contig
from catalog.genes.report import GeneReport, Group
from catalog.genes.table import GENE_SCHEMA, place_genes, read_gene_table, read_genes

DATA = SHARED / "data"
MANE = DATA / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real inputs at {DATA}; set FEATURESTORE_SHARED")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


def write(folder: Path, *rows: str, header: str = "gene_id\tsymbol\tcontig\tstrand\ttss") -> Path:
    path = folder / "genes.tsv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


rows = st.tuples(
    st.sampled_from(["ENSG00000000001.4", "ENSG00000000001.5", "ENSG00000000002", "ENSG00000000003_PAR_Y", "x", ""]),
    st.sampled_from(["A", "B", ""]),
    st.sampled_from(["chrX", "chrY", "chr6_GL000250v2_alt", "NT_187633.1", ""]),
    st.sampled_from(["+", "-", "."]),
    st.sampled_from(["20000", "9000000", ""]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, max_size=12), st.booleans(), st.booleans())
def test_every_row_is_kept_or_dropped_for_one_reason(
    folder: Path, cells: list[tuple[str, ...]], alternative_loci: bool, par_y: bool
) -> None:
    path = write(folder, "z\tZ\tchr1\t+\t5", *("\t".join(row) for row in cells))
    genes, report = read_gene_table(path, alternative_loci=alternative_loci, par_y=par_y)
    assert genes.schema == GENE_SCHEMA
    assert report.kept == genes.height
    assert report.kept + sum(group.count for group in report.dropped.values()) == 1 + len(cells)
    assert all(group.count for group in [*report.dropped.values(), *report.noted.values()])
    if alternative_loci and par_y:
        assert read_genes(path).equals(genes)


def test_a_report_names_file_format_reasons_and_the_first_genes_and_is_what_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(
        tmp_path, *(f"g{number}\tS\t{'chr1' if number else ''}\t+\t5" for number in range(3)), "g1\tS\tchr1\t+\t7"
    )
    with caplog.at_level(logging.INFO, logger="catalog.genes"):
        report = read_gene_table(path).report
    assert (report.origin, report.format, report.kept) == (str(path), "table", 2)
    assert report.dropped == {"without contig": Group(1, ("g0",)), "repeated gene ids": Group(1, ("g1",))}
    assert report.noted == {"with the symbol of another gene": Group(2, ("S",))}
    assert str(report) == (
        f"{path}: 2 genes (read as table); dropped: 1 without contig (g0), 1 repeated gene ids (g1); "
        "kept, but note: 2 with the symbol of another gene (S)"
    )
    assert str(report) in caplog.text


def test_only_the_first_few_of_many_genes_are_named_and_that_there_are_more_is_shown() -> None:
    group = Group.of(f"g{number}" for number in range(1000))
    assert (group.count, len(group.examples)) == (1000, 8)
    assert "1,000 lost (g0, g1, g2, g3, g4, g5, g6, g7, ...)" in str(
        GeneReport(origin="o", kept=0, dropped={"lost": group})
    )


@pytest.mark.parametrize(
    ("contig", "is_alternative"),
    [
        ("chr6_GL000250v2_alt", True),
        ("chr1_KN196472v1_fix", True),
        ("chr6_apd_hap1", True),
        ("HSCHR6_MHC_COX_CTG1", True),
        ("CHR_HSCHR6_MHC_COX_CTG1", True),
        ("HG126_PATCH", True),
        ("NW_009646203.1", True),
        ("NT_187633.1", True),
        ("chr1_KI270706v1_random", False),
        ("chrUn_GL000195v1", False),
        ("GL000195.1", False),
        ("MT", False),
        ("NC_000067.7", False),
    ],
)
def test_alternative_loci_and_patches_are_known_by_name_and_dropped_on_request(
    tmp_path: Path, contig: str, is_alternative: bool
) -> None:
    path = write(tmp_path, f"a\tA\t{contig}\t+\t5", "b\tB\tchr1\t+\t5")
    assert read_gene_table(path).genes.height == 2
    assert ("on alternative loci or patches" in read_gene_table(path).report.noted) == is_alternative
    assert read_gene_table(path, alternative_loci=False).genes.height == (1 if is_alternative else 2)


def test_copies_of_pseudoautosomal_genes_on_y_are_dropped_on_request_and_genes_of_y_alone_stay(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "x1\tSHOX\tX\t+\t624343",
        "y1\tSHOX\tY\t+\t624343",
        "y2\tSRY\tY\t-\t2787682",
        "x3\tAMELX\tX\t+\t11293412",
        "y3\tAMELX\tY\t+\t6866072",  # outside the pseudoautosomal regions: another gene, whatever it is called
        "x4\tCD99\tX\t+\t2691186",
        "y4\tCD99\tY\t-\t2691186",  # another strand: no copy
        "ENSG00000002586.20_PAR_Y\tCD99\tY\t+\t2691187",
    )
    genes, report = read_gene_table(path, par_y=False)
    assert report.dropped == {"pseudoautosomal copies on Y": Group(2, ("y1", "ENSG00000002586_PAR_Y"))}
    assert genes["gene_id"].to_list() == ["x1", "y2", "x3", "y3", "x4", "y4"]


def test_bed_of_twelve_columns_is_read_by_its_name_and_strand(tmp_path: Path) -> None:
    path = tmp_path / "t.bed"
    path.write_text(
        "chr1\t1000\t5000\tENST00000000001.2\t960\t+\t1100\t4000\t0\t2\t567,488,\t0,3512,\n"
        "chr1\t2000\t6000\tENST00000000002.1\t900\t-\t2200\t5500\t0\t2\t433,399,\t0,3601,\n"
    )
    genes, report = read_gene_table(path)
    assert report.format == "bed"
    assert genes.select("gene_id", "strand", "tss").rows() == [
        ("ENST00000000001", "+", 1000),
        ("ENST00000000002", "-", 5999),
    ]


def test_genes_off_an_assembly_are_reported_by_contig_and_by_name() -> None:
    assembly = Assembly.of("tiny", (Contig(name="chr1", length=100, digest="SQ.1"),))
    cells = [("a", "1", 99), ("b", "1", 100), ("c", "chrUn", 0), ("d", "chrUn", 1)]
    genes = pl.DataFrame([(g, g, contig, "+", tss, None) for g, contig, tss in cells], schema=GENE_SCHEMA, orient="row")
    placed, report = place_genes(genes, assembly)
    assert placed["gene_id"].to_list() == ["a"]
    assert report == GeneReport(
        origin="tiny",
        kept=1,
        dropped={
            "on contigs that it lacks": Group(2, ("chrUn",)),
            "past the end of their contig": Group(1, ("b",)),
        },
    )


@needs_data
def test_mane_has_66_plus_clinical_transcripts_which_get_ids_of_their_own() -> None:
    # mane_v1.4/README.md: 19,404 transcripts.
    select, report = read_gene_table(MANE)
    assert report.dropped["MANE Plus Clinical transcripts"].count == 66
    assert report.noted["on alternative loci or patches"].count == 62
    both = read_gene_table(MANE, plus_clinical=True).genes
    assert both.height == both["gene_id"].n_unique() == 19_404
    clinical = both.join(select, on="gene_id", how="anti")
    assert clinical.height == 66
    assert clinical["gene_id"].str.contains(r"^ENSG\d{11}_ENST\d{11}$").all()
    assert clinical["gene_id"].str.head(15).is_in(select["gene_id"].to_list()).all()
    assert both.join(select, on="gene_id", how="semi").equals(select)


@needs_data
def test_refseq_has_copies_on_y_under_ids_of_their_own() -> None:
    report = read_gene_table(DATA / "ncbi_gene" / "ncbi_GRCh38.p14.gff", par_y=False).report
    assert report.dropped == {"pseudoautosomal copies on Y": Group(2, ("SLC25A6-2", "SPRY3-2"))}


@needs_data
def test_symbols_that_stand_for_two_genes_in_a_bed_are_reported() -> None:
    path = DATA / "gene_tss_tables" / "selene_gencode_v28_hg38_protein_coding_l12_genes.bed.gz"
    report = read_gene_table(path).report
    # 19,883 rows (gene_tss_tables/README.md); those on Y repeat the symbol on X, and the symbol is the id here.
    assert report.kept + report.dropped["repeated gene ids"].count == 19_883
    assert report.dropped["repeated gene ids"].count == 18
