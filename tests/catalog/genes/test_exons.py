"""Gene models of annotations: exons and coding sequence, merged over transcripts."""

from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.genes.exons import MODEL_SCHEMA, has_gene_models, read_gene_models
from catalog.runtime.tables import TableError

GTF = """\
#!genome-build made up
chr1\tx\tgene\t101\t900\t.\t-\t.\tgene_id "ENSG00000000001.4"; gene_name "A";
chr1\tx\ttranscript\t101\t900\t.\t-\t.\tgene_id "ENSG00000000001.4"; transcript_id "T1";
chr1\tx\texon\t701\t900\t.\t-\t.\tgene_id "ENSG00000000001.4"; transcript_id "T1";
chr1\tx\texon\t101\t200\t.\t-\t.\tgene_id "ENSG00000000001.4"; transcript_id "T1";
chr1\tx\texon\t151\t300\t.\t-\t.\tgene_id "ENSG00000000001.4"; transcript_id "T2";
chr1\tx\tCDS\t151\t180\t.\t-\t0\tgene_id "ENSG00000000001.4"; transcript_id "T1";
chr1\tx\texon\t5001\t5100\t.\t-\t.\tgene_id "ENSG00000000001.4"; transcript_id "far away";
"""
GFF3 = """\
##gff-version 3
chr1\tx\texon\t701\t900\t.\t-\t.\tParent=transcript:T1
chr1\tx\tgene\t101\t900\t.\t-\t.\tID=gene:ENSG00000000001;Name=A
chr1\tx\tmRNA\t101\t900\t.\t-\t.\tID=transcript:T1;Parent=gene:ENSG00000000001
chr1\tx\tmRNA\t101\t900\t.\t-\t.\tID=transcript:T2;Parent=gene:ENSG00000000001
chr1\tx\texon\t101\t200\t.\t-\t.\tParent=transcript:T1
chr1\tx\texon\t151\t300\t.\t-\t.\tParent=transcript:T2,transcript:T1
chr1\tx\tCDS\t151\t180\t.\t-\t0\tParent=transcript:T1
chr1\tx\texon\t1\t20\t.\t-\t.\tParent=transcript:unknown
##FASTA
>chr1
"""
BY_HAND = [("gene", 100, 900), ("exon", 100, 300), ("exon", 700, 900), ("CDS", 150, 180)]


def models(folder: Path, text: str) -> pl.DataFrame:
    path = folder / "genes"
    path.write_text(text)
    assert has_gene_models(path)
    return read_gene_models(path)


@pytest.mark.parametrize("text", [pytest.param(GTF, id="gtf"), pytest.param(GFF3, id="gff3")])
def test_exons_of_all_transcripts_are_merged_by_gene(tmp_path: Path, text: str) -> None:
    found = models(tmp_path, text)
    assert found.schema == MODEL_SCHEMA
    assert set(found["gene_id"]) == {"ENSG00000000001"}
    assert found.select("part", "start", "end").rows() == BY_HAND


@given(spans=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15)), min_size=1, max_size=8))
def test_merged_exons_cover_the_bases_of_the_exons_and_no_others(
    spans: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [f'1\tx\texon\t{start + 1}\t{start + length}\t.\t+\t.\tgene_id "G";\n' for start, length in spans]
    text = "".join(['1\tx\tgene\t1\t60\t.\t+\t.\tgene_id "G";\n', *rows])
    merged = models(tmp_path_factory.mktemp("g"), text).filter(pl.col("part") == "exon").select("start", "end").rows()
    covered = [base for start, end in merged for base in range(start, end)]
    assert covered == sorted({base for start, length in spans for base in range(start, start + length)})
    assert all(end < start for (_, end), (start, _) in pairwise(merged))


def test_a_table_without_exons_is_refused(tmp_path: Path) -> None:
    (tmp_path / "genes.tsv").write_text("gene_id\tcontig\tstrand\ttss\nG\tchr1\t+\t5\n")
    assert not has_gene_models(tmp_path / "genes.tsv")
    with pytest.raises(TableError, match="take a GTF or GFF3"):
        read_gene_models(tmp_path / "genes.tsv")


@pytest.mark.parametrize("end", ["many", "0", str(1 << 70)])
def test_a_row_without_positions_is_named(tmp_path: Path, end: str) -> None:
    with pytest.raises(TableError, match=r"^line 2 of"):
        models(tmp_path, f'1\tx\tgene\t1\t60\t.\t+\t.\tgene_id "G";\n1\tx\texon\t5\t{end}\t.\t+\t.\tgene_id "G";\n')
