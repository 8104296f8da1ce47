"""A window as a picture, by the command."""

from pathlib import Path

import polars as pl
import pytest
from format1 import unpack_format1

from catalog import Grid, read_genes
from featurestore.cli.main import main
from featurestore.testing.fixtures import built_store


@pytest.mark.parametrize(
    "words", [["--feature-set", "motif", "sim1:500000"], ["motif", "sim1:500000"], ["sim1:500000"]]
)
def test_a_window_is_drawn_of_the_set_that_is_named(tmp_path: Path, words: list[str]) -> None:
    store = unpack_format1(tmp_path) / "genome.store"
    assert main(["plot", str(store), *words, "--n-bins", "5", "--out", str(tmp_path / "window.png")]) == 0
    assert (tmp_path / "window.png").stat().st_size > 1000


def test_two_places_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = unpack_format1(tmp_path) / "genome.store"
    assert main(["plot", str(store), "motif", "sim1:5", "sim1:6", "--out", str(tmp_path / "window.png")]) == 2
    assert "one place is drawn at a time" in capsys.readouterr().err


def test_genes_are_drawn_into_the_picture(tmp_path: Path) -> None:
    folder = unpack_format1(tmp_path)
    plain, with_genes = tmp_path / "plain.svg", tmp_path / "genes.svg"
    words = ["plot", str(folder / "genome.store"), "sim1:300000", "--n-bins", "51"]
    assert main([*words, "--out", str(plain)]) == 0
    assert main([*words, "--out", str(with_genes), "--genes", str(folder / "genes.tsv")]) == 0
    inside = read_genes(folder / "genes.tsv").filter(
        (pl.col("contig") == "sim1") & pl.col("tss").is_between(200_000, 400_000)
    )
    arrows = {"+": "{} →", "-": "← {}"}
    names = [arrows[strand].format(symbol) for symbol, strand in inside.select("symbol", "strand").iter_rows()]
    assert names
    assert [name for name in names if f"<!-- {name} -->" not in with_genes.read_text()] == []
    assert names[0] not in plain.read_text()


def test_genes_of_another_assembly_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = unpack_format1(tmp_path)
    table = tmp_path / "other.tsv"
    table.write_text("gene_id\tsymbol\tcontig\tstrand\ttss\nG1\tA\tchr7\t+\t5\n")
    words = ["plot", str(folder / "genome.store"), "sim1:300000", "--genes", str(table)]
    assert main([*words, "--out", str(tmp_path / "w.png")]) == 2
    assert "no gene lies on" in capsys.readouterr().err
    assert not (tmp_path / "w.png").exists()


def test_it_says_that_it_draws_some_of_many_channels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = Grid(bin_size=16, offsets=(0,))
    built_store(tmp_path / "wide.store", {"chr1": 1000}, grid, n_channels=45)
    picture = tmp_path / "wide.svg"
    assert main(["plot", str(tmp_path / "wide.store"), "chr1:500", "--n-bins", "9", "--out", str(picture)]) == 0
    assert "40 of 45 channels" in capsys.readouterr().err
    assert "<!-- 40 of 45 channels: those that vary most here -->" in picture.read_text()
