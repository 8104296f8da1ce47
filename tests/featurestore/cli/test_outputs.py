"""A file that a verb writes is whole, or as it was: also on a full disk."""

from pathlib import Path

import numpy as np
import pytest
from full_disk import limited_files

from catalog import Grid
from featurestore.cli.main import main
from featurestore.testing import built_store


@pytest.mark.parametrize("ending", [".npz", ".tsv"])
def test_a_window_that_the_disk_does_not_hold_leaves_what_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    url = built_store(tmp_path / "s", {"chr1": 20_000}, Grid(bin_size=16)).url
    out = tmp_path / "out" / f"window{ending}"
    out.parent.mkdir()
    out.write_text("former")
    words = ["get", url, "chr1:9000", "--n-bins", "1001", "--out", str(out)]
    with limited_files(4096):
        assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(out) in said
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert out.read_text() == "former"
    assert main(words) == 0
    if ending == ".npz":
        assert np.load(out)["values"].shape == (1001, 3)
    else:
        assert len(out.read_text().splitlines()) == 1002


def test_changes_that_the_disk_does_not_hold_leave_what_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths, grid = {"chr1": 20_000}, Grid(bin_size=16)
    one, other = (
        built_store(tmp_path / name, lengths, grid, fingerprint=name, dtype=dtype).url
        for name, dtype in (("a", "float16"), ("b", "float32"))
    )
    out = tmp_path / "changes.tsv"
    out.write_text("former")
    with limited_files(4096):
        assert main(["diff", one, other, "--out", str(out)]) == 2
    assert str(out) in capsys.readouterr().err
    assert out.read_text() == "former"
    assert main(["diff", one, other, "--out", str(out)]) == 1
    assert out.read_text().startswith("#contig\tstart")
