"""Before the first shard: workers that are killed while they start, Ctrl-C, and workers that always die.

Real processes and signals; the seed of the moments is that of `test_crash`.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from crash_builds import Ended, build_arguments, judge_complete, run_build, started, until
from crash_points import Orders

DYING = (
    "import multiprocessing, os, signal\n"
    "from builders.testing import CompositionExtractor, CompositionSettings\n"
    "class Dying(CompositionExtractor):\n"
    "    @classmethod\n"
    "    def from_options(cls, options, settings: CompositionSettings):\n"
    "        if multiprocessing.parent_process() is not None:\n"
    "            os.kill(os.getpid(), signal.SIGKILL)\n"
    "        return super().from_options(options, settings)\n"
)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    Orders().give(tmp_path)
    return tmp_path


def said(ended: Ended) -> list[str]:
    """Give the lines that are no progress."""
    return [line for line in ended.err.splitlines() if not line.startswith("build: ")]


def test_a_worker_that_is_killed_as_soon_as_it_is_there_is_replaced(notes: Path, genome: Path, reference: Path) -> None:
    _kill_a_starting_worker(notes, genome, after_s=0.0)
    judge_complete(notes, notes / "store", reference)


@pytest.mark.slow
def test_a_worker_that_is_killed_at_any_moment_of_its_start_is_replaced(
    tmp_path: Path, genome: Path, reference: Path
) -> None:
    rng = random.Random(int(os.environ.get("FEATURESTORE_CRASH_SEED", "20")))
    for trial in range(7):
        notes = tmp_path / str(trial)
        notes.mkdir()
        Orders().give(notes)
        _kill_a_starting_worker(notes, genome, after_s=rng.uniform(0.0, 2.5))
        judge_complete(notes, notes / "store", reference)


def _kill_a_starting_worker(notes: Path, genome: Path, *, after_s: float) -> None:
    with started(notes, *build_arguments(notes / "store", genome, "--workers", 1)) as command:
        until(command.workers)
        time.sleep(after_s)
        for worker in command.workers()[:1]:
            os.kill(worker, signal.SIGKILL)
        ended = command.wait()
    assert ended.status == 0
    assert said(ended) == []


@pytest.mark.slow
def test_workers_that_always_die_end_the_build_with_one_sentence(
    notes: Path, genome: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (notes / "dying.py").write_text(DYING)
    monkeypatch.setenv("PYTHONPATH", str(notes))
    ended = run_build(notes, notes / "store", genome, "--workers", 1, extractor="dying:Dying.from_options")
    assert ended.status == 2
    (error,) = said(ended)
    assert "worker processes died one after the other" in error
    assert "--workers 1" in error
    assert not (notes / "store").exists()


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [1, 3])
def test_ctrl_c_at_any_moment_of_the_start_says_one_line(tmp_path: Path, genome: Path, n_workers: int) -> None:
    rng = random.Random(n_workers)
    for trial in range(5):
        notes = tmp_path / str(trial)
        notes.mkdir()
        Orders(pause=0.5).give(notes)  # longer than the latest Ctrl-C
        with started(notes, *build_arguments(notes / "store", genome, "--workers", n_workers)) as command:
            until(command.has_begun)
            time.sleep(rng.uniform(0.0, 4.0))
            command.interrupt_all()
            ended = command.wait()
        assert ended.status == 130
        assert said(ended) in ([], ["stopped; the same command goes on from here"])
