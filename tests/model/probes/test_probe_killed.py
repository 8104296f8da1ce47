"""A probe whose process is killed, while it computes features and while it fits heads."""

from pathlib import Path

import polars as pl
import pytest
from crash_builds import started, until
from crash_points import AFTER_COMMIT, Orders
from probe_tasks import planted, written

TIMELESS = pl.exclude("fit_seconds", "feature_seconds")
FEATURES = "crash_points:Composition.from_options"


def committed(folder: Path) -> set[str]:
    """The notes of commits that the dying extractor makes: one a shard."""
    notes = folder / "notes"
    return {line for line in notes.read_text().splitlines() if '"commit"' in line} if notes.exists() else set()


@pytest.mark.slow
def test_killed_among_features_and_among_heads_the_same_command_gives_the_same_table(tmp_path: Path) -> None:
    task = written(tmp_path / "task.tsv", planted(rows=160))
    words = [f"--task={task}", f"--features={FEATURES}", "--heads=mlp", "--seeds=3", "--draws=30", "--device=cpu"]
    words += ["--fractions=1", "--dtype=float32"]

    def run(out: str) -> list[object]:
        return ["probe", *words, f"--out={tmp_path / out}"]

    Orders().give(tmp_path)
    with started(tmp_path, *run("whole")) as command:
        assert command.wait().status == 0
    n_shards = len(committed(tmp_path))
    assert n_shards > 4

    (tmp_path / "notes").unlink()
    Orders(point=AFTER_COMMIT, passing=3).give(tmp_path)
    with started(tmp_path, *run("killed")) as command:
        assert command.wait().status == -9
    assert len(committed(tmp_path)) == 3

    fits = tmp_path / "killed" / "fits"
    Orders().give(tmp_path)
    with started(tmp_path, *run("killed")) as command:
        until(lambda: list(fits.glob("*.npz")))
        command.kill()
        assert command.wait().status == -9
    there = len(list(fits.glob("*.npz")))
    assert there < 9

    with started(tmp_path, *run("killed")) as command:
        ended = command.wait()
    assert f"{9 - there} fits, {there} were there" in ended.out
    assert len(committed(tmp_path)) == n_shards, "no shard is computed twice"
    for name in ("scores.tsv", "targets.tsv", "curve.tsv"):
        whole, killed = (pl.read_csv(tmp_path / out / name, separator="\t") for out in ("whole", "killed"))
        assert killed.select(TIMELESS).equals(whole.select(TIMELESS), null_equal=True)
