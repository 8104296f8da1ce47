"""Published gene tables and annotations: they are read, and agree where they speak of the same genes."""

import polars as pl
import pytest
from gene_files import DATA, MANE, assembly_of, needs_data

from catalog.genes import splits
from catalog.genes.table import GENE_SCHEMA, match_contigs, read_genes


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
def test_at_251_bins_nearly_all_genes_of_huang_share_bases_with_training_windows() -> None:
    mane = read_genes(MANE)
    huang = pl.read_csv(DATA / "huang2023_benchmark" / "all_models_ref_preds.with_ensembl.csv")
    split = splits.by_gene_list(mane, huang["ensembl_gene"].drop_nulls(), validation_fraction=0.2)
    assert len(split.test) == 2_846
    assert splits.overlaps(split, mane, window_bp=251 * 4096).height == 2_840


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
