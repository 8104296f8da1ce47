"""What a build promises (docs/guarantees.md), but for surviving kills (test_crash) and damage (test_damage)."""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT
from crash_builds import (
    N_RECORDS,
    N_SHARDS,
    PLAIN,
    SHARD_BP,
    Ended,
    Notes,
    build_arguments,
    judge,
    judge_complete,
    records_of,
    run_build,
    shards_of,
    started,
    until,
    write_genome,
)
from crash_points import COMPUTING, Orders, Poison
from hypothesis import given, settings
from hypothesis import strategies as st

import featurestore
from builders.execution.shard import Job, ShardBuilder
from builders.execution.source_spec import describe_source
from builders.execution.tasks import ShardTask
from builders.extractors.source import ExtractorSource
from builders.plan import describe, make_plan
from builders.request import BuildRequest
from catalog import Grid
from featurestore import (
    Commit,
    CommitConflict,
    ContigLayout,
    NotBuilt,
    Objects,
    Store,
    connect,
    create,
    verify,
    write_shard,
)
from featurestore.format.layout import shard_key
from featurestore.format.writer import encode_shard
from featurestore.testing import ORIGIN, assembly_of, feature_set_of, random_sequences, values_of, write_fasta

PAUSE = 0.01


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Make the folder of the orders and notes of a test's builds."""
    folder = tmp_path / "notes"
    folder.mkdir()
    Orders().give(folder)
    return folder


def test_every_test_that_the_document_names_is_there() -> None:
    files: dict[str, str] = {}  # several areas may have a file of one name
    for path in (ROOT / "tests").rglob("test_*.py"):
        files[path.name] = files.get(path.name, "") + path.read_text()
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs/guarantees.md").read_text())
    assert len(named) > 20
    assert [f"{file}::{name}" for file, name in named if f"def {name}(" not in files[file]] == []


# 1. A shard is a pure function of its inputs; executed at least once, committed exactly once.


def prepared(folder: Path, fasta: Path, *, bin_size: int = 4) -> tuple[Store, Job, tuple[ShardTask, ...]]:
    """Make an empty store, and what the workers of a build into it are told."""
    request = BuildRequest(fasta=str(fasta), extractor=PLAIN, bin_size=bin_size)
    spec = describe_source(request)
    source, assembly = spec.make(), spec.assembly
    grid = Grid(bin_size=bin_size, offsets=(0, 1))
    sets = describe(source, grid, pads=source.pad(), shard_bins=256)
    store = create(folder, assembly)
    agreed = [store.declare(item, assembly.lengths) for item in sets]
    job = Job(
        run="0",
        store_url=str(folder),
        storage_options={},
        source=spec,
        fingerprint=source.fingerprint,
        feature_sets=tuple(item.name for item in sets),
    )
    return store, job, make_plan(agreed, assembly, assembly.lengths, offsets=grid.offsets).tasks


def builder_of(job: Job, batch_size: int) -> ShardBuilder:
    source = job.source.make()
    assert isinstance(source, ExtractorSource)
    source.batch_bins = batch_size
    return ShardBuilder(source, job)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a builder holds its FASTA open
@given(
    lengths=st.lists(st.integers(1, 3000), min_size=1, max_size=3),
    unknown=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    n_builders=st.integers(1, 3),
    batch_size=st.integers(1, 300),
    rng=st.randoms(use_true_random=False),
)
@settings(max_examples=25, deadline=None)
def test_order_workers_batches_and_repetition_change_no_byte_of_a_shard(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    unknown: tuple[float, float],
    n_builders: int,
    batch_size: int,
    rng: random.Random,
) -> None:
    folder = tmp_path_factory.mktemp("pure")
    sequences = random_sequences({f"c{number}": length for number, length in enumerate(lengths)})
    low, high = sorted(int(share * lengths[0]) for share in unknown)
    sequences["c0"] = sequences["c0"][:low] + "N" * (high - low) + sequences["c0"][high:]
    fasta = write_fasta(folder / "g.fa", sequences)
    _, job, tasks = prepared(folder / "plain", fasta)
    builder = builder_of(job, 7)
    for task in tasks:
        builder.build(task)
    mixed, job, _ = prepared(folder / "mixed", fasta)
    builders = [builder_of(job, batch_size) for _ in range(n_builders)]
    executed = [*tasks, *rng.choices(tasks, k=3)]
    rng.shuffle(executed)
    with ThreadPoolExecutor(4) as pool:
        receipts = list(pool.map(lambda task: rng.choice(builders).build(task), executed))
    assert {receipt.task for receipt in receipts} == set(tasks)
    assert shards_of(folder / "mixed") == shards_of(folder / "plain")
    assert records_of(folder / "mixed") == records_of(folder / "plain")
    assert verify(mixed, crc=True).is_sound
    shutil.rmtree(folder)


def test_two_processes_write_the_bytes_of_one(notes: Path, genome: Path, reference: Path, tmp_path: Path) -> None:
    """The extractor calls itself with batches of another size, too."""
    assert run_build(notes, tmp_path / "s", genome, "--workers", 2).status == 0
    judge_complete(notes, tmp_path / "s", reference)
    assert set(Notes(notes).executions().values()) == {1}


def test_of_many_writers_of_a_shard_one_commits_and_the_others_agree(tmp_path: Path) -> None:
    grid = Grid(bin_size=4)
    objects = create(tmp_path / "s", assembly_of(random_sequences({"c": 16}))).objects
    layout = ContigLayout(feature_set_of(grid), 16)
    values = values_of(layout.feature_set, 16, 0)

    def write(run: str) -> Commit:
        origin = replace(ORIGIN, run=run)
        return write_shard(objects, layout, values, contig="c", phase=0, shard=0, origin=origin)

    with ThreadPoolExecutor(8) as pool:
        commits = {commit.run for commit in pool.map(write, "abcdefgh")}
    assert len(commits) == 1


# 4. Two builders on one store at once.


def test_two_builders_at_once_share_the_work_or_agree(
    notes: Path, genome: Path, reference: Path, tmp_path: Path
) -> None:
    for number in range(2):
        (notes / "notes").unlink(missing_ok=True)
        store = tmp_path / f"s{number}"
        one, other = run_two(notes, build_arguments(store, genome, "--workers", 1))
        for ended in (one, other):
            assert ended.status == 0, ended.err
            assert ended.report()["was_there"] + ended.report()["built"] == N_SHARDS
        assert one.report()["built"] + other.report()["built"] >= N_SHARDS
        judge_complete(notes, store, reference)


def run_two(notes: Path, arguments: tuple[object, ...], *, salted: bool = False) -> tuple[Ended, Ended]:
    """Run a command twice at once: both begin to compute at the same moment."""
    Orders(hold=True, salted=salted).give(notes)
    with started(notes, *arguments) as one, started(notes, *arguments) as other:
        until(lambda: sum(event["did"] == "hold" for event in Notes(notes).events) == 2)
        Orders(pause=PAUSE, salted=salted).give(notes)
        return one.wait(), other.wait()


def test_builders_that_disagree_are_told_and_overwrite_nothing(notes: Path, genome: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    ended = run_two(notes, build_arguments(store, genome, "--workers", 1, "--contigs", "short,chr2"), salted=True)
    assert max(end.status for end in ended) == 1
    reasons = [reason for end in ended for reason in end.report()["failed"].values()]
    assert reasons
    assert all("CommitConflict" in reason and "the extractor is not deterministic" in reason for reason in reasons)
    assert verify(featurestore.open(store), crc=True).is_sound
    committed = Notes(notes).commits()
    assert set(committed) == set(records_of(store))


@pytest.mark.parametrize("request_", ["delete features/", "put features/", "create commits/"])
def test_a_writer_that_disagrees_cannot_replace_what_another_commits_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: str
) -> None:
    """The other has written its shard, which looks like a leftover, and commits it just before that request."""
    store = create(tmp_path / "s", assembly_of(random_sequences({"c": 16})))
    feature_set = store.declare(feature_set_of(Grid(bin_size=4)), ["c"])
    layout = ContigLayout(feature_set, 16)
    ours, theirs = connect(tmp_path / "s"), connect(tmp_path / "s")

    def write(objects: Objects, seed: int) -> None:
        values = values_of(feature_set, 16, 0, seed=seed)
        write_shard(objects, layout, values, contig="c", phase=0, shard=0, origin=ORIGIN)

    their_values = values_of(feature_set, 16, 0, seed=1)
    theirs.put(shard_key("demo", "c", 0, 0), encode_shard(their_values, layout, where="theirs"))
    verb, folder = request_.split()
    do = getattr(ours, verb)

    def late(key: str, *data: bytes) -> object:
        if key.startswith(folder):
            monkeypatch.undo()
            write(theirs, 1)
        return do(key, *data)

    monkeypatch.setattr(ours, verb, late)
    with pytest.raises(CommitConflict, match="build with one kind of device"):
        write(ours, 2)
    found = verify(store, crc=True)
    assert found.is_sound, found.faults
    np.testing.assert_array_equal(store["demo"].window("c", 8, n_bins=4).values, their_values)


# 6. Disk full, read-only store, clock skew, a FASTA that changes: a clear stop; nothing committed is wrong.


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a file system of its own in memory; gives the means to mount it again with other options."""
    folder.mkdir()

    def mount(options: str) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True, text=True
        )

    try:
        mount(f"size={size}")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk to be had: mount needs root ({getattr(error, 'stderr', error)})")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_build_and_room_lets_it_go_on(
    notes: Path, genome: Path, reference: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "300k") as mount_again:
        store = tmp_path / "disk" / "s"
        full = run_build(notes, store, genome, "--workers", 1)
        assert full.status == 2
        assert "No space left on device" in full.err
        assert "the same command goes on from there" in full.err
        assert 0 < judge(notes, store, reference) < N_RECORDS
        mount_again("size=16m")
        assert run_build(notes, store, genome, "--workers", 1).status == 0
        judge_complete(notes, store, reference)


@pytest.mark.slow
def test_a_store_that_becomes_read_only_stops_the_build(
    notes: Path, genome: Path, reference: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "16m") as mount_again:
        store = tmp_path / "disk" / "s"
        Orders(pause=5 * PAUSE).give(notes)
        with started(notes, *build_arguments(store, genome, "--workers", 1)) as command:
            until(lambda: len(Notes(notes).commits()) > 4)
            mount_again("ro")
            ended = command.wait()
        assert ended.status == 2
        assert "Read-only file system" in ended.err
        assert "the same command goes on from there" in ended.err
        assert 0 < judge(notes, store, reference) < N_RECORDS
        again = run_build(notes, store, genome, "--workers", 1)
        assert again.status == 2
        assert "Read-only file system" in again.err
        mount_again("rw")
        assert run_build(notes, store, genome, "--workers", 1).status == 0
        judge_complete(notes, store, reference)


YEARS = 365.25 * 24 * 3600


@pytest.mark.slow
def test_clocks_that_are_years_off_change_nothing(notes: Path, genome: Path, reference: Path, tmp_path: Path) -> None:
    later = shutil.copy(genome, tmp_path / "later.fa")
    os.utime(later, (4e9, 4e9))
    store = tmp_path / "s"
    for ahead, contigs in ((20 * YEARS, "chr2"), (-20 * YEARS, "chr1,chr2,short")):
        Orders(clock=ahead).give(notes)
        assert run_build(notes, store, Path(later), "--workers", 1, "--contigs", contigs).status == 0
    judge_complete(notes, store, reference)
    years = {record.finished.year for record in featurestore.open(store).commits("length").records()}
    assert max(years) - min(years) in (39, 40, 41)
    with started(notes, "status", store, "--json") as command:
        assert command.wait().status == 0
    with started(notes, "plan", *build_arguments(store, genome)[1:]) as command:
        ended = command.wait()
    assert ended.status == 0
    assert ended.report()["shards_todo"] == 0


def move_over(path: Path, other: bytes) -> None:
    """Put another file in its place, as `mv` does."""
    path.with_suffix(".new").write_bytes(other)
    path.with_suffix(".new").replace(path)


def rewrite(path: Path, other: bytes) -> None:
    """Write over it, to the same size."""
    with path.open("r+b") as file:
        file.write(other)


def truncate(path: Path, other: bytes) -> None:
    """Write it anew, as `>` does, so that it is short for a while."""
    path.write_bytes(other[: len(other) // 2])


def append(path: Path, other: bytes) -> None:
    """Add a contig."""
    with path.open("ab") as file:
        file.write(b">more\nACGT\n")


def remove(path: Path, other: bytes) -> None:
    """Take it away."""
    path.unlink()


@pytest.mark.parametrize(
    "change",
    [move_over, *(pytest.param(change, marks=pytest.mark.slow) for change in (rewrite, truncate, append, remove))],
    ids=lambda change: change.__name__,
)
def test_a_fasta_that_changes_under_the_build_stops_it(
    notes: Path, genome: Path, reference: Path, tmp_path: Path, change: Callable[[Path, bytes], None]
) -> None:
    fasta, store = Path(shutil.copy(genome, tmp_path)), tmp_path / "s"
    other = genome.read_bytes().translate(bytes.maketrans(b"ACGT", b"CGTA"))
    Orders(pause=5 * PAUSE).give(notes)
    with started(notes, *build_arguments(store, fasta, "--workers", 1)) as command:
        until(lambda: len(Notes(notes).commits()) > 4)
        change(fasta, other)
        ended = command.wait(timeout_s=30)
    assert ended.status == 2
    assert "SourceChanged" in ended.err
    assert "put that back and start again" in ended.err
    assert 0 < judge(notes, store, reference) < N_RECORDS
    shutil.copy(genome, fasta)
    assert run_build(notes, store, fasta, "--workers", 1).status == 0
    judge_complete(notes, store, reference)


# 7. A poisoned shard is reported and tried again at the end; the rest is built.


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a genome with an X in shard 3 of chr1."""
    return write_genome(tmp_path_factory.mktemp("poisoned"), poisoned={"chr1": 3 * SHARD_BP + 10})


POISONED = "chr1 phase 0 shard 3"


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        pytest.param("refuse", "this sequence holds an X", id="the extractor refuses it"),
        pytest.param("die", "died", id="it kills its worker", marks=pytest.mark.slow),
    ],
)
def test_a_poisoned_shard_is_reported_and_the_rest_is_built(
    notes: Path, poisoned: Path, tmp_path: Path, poison: Poison, reason: str
) -> None:
    store = tmp_path / "s"
    Orders(poison=poison).give(notes)
    ended = run_build(notes, store, poisoned, "--workers", 1)
    assert ended.status == 1, ended.err
    report = ended.report()
    assert report["was_there"] + report["built"] == N_SHARDS - 1
    ((task, why),) = report["failed"].items()
    assert task.startswith(POISONED)
    assert reason in why
    opened = featurestore.open(store)
    assert verify(opened, crc=True).is_sound
    with pytest.raises(NotBuilt):
        opened["length"].window("chr1", 3 * SHARD_BP + 10, n_bins=1)
    assert np.isfinite(opened["length"].window("chr1", 4 * SHARD_BP + 10, n_bins=1).values).all()
    status = status_of(notes, store)
    assert status.status == 1
    failures = status.report()["failures"]
    assert {(item["contig"], item["shard"], item["attempts"]) for item in failures} == {("chr1", 3, 2)}
    assert all(reason in item["reason"] for item in failures)
    with started(notes, "status", store) as command:
        shown = command.wait().out
    assert f"failed 2x: length {POISONED}: " in shown
    assert reason in shown
    # The cause is gone: the same command builds the shard, and nothing speaks of it any more.
    Orders(poison="none").give(notes)
    mended = run_build(notes, store, poisoned, "--workers", 1)
    assert (mended.status, mended.report()["built"]) == (0, 1)
    assert not list(store.glob("failures/**/*.json"))
    assert status_of(notes, store).status == 0
    assert np.isfinite(opened["length"].window("chr1", 3 * SHARD_BP + 10, n_bins=1).values).all()


def status_of(notes: Path, store: Path) -> Ended:
    with started(notes, "status", store, "--json") as command:
        return command.wait()


@pytest.mark.slow
def test_an_extractor_that_kills_every_worker_is_named(notes: Path, genome: Path, tmp_path: Path) -> None:
    Orders(point=COMPUTING, deaths=99).give(notes)
    ended = run_build(notes, tmp_path / "s", genome, "--workers", 1)
    assert ended.status == 2
    assert "Traceback" not in ended.err
    assert "worker" in ended.err
    assert not (tmp_path / "s").exists()
