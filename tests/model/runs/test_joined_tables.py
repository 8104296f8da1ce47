"""What becomes of genes, targets and splits that do not meet: counted, printed, kept with the run."""

import json
from pathlib import Path

import polars as pl
import pytest

from featurestore.cli.main import main
from model.runs.gene_lists import read_gene_list

RIDGE = ("--model", "ridge-centre", "--n-bins", "5")


def tables(genome: Path, targets: Path) -> list[str]:
    return [str(genome / "store"), "--genes", str(genome / "genes.tsv"), "--targets", str(targets)]


def test_a_training_says_how_many_targets_met_and_keeps_it_with_the_run(
    genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = pl.read_csv(genome / "targets.tsv", separator="\t")
    n_genes = len(targets)
    spelled = [f"X{gene}|odd" if place % 3 else f"{gene}.7_SYMBOL" for place, gene in enumerate(targets["gene_id"])]
    n_met = len(spelled[::3])
    targets.with_columns(gene_id=pl.Series([*spelled])).write_csv(tmp_path / "t.tsv", separator="\t")
    with (tmp_path / "t.tsv").open("a") as file:
        file.write("__no_feature\t5\n")
    with pytest.warns(UserWarning, match="most genes and targets do not meet"):
        assert main(["train", *tables(genome, tmp_path / "t.tsv"), *RIDGE, "--out", str(tmp_path / "run")]) == 0
    line = (
        f"targets: {n_met} of {n_genes} genes have a target (without: ENSG1, ENSG2, ENSG4, ...); {n_met} of {n_genes} "
        "targets have a gene (without: XENSG1|odd, XENSG2|odd, XENSG4|odd, ...)"
    )
    assert line in capsys.readouterr().out.splitlines()
    joined = json.loads((tmp_path / "run" / "run.json").read_text())["joined"]
    assert joined["genes_with_target"] == {"total": n_genes, "found": n_met, "without": ["ENSG1", "ENSG2", "ENSG4"]}
    assert joined["kept"] == n_met
    store, *rest = tables(genome, genome / "targets.tsv")
    genes = (genome / "genes.tsv").read_text()
    (tmp_path / "genes.tsv").write_text(genes + "\tNONE\tchr1\t+\t5\t\n" + genes.splitlines()[1] + "\n")
    rest[1] = str(tmp_path / "genes.tsv")
    run = [str(tmp_path / "run"), "--store", store, *rest]
    assert main(["evaluate", *run, "--draws", "20", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["model"] == "ridge-centre"
    assert f"targets: {n_genes} of {n_genes} genes have a target; {n_genes} of" in captured.err
    assert "left out of the gene table: 1 without gene id (NONE), 1 repeated gene ids (ENSG0)" in captured.err
    assert main(["predict", *run, "--out", str(tmp_path / "p.parquet")]) == 0
    assert f"{n_genes} of {n_genes} targets have a gene" in capsys.readouterr().err


def test_a_split_that_does_not_fit_the_genes_is_said_both_ways(
    genome: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = pl.read_csv(genome / "genes.tsv", separator="\t")["gene_id"].to_list()
    split = {"train": [*ids[:20], "other"], "validation": ids[20:30], "test": ids[30:-2]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    argv = ["train", *tables(genome, genome / "targets.tsv"), *RIDGE, "--out", str(tmp_path / "run")]
    assert main([*argv, "--split", str(tmp_path / "split.json")]) == 0
    assert f"1 of {len(ids) - 1} genes of {tmp_path / 'split.json'} are not in the gene table" in caplog.text
    assert f"2 of {len(ids)} genes are in no part of" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("A\nB\n", id="one a line"),
        pytest.param("# mine\ngene_id\rA\rB\r", id="a header, and line ends of a classic Mac"),
        pytest.param("symbol;gene_id\nx;A\ny;B\n", id="semicolons"),
        pytest.param('"gene_id" "x"\n"1" "A" 5\n"2" "B" 6\n', id="R"),
    ],
)
def test_a_list_of_genes_is_read_as_programs_write_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "genes").write_bytes(text.encode())
    assert read_gene_list(tmp_path / "genes") == ["A", "B"]


def test_a_list_of_genes_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "genes").write_bytes(b"A\n\xff\xfe\n")
    with pytest.raises(ValueError, match=r"line 2 of .*genes is not UTF-8 text"):
        read_gene_list(tmp_path / "genes")
