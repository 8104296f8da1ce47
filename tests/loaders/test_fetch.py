"""Where rows live: the same rows from memory, a mirror on the local disk and the store, each within its budget."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import featurestore
from catalog import Grid
from featurestore import FingerprintMismatch, NotBuilt, RowRequest, RowSource, Windows, ZarrRows
from featurestore.cli.main import main
from featurestore.objects.disk_cache import DiskCache
from featurestore.testing import built_store, grids
from loaders.bench import measure_reading, random_places
from loaders.residence.memory import HeldRows, MemoryBudgetExceeded
from loaders.residence.open import RESIDENCES, CountingReader, open_reader
from loaders.stats import Stats

LENGTHS = {"chr1": 1000, "chr2": 300}
GRID = Grid(bin_size=16, offsets=(0, 8))
NAME = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("fetch") / "tiny.store"
    built_store(path, LENGTHS, GRID)
    return str(path)


def some_windows(reader: featurestore.FeatureReader, *, n_bins: int = 9, seed: int = 0) -> Windows:
    rng = np.random.default_rng(seed)
    contigs = [str(contig) for contig in rng.choice(list(LENGTHS), size=20)]
    return reader.windows(contigs, rng.integers(0, 300, size=20), n_bins)


def through_zarr(url: str | Path) -> featurestore.FeatureReader:
    store = featurestore.open(url)
    return store["demo"].with_source(ZarrRows(store.objects.zarr(read_only=True), "demo"))


def assert_right(reader: featurestore.FeatureReader, url: str | Path, *, seed: int = 0) -> None:
    np.testing.assert_array_equal(
        some_windows(reader, seed=seed).values, some_windows(through_zarr(url), seed=seed).values
    )


def block_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.block*"))


@given(grids(max_bin_size=20), st.integers(1, 400), st.integers(1, 40), st.data())
@settings(max_examples=25, deadline=None)
def test_every_residence_gives_the_rows_that_zarr_gives(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, length: int, n_bins: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("any")
    chunk_bins = data.draw(st.integers(1, 3))
    shard_bins = chunk_bins * data.draw(st.integers(1, 3))
    built_store(folder / "s", {"a": length, "b": 9}, grid, chunk_bins=chunk_bins, shard_bins=shard_bins)
    drawn = data.draw(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 0.999)), min_size=1, max_size=8))
    contigs = [contig for contig, _ in drawn]
    centres = [int(share * {"a": length, "b": 9}[contig]) for contig, share in drawn]
    expected = through_zarr(folder / "s").windows(contigs, centres, n_bins)
    cache_bytes, stream_bytes = data.draw(st.integers(200, 5_000)), data.draw(st.integers(0, 5_000))
    for residence in RESIDENCES:
        reader = open_reader(
            folder / "s",
            "demo",
            residence=residence,
            cache_dir=folder / "mirror",
            cache_bytes=cache_bytes,
            stream_bytes=stream_bytes,
        )
        for _ in range(2):  # the second time from what was kept
            found = reader.windows(contigs, centres, n_bins)
            np.testing.assert_array_equal(found.values, expected.values)
    assert block_bytes(folder / "mirror") <= cache_bytes


def test_a_residence_that_does_not_exist_is_named_with_those_that_do(url: str) -> None:
    with pytest.raises(ValueError, match="memory, device, cache, stream; got 'disk'"):
        open_reader(url, "demo", residence="disk")


# memory


class Counting:
    """Rows of another source, and what it was asked for."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self.requests: list[RowRequest] = []

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[NDArray[np.float16]]) -> None:
        self.requests += requests
        time.sleep(0.02)  # long enough for other threads to come in between
        self._source.read_into(requests, outputs)


def test_threads_that_ask_at_once_read_each_contig_once(url: str) -> None:
    reader = featurestore.open(url)["demo"]
    counting = Counting(reader.source)
    held = reader.with_source(HeldRows(reader.with_source(counting), 1 << 20))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: some_windows(held).values, range(16)))
    assert len(counting.requests) == len(set(counting.requests)) <= len(LENGTHS) * len(GRID.offsets)
    for values in found:
        np.testing.assert_array_equal(values, some_windows(through_zarr(url)).values)


def test_what_does_not_fit_in_memory_is_refused_before_it_is_read(url: str) -> None:
    reader = featurestore.open(url)["demo"]
    counting = Counting(reader.source)
    counted = reader.with_source(counting)
    needed = 2 * 3 * (reader.n_rows("chr1", 0) + reader.n_rows("chr2", 0))
    places = (["chr1", "chr2"], [8, 8])  # nearest to the middle of a bin of the first phase
    with pytest.raises(MemoryBudgetExceeded, match=rf"at least memory_bytes={needed}.*'cache'.*'stream'"):
        reader.with_source(HeldRows(counted, needed - 1)).windows(*places, 1)
    assert counting.requests == []
    held = HeldRows(counted, needed)
    reader.with_source(held).windows(*places, 1)
    assert held.nbytes == needed


# cache


def mirrored(url: str | Path, folder: Path, *, cache_bytes: int = 1 << 20) -> CountingReader:
    return open_reader(url, "demo", residence="cache", cache_dir=folder, cache_bytes=cache_bytes)


def test_what_is_in_the_mirror_is_not_asked_of_the_store_again(url: str, tmp_path: Path) -> None:
    some_windows(mirrored(url, tmp_path))
    reader = mirrored(url, tmp_path)
    before = reader.stats
    assert_right(reader, url)
    spent = reader.stats.since(before)
    assert spent.cache_misses == 0
    assert spent.cache_hits > 0


def test_stores_with_the_same_bytes_share_blocks(url: str, tmp_path: Path) -> None:
    some_windows(mirrored(url, tmp_path / "mirror"))
    shutil.copytree(url, tmp_path / "copy.store")
    copy = mirrored(tmp_path / "copy.store", tmp_path / "mirror")
    some_windows(copy)
    assert copy.stats.cache_misses == 0


@pytest.mark.parametrize("cache_bytes", [100, 300, 1000])
def test_the_mirror_keeps_to_its_budget_and_the_rows_are_right_whatever_fits(
    url: str, tmp_path: Path, cache_bytes: int
) -> None:
    reader = mirrored(url, tmp_path, cache_bytes=cache_bytes)
    for seed in range(10):
        assert_right(reader, url, seed=seed)
        assert 0 < block_bytes(tmp_path) <= cache_bytes


def test_a_budget_that_holds_no_block_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cache_bytes=30 does not hold one block.*32 bytes.*residence='stream'"):
        mirrored(url, tmp_path, cache_bytes=30)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def take_anothers_bytes(path: Path) -> None:
    other = next(other for other in sorted(path.parent.glob("*.block")) if other != path)
    path.write_bytes(other.read_bytes())


DAMAGE = {
    "one bit flipped": flip_a_bit,
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "the bytes of another block": take_anothers_bytes,
    "removed": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_block_is_read_from_the_store_again(url: str, tmp_path: Path, damage: Any) -> None:
    some_windows(mirrored(url, tmp_path))
    for path in sorted(tmp_path.glob("*.block")):
        damage(path)
    reader = mirrored(url, tmp_path)
    assert_right(reader, url)
    assert reader.stats.cache_misses > 0


def test_a_damaged_count_of_what_is_used_is_counted_anew(url: str, tmp_path: Path) -> None:
    reader = mirrored(url, tmp_path, cache_bytes=500)
    for seed, nonsense in enumerate([b"", b"-1", b"0" * 20, b"9" * 20, b"\xff" * 40]):
        (tmp_path / "used").write_bytes(nonsense)
        reader = mirrored(url, tmp_path, cache_bytes=500)
        assert_right(reader, url, seed=seed)
        assert 0 < block_bytes(tmp_path) <= 500


def test_files_that_are_not_the_mirrors_are_never_touched(url: str, tmp_path: Path) -> None:
    foreign = ["notes.txt", "data.block", f"{NAME}.block", f"{NAME}-1.block.bak", "x.partial", f"sub/{NAME}-1.block"]
    for name in foreign:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"mine" * 1000)
    reader = mirrored(url, tmp_path, cache_bytes=300)
    for seed in range(5):
        assert_right(reader, url, seed=seed)
    assert reader.stats.cache_hits > 0
    for name in foreign:
        assert (tmp_path / name).read_bytes() == b"mine" * 1000


@pytest.mark.parametrize("fingerprint", ["f0", "f1"], ids=["of other bytes", "of another fingerprint"])
def test_a_store_that_was_built_anew_under_the_mirror_gives_its_new_rows(tmp_path: Path, fingerprint: str) -> None:
    built_store(tmp_path / "s", LENGTHS, GRID)
    some_windows(mirrored(tmp_path / "s", tmp_path / "mirror"))
    shutil.rmtree(tmp_path / "s")
    changed = {name: length - 5 for name, length in LENGTHS.items()}  # the values are drawn from the length
    built_store(tmp_path / "s", changed, GRID, fingerprint=fingerprint)
    assert_right(mirrored(tmp_path / "s", tmp_path / "mirror"), tmp_path / "s")


def test_a_reader_that_was_open_while_its_store_was_built_anew_says_so(tmp_path: Path) -> None:
    built_store(tmp_path / "s", LENGTHS, GRID)
    reader = mirrored(tmp_path / "s", tmp_path / "mirror")
    shutil.rmtree(tmp_path / "s")
    built_store(tmp_path / "s", LENGTHS, GRID, fingerprint="f1")
    with pytest.raises(FingerprintMismatch, match=r"built anew since it was opened.*open the store again"):
        some_windows(reader)


def test_a_cache_folder_that_cannot_be_written_is_named_with_what_to_do(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PermissionError, match=r"file/mirror cannot be written.*cache_dir=.*residence='stream'"):
        mirrored(url, tmp_path / "file" / "mirror")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here: that takes root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_on_a_full_disk_rows_are_read_from_the_store_and_it_is_said_once(
    tmp_path: Path, tiny_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lengths = {"chr1": 40_000, "chr2": 300}
    built_store(tmp_path / "s", lengths, Grid(bin_size=16), chunk_bins=64, shard_bins=256, n_channels=8)
    reader = mirrored(tmp_path / "s", tiny_disk, cache_bytes=1 << 20)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            found = reader.windows("chr1", [20_000, 8_000], 2_000)
    np.testing.assert_array_equal(
        found.values, through_zarr(tmp_path / "s").windows("chr1", [20_000, 8_000], 2_000).values
    )
    told = [record.getMessage() for record in caplog.records if "cache folder" in record.getMessage()]
    assert len(told) == 1
    assert "cache_bytes" in told[0]
    assert not list(tiny_disk.glob("*.partial"))


READS = """
import sys
import numpy as np
from loaders.residence.open import open_reader

url, folder, cache_bytes, seed, n_batches = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
reader = open_reader(url, "demo", residence="cache", cache_dir=folder, cache_bytes=cache_bytes)
plain = open_reader(url, "demo", residence="stream")
rng = np.random.default_rng(seed)
print("begun", flush=True)
for _ in range(n_batches):
    centres = rng.integers(0, 300, size=20)
    found = reader.windows("chr1", centres, 9).values
    assert np.array_equal(found, plain.windows("chr1", centres, 9).values)
"""


def test_several_processes_share_one_folder_and_one_budget(url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", READS, url, str(tmp_path), "300"]
    running = [subprocess.Popen([*command, str(seed), "150"], stdout=subprocess.PIPE) for seed in range(3)]
    most = 0
    while any(process.poll() is None for process in running):
        with DiskCache(tmp_path, 0)._locked():
            most = max(most, block_bytes(tmp_path))
        time.sleep(0.002)
    for process in running:
        process.communicate()
    assert [process.returncode for process in running] == [0, 0, 0]
    assert 0 < most <= 300


# stream

STREAMS = """
import sys
from pathlib import Path
import numpy as np
from loaders.residence.open import open_reader

def resident_bytes(name):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) << 10

url, stream_bytes, n_batches = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
for budget, batches in ((0, 5), (stream_bytes, n_batches)):
    reader = open_reader(url, "demo", residence="stream", stream_bytes=budget)
    before = resident_bytes("VmRSS")  # of the second reader: with libraries and threads in place
    for _ in range(batches):
        reader.windows("chr1", rng.integers(0, 750_000, size=64), 251)
print(resident_bytes("VmRSS") - before, resident_bytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
def test_streaming_a_hundred_thousand_windows_stays_within_its_memory(tmp_path: Path) -> None:
    built_store(tmp_path / "s", {"chr1": 750_000}, Grid(bin_size=1), n_channels=40, chunk_bins=256, shard_bins=1 << 16)
    budget = 32 << 20
    command = [sys.executable, "-c", STREAMS, str(tmp_path / "s"), str(budget), "1600"]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    at_the_end, at_the_most = map(int, told.stdout.split())
    assert at_the_end <= 1.1 * budget
    assert at_the_most <= 1.25 * budget  # for a moment, before freed memory is handed back


# What it costs


def test_counters_say_what_was_read_and_from_where(url: str, tmp_path: Path) -> None:
    for residence in RESIDENCES:
        reader = open_reader(url, "demo", residence=residence, cache_dir=tmp_path)
        some_windows(reader)
        first = reader.stats
        assert first.windows == 20
        assert first.requests
        assert first.bytes_read
        assert first.read_s > 0
        some_windows(reader)
        again = reader.stats.since(first)
        assert (again.windows, again.requests, again.bytes_read) == (20, 0, 0)
        assert again.cache_hits > 0
        assert again.cache_misses == 0


counts = st.integers(0, 1 << 40)
stats = st.builds(
    Stats, windows=counts, requests=st.none() | counts, bytes_read=counts, cache_hits=counts, wait_s=st.just(0.5)
)


@given(stats, stats)
def test_the_difference_of_two_looks_is_taken_count_by_count(later: Stats, earlier: Stats) -> None:
    assert later.since(Stats()) == later
    for difference, new, old in zip(astuple(later.since(earlier)), astuple(later), astuple(earlier), strict=True):
        assert difference is None if new is None or old is None else difference + old == new


def test_requests_are_unknown_where_tensorstore_does_not_read(url: str) -> None:
    built_store("memory://fetch.store", LENGTHS, GRID)
    reader = open_reader("memory://fetch.store", "demo", residence="stream")
    assert_right(reader, url)
    assert reader.stats.windows == 20
    assert reader.stats.requests is None
    assert reader.stats.bytes_read is None


def test_random_places_lie_on_what_is_built(tmp_path: Path) -> None:
    store = built_store(tmp_path / "s", LENGTHS, GRID, contigs=["chr1"])
    for commit in list(store.commits("demo").records())[::3]:
        store.objects.delete(commit.key)
    reader = open_reader(tmp_path / "s", "demo", residence="stream")
    contigs, centres = random_places(reader, 300, n_bins=3)
    assert set(contigs) == {"chr1"}
    assert reader.windows(contigs, centres, 3).values.shape == (300, 3, 3)
    with pytest.raises(NotBuilt, match=r"too little of demo .*`n_bins=`"):
        random_places(reader, 300, n_bins=60)
    for commit in list(store.commits("demo").records()):
        store.objects.delete(commit.key)
    with pytest.raises(NotBuilt, match=r"nothing of demo .* is built yet; `featurestore build`"):
        random_places(reader, 300, n_bins=3)


def test_a_consumer_with_work_of_its_own_waits_for_a_smaller_share_of_its_time(url: str) -> None:
    reader = open_reader(url, "demo", residence="memory")
    busy = measure_reading(reader, n_bins=9, batch_size=8, n_batches=20, compute_s=0.02)
    idle = measure_reading(reader, n_bins=9, batch_size=8, n_batches=20)
    assert busy.stats.windows == idle.stats.windows == 160
    assert busy.feature_bytes == 160 * 9 * 3 * 2
    assert busy.stats.stall_share < idle.stats.stall_share


def test_bench_read_prints_what_reading_costs(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "bench-read",
        url,
        "--n-bins",
        "5",
        "--batch-size",
        "4",
        "--batches",
        "3",
        "--cache-dir",
        str(tmp_path),
    ]
    for residence in RESIDENCES:
        assert main([*arguments, "--residence", residence]) == 0
        told = capsys.readouterr().out
        for part in ("12 windows of 5 bins", "windows/s", "MB/s", "requests a window", "cache hits", "stalled"):
            assert part in told
        assert main([*arguments, "--residence", residence, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["stats"]["windows"] == 12
        assert 0 <= report["stall_share"] <= 1


def test_bench_read_asks_which_of_several_feature_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built_store(tmp_path / "s", LENGTHS, GRID)
    built_store(tmp_path / "s", LENGTHS, GRID, name="other")
    assert main(["bench-read", str(tmp_path / "s")]) == 2
    assert "2 feature sets (demo, other); say which: `--feature-set NAME`" in capsys.readouterr().err
