import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from catalog import Grid
from featurestore.cli.main import main
from featurestore.testing import built_store
from model.runs.request import TrainRequest
from model.runs.sweep import Sweep

CONTIGS = ("chr1", "chr2", "chr3")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("sweep")
    built_store(place / "genome.store", dict.fromkeys(CONTIGS, 620), Grid(bin_size=16))
    genes = [(f"G{contig[-1]}{tss:03}", contig, tss) for contig in CONTIGS for tss in range(20, 600, 29)]
    rows = [f"{gene}\t{gene}\t{contig}\t+\t{tss}\n" for gene, contig, tss in genes]
    (place / "genes.tsv").write_text("gene_id\tsymbol\tcontig\tstrand\ttss\n" + "".join(rows))
    values = np.random.default_rng(0).gamma(2.0, size=len(genes))
    rows = [f"{gene}\t{value:.4f}\n" for (gene, _, _), value in zip(genes, values, strict=True)]
    (place / "targets.tsv").write_text("gene_id\tvalue\n" + "".join(rows))
    tables = ["--genes", str(place / "genes.tsv"), "--targets", str(place / "targets.tsv")]
    plan = ["--models", "gta-best,ridge-centre", "--n-bins", "3,5", "--layers", "1,8", "--test-contigs", "chr3"]
    return ["sweep", str(place / "genome.store"), *tables, *plan, "--epochs", "1", "--draws", "50"]


@pytest.fixture(scope="module")
def swept(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("swept") / "out"
    assert main([*command, "--out", str(out)]) == 0
    return out


def test_the_tables_have_every_model_context_and_number_of_layers(swept: Path) -> None:
    frame = pl.read_parquet(swept / "scores.parquet")
    by_context = frame.filter(table=1).select("model", "n_bins").rows()
    assert by_context == [(model, n_bins) for n_bins in (3, 5) for model in ("gta-best", "ridge-centre")]
    by_layers = frame.filter(table=2)
    assert by_layers.select("n_bins", "layers").rows() == [(5, 1), (5, 8)]
    assert frame["spearman"].is_not_null().all()
    assert pl.read_csv(swept / "scores.csv")["two_sd"].to_list() == pytest.approx(frame["two_sd"].to_list())
    page = (swept / "tables.md").read_text()
    assert "| model | 3 | 5 | parameters | seconds |" in page
    for row in frame.iter_rows(named=True):
        assert f"{row['spearman']:.3f} ± {row['two_sd']:.3f}" in page


def test_a_training_that_stands_in_both_tables_is_made_once(swept: Path) -> None:
    runs = sorted(path.name for path in (swept / "runs").iterdir())
    assert runs == ["gta-best-3", "gta-best-5", "gta-best-5-1-layers", "ridge-centre-3", "ridge-centre-5"]
    rows = pl.read_parquet(swept / "scores.parquet").filter(model="gta-best", n_bins=5, layers=8).drop("table")
    assert rows.height == 2
    assert rows.is_duplicated().all()


def test_a_score_of_a_sweep_is_that_of_the_run_alone(
    swept: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (store, *tables), draws = command[1:6], ["--draws", "50", "--json"]
    assert main(["evaluate", str(swept / "runs" / "gta-best-3"), "--store", store, *tables, *draws]) == 0
    alone = json.loads(capsys.readouterr().out)
    row = pl.read_parquet(swept / "scores.parquet").filter(model="gta-best", n_bins=3).row(0, named=True)
    assert {name: row[name] for name in ("n_test", "spearman", "two_sd", "pearson", "mse")}.items() <= alone.items()


def test_what_is_finished_is_not_trained_again(swept: Path, command: list[str]) -> None:
    weights = sorted((swept / "runs").glob("*/model.safetensors"))
    lost = swept / "runs" / "gta-best-3"
    (lost / "checkpoint.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in weights}
    frame = pl.read_parquet(swept / "scores.parquet")
    assert main([*command, "--out", str(swept)]) == 0
    trained = {path.parent for path in weights if path.stat().st_mtime_ns != before[path]}
    assert trained == {lost}
    assert pl.read_parquet(swept / "scores.parquet").drop("seconds").equals(frame.drop("seconds"))


def test_a_sweep_of_another_configuration_is_refused(
    swept: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--out", str(swept), "--seed", "1"]) == 2
    assert "seed: 0 there, 1 now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("models", "n_bins", "layers", "message"),
    [
        pytest.param(["gta"], [3], [], "no model is called gta; there are gta-best", id="an unknown model"),
        pytest.param(["mean"], [0], [], "count from 1", id="no bin"),
        pytest.param(["mean"], [3], [2], "add gta-best, or leave `layers=` out", id="layers of none"),
    ],
)
def test_a_sweep_of_nothing_is_refused(models: list[str], n_bins: list[int], layers: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sweep(models=models, n_bins=n_bins, layers=layers)


def test_what_is_named_twice_is_trained_once() -> None:
    once = Sweep(models=("gta-best", "mean"), n_bins=(5, 3), layers=(1, 2))
    assert Sweep(models=("gta-best", "mean", "gta-best"), n_bins=[5, 3, 5], layers=(1, 2, 2)) == once
    request = TrainRequest(seeds=(2, 1, 2), tasks=("brain", "liver", "brain"))
    assert (request.seeds, request.tasks) == ((2, 1), ("brain", "liver"))
