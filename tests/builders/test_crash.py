"""Killed at any moment, the same command finishes, and the store is that of a build which nothing disturbed.

Everything here is a real process that gets SIGKILL: at named points (`crash_points`) or at random moments. Seeds are
fixed; `FEATURESTORE_CRASH_SEED` sets another.
"""

import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from crash_builds import (
    N_RECORDS,
    Notes,
    build_arguments,
    dask_cluster,
    judge,
    judge_complete,
    shards_of,
    started,
    until,
)
from crash_points import AFTER_COMMIT, AFTER_WRITE, ANY_REQUEST, BEFORE_WRITE, COMPUTING, REWRITING, Orders, Victim

SEED = int(os.environ.get("FEATURESTORE_CRASH_SEED", "20"))
PAUSE = 0.02
"""Slept in each call of the extractor, so that a build lasts some seconds and most moments lie within it (s)."""
KILLED = -signal.SIGKILL


@pytest.fixture
def rng() -> random.Random:
    print(f"seed {SEED}: FEATURESTORE_CRASH_SEED={SEED} repeats this")
    return random.Random(SEED)


class Trial:
    """One store that is built over and over, and the folder outside it where the processes note what they did."""

    def __init__(self, folder: Path, genome: Path, reference: Path) -> None:
        self._folders = (folder / f"trial{number}" for number in itertools.count())
        self.genome = genome
        self._reference = reference
        self.kills = 0
        self.begin()

    def begin(self) -> None:
        """Begin with an empty store."""
        self.notes = next(self._folders)
        self.notes.mkdir(parents=True)
        self.store = self.notes / "store"
        self.order(Orders(pause=PAUSE))

    def order(self, orders: Orders) -> None:
        orders.give(self.notes)

    def arguments(self, *more: object) -> tuple[object, ...]:
        return build_arguments(self.store, self.genome, *more)

    def build(self, *more: object) -> int:
        """Run the command to its end, or to its death; give its status."""
        with started(self.notes, *self.arguments(*more)) as command:
            ended = command.wait()
        assert ended.status in (0, KILLED), ended.err
        self.kills += len(list(self.notes.glob("death-*")))
        return ended.status

    def commits(self) -> dict[str, str]:
        return Notes(self.notes).commits()

    def judge(self) -> int:
        return judge(self.notes, self.store, self._reference)

    def judge_complete(self) -> None:
        judge_complete(self.notes, self.store, self._reference)

    def finish(self) -> None:
        """Run the command undisturbed, and expect the store of the undisturbed build."""
        self.order(Orders())
        assert self.build("--workers", 1) == 0
        self.judge_complete()

    def die_at(self, point: str, victim: Victim, passing: int) -> None:
        """Run the command with a death at a named point."""
        self.order(Orders(point=point, victim=victim, passing=passing, pause=PAUSE))
        status = self.build("--workers", 2 if victim == "self" else 1)
        assert (self.notes / "death-0").exists()
        assert status == (0 if victim == "self" else KILLED)
        self.judge()

    def die_at_random(self, kind: str, rng: random.Random, *, begun: bool) -> None:
        """Run the command and kill somebody at a random moment, if it is not done then.

        Parameters
        ----------
        begun
            Whether to wait until it commits shards: else most moments are of its start.
        """
        self.order(Orders(pause=PAUSE))
        before = len(self.commits())
        wanted = before + rng.randint(0, (N_RECORDS - before) // 2)
        with started(self.notes, *self.arguments("--workers", 2)) as command:
            if begun or kind == "worker":
                until(lambda: (command.workers() and len(self.commits()) >= wanted) or not command.is_running)
            time.sleep(rng.uniform(0.0, 0.1 if begun else 2.5))
            if kind == "worker":
                if workers := command.workers():
                    os.kill(rng.choice(workers), signal.SIGKILL)
                    self.kills += 1
            else:
                (command.kill if kind == "client" else command.kill_all)()
            ended = command.wait()
        # The command may have come to its end just before; but a worker's death never ends it.
        assert ended.status == 0 or (ended.status == KILLED and kind != "worker"), ended.err
        self.kills += ended.status == KILLED
        self.judge()


@pytest.fixture
def trial(tmp_path: Path, genome: Path, reference: Path) -> Iterator[Trial]:
    made = Trial(tmp_path, genome, reference)
    yield made
    print(f"{made.kills} kills")


def test_a_death_at_each_named_point_leaves_a_store_that_the_same_command_finishes(trial: Trial) -> None:
    trial.die_at(BEFORE_WRITE, "group", 3)
    trial.die_at(AFTER_WRITE, "parent", 4)
    trial.die_at(AFTER_COMMIT, "group", 3)
    assert 0 < trial.judge() < N_RECORDS
    trial.finish()
    assert trial.kills == 3


def test_a_shard_that_was_left_without_a_record_is_not_trusted(trial: Trial) -> None:
    trial.die_at(AFTER_WRITE, "group", 2)
    committed = set(trial.commits())
    torn = [trial.store / key for key in shards_of(trial.store) if record_of(key) not in committed]
    assert torn
    for path in torn:
        os.truncate(path, path.stat().st_size // 2)
    # While it is replaced, its worker dies; another takes over, and the command does not even end.
    trial.die_at(REWRITING, "self", 1)
    trial.judge_complete()


def record_of(shard: str) -> str:
    _, name, contig, _, _, phase, number, _ = shard.split("/")
    return f"commits/{name}/{contig}/{phase}-{number}.json"


@pytest.mark.slow
@pytest.mark.exhaustive
def test_workers_and_clients_die_at_random_moments(trial: Trial, rng: random.Random) -> None:
    trial.die_at_random("client", rng, begun=True)
    trial.die_at_random("worker", rng, begun=True)
    trial.finish()
    assert trial.kills == 2


def test_the_scheduler_dies_and_the_next_one_takes_over(trial: Trial) -> None:
    with ExitStack() as stack:
        cluster = stack.enter_context(dask_cluster(trial.notes))
        command = stack.enter_context(started(trial.notes, *trial.arguments("--scheduler", cluster.address)))
        until(lambda: len(trial.commits()) > 3)
        cluster.scheduler.kill()
        ended = command.wait(timeout_s=60)
    assert ended.status == 2
    assert "run the same command again" in ended.err
    assert "Traceback" not in ended.err
    assert 0 < trial.judge() < N_RECORDS
    with dask_cluster(trial.notes) as cluster:
        assert trial.build("--scheduler", cluster.address) == 0
    trial.judge_complete()


def test_a_death_while_the_store_is_declared(trial: Trial) -> None:
    trial.die_at(ANY_REQUEST, "group", 5)
    trial.finish()


def seal(trial: Trial, *more: object, passing: int = 0) -> bool:
    """Seal the store, dying before the request of that number; say whether it came to its end."""
    trial.order(Orders(point=ANY_REQUEST, passing=passing) if passing else Orders())
    with started(trial.notes, "seal", trial.store, *more, ahead=(sys.executable, "-m", "crash_points")) as command:
        ended = command.wait()
    assert ended.status in (0, KILLED), ended.err
    trial.kills += ended.status == KILLED
    return ended.status == 0


def top_hash(store: Path) -> str:
    document = json.loads((store / "MANIFEST.json").read_text())
    assert document["complete"]
    return str(document["top_hash"])


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, genome: Path, reference: Path) -> Path:
    """Seal a copy of the reference, undisturbed."""
    made = Trial(tmp_path_factory.mktemp("sealed"), genome, reference)
    shutil.copytree(reference, made.store)
    assert seal(made)
    return made.store


def test_a_death_during_seal_leaves_a_store_that_reads_and_that_seals(
    trial: Trial, reference: Path, sealed: Path
) -> None:
    shutil.copytree(reference, trial.store)
    for passing in (1, 4, 11):
        assert not seal(trial, passing=passing)
        trial.judge()
    assert seal(trial)
    trial.judge()
    assert top_hash(trial.store) == top_hash(sealed)
    assert trial.kills == 3


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("victim", ["self", "parent", "group"])
def test_a_death_at_every_named_point_by_whoever(trial: Trial, rng: random.Random, victim: Victim) -> None:
    for point in (BEFORE_WRITE, AFTER_WRITE, AFTER_COMMIT, COMPUTING):
        for _ in range(2):
            trial.die_at(point, victim, rng.randint(2, 8))
            if trial.judge() > N_RECORDS * 0.6:
                trial.finish()
                trial.begin()
    trial.finish()
    assert trial.kills == 8


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["worker", "client", "all"])
def test_eight_deaths_at_random_moments(trial: Trial, rng: random.Random, kind: str) -> None:
    while trial.kills < 8:
        trial.die_at_random(kind, rng, begun=rng.random() < 0.5)
        if trial.judge() == N_RECORDS:
            trial.judge_complete()
            trial.begin()
    trial.finish()


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["worker", "client", "all"])
def test_deaths_between_two_commits(trial: Trial, rng: random.Random, kind: str) -> None:
    def has_committed(more: int) -> None:
        wanted = len(trial.commits()) + more
        until(lambda: len(trial.commits()) >= wanted)

    for _ in range(2):
        trial.order(Orders(pause=0.3))  # of the four calls of a shard each
        with started(trial.notes, *trial.arguments("--workers", 1)) as command:
            has_committed(2)
            time.sleep(rng.uniform(0.1, 1.0))
            if kind == "worker":
                os.kill(command.workers()[0], signal.SIGKILL)
                has_committed(2)
            elif kind == "client":
                command.kill()
        assert trial.judge() < N_RECORDS
    trial.finish()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_deaths_around_a_remote_scheduler(trial: Trial, rng: random.Random) -> None:
    kinds = ["scheduler", "worker", "client", "all"] * 3
    rng.shuffle(kinds)
    for kind in kinds:
        _die_on_a_cluster(trial, kind, rng)
        if trial.judge() > N_RECORDS / 2:
            trial.finish()
            trial.begin()
    trial.finish()
    assert trial.kills == len(kinds)


def _die_on_a_cluster(trial: Trial, kind: str, rng: random.Random) -> None:
    trial.order(Orders(pause=PAUSE))
    commits = len(trial.commits())
    with (
        dask_cluster(trial.notes) as cluster,
        started(trial.notes, *trial.arguments("--scheduler", cluster.address)) as command,
    ):
        # Once it has begun, so that there is something to die of; the rest is up to chance.
        until(lambda: len(trial.commits()) > commits)
        time.sleep(rng.uniform(0.0, 0.3))
        if kind == "worker":
            os.kill(cluster.workers.workers()[0], signal.SIGKILL)
        for victim in {"scheduler": [cluster.scheduler], "client": [command]}.get(kind, []):
            victim.kill()
        if kind == "all":
            for victim in (cluster.scheduler, cluster.workers, command):
                victim.kill_all()
        ended = command.wait()
    trial.kills += 1
    assert ended.status == {"scheduler": 2, "worker": 0}.get(kind, KILLED), ended.err


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_death_before_every_request_that_declares_a_store(trial: Trial) -> None:
    for passing in itertools.count(1):
        trial.order(Orders(point=ANY_REQUEST, passing=passing, victim="group"))
        assert trial.build("--workers", 1) == KILLED
        trial.judge()
        if Notes(trial.notes).executions():
            break
        trial.begin()
    trial.finish()
    assert trial.kills > 8


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_death_before_every_request_that_seals_and_unseals(trial: Trial, reference: Path, sealed: Path) -> None:
    shutil.copytree(reference, trial.store)
    for passing in itertools.count(1):
        if seal(trial, passing=passing):
            break
        trial.judge()
    assert top_hash(trial.store) == top_hash(sealed)
    # A build that goes on with a sealed store takes the seal off first.
    trial.begin()
    trial.die_at(AFTER_COMMIT, "group", 9)
    assert seal(trial, "--partial")
    before = Notes(trial.notes).executions()
    for passing in itertools.count(1):
        trial.order(Orders(point=ANY_REQUEST, passing=passing, victim="group"))
        assert trial.build("--workers", 1) == KILLED
        trial.judge()
        if Notes(trial.notes).executions() != before:
            break
    trial.finish()
    assert seal(trial)
    assert top_hash(trial.store) == top_hash(sealed)
    assert trial.kills > 15
