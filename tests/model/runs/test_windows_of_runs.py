"""A run reads the windows that it was asked for, and evaluates and predicts on those that it learned from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import featurestore
from catalog import Anchor, Grid
from featurestore.cli.main import main
from featurestore.testing import build_anchored, built_store
from model.runs.folder import open_run
from model.runs.genes import WindowRecord

CONTIGS = ("chr1", "chr2", "chr3", "chr4")
GRID = Grid(bin_size=16)
GENES = [(f"G{contig[-1]}{tss:03}", contig, tss, "+-"[tss % 2]) for contig in CONTIGS for tss in range(24, 600, 31)]
TINY = ("--n-bins", "5", "--test-contigs", "chr4", "--model", "ridge-exponential", "--target-column", "liver")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("windows")
    store = built_store(place / "s", dict.fromkeys(CONTIGS, 620), GRID)
    built_store(place / "s", dict.fromkeys(CONTIGS, 620), Grid(bin_size=8), name="fine", n_channels=2)
    anchors = [Anchor(gene, contig, tss, strand) for gene, contig, tss, strand in GENES]
    build_anchored(featurestore.open(store.url), "demo", anchors, name="tss", n_bins=7)
    rows = "".join(f"{gene}\t{gene}\t{contig}\t{strand}\t{tss}\n" for gene, contig, tss, strand in GENES)
    (place / "genes.tsv").write_text(f"gene_id\tsymbol\tcontig\tstrand\ttss\n{rows}")
    values = np.random.default_rng(0).gamma(2.0, size=len(GENES))
    lines = [f"{gene}\t{value:.4f}\n" for (gene, *_), value in zip(GENES, values, strict=True)]
    (place / "targets.tsv").write_text("gene_id\tliver\n" + "".join(lines))
    return place


def tables(place: Path) -> list[str]:
    named = ["--genes", str(place / "genes.tsv"), "--targets", str(place / "targets.tsv")]
    return ["--store", str(place / "s"), *named]


def train(place: Path, out: Path, *options: str) -> int:
    return main(["train", *tables(place), "--out", str(out), "--features", "demo", *TINY, *options])


def predicted(place: Path, run: Path, out: Path, *options: str) -> pl.DataFrame:
    assert main(["predict", str(run), *tables(place), "--out", str(out), *options]) == 0
    return pl.read_parquet(out)


def in_the_middle_of_a_bin(frame: pl.DataFrame) -> pl.Series:
    return frame["tss"] % 16 == 8


def test_predictions_on_grid_and_anchored_windows_are_equal_where_a_gene_starts_in_the_middle_of_a_bin(
    place: Path, tmp_path: Path
) -> None:
    assert train(place, tmp_path / "run", "--anchors", "tss") == 0
    assert open_run(tmp_path / "run").windows.anchors == "tss"
    exact = predicted(place, tmp_path / "run", tmp_path / "exact.parquet")
    named = predicted(place, tmp_path / "run", tmp_path / "named.parquet", "--anchors", "tss")
    grid = predicted(place, tmp_path / "run", tmp_path / "grid.parquet", "--anchors", "none")
    same = in_the_middle_of_a_bin(exact)
    assert 3 < same.sum() < len(exact) / 2
    assert exact.equals(named)
    assert exact.filter(same).equals(grid.filter(same))
    assert (exact["prediction"] != grid["prediction"]).sum() > len(exact) / 2


def test_runs_on_anchors_and_on_the_grid_are_compared_each_on_its_own_windows(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(place, tmp_path / "exact", "--anchors", "tss") == train(place, tmp_path / "grid") == 0
    capsys.readouterr()
    evaluate = ["evaluate", *tables(place), "--draws", "50", "--json"]
    assert main([*evaluate, str(tmp_path / "grid")]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert main([*evaluate, str(tmp_path / "exact"), "--beside", str(tmp_path / "grid")]) == 0
    scores = json.loads(capsys.readouterr().out)
    (beside,) = scores["beside"]
    assert {name: beside[name] for name in ("spearman", "two_sd", "mse")} == {
        name: alone[name] for name in ("spearman", "two_sd", "mse")
    }
    assert beside["lead"]["value"] == pytest.approx(scores["spearman"] - alone["spearman"], abs=1e-12)
    assert beside["spearman"] != scores["spearman"]


def test_a_model_of_the_grid_predicts_from_anchors_that_are_named(place: Path, tmp_path: Path) -> None:
    assert train(place, tmp_path / "run") == 0
    grid = predicted(place, tmp_path / "run", tmp_path / "grid.parquet")
    exact = predicted(place, tmp_path / "run", tmp_path / "exact.parquet", "--anchors", "tss")
    same = in_the_middle_of_a_bin(grid)
    assert exact.filter(same).equals(grid.filter(same))
    assert not exact.equals(grid)


def test_evaluation_reads_the_windows_of_training_and_never_moves_them(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--orient", "gene", "--channels", "channel2,channel0", "--jitter-bp", "30"]
    network = ["--model", "mlp", "--epochs", "2", "--batch-size", "16"]
    assert train(place, tmp_path / "run", *chosen, *network, "--no-baselines") == 0
    assert open_run(tmp_path / "run").windows == WindowRecord(
        orient="gene", channels=("channel2", "channel0"), jitter_bp=30
    )
    capsys.readouterr()
    scores = []
    cached = ["--residence", "cache", "--cache-dir", str(tmp_path / "mirror")]
    for reading in ([], ["--residence", "device"], cached, ["--residence", "stream"]):
        assert main(["evaluate", str(tmp_path / "run"), *tables(place), "--json", *reading]) == 0
        scores.append(json.loads(capsys.readouterr().out))
    assert all(score == scores[0] for score in scores)
    assert list((tmp_path / "mirror").iterdir())
    # The same command goes on, another jitter is another run.
    assert train(place, tmp_path / "run", *chosen, *network, "--no-baselines") == 0
    assert train(place, tmp_path / "run", *chosen[:-1], "20", *network, "--no-baselines") != 0
    assert "jitter_bp: 30 there, 20 now" in capsys.readouterr().err


def test_several_feature_sets_are_trained_on_side_by_side(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(place, tmp_path / "run", "--features", "demo,fine") == 0
    run = open_run(tmp_path / "run")
    assert run.feature_set == "demo,fine"
    assert run.predictor.trained_on is not None
    assert len(run.predictor.trained_on.channel_names) == 3 + 2 * 2
    assert main(["evaluate", str(tmp_path / "run"), *tables(place)]) == 0
    assert len(predicted(place, tmp_path / "run", tmp_path / "p.parquet", "--n-bins", "3")) == len(GENES)
    assert train(place, tmp_path / "other", "--features", "demo,fine", "--anchors", "tss") != 0
    assert "goes with one feature set, got demo, fine" in capsys.readouterr().err


def test_storage_options_reach_the_store(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(place, tmp_path / "run", "--storage-option", "nonsense") != 0
    assert "NAME=VALUE" in capsys.readouterr().err
    assert train(place, tmp_path / "run", "--storage-option", "anon=true", "--storage-option", "key=k") == 0


def test_a_run_with_other_bins_is_a_copy(place: Path, tmp_path: Path) -> None:
    assert train(place, tmp_path / "run") == 0
    run = open_run(tmp_path / "run")
    longer = run.with_n_bins(9)
    assert (run.predictor.n_bins, longer.predictor.n_bins) == (5, 9)
    assert {baseline.n_bins for baseline in longer.baselines} <= {9}
    assert run.with_n_bins(None) is run


def test_a_run_of_an_earlier_version_read_the_grid_forward_without_low_signal_channels(
    place: Path, tmp_path: Path
) -> None:
    assert train(place, tmp_path / "run") == 0
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    del document["digest"]
    assert document.pop("windows") == {}
    (tmp_path / "run" / "run.json").write_text(json.dumps(document))
    assert open_run(tmp_path / "run").windows == WindowRecord()
    assert train(place, tmp_path / "run") == 0, "it is the same run"


records: Any = st.builds(
    WindowRecord,
    anchors=st.none() | st.just("mane"),
    orient=st.sampled_from(["forward", "gene"]),
    channels=st.none() | st.lists(st.text(max_size=3), min_size=1, max_size=3).map(tuple),
    jitter_bins=st.integers(0, 9),
    jitter_bp=st.integers(0, 9),
)


@given(records)
def test_a_record_of_windows_comes_back_from_json(record: WindowRecord) -> None:
    assert WindowRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
