"""Shards are handed out a few at a time, to whichever workers there are, here or at a scheduler that runs already."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client

import featurestore
from builders.execution.cluster import SchedulerLost, outcomes, resources_of, running_cluster
from builders.execution.local_workers import local_cluster
from builders.execution.worker import BuildPlugin, pad_rows_on_worker
from builders.extractors.base import ExtractorOptions
from builders.run import build
from featurestore import verify
from featurestore.testing import random_sequences, write_fasta

COMPOSITION = "builders.testing:CompositionExtractor.from_options"
OPTIONS = ExtractorOptions(bin_size=16, device="cpu")


@contextmanager
def processes(n_workers: int = 1, *arguments: str) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """Start a scheduler and workers as a user would; give the address and the processes, the scheduler's first."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show"], **quiet
        )
    ]
    worker = [*dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--memory-limit", "0", *arguments]
    started += [subprocess.Popen([*worker, "--name", f"w{number}"], **quiet) for number in range(n_workers)]
    try:
        with Client(address, timeout=60) as client:
            client.wait_for_workers(n_workers, timeout=60)
        yield address, started
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", random_sequences({"chr1": 40_000, "chr2": 3000}))


def shard_bytes(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("c/*/*/0")}


def test_a_running_cluster_builds_what_this_machine_would(fasta: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"fasta": fasta, "extractor": COMPOSITION, "options": OPTIONS, "shard_bins": 256}
    assert build(str(tmp_path / "here"), workers=1, **settings).is_complete
    with processes(2) as (address, _):
        report = build(str(tmp_path / "there"), scheduler=address, **settings)
        assert report.is_complete
        assert 0 < report.busy_share <= 1
        with Client(address) as client:  # it is left as it was: no extractor stays in the memory of a worker
            plugins = client.run(lambda dask_worker: [name for name in dask_worker.plugins if "featurestore" in name])
            assert list(plugins.values()) == [[], []]
        # Both had a share of the work, and the records say which.
        workers = {item.worker for item in featurestore.status_of(featurestore.open(tmp_path / "there")).work}
        assert workers == {f"{socket.gethostname()}/w0", f"{socket.gethostname()}/w1"}
    assert shard_bytes(tmp_path / "there") == shard_bytes(tmp_path / "here")
    assert verify(featurestore.open(tmp_path / "there"), crc=True).is_sound


@pytest.mark.slow
def test_shards_go_to_workers_with_a_gpu_where_there_are_some_and_overlap_on_it() -> None:
    def where(number: int) -> str:
        from distributed import get_worker

        return str(get_worker().name)

    with processes(1, "--resources", "GPU=1") as (address, _), running_cluster(address) as client:
        plain = [sys.executable, "-m", "dask", "worker", address, "--nthreads", "1", "--no-dashboard", "--name", "cpu"]
        other = subprocess.Popen(plain, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            client.wait_for_workers(2, timeout=60)
            # Three shards of a worker are alive at once: one is read, one computed, one written.
            assert 0 < 3 * resources_of(client)["GPU"] <= 1
            found = {result for _, result in outcomes(client, where, range(40), on_gpu=True)}
            everywhere = {result for _, result in outcomes(client, where, range(400))}
        finally:
            other.kill()
            other.wait()
        assert found == {"w0"}
        assert everywhere == {"w0", "cpu"}


def test_few_tasks_are_held_however_many_there_are() -> None:
    drawn = count()

    def numbers() -> Iterator[int]:
        for _ in range(100_000):
            yield next(drawn)

    with local_cluster(1, one_core_each=True, device="cpu") as client:
        ended = outcomes(client, str, numbers())
        first = [result for _, result in islice(ended, 50)]
        ended.close()
        assert sorted(first, key=int)[:5] == ["0", "1", "2", "3", "4"]
        assert next(drawn) <= 50 + 16
        # Taken back: nothing of it is left with the scheduler.
        for _ in range(100):
            if not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
                break
            time.sleep(0.1)
        assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0


def test_an_error_comes_as_an_outcome_and_the_others_go_on() -> None:
    def half(number: int) -> int:
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number // 2

    with local_cluster(1, one_core_each=True, device="cpu") as client:
        found = dict(outcomes(client, half, range(10)))
    assert {number: result for number, result in found.items() if number % 2 == 0} == {0: 0, 2: 1, 4: 2, 6: 3, 8: 4}
    assert [str(found[number]) for number in (1, 9)] == ["1 is odd", "9 is odd"]


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_or_goes_away_is_named_and_committed_work_stays(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builders.execution.cluster._TIMEOUT_S", 2.0)
    with (
        pytest.raises(SchedulerLost, match="start one with `dask scheduler`"),
        running_cluster("tcp://127.0.0.1:9"),
    ):
        pass
    (tmp_path / "slow_composition.py").write_text(
        "import time\n"
        "from builders.testing import CompositionExtractor\n"
        "class Slow(CompositionExtractor):\n"
        "    def __call__(self, sequence):\n"
        "        time.sleep(0.01)\n"
        "        return super().__call__(sequence)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings: dict[str, Any] = {
        "fasta": fasta,
        "extractor": "slow_composition:Slow.from_options",
        "options": OPTIONS,
        "shard_bins": 256,
    }
    store = tmp_path / "s"
    with processes(1) as (address, started):

        def kill_the_scheduler(done: int, whole: int) -> None:
            if done >= 512:
                os.kill(started[0].pid, signal.SIGKILL)

        with pytest.raises(SchedulerLost, match="what was committed stays"):
            build(str(store), scheduler=address, progress=kill_the_scheduler, **settings)
    there = shard_bytes(store)
    again = build(str(store), workers=1, **settings)
    assert again.is_complete
    assert again.was_there >= 2
    assert {key: data for key, data in shard_bytes(store).items() if key in there} == there
    with pytest.raises(ValueError, match="`workers=` or `scheduler=`, not both"):
        build(str(store), workers=1, scheduler="tcp://127.0.0.1:9", **settings)


@pytest.mark.slow
def test_a_worker_with_another_extractor_computes_nothing_not_even_the_pad_rows(fasta: Path, tmp_path: Path) -> None:
    factory = (
        "from builders.testing import CompositionExtractor\n"
        "class Versioned(CompositionExtractor):\n"
        "    def __init__(self, bin_size, precision='fp32'):\n"
        "        super().__init__(bin_size)\n"
        "        self.fingerprint = {version!r}\n"
    )
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "versioned.py").write_text(factory.format(version=version))
    build_it = (
        "import sys; from builders.run import build; from builders.extractors.base import ExtractorOptions\n"
        "build(sys.argv[1], fasta=sys.argv[2], extractor='versioned:Versioned.from_options', shard_bins=256, "
        "options=ExtractorOptions(bin_size=16, device='cpu'), scheduler=sys.argv[3])"
    )

    def client(address: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "new")}
        command = [sys.executable, "-c", build_it, str(tmp_path / "s"), str(fasta), address]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "old"))
        with processes(1) as (address, _):
            refused = client(address)
    assert "give every worker the same files and the same version" in refused.stderr
    assert not (tmp_path / "s").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "new"))
        with processes(1) as (address, _):
            assert client(address).returncode == 0
    assert verify(featurestore.open(tmp_path / "s"), crc=True).is_sound


def test_a_source_that_a_later_worker_cannot_make_is_what_its_tasks_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(device: str) -> None:
        raise RuntimeError(f"no memory is left on {device}")

    source = SimpleNamespace(make=make, options=SimpleNamespace(device="cuda:1"))
    plugin = BuildPlugin(SimpleNamespace(run="r", source=source), spread=False)  # type: ignore[arg-type]
    worker = SimpleNamespace(name="1", plugins={plugin.name: plugin})
    with pytest.raises(RuntimeError):
        plugin.setup(worker)  # of a worker that joins later, Dask drops this error
    monkeypatch.setattr("builders.execution.worker.get_worker", lambda: worker)
    with pytest.raises(RuntimeError, match="no memory is left on cuda:1"):
        pad_rows_on_worker("r")
