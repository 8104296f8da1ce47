"""A window as a picture."""

from pathlib import Path

import pytest
from format1 import unpack_format1

from featurestore.cli.main import main


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
