"""Builds in real processes, and what must be true of a store whatever happened to them.

Belongs here: starting, killing and judging. Does not: what goes wrong inside the processes (`crash_points`).
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil  # type: ignore[import-untyped]  # no stubs are installed; it comes with Dask
import pytest

import featurestore
from featurestore import NotBuilt, verify
from featurestore.format import layout
from featurestore.testing import random_sequences, write_fasta

BIN_SIZE = 16
SHARD_BINS = 256
"""The fewest that sets of few channels allow."""
SHARD_BP = BIN_SIZE * SHARD_BINS
LENGTHS = {"chr1": 16 * SHARD_BP - 5, "chr2": 6 * SHARD_BP, "short": 40}
SETS = ("composition", "length")
N_SHARDS = 16 + 6 + 1
N_RECORDS = N_SHARDS * len(SETS)

PLAIN = "builders.testing:CompositionExtractor.from_options"
CRASHING = "crash_points:Composition.from_options"

_COMMAND = Path(sys.executable).with_name("featurestore")
_OF_ITS_RUN = {"run", "worker", "seconds", "finished"}
"""Fields of a record that differ from build to build."""


class Ended(NamedTuple):
    status: int
    """Exit status; -9 if it was killed."""
    out: str
    err: str

    def report(self) -> dict[str, Any]:
        """Read what `--json` printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Command:
    """A running command, in a process group of its own."""

    def __init__(self, folder: Path, *arguments: object, ahead: tuple[str, ...] = (str(_COMMAND),)) -> None:
        number = len(list(folder.glob("*.out")))
        self._streams = folder / f"{number}.out", folder / f"{number}.err"
        paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        environment = {"CRASH_FOLDER": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with self._streams[0].open("w") as out, self._streams[1].open("w") as err:
            self._process = subprocess.Popen(
                [*ahead, *map(str, arguments)],
                stdout=out,
                stderr=err,
                env=os.environ | environment,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def workers(self) -> list[int]:
        """Find the processes that it started to work for it."""
        try:
            below = psutil.Process(self._process.pid).children(recursive=True)
            return [child.pid for child in below if "multiprocessing.spawn" in " ".join(child.cmdline())]
        except psutil.NoSuchProcess:
            return []

    def has_begun(self) -> bool:
        """Whether its own code runs: it has come to import numpy."""
        try:
            return any("numpy" in mapped.path for mapped in psutil.Process(self._process.pid).memory_maps())
        except psutil.NoSuchProcess:
            return True

    def kill(self) -> None:
        """Kill it alone; its workers are left orphans."""
        self._process.kill()

    def kill_all(self) -> None:
        """Kill it and all that it started, at once."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def interrupt_all(self) -> None:
        """Press Ctrl-C: a terminal sends SIGINT to the whole process group."""
        os.killpg(self._process.pid, signal.SIGINT)

    def wait(self, timeout_s: float = 120.0) -> Ended:
        """Wait for its end."""
        status = self._process.wait(timeout_s)
        return Ended(status, *(stream.read_text() for stream in self._streams))


@contextmanager
def started(folder: Path, *arguments: object, ahead: tuple[str, ...] = (str(_COMMAND),)) -> Iterator[Command]:
    """Start a command; nothing of it is left running afterwards."""
    command = Command(folder, *arguments, ahead=ahead)
    try:
        yield command
    finally:
        command.kill_all()
        command.wait()


def until(condition: Callable[[], object], *, timeout_s: float = 60.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:.0f} s in vain")
        time.sleep(0.01)


class DaskCluster(NamedTuple):
    address: str
    scheduler: Command
    workers: Command
    """A nanny; its worker is the one process that it started."""


@contextmanager
def dask_cluster(folder: Path) -> Iterator[DaskCluster]:
    """Start a scheduler and a worker by Dask's own commands, as a user would on machines of a cluster."""
    python = (sys.executable, "-m")
    found = folder / f"scheduler{time.monotonic_ns()}.json"
    with (
        started(
            folder,
            *("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", found),
            ahead=(*python, "distributed.cli.dask_scheduler"),
        ) as scheduler,
        started(
            folder,
            *("--scheduler-file", found, "--nthreads", 1, "--memory-limit", 0, "--no-dashboard"),
            *("--local-directory", folder / "dask"),
            ahead=(*python, "distributed.cli.dask_worker"),
        ) as workers,
    ):
        until(found.exists)
        until(workers.workers)
        yield DaskCluster(json.loads(found.read_text())["address"], scheduler, workers)


def build_arguments(store: Path, fasta: Path, *more: object, extractor: str = CRASHING) -> tuple[object, ...]:
    """Give the arguments of the one command that all crash tests run again and again."""
    grid = ("--bin-size", BIN_SIZE, "--shard-bins", SHARD_BINS)
    return ("build", store, "--fasta", fasta, "--extractor", extractor, *grid, "--device", "cpu", "--json", *more)


def run_build(folder: Path, store: Path, fasta: Path, *more: object, extractor: str = CRASHING) -> Ended:
    """Run the command to its end."""
    with started(folder, *build_arguments(store, fasta, *more, extractor=extractor)) as command:
        return command.wait()


def write_genome(folder: Path, *, poisoned: Mapping[str, int] | None = None) -> Path:
    """Write the genome of the crash tests.

    Parameters
    ----------
    poisoned
        Bases that are an X, by contig.
    """
    sequences = random_sequences(LENGTHS, seed=4)
    for contig, position in (poisoned or {}).items():
        sequences[contig] = f"{sequences[contig][:position]}X{sequences[contig][position + 1 :]}"
    return write_fasta(folder / "genome.fa", sequences)


def shards_of(store: Path) -> dict[str, bytes]:
    """Read every shard object of a store, by its key; what a death in the midst of a write left has a # in its name."""
    found = (path for path in store.glob("features/*/*/values/c/*/*/*") if "#" not in path.name)
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


def records_of(store: Path) -> dict[str, dict[str, Any]]:
    """Read every commit record by its key, without what differs from build to build."""
    opened = featurestore.open(store)
    return {
        record.key: record.model_dump(exclude=_OF_ITS_RUN)
        for name in opened.feature_sets()
        for record in opened.commits(name).records()
    }


class Notes:
    """What the processes of a folder noted, outside the store: the state that is expected of it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        self.events: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def commits(self) -> dict[str, str]:
        """Give the sha256 of each record that the store acknowledged, by its key; each was acknowledged once."""
        made = [(event["key"], event["sha256"]) for event in self.events if event["did"] == "commit"]
        assert len(made) == len(dict(made)), f"committed twice: {Counter(key for key, _ in made).most_common(3)}"
        return dict(made)

    def executions(self) -> Counter[str]:
        """Count how often each shard was computed to its end."""
        return Counter(event["key"] for event in self.events if event["did"] == "compute")


def judge(folder: Path, store: Path, reference: Path) -> int:
    """Hold a store, as some death left it, to what the notes and an undisturbed build say; count its commits.

    Every commit that was acknowledged is there, and stands for the bytes of the undisturbed build. The store is sound.
    Readers give the values of the undisturbed build, or say that there are none.
    """
    expected = Notes(folder).commits()
    if not (store / "zarr.json").exists():
        assert not expected
        return 0
    records = records_of(store)
    assert set(expected) <= set(records)
    for key, sha256 in expected.items():
        assert hashlib.sha256((store / key).read_bytes()).hexdigest() == sha256
    right, shards = records_of(reference), shards_of(store)
    for key, record in records.items():
        assert record == right[key]
        shard = layout.shard_key(record["feature_set"], record["contig"], record["phase"], record["shard"])
        assert shards[shard] == (reference / shard).read_bytes()
    found = verify(featurestore.open(store), crc=True)
    assert found.is_sound, found.faults
    read_everywhere(store, reference, set(records))
    return len(records)


def read_everywhere(store: Path, reference: Path, committed: set[str]) -> None:
    """Read a few bins of every shard: those of the reference where it is committed, else `NotBuilt`."""
    opened, right = featurestore.open(store), featurestore.open(reference)
    for name in opened.feature_sets():
        reader, model = opened[name], right[name]
        for contig, length in LENGTHS.items():
            for shard, start in enumerate(range(0, length, SHARD_BP)):
                centre = min(start + SHARD_BP // 2, length - 1)
                if layout.commit_key(name, contig, 0, shard) in committed:
                    values = reader.window(contig, centre, n_bins=3).values
                    np.testing.assert_array_equal(values, model.window(contig, centre, n_bins=3).values)
                    assert np.isfinite(values).all()
                else:
                    with pytest.raises(NotBuilt):
                        reader.window(contig, centre, n_bins=3)


def judge_complete(folder: Path, store: Path, reference: Path) -> None:
    """Hold a finished store to an undisturbed build: byte for byte, a record a shard, each committed once."""
    assert judge(folder, store, reference) == N_RECORDS
    assert shards_of(store) == shards_of(reference)
    assert records_of(store) == records_of(reference)
    executions = Notes(folder).executions()
    assert set(executions) == set(shards_of(reference))
