"""Another distribution adds an extractor, a source, a gene-table format and a model, with no edit here.

The one of `docs/examples/plugin/` is installed as anyone would, and used by the command line in processes of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from checkout import ROOT

import featurestore

PLUGIN = ROOT / "docs/examples/plugin"
COMMAND = Path(sys.executable).with_name("featurestore")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the plug-in into a folder of its own; no other test sees it."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, *options, str(PLUGIN)], check=True)
    return folder


def run(*command: str | Path, installed: Path) -> str:
    """Run a command that finds the plug-in, and give what it printed."""
    paths = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [str(part) for part in command], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_store_is_built_and_a_model_trained_and_evaluated_through_the_plug_in(
    installed: Path, tmp_path: Path
) -> None:
    genome, store, out = tmp_path / "genome", tmp_path / "genome.store", tmp_path / "run"
    sizes = ("--n-contigs", "3", "--contig-length", "400000", "--n-genes", "45")
    run(COMMAND, "simulate", genome, *sizes, installed=installed)
    genes = pl.read_csv(genome / "genes.tsv", separator="\t")
    refflat, peaks = tmp_path / "refFlat.txt", tmp_path / "peaks.bed"
    refflat.write_text("".join(map(refflat_row, genes["gene_id"], genes["contig"], genes["strand"], genes["tss"])))
    peaks.write_text("".join(f"{contig}\t{tss}\t{tss + 500}\n" for contig, tss in genes.select("contig", "tss").rows()))

    cpg = ("--extractor", "cpg", "--fasta", genome / "genome.fa", "--set", "pseudocount=0.5", "--set", "also_tpg=true")
    assert "also_tpg" in run(COMMAND, "build", store, "--extractor", "cpg", "--help-options", installed=installed)
    for what in (cpg, ("--source", "coverage", "--set", f"bed={peaks}")):
        run(COMMAND, "build", store, *what, "--workers", "1", installed=installed)
    opened = featurestore.open(store)
    assert set(opened) == {"cpg", "coverage"}
    assert opened["cpg"].channel_names == ("gc", "cpg_ratio", "tpg_ratio")
    assert opened["coverage"].window(genes["contig"][0], genes["tss"][0], n_bins=3).values.max() > 0
    checks = ("--crc", "--recompute", "2", "--fasta", genome / "genome.fa")
    run(COMMAND, "verify", store, *checks, installed=installed)

    tables = ("--genes", refflat, "--targets", genome / "targets.tsv")
    model = ("--model", "gated-pooling", "--set", "width=4", "--n-bins", "11", "--epochs", "2")
    run(COMMAND, "train", store, "--feature-set", "cpg", *tables, *model, "--out", out, installed=installed)
    evaluate = ("evaluate", out, "--store", store, *tables, "--json", "--draws", "20")
    assert "spearman" in json.loads(run(COMMAND, *evaluate, installed=installed))
    checkpoint = json.loads((out / "checkpoint.json").read_text())
    assert checkpoint["kind"] == "gated-pooling"
    assert checkpoint["settings"]["config"]["width"] == 4


def refflat_row(gene: str, contig: str, strand: str, tss: int) -> str:
    start, end = (tss, tss + 1000) if strand == "+" else (max(tss - 999, 0), tss + 1)
    return f"{gene}\t{gene}.1\t{contig}\t{strand}\t{start}\t{end}\t{start}\t{end}\t1\t{start},\t{end},\n"


@pytest.mark.slow
def test_the_plug_in_passes_the_conformance_kits(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n")
    tests = ("-q", "-c", tmp_path / "pytest.ini", "--rootdir", tmp_path, PLUGIN / "tests")
    run(sys.executable, "-m", "pytest", *tests, installed=installed)
