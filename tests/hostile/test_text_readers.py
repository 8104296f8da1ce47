"""Text tables of any bytes: a right result, or one sentence that names the file, in bounded time and memory."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from gene_files import WRITERS, Gene, assembly_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import assert_one_sentence, bounded, mutated, repeated

from catalog.assembly import AssemblyMismatch
from catalog.expression.promoters import read_peaks, read_quantification
from catalog.expression.targets import median_over_samples, read_samples, read_targets
from catalog.genes.anchors import read_anchors
from catalog.genes.exons import read_gene_models
from catalog.genes.lifting import lift_positions, open_chain
from catalog.genes.table import GENE_SCHEMA, read_genes
from catalog.ncbi.annotations import ANNOTATION_SCHEMA, add_summaries, read_annotations
from catalog.ncbi.fetch import read_asks
from catalog.runtime.tables import read_table
from model.evaluation.tables import read_predictions
from model.runs.gene_lists import read_gene_list

GENES = [
    Gene("ENSG00000000003", "TSPAN6", "chrX", 100, 900, "-", "protein_coding"),
    Gene("ENSG00000000005", "TNMD", "chr1", 50, 60, "+", "lncRNA"),
]
GENE_INFO = (
    "#tax_id\tGeneID\tSymbol\tLocusTag\tSynonyms\tdbXrefs\tdescription\tOther_designations\n"
    "9606\t1\tA1BG\t-\tA1B|ABG\tMIM:1|Ensembl:ENSG00000121410\tglycoprotein\tone|two\n"
)
OLD_INFO = (
    "#Format: tax_id GeneID Symbol LocusTag Synonyms dbXrefs description Other_designations (tab is used)\n"
    "9606\t1\tA1BG\t-\tA1B\tEnsembl:ENSG00000121410\tglycoprotein\tone\n"
)
CHAIN = "chain 1000 chr1 1000 + 0 500 chr2 2000 - 100 600 1\n200 10 10\n290\n\n"
SEEDS = [write(GENES).encode() for write in WRITERS.values()] + [
    text.encode()
    for text in (
        "Geneid\tChr\tStart\tEnd\tStrand\tLength\ta.bam\nENSG01\tchr1;chr1\t1;9\t5;20\t-;-\t17\t3\n",
        "#1.2\n2\t2\nName\tDescription\tG1\tG2\nENSG01.5\tX\t1.5\t2\nENSG02.1\tY\t2\t0\n",
        '"S1" "S2"\n"ENSG01" 1.5 2\n"ENSG02" 0 NA\n',
        "gene_id;tpm\nENSG01;1,5\nENSG02;2\n",
        "gene_id\tsample\ttpm\nENSG01\ts1\t1\nENSG01\ts2\t3\n__no_feature\ts1\t7\n",
        'gene_id,length,S1,"S 2"\r\n"A, ""b""",100,5,7\r\nB,50,1,2\r\n',
        "name\tcontig\tposition\tstrand\nA\tchr1\t5\t+\nB\t1\t70\t-1\n",
        "chr1\t100\t200\tP1\t0\t+\t100\t200\t150\nchr1\t300\t400\tP2\t0\t-\t300\t400\t350\n",
        "P1\t1.5\t3\t9\t0.5\nP2\t0\t0\t9\t0\n",
        "GeneID\tSummary\tSource\n1\twhat it does\tRefSeq\n",
        GENE_INFO,
        OLD_INFO,
        CHAIN,
        "TP53\nENSG00000000003\n",
    )
]
TOKENS = [b"\0", b"\n", b"\r", b"\t", b",", b";", b'"', b"'", b" ", b"#", b"\xff", b"-1", b"NA", b"1e999", b"9" * 30]


def _genes(path: Path) -> None:
    genes = read_genes(path)
    assert genes.schema == GENE_SCHEMA
    assert genes.drop("biotype").null_count().sum_horizontal().item() == 0
    assert genes["gene_id"].is_unique().all()
    assert genes["strand"].is_in(["+", "-", "."]).all()


def _targets(path: Path) -> None:
    targets = read_targets(path)
    assert targets["gene_id"].is_unique().all()
    assert (targets["value"].is_finite() & (targets["value"] >= 0)).all()


def _samples(path: Path) -> None:
    assert read_samples(path)["gene_id"].is_unique().all()
    assert median_over_samples(path)["value"].is_finite().all()


def _anchors(path: Path) -> None:
    anchors = read_anchors(path, assembly_of(chr1=1000, chrX=1000))
    assert all(0 <= anchor.centre < 1000 and anchor.strand in "+-." for anchor in anchors)


def _chain(path: Path) -> None:
    chain = open_chain(path)
    name, length = next(iter(chain.source.items()))
    lifted = lift_positions([name], [length // 2], ["+"], chain) if length else None
    assert lifted is None or lifted.height == 1


def _annotations(path: Path) -> None:
    assert read_annotations(path).schema == ANNOTATION_SCHEMA


def _summaries(path: Path) -> None:
    assert add_summaries(pl.DataFrame(schema=ANNOTATION_SCHEMA), path).is_empty()


def _quantified(path: Path) -> None:
    values = read_quantification(path, column=2)["value"]
    assert (values.is_finite() & (values >= 0)).all()


READERS: dict[str, Callable[[Path], Any]] = {
    "genes": _genes,
    "targets": _targets,
    "samples": _samples,
    "anchors": _anchors,
    "chain": _chain,
    "annotations": _annotations,
    "summaries": _summaries,
    "queries to NCBI": read_asks,
    "peaks": read_peaks,
    "quantification": _quantified,
    "gene list": read_gene_list,
    "gene models": read_gene_models,
    "predictions": lambda path: read_predictions([path]),
    "any table": read_table,
    **{
        f"genes as {kind}": lambda path, kind=kind: read_genes(path, format=kind)
        for kind in ("gtf", "gff3", "bed", "saf")
    },
}


def read_or_refuse(reader: Callable[[Path], Any], path: Path) -> None:
    try:
        with bounded(mebibytes=64):
            reader(path)
    except AssemblyMismatch as error:
        assert_one_sentence(error, about="no gene lies on")
    except (ValueError, OSError) as error:
        assert_one_sentence(error, about=str(path))


@repeated(12, 600)
@pytest.mark.parametrize("reader", [pytest.param(reader, id=name) for name, reader in READERS.items()])
def test_a_damaged_table_is_read_or_refused_in_one_sentence(
    tmp_path: Path, reader: Callable[[Path], Any], n_examples: int
) -> None:
    path = tmp_path / "table"

    @settings(max_examples=n_examples, suppress_health_check=list(HealthCheck), database=None)
    @given(mutated(SEEDS, tokens=TOKENS) | st.binary(max_size=60), st.booleans())
    def try_one(data: bytes, is_packed: bool) -> None:
        path.write_bytes(gzip.compress(data) if is_packed else data)
        read_or_refuse(reader, path)

    try_one()
    assert [entry.name for entry in tmp_path.iterdir()] == ["table"]


@repeated(40, 600)
def test_a_damaged_gzip_is_read_or_refused_in_one_sentence(tmp_path: Path, n_examples: int) -> None:
    packed = [gzip.compress(seed, mtime=0) for seed in SEEDS]

    @settings(max_examples=n_examples, suppress_health_check=list(HealthCheck), database=None)
    @given(mutated(packed), st.sampled_from(list(READERS.values())))
    def try_one(data: bytes, reader: Callable[[Path], Any]) -> None:
        (tmp_path / "table.gz").write_bytes(data)
        read_or_refuse(reader, tmp_path / "table.gz")

    try_one()


@pytest.mark.slow
@pytest.mark.parametrize("reader", [pytest.param(reader, id=name) for name, reader in READERS.items()])
def test_a_table_cut_anywhere_is_read_or_refused_in_one_sentence(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    for number, seed in enumerate(SEEDS):
        # Every fifth place, another one for each file.
        for end in range(number % 5, len(seed) + 1, 5):
            (tmp_path / "table").write_bytes(seed[:end])
            read_or_refuse(reader, tmp_path / "table")
