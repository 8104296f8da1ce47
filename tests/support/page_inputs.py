"""What the pages call by the names of real files: small files of the same formats, a function a page.

A new page is a new row of `INPUTS`. Belongs here: which files a page has. Does not: writing one of them (`page_files`).
"""

import contextlib
import gzip
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import mpra_files
import numpy as np
import polars as pl
import pytest
import torch
from fasta_server import bgzip
from gene_files import Gene, as_gtf, as_mane
from hf_models import write_model
from keras_files import write_keras
from overlay_stores import build_in_process, write_vcf
from page_files import (
    genes_on,
    other_base,
    vcf_text,
    write_bigwig,
    write_expression,
    write_gene_info,
    write_puffin,
    write_sei,
    write_splice,
    write_viewpoints,
)
from page_runner import copy_of
from probe_tasks import planted, written
from tiny_s3 import TinyS3
from transformers import EsmConfig, EsmForMaskedLM, EsmModel

from builders import BuildRequest
from catalog import Fasta, read_genes
from featurestore import connect
from featurestore.cli import main as cli
from featurestore.testing import random_sequences, write_fasta
from model.language.untrained import make_untrained_backbone

CONTIG_BP = 1_600_000
MANE = "MANE.GRCh38.v1.4.summary.txt.gz"


def simulate(folder: Path) -> Path:
    """Make a simulated genome and its store, which the pages share."""
    size = ("--n-genes", "60", "--n-contigs", "4", "--contig-length", str(CONTIG_BP))
    assert cli.main(["simulate", str(folder / "genome"), *size]) == 0
    build_in_process(
        str(folder / "genome.store"),
        BuildRequest(fasta=str(folder / "genome" / "genome.fa"), extractor="motif", offsets=(0, 2048)),
    )
    return folder


def _shared(folder: Path, shared: Path) -> None:
    """Give the simulated genome and its store under the names that most pages use."""
    for name in ("genome", "genome.store"):
        shutil.copytree(shared / name, folder / name)


def _shared_genome(folder: Path, shared: Path) -> None:
    shutil.copytree(shared / "genome", folder / "genome")


def _readme(folder: Path, shared: Path) -> None:
    _shared(folder / "demo-out", shared)
    contigs = ("chr8", "chr9", "chr10", "chr11")  # of 2,000 bp: Sei takes seconds a bin
    write_fasta(folder / "hg38.fa", random_sequences(dict.fromkeys(contigs, 2000)))
    genes = genes_on(contigs, length=2000, genes_per_contig=12)
    (folder / MANE).write_bytes(gzip.compress(as_mane(genes).encode()))
    write_expression(folder / "expression.tsv", genes)
    write_sei(folder)
    write_gene_info(folder / "Homo_sapiens.gene_info.gz", genes)
    make_untrained_backbone(folder / "Meta-Llama-3-8B", ["a gene that makes a protein"], hidden=16, heads=2)


def _overlays(folder: Path, shared: Path) -> None:
    _shared(folder, shared)
    with Fasta(str(folder / "genome" / "genome.fa")) as fasta:
        ref = fasta.fetch("sim2", 900_000, 900_001).tobytes().decode().upper()
    lines = [f"sim2 900001 {ref} {other_base(ref)} 1|0"]
    text = write_vcf(folder / "person.vcf", lines, samples=("NA12878",)).read_bytes()
    (folder / "NA12878.vcf.gz").write_bytes(gzip.compress(text))


def _tracks(folder: Path, shared: Path) -> None:
    genome = folder / "hg38.fa"
    shutil.copy(shared / "genome" / "genome.fa", genome)
    with Fasta(str(genome)) as fasta:
        lengths = dict(fasta.lengths)
    for name, value in (("h3k27ac.bw", 1.5), ("dnase.bw", 2.5)):
        write_bigwig(folder / name, lengths, value)
    genes = genes_on(sorted(lengths), length=CONTIG_BP, genes_per_contig=3)
    (folder / "mane.tsv.gz").write_bytes(gzip.compress(as_mane(genes).encode()))
    write_viewpoints(folder / "hic.npz", genes)


def _variants(folder: Path, shared: Path) -> None:
    (bases,) = random_sequences({"chr1": 3000}).values()
    write_fasta(folder / "hg38.fa", {"chr1": bases})
    rows = [
        (1000, bases[999], other_base(bases[999])),
        (1500, bases[1499], bases[1499] + "ACG"),
        (2000, bases[1999:2003], bases[1999]),
    ]
    (folder / "calls.vcf.gz").write_bytes(gzip.compress(vcf_text("chr1", rows).encode()))
    write_splice(folder, "400nt")


def _attribution(folder: Path, shared: Path) -> None:
    write_fasta(folder / "hg38.fa", random_sequences({"chr2": 266_000}))
    write_puffin(folder)


def _explorer(folder: Path, shared: Path) -> None:
    _served(folder, shared)
    genes = read_genes(folder / "genes.tsv")
    rows = [
        Gene(gene, symbol, contig, tss, tss + 1, strand, biotype)
        for gene, symbol, contig, strand, tss, biotype in genes.iter_rows()
    ]
    (folder / "gencode.gtf.gz").write_bytes(gzip.compress(as_gtf(rows).encode()))
    (folder / "runs").mkdir()
    (folder / "run").rename(folder / "runs" / "gta")


def _served(folder: Path, shared: Path) -> None:
    """Give what `serve` reads: a store on chr1 to chr4, a gene named MYC, annotations, and a model."""
    for name in ("genome.fa", "genes.tsv", "targets.tsv", "annotations.tsv"):
        text = (shared / "genome" / name).read_text().replace("sim", "chr").replace("\tSIM1\t", "\tMYC\t")
        (folder / {"annotations.tsv": "ncbi.tsv"}.get(name, name)).write_text(text)
    build_in_process(str(folder / "genome.store"), BuildRequest(fasta=str(folder / "genome.fa"), extractor="motif"))
    tables = ("--genes", "genes.tsv", "--targets", "targets.tsv", "--annotations", "ncbi.tsv", "--n-bins", "51")
    backbone = make_untrained_backbone(folder / "llama", ["a gene that makes a protein"], hidden=16, heads=2)
    model = ("--model", "gta-best", "--backbone", str(backbone), "--epochs", "1", "--test-contigs", "chr4")
    assert cli.main(["train", "genome.store", *tables, *model, "--no-baselines", "--out", "run"]) == 0


def _signals(folder: Path, shared: Path) -> None:
    genes = _signal_genome(folder, "hg38.fa", "tracks.bw", "more.bw")
    (folder / "mane.tsv.gz").write_bytes(gzip.compress(as_mane(genes).encode()))
    write_viewpoints(folder / "hic.npz", genes)
    store = ("hg38.store", "--fasta", "hg38.fa")
    tracks = ("build-tracks", *store, "--track", "a=tracks.bw", "--track", "b=more.bw", "--feature-set")
    viewpoints = ("--table", "hic.npz", "--anchors", "mane.tsv.gz", "--name", "tss", "--feature-set", "hic")
    for words in (
        ("build-sequence", *store),
        (*tracks, "tracks", "--bin-size", "1"),
        (*tracks, "tracks32", "--bin-size", "32"),
        ("build-viewpoints", "hg38.store", *viewpoints, "--missing", "mask"),
    ):
        assert cli.main(list(words)) == 0


def _prism(folder: Path, shared: Path) -> None:
    genes = _signal_genome(folder, "genome.fa", "a.bw", "b.bw")
    (folder / "genes.tsv").write_text(as_mane(genes))


def _signal_genome(folder: Path, fasta: str, *tracks: str) -> list[Gene]:
    """Write a genome with chromosomes of each part of fold 11, bigWig files, `cage.tsv` and `covariates.tsv`."""
    contigs = ("chr1", "chr2", "chr3", "chr21", "chr22", "chrX")
    lengths = dict.fromkeys(contigs, 8000)
    write_fasta(folder / fasta, random_sequences(lengths))
    for number, track in enumerate(tracks, start=1):
        write_bigwig(folder / track, lengths, float(number))
    genes = genes_on(contigs, length=8000, genes_per_contig=6)
    write_expression(folder / "cage.tsv", genes)
    values = np.random.default_rng(1).normal(size=len(genes))
    table = {"gene_id": [gene.gene_id for gene in genes], "length": values, "gc": values**2}
    pl.DataFrame(table).write_csv(folder / "covariates.tsv", separator="\t")
    return genes


def _evaluation(folder: Path, shared: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"ENSG{number:011d}" for number in range(60)]
    models = {name: rng.normal(size=60) for name in ("Xpresso", "ExPecto", "Basenji2", "Enformer")}
    table = pl.DataFrame({"gene": [f"g{number}" for number in range(60)], "ensembl_gene": ids, **models})
    table.write_csv(folder / "all_models_ref_preds.with_ensembl.csv")
    rpm = {"symbol": table["gene"], "chr": ["chr1"] * 60, "tss_1based": range(1, 61), "strand": ["+"] * 60}
    pl.DataFrame({"ensembl_gene": ids, **rpm, "rpm": rng.exponential(size=60)}).write_csv(
        folder / "gm12878_rampage_rpm_at_mane_tss.tsv", separator="\t"
    )
    samples = [f"HG000{number}" for number in range(10, 15)]
    rows = [
        "\t".join(["chr22", str(number), str(number + 1), f"{gene}.3", "1000", "+", *map(str, rng.exponential(size=5))])
        for number, gene in enumerate(ids)
    ]
    head = "\t".join(["#chr", "start", "end", "gene", "length", "strand", *samples])
    (folder / "genes.50percent.chr22.bed.gz").write_bytes(gzip.compress("\n".join([head, *rows, ""]).encode()))


def _extractors(folder: Path, shared: Path) -> None:
    write_fasta(folder / "genome.fa", random_sequences({"chr1": 20_000, "chr2": 12_000}))
    genes = genes_on(("chr1", "chr2"), length=12_000, genes_per_contig=2)
    (folder / MANE).write_bytes(gzip.compress(as_mane(genes).encode()))
    write_puffin(folder)
    write_keras(folder / "human_trainepoch.11-0.426.h5")
    model = write_model(folder / "nucleotide-transformer-500m-human-ref", "esm, 3-mers")
    with torch.random.fork_rng():
        EsmModel(EsmConfig.from_pretrained(model, num_hidden_layers=12)).save_pretrained(model)


def _extending(folder: Path, shared: Path) -> None:
    size = ("--n-genes", "45", "--n-contigs", "3", "--contig-length", "400000")
    assert cli.main(["simulate", "simulated", *size]) == 0
    shutil.copy("simulated/genome.fa", "genome.fa")
    shutil.copy("simulated/targets.tsv", "expression.tsv")
    genes = read_genes("simulated/genes.tsv")
    peaks = "".join(f"{contig}\t{tss}\t{tss + 500}\n" for contig, tss in genes.select("contig", "tss").rows())
    (folder / "peaks.bed").write_text(peaks)
    rows = [
        f"{gene}\t{gene}.1\t{contig}\t{strand}\t{tss - (strand == '-')}\t{tss + 1}\t0\t0\t1\t0,\t1,\n"
        for gene, contig, strand, tss in genes.select("gene_id", "contig", "strand", "tss").rows()
    ]
    (folder / "refFlat.txt").write_text("".join(rows))
    copy_of("docs/examples", folder)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    options = ["--no-build-isolation", "--target", str(folder / "installed")]
    subprocess.run([*pip, *options, str(folder / "docs/examples/plugin")], check=True)


def _s3(folder: Path, shared: Path) -> None:
    _shared(folder, shared)
    sequence = random_sequences({"chr1": 1_100_000})
    write_fasta(folder / "hg38.fa", sequence)
    place = connect("s3://bucket")
    place.put("hg38.fa", (folder / "hg38.fa").read_bytes())


def _gta(folder: Path, shared: Path) -> None:
    make_untrained_backbone(folder / "Meta-Llama-3-8B", ["a gene that makes a protein"], hidden=16, heads=2)


def _probes(folder: Path, shared: Path) -> None:
    """Write the tasks as `benchmarks/probe_tasks.py` does, of a few made-up rows each."""
    model = write_model(folder / "FOLDER", "esm, 3-mers")
    with torch.random.fork_rng():
        EsmForMaskedLM(EsmConfig.from_pretrained(model, max_position_embeddings=2050)).save_pretrained(model)
    for context in ("80nt", "400nt", "2000nt", "10000nt"):
        write_splice(folder, context)
    write_puffin(folder)
    write_keras(folder / "human_trainepoch.11-0.426.h5")
    mpra_files.write(folder)
    (folder / "pretrained.hdf5").rename(folder / "mpra_dragonn_conv.hdf5")
    (folder / "model.json").rename(folder / "mpra_dragonn_conv.model.json")
    written(folder / "t.tsv", planted(rows=60, length=120))
    tasks = folder / "tasks"
    tasks.mkdir()
    written(tasks / "yeast.tsv", planted(rows=60))
    bases = random_sequences({"chr1": 40_000, "chr2": 40_000})
    for name in ("tasks/splice.fa", "tasks/cage.fa", "tasks/mpra.fa", "hg38.fa"):
        write_fasta(folder / name, bases)
    (folder / "chr1_chr2_chrM.fa.gz").write_bytes(bgzip((folder / "hg38.fa").read_bytes()))
    rng = np.random.default_rng(0)
    places = [(f"chr{1 + number % 2}", 500 * number + 200) for number in range(60)]
    rows = {"contig": [contig for contig, _ in places], "start": [start for _, start in places]}
    parts = (["train"] * 3 + ["validation", "test"]) * 12
    for name, width, more in (
        ("splice", 16, {"is_site": rng.integers(0, 2, 60), "fold": [number % 5 for number in range(60)]}),
        ("tubb8", 16, {"is_site": rng.integers(0, 2, 60), "split": parts}),
        ("cage", 256, {"CAGE": rng.normal(size=60), "DNase": rng.normal(size=60), "split": parts}),
        ("rampage", 400, {"activity": rng.normal(size=60), "fold": [number % 5 for number in range(60)]}),
    ):
        ends = {"end": [start + width for start in rows["start"]], **{key: list(value) for key, value in more.items()}}
        written(tasks / f"{name}.tsv", {**rows, **ends})
    alleles = [
        (place, bases["chr1"][place - 1], other_base(bases["chr1"][place - 1])) for place in range(20_000, 20_012)
    ]
    (folder / "v.vcf").write_text(vcf_text("chr1", alleles))
    (tasks / "mpra.vcf").write_text(vcf_text("chr1", alleles))
    effects = {key: [allele[place] for allele in alleles] for place, key in enumerate(("position", "ref", "alt"))}
    effects |= {"contig": ["chr1"] * 12, "effect": rng.normal(size=12)}
    pl.DataFrame(effects).write_csv(folder / "effects.tsv", separator="\t")
    pl.DataFrame(effects).write_csv(tasks / "mpra_effects.tsv", separator="\t")


INPUTS: Mapping[str, Callable[[Path, Path], None]] = {
    "README.md": _readme,
    "api.md": _served,
    "attribution.md": _attribution,
    "clusters.md": _shared_genome,
    "evaluation.md": _evaluation,
    "explorer.md": _explorer,
    "export.md": _shared,
    "extending.md": _extending,
    "extractors.md": _extractors,
    "gta.md": _gta,
    "overlays.md": _overlays,
    "prism.md": _prism,
    "probes.md": _probes,
    "s3.md": _s3,
    "signals.md": _signals,
    "tracks.md": _tracks,
    "variants.md": _variants,
}
"""Page to what writes its files, in a folder that is the current one; a page that makes its own has no row."""

SMALLER: Mapping[str, Mapping[str, str]] = {
    "README.md": {
        "chr{1..22} chrX chrY": "chr{8..11}",
        "precision=bf16": "precision=fp32",  # a minute a bin where the processor has no arithmetic for it
        "--n-bins 251 --test": "--n-bins 51 --epochs 1 --test",
    },
    "gta.md": {
        "--n-genes 3000 --n-contigs 6 --contig-length 20500000": "--n-genes 48 --n-contigs 6 --contig-length 400000",
        "--seeds 0,1,2": "--seeds 0,1 --epochs 1",
        "--n-bins 251 --test-contigs sim5": "--n-bins 51 --epochs 1 --test-contigs sim5",
        "--n-bins 51,101,151,201,251 --layers 2,4,8,16": "--n-bins 5,7 --layers 1,2 --epochs 1",
    },
    "prism.md": {
        "--seeds 2,22,222,2222,22222": "--seeds 2,22 --epochs 1",
        "--context 1000,2000,5000": "--context 1000,2000 --epochs 1",
    },
    "probes.md": {"--seeds 5": "--seeds 1", "--explain 100": "--explain 2"},
}
"""Words of a page that are run as others, so that it takes seconds."""

APART = ("extending.md",)
"""Pages that use what was installed for them, which the process of the tests does not see."""


@contextlib.contextmanager
def surroundings(page: str, folder: Path) -> Iterator[None]:
    """Set the variables, and run the server, that a page takes for granted."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as running:
        patch.chdir(folder)
        if page == "extending.md":
            patch.setenv("PYTHONPATH", str(folder / "installed"))
        if page == "s3.md" and "AWS_ENDPOINT_URL" not in os.environ:  # else that of `make test-s3`
            server = running.enter_context(TinyS3())
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            running.callback(thread.join)
            running.callback(server.shutdown)
            for name, value in (
                ("ENDPOINT_URL", server.url),
                ("ACCESS_KEY_ID", "key"),
                ("SECRET_ACCESS_KEY", "secret"),
            ):
                patch.setenv(f"AWS_{name}", value)
        yield
