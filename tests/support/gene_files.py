"""Genes written in every format that is read, and small helpers to read them.

Belongs here: writers, strategies, tiny assemblies. Does not: tests.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from checkout import SHARED
from hypothesis import strategies as st

from catalog.assembly import Assembly, Contig
from catalog.genes.table import GENE_SCHEMA, read_genes

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


def assembly_of(**lengths: int) -> Assembly:
    names = {name.replace("__", "."): length for name, length in lengths.items()}
    return Assembly.of("tiny", tuple(Contig(name=name, length=n, digest=f"SQ.{name}") for name, n in names.items()))
