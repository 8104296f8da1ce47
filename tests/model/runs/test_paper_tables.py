"""The command of docs/gta.md for tables 1 and 2 of the paper runs as it stands there, on a small simulated genome."""

import gzip
import json
import shlex
from pathlib import Path

import polars as pl
import pytest
from checkout import ROOT

from catalog import Anchor, PromptSettings, prompts_for, read_annotations, read_genes
from featurestore import open as open_store
from featurestore.cli.main import main
from featurestore.testing import build_anchored
from model.language.untrained import make_untrained_backbone
from model.runs.folder import open_run

GENOME = ("--n-genes", "48", "--n-contigs", "3", "--contig-length", "1300000", "--seed", "3")
SAMPLES = ("HG00096", "HG00097", "HG00099")


def documented() -> list[str]:
    """Give the words of the command."""
    page = (ROOT / "docs" / "gta.md").read_text()
    section = page.split("## Tables 1 and 2, as the paper made them", 1)[1]
    command = section[section.index("\nfeaturestore sweep") :].split("```", 1)[0]
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "featurestore"
    return words[1:]


def ensembl(text: str) -> str:
    """Name simulated genes as Ensembl does, for the list that has no header."""
    return text.replace("SIMG", "ENSG00000")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put simulated files under the names that the command has."""
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "genome", *GENOME]) == 0
    tables = {name: ensembl((tmp_path / "genome" / f"{name}.tsv").read_text()) for name in ("genes", "annotations")}
    with gzip.open("MANE.GRCh38.v1.4.summary.txt.gz", "wt") as file:
        file.write(tables["genes"])
    Path("annotations.tsv").write_text(tables["annotations"])
    targets = pl.read_csv("genome/targets.tsv", separator="\t")
    rows = "".join(
        f"{ensembl(gene)}.3\t{ensembl(gene)}.3\t1\t{number}\t{-0.01 * value!r}\t{value!r}\t{3 * value!r}\n"
        for number, (gene, value) in enumerate(targets.iter_rows())
    )
    with gzip.open("GD462.GeneQuantRPKM.50FN.samplename.resk10.txt.gz", "wt") as file:
        file.write("\t".join(["TargetID", "Gene_Symbol", "Chr", "Coord", *SAMPLES]) + "\n" + rows)
    Path("samples.txt").write_text("".join(f"{name}\n" for name in SAMPLES))
    genes = read_genes("MANE.GRCh38.v1.4.summary.txt.gz")
    Path("gene_list.csv").write_text("".join(f"{gene},1,{n},X,+\n" for n, gene in enumerate(genes["gene_id"][::4])))
    listed = genes["gene_id"][:40]
    Path("geneanno.csv").write_text("id,symbol\n" + "".join(f"{gene},X\n" for gene in listed))
    assert main(["build", "hg38.store", "--fasta", "genome/genome.fa", "--extractor", "motif"]) == 0
    anchors = [
        Anchor(gene, contig, tss, strand)
        for gene, contig, tss, strand in genes.select("gene_id", "contig", "tss", "strand").iter_rows()
    ]
    build_anchored(open_store("hg38.store"), "motif", anchors, name="mane", n_bins=251)
    prompts = prompts_for(genes, read_annotations("annotations.tsv"), settings=PromptSettings(template="paper"))
    make_untrained_backbone("Meta-Llama-3-8B", prompts, layers=32, hidden=16)
    return tmp_path


@pytest.mark.slow
def test_the_command_for_the_tables_of_the_paper_runs_as_it_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = documented()
    assert main([*words, "--device", "cpu", "--epochs", "1", "--draws", "20"]) == 0
    said = capsys.readouterr()
    assert "genes are in all of 2 lists" in said.err
    assert "Table 1: by context length" in said.out
    frame = pl.read_parquet("paper/scores.parquet")
    assert sorted(frame.filter(table=1)["n_bins"]) == [51, 101, 151, 201, 251]
    assert sorted(frame.filter(table=2)["layers"]) == [2, 4, 8, 16, 32]
    run = open_run("paper/runs/gta-paper-positions-251", device="cpu")
    assert (run.prompt_settings.template, run.windows.anchors) == ("paper", "mane")
    listed = set(pl.read_csv("geneanno.csv")["id"])
    tested = {line.split(",")[0] for line in Path("gene_list.csv").read_text().splitlines()}
    learned = {*run.split.train, *run.split.validation}
    assert set(run.split.test) == tested
    assert learned == listed - tested
    assert len(run.split.validation) == round(0.2 * len(learned))
    joined = json.loads(Path("paper/runs/gta-paper-positions-251/run.json").read_text())["joined"]
    assert joined["kept"] == joined["targets_with_gene"]["found"] == 48
    assert joined["annotated"] == 48
