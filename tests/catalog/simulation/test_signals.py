"""Signals beside a simulated genome: one follows activity everywhere, the other turns round on the flipped contigs."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from catalog.simulation.genome import simulate
from catalog.simulation.grammar import SimulationConfig
from catalog.simulation.signals import SignalConfig, SimulatedSignals, simulate_signals
from featurestore.cli.main import main

pybigtools = pytest.importorskip("pybigtools", reason="needs the extra tracks")

SMALL = SimulationConfig(seed=3, n_contigs=3, contig_length=1_500_007, n_genes=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def signals(folder: Path) -> SimulatedSignals:
    return simulate_signals(folder)


def values(path: Path, contig: str, start: int, end: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = pybigtools.open(str(path)).values(contig, start, end, fillna=0)
    return found


def by_gene(path: Path, folder: Path) -> pl.DataFrame:
    genes = pl.read_csv(folder / "genes.tsv", separator="\t")
    genes = genes.join(pl.read_csv(folder / "targets.tsv", separator="\t"), on="gene_id")
    means = [values(path, contig, tss - 500, tss + 500).mean() for contig, tss in genes.select("contig", "tss").rows()]
    return genes.with_columns(pl.Series("signal", means))


def spearman(genes: pl.DataFrame) -> float:
    return float(genes.select(pl.corr("signal", "expression", method="spearman")).item())


def test_the_same_genome_and_seed_give_the_same_values(signals: SimulatedSignals, folder: Path, tmp_path: Path) -> None:
    simulate(tmp_path, SMALL)
    again = simulate_signals(tmp_path)
    for one, other in zip(signals[:2], again[:2], strict=True):
        np.testing.assert_array_equal(values(one, "sim2", 0, 1_500_007), values(other, "sim2", 0, 1_500_007))
    reseeded = simulate_signals(tmp_path, SignalConfig(seed=1))
    assert (values(reseeded.activity, "sim2", 0, 1_500_007) != values(signals.activity, "sim2", 0, 1_500_007)).any()


def test_activity_goes_with_expression_on_every_contig(signals: SimulatedSignals, folder: Path) -> None:
    for (_,), genes in by_gene(signals.activity, folder).group_by("contig"):
        assert spearman(genes) > 0.4


def test_the_background_turns_round_on_the_flipped_contigs(signals: SimulatedSignals, folder: Path) -> None:
    flipped = json.loads(signals.description.read_text())["config"]["flipped"]
    assert flipped == ["sim3"]
    genes = by_gene(signals.background, folder)
    assert spearman(genes.filter(pl.col("contig").is_in(flipped))) < -0.5
    assert spearman(genes.filter(~pl.col("contig").is_in(flipped))) > 0.5


def test_without_confounding_the_background_says_nothing(folder: Path, tmp_path: Path) -> None:
    simulate(tmp_path, SMALL)
    genes = by_gene(simulate_signals(tmp_path, SignalConfig(confounding=0.0)).background, tmp_path)
    assert abs(spearman(genes)) < 3 / np.sqrt(len(genes))


def test_activity_is_nothing_where_no_element_is_near(signals: SimulatedSignals, folder: Path) -> None:
    config = SignalConfig()
    elements = pl.read_parquet(folder / "truth.parquet").filter(pl.col("contig") == "sim1")
    away = np.full(SMALL.contig_length, SMALL.contig_length)
    for start in elements["start"]:
        middle = start + 500
        span = np.arange(max(0, middle - 2000), min(len(away), middle + 2000))
        away[span] = np.minimum(away[span], np.abs(span - middle))
    found = values(signals.activity, "sim1", 0, SMALL.contig_length)
    assert (found[away > 3 * config.peak_bp + config.resolution_bp] == 0).all()
    assert found.max() > 1


def test_a_folder_without_a_genome_and_contigs_it_lacks_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `featurestore simulate` first"):
        simulate_signals(tmp_path)
    with pytest.raises(ValueError, match="`flipped=` names sim9; the genome has sim1, sim2, sim3"):
        simulate_signals(folder, SignalConfig(flipped=("sim9",)))


@pytest.mark.parametrize(("option", "value"), [("confounding", 1.5), ("resolution_bp", 0), ("noise_shape", 0.0)])
def test_a_config_out_of_bounds_is_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]|at least 1 bp|shape above 0"):
        SignalConfig(**{option: value})  # type: ignore[arg-type]


def test_the_command_writes_the_signals_beside_the_genome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--n-contigs", "3", "--contig-length", "300000", "--n-genes", "30"]
    assert main(["simulate", str(tmp_path), *size, "--signals"]) == 0
    printed = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert printed["signals: activity"] == str(tmp_path / "activity.bw")
    assert {"activity.bw", "background.bw"} <= {path.name for path in tmp_path.iterdir()}
