"""A copy is equal to its source, whatever stops it; what is damaged or another's does not get through."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import featurestore
from catalog import AssemblyMismatch, Grid, UnknownContig
from featurestore import Commit, ContigLayout, FingerprintMismatch, NotBuilt, Store, create, verify
from featurestore.cli.main import main
from featurestore.format import layout
from featurestore.format.manifest import CARDS, MANIFEST
from featurestore.format.writer import encode_shard
from featurestore.testing import assembly_of, built_store, feature_set_of, grids, random_sequences, values_of
from featurestore.upkeep.seal import seal
from featurestore.upkeep.transfer import copy

LENGTHS = {"chr1": 1000, "chr2": 77, "tiny": 3}
GRID = Grid(bin_size=16, offsets=(0, 8))


def objects_of(store: Store) -> dict[str, bytes]:
    return {key: store.objects.get(key) for key, _ in store.objects.walk("")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of two feature sets; no test changes it."""
    path = tmp_path_factory.mktemp("source")
    built_store(path, LENGTHS, GRID)
    return built_store(path, LENGTHS, GRID, name="other", contigs=["chr2"], n_channels=5, fingerprint="f1")


@given(grids(max_bin_size=20), st.integers(1, 300), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_a_copy_is_sound_and_has_every_object_of_its_source(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, length: int, chunks: int, workers: int
) -> None:
    path = tmp_path_factory.mktemp("any")
    source = built_store(path / "a", {"c": length, "d*1": 20}, grid, shard_bins=2 * chunks)
    report = copy(source.url, path / "b", workers=workers)
    destination = featurestore.open(path / "b")
    assert objects_of(destination) == objects_of(source)
    found = verify(destination, crc=True)
    assert found.is_sound
    assert (found.missing, found.orphans) == (0, [])
    assert report.is_complete
    assert (report.copied, report.bytes) == (found.shards, found.bytes)


def test_a_second_copy_copies_nothing(source: Store, tmp_path: Path) -> None:
    first, second = copy(source.url, tmp_path), copy(source.url, tmp_path)
    assert (second.copied, second.bytes, second.was_there) == (0, 0, first.copied)
    assert second.is_complete


def test_sets_and_contigs_are_chosen_and_the_rest_can_follow(source: Store, tmp_path: Path) -> None:
    copy(source.url, tmp_path, feature_sets=["demo"], contigs=["2", "tiny"])
    part = featurestore.open(tmp_path)
    assert part.feature_sets() == ["demo"]
    assert part.contigs("demo") == ["chr2", "tiny"]
    np.testing.assert_array_equal(
        part["demo"].window("chr2", 40, n_bins=9).values, source["demo"].window("chr2", 40, n_bins=9).values
    )
    report = copy(source.url, tmp_path)
    assert 0 < report.was_there < report.shards
    assert objects_of(part) == objects_of(source)


def test_what_the_destination_has_of_its_own_stays(source: Store, tmp_path: Path) -> None:
    own = built_store(tmp_path, LENGTHS, Grid(bin_size=10), name="own", fingerprint="f2")
    before = objects_of(own)
    copy(source.url, tmp_path)
    after = objects_of(own)
    assert sorted(own.feature_sets()) == ["demo", "other", "own"]
    assert {key: after[key] for key in before} == before


def test_phases_find_their_place_where_the_destination_has_them_in_another_order(tmp_path: Path) -> None:
    source = built_store(tmp_path / "a", LENGTHS, GRID)
    create(tmp_path / "b", source.assembly).declare(feature_set_of(Grid(bin_size=16, offsets=(4, 8))), ["chr1"])
    assert copy(source.url, tmp_path / "b").is_complete
    destination = featurestore.open(tmp_path / "b")
    assert destination.feature_set("demo").offsets == (4, 8, 0)
    assert verify(destination, crc=True).is_sound
    for offset, phase in ((8, 1), (0, 2)):
        rows = featurestore.read_rows(destination.rows("demo"), [featurestore.RowRequest("chr1", phase, 0, 63)], 3)[0]
        expected = values_of(feature_set_of(GRID), 1000, GRID.offsets.index(offset))
        np.testing.assert_array_equal(rows, expected[:63])
    assert copy(source.url, tmp_path / "b").was_there == verify(source).shards


# Stopped, and finished


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, 5)


def leave(path: Path) -> None:
    assert path.exists()


HARM: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "nothing of it is there": (Path.unlink, Path.unlink),
    "its record is not there": (leave, Path.unlink),
    "its object is not there": (Path.unlink, leave),
    "its object is cut short": (cut, leave),
    "its object is damaged and has no record": (flip, Path.unlink),
    "its record is damaged": (leave, flip),
}
"""What is done to the object and to the record of a shard."""


@given(st.lists(st.sampled_from(sorted(HARM)), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
@pytest.mark.slow
def test_a_copy_mends_whatever_is_missing_or_not_whole(
    source: Store, tmp_path_factory: pytest.TempPathFactory, harms: list[str], chance: random.Random
) -> None:
    path = tmp_path_factory.mktemp("harmed")
    whole = copy(source.url, path)
    records = sorted(key for key in objects_of(source) if key.startswith(layout.COMMITS))
    for harm, record in zip(harms, chance.sample(records, len(harms)), strict=True):
        commit = Commit.model_validate(without_digest(path / record))
        shard = layout.shard_key(commit.feature_set, commit.contig, commit.phase, commit.shard)
        for do, place in zip(HARM[harm], (shard, record), strict=True):
            do(path / place)
    report = copy(source.url, path)
    assert report.is_complete
    assert (report.copied, report.was_there) == (len(harms), whole.copied - len(harms))
    assert objects_of(featurestore.open(path)) == objects_of(source)


def without_digest(path: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads(path.read_bytes())
    del document["digest"]
    return document


def store_of_many_shards(path: Path, n_shards: int) -> Store:
    """Make a store of many equal shards quickly: one is encoded, and written under every number."""
    length = 16 * 4 * n_shards
    store = create(path, assembly_of({"chr1": "ACGT" * (length // 4)}))
    feature_set = store.declare(feature_set_of(Grid(bin_size=16)), ["chr1"])
    planned = ContigLayout(feature_set, length)
    data = encode_shard(np.ones((4, 3)), planned, where="chr1")
    for shard in range(n_shards):
        commit = Commit(
            feature_set="demo",
            contig="chr1",
            phase=0,
            shard=shard,
            first_bin=4 * shard,
            n_bins=4,
            size=len(data),
            crc32c=f"{google_crc32c.value(data):08x}",
            sha256=hashlib.sha256(data).hexdigest(),
            fingerprint="f0",
            run="test",
            device="cpu",
            seconds=0,
            versions={},
        )
        store.objects.put(layout.shard_key("demo", "chr1", 0, shard), data)
        store.commits("demo").add(commit)
    return store


@pytest.fixture(scope="module")
def long_source(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_of_many_shards(tmp_path_factory.mktemp("long"), 2000)


def n_records(path: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(path / layout.COMMITS))


@pytest.mark.slow
def test_a_copy_killed_at_any_moment_leaves_a_sound_store_that_another_copy_finishes(
    long_source: Store, tmp_path: Path
) -> None:
    chance = random.Random(4)
    # Forked from a process that has the modules and has used none of them: no second start of an interpreter each.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["featurestore.upkeep.transfer"])
    stopped_midway = 0
    for _ in range(8):
        before = n_records(tmp_path)
        process = context.Process(target=copy, args=(long_source.url, tmp_path), kwargs={"workers": 4})
        process.start()
        # Some among the metadata, the others after up to 200 further shards.
        wanted, patience = before + chance.randrange(-50, 200), time.monotonic() + 20
        while n_records(tmp_path) < wanted and process.is_alive() and time.monotonic() < patience:
            time.sleep(0.001)
        process.kill()
        process.join()
        stopped_midway += before < n_records(tmp_path) < 2000
        if (tmp_path / "zarr.json").exists():
            assert verify(featurestore.open(tmp_path), crc=True).is_sound
    assert stopped_midway >= 3
    report = copy(long_source.url, tmp_path)
    assert report.is_complete
    assert report.was_there >= stopped_midway
    assert objects_of(featurestore.open(tmp_path)) == objects_of(long_source)


def test_ctrl_c_stops_a_copy_and_the_same_command_goes_on(long_source: Store, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("featurestore")), "copy", long_source.url, str(tmp_path)]
    with subprocess.Popen([*command, "--workers", "1"], stderr=subprocess.PIPE, text=True) as process:
        patience = time.monotonic() + 60
        while n_records(tmp_path) < 5 and time.monotonic() < patience:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert 5 <= n_records(tmp_path) < 2000
    assert verify(featurestore.open(tmp_path), crc=True).is_sound
    assert copy(long_source.url, tmp_path).is_complete


# What does not get through


@pytest.mark.parametrize(
    ("harm_shard", "harm_record"),
    [
        pytest.param(Path.unlink, leave, id="not there"),
        pytest.param(cut, leave, id="cut short"),
        pytest.param(flip, leave, id="one bit flipped"),
        pytest.param(leave, flip, id="one bit of its record flipped"),
    ],
)
def test_a_damaged_shard_is_named_and_left_out_and_the_others_are_copied(
    tmp_path: Path, harm_shard: Callable[[Path], None], harm_record: Callable[[Path], None]
) -> None:
    source = built_store(tmp_path / "a", LENGTHS, GRID)
    shard, record = (tmp_path / "a" / key("demo", "chr1", 1, 2) for key in (layout.shard_key, layout.commit_key))
    kept = shard.read_bytes(), record.read_bytes()
    harm_shard(shard)
    harm_record(record)
    report = copy(source.url, tmp_path / "b")
    (reason,) = report.failed.values()
    assert list(report.failed) == ["demo chr1 phase 1 shard 2"]
    assert source.url in reason
    assert "copy again" in reason
    assert not report.is_complete
    assert report.copied == report.shards - 1
    found = verify(featurestore.open(tmp_path / "b"), crc=True)
    assert found.is_sound
    assert (found.missing, found.orphans) == (1, [])
    shard.write_bytes(kept[0])
    record.write_bytes(kept[1])
    assert copy(source.url, tmp_path / "b").copied == 1
    assert objects_of(featurestore.open(tmp_path / "b")) == objects_of(source)


def test_a_shard_that_the_destination_has_with_other_bytes_stays_and_is_named(source: Store, tmp_path: Path) -> None:
    destination = built_store(tmp_path, LENGTHS, GRID, contigs=["tiny"])
    log, commit = destination.commits("demo"), destination.commits("demo").read("tiny", 0, 0)
    assert commit is not None
    destination.objects.delete(commit.key)
    log.add(commit.model_copy(update={"sha256": "0" * 64, "run": "another"}))
    report = copy(source.url, tmp_path)
    (reason,) = report.failed.values()
    assert "another" in reason
    assert "copy into another store" in reason
    assert report.was_there + report.copied == report.shards - 1
    kept = log.read("tiny", 0, 0)
    assert kept is not None
    assert kept.run == "another"


def test_a_destination_of_another_assembly_is_refused(source: Store, tmp_path: Path) -> None:
    create(tmp_path, assembly_of(random_sequences({"chr1": 1000}, seed=1)))
    with pytest.raises(AssemblyMismatch, match="a store of its own"):
        copy(source.url, tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "mend"),
    [
        pytest.param({"fingerprint": "f9"}, FingerprintMismatch, "into another store", id="other weights"),
        pytest.param({"shard_bins": 8}, ValueError, "copy into another store", id="other shards"),
        pytest.param({"chunk_bins": 4}, ValueError, "copy into another store", id="other chunks"),
    ],
)
def test_a_destination_whose_set_is_another_is_refused_and_stays_as_it_is(
    source: Store, tmp_path: Path, change: dict[str, Any], error: type[Exception], mend: str
) -> None:
    destination = built_store(tmp_path, LENGTHS, GRID, contigs=["tiny"], **change)
    before = objects_of(destination)
    with pytest.raises(error, match=mend):
        copy(source.url, tmp_path)
    assert objects_of(destination) == before


def test_what_the_source_has_not_is_refused_before_anything_is_written(source: Store, tmp_path: Path) -> None:
    target = tmp_path / "b"
    with pytest.raises(NotBuilt, match="it has demo, other"):
        copy(source.url, target, feature_sets=["absent"])
    with pytest.raises(UnknownContig, match="it has chr1, chr2"):
        copy(source.url, target, contigs=["chr9"])
    with pytest.raises(NotBuilt, match="other on chr1; build those contigs first"):
        copy(source.url, target, feature_sets=["other"], contigs=["chr1", "chr2"])
    with pytest.raises(FileNotFoundError, match="no store at"):
        copy(tmp_path / "a", target)
    create(tmp_path / "empty", source.assembly)
    with pytest.raises(NotBuilt, match="build one, then copy"):
        copy(tmp_path / "empty", target)
    with pytest.raises(ValueError, match="at least 1 worker"):
        copy(source.url, target, workers=0)
    assert not target.exists()
    with pytest.raises(ValueError, match="name another place"):
        copy(source.url, source.url)


def test_a_place_that_fails_stops_the_copy_and_what_was_copied_counts(source: Store, tmp_path: Path) -> None:
    copy(source.url, tmp_path, feature_sets=["demo"], contigs=["tiny"])
    blocked = tmp_path / layout.values_path("other", "chr2") / "c"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("no folder can be made here")
    with pytest.raises(OSError, match="what was committed stays"):
        copy(source.url, tmp_path)
    blocked.unlink()
    assert copy(source.url, tmp_path).is_complete
    assert objects_of(featurestore.open(tmp_path)) == objects_of(source)


# Sealed stores


def contents_of(store: Store) -> dict[str, bytes]:
    """Give everything but the manifest and the cards, which hold the time of the sealing."""
    return {key: data for key, data in objects_of(store).items() if key not in (MANIFEST, *CARDS)}


@pytest.fixture(scope="module")
def sealed(source: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A sealed store of two feature sets; no test changes it."""
    path = tmp_path_factory.mktemp("sealed")
    copy(source.url, path)
    store = featurestore.open(path)
    seal(store, partial=True)
    return store


def test_a_copy_of_a_sealed_store_is_sealed_with_the_same_top_hash(sealed: Store, tmp_path: Path) -> None:
    manifest = sealed.manifest()
    assert manifest is not None
    report = copy(sealed.url, tmp_path)
    destination = featurestore.open(tmp_path)
    assert report.top_hash == manifest.top_hash
    assert contents_of(destination) == contents_of(sealed)
    assert verify(destination, crc=True).is_sound
    before = objects_of(destination)
    assert copy(sealed.url, tmp_path).top_hash == manifest.top_hash
    assert objects_of(destination) == before, "a copy with nothing to do leaves the seal alone"


def test_a_copy_of_part_of_a_sealed_store_is_not_sealed_until_the_rest_is_there(sealed: Store, tmp_path: Path) -> None:
    report = copy(sealed.url, tmp_path, contigs=["chr2"])
    destination = featurestore.open(tmp_path)
    assert report.top_hash is None
    assert destination.manifest() is None
    assert verify(destination, crc=True).is_sound
    assert copy(sealed.url, tmp_path).top_hash is not None
    assert contents_of(destination) == contents_of(sealed)


def test_a_sealed_destination_that_gains_something_is_unsealed(source: Store, sealed: Store, tmp_path: Path) -> None:
    copy(sealed.url, tmp_path)
    destination = featurestore.open(tmp_path)
    commit = destination.commits("demo").read("chr1", 0, 1)
    assert commit is not None
    destination.objects.delete(commit.key)
    assert copy(source.url, tmp_path).copied == 1
    assert destination.manifest() is None
    assert objects_of(destination) == objects_of(source)


# Other places


def test_a_copy_through_another_file_system_of_fsspec_comes_back_equal(source: Store, tmp_path: Path) -> None:
    between = f"memory://{uuid.uuid4().hex}"
    copy(source.url, between)
    copy(between, tmp_path)
    assert objects_of(featurestore.open(tmp_path)) == objects_of(source)


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP as any web server does: objects by name, and no listing."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_sealed_store_is_copied_from_a_web_server_which_lists_nothing(sealed: Store, tmp_path: Path) -> None:
    with web_server(Path(sealed.url).parent) as url:
        report = copy(f"{url}/{Path(sealed.url).name}", tmp_path)
    assert report.is_complete
    assert contents_of(featurestore.open(tmp_path)) == contents_of(sealed)


def test_an_unsealed_store_on_a_web_server_is_refused(source: Store, tmp_path: Path) -> None:
    with web_server(Path(source.url)) as url, pytest.raises(OSError, match="`featurestore seal` it where it lies"):
        copy(url, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.fixture
def bucket() -> Iterator[str]:
    if "AWS_ENDPOINT_URL" not in os.environ:
        pytest.skip("no S3 server: AWS_ENDPOINT_URL is not set")
    filesystem = fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    name = f"featurestore-{uuid.uuid4().hex[:12]}"
    filesystem.mkdir(name)
    yield f"s3://{name}"
    filesystem.rm(name, recursive=True)


def test_a_copy_to_s3_and_back_is_equal(source: Store, bucket: str, tmp_path: Path) -> None:
    assert copy(source.url, f"{bucket}/copied").is_complete
    there = featurestore.open(f"{bucket}/copied")
    assert verify(there, crc=True).is_sound
    record = next(key for key, _ in there.objects.walk(layout.COMMITS))
    there.objects.delete(record)
    assert copy(source.url, there.url).copied == 1
    copy(there.url, tmp_path)
    assert objects_of(featurestore.open(tmp_path)) == objects_of(source) == objects_of(there)


# The command


def test_the_command_copies_and_reports(source: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["copy", source.url, str(tmp_path), "--feature-set", "demo", "--contigs", "chr1,chr2", "--workers", "2"]
    assert main(arguments) == 0
    assert "shards at" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["is_complete"]
    assert document["was_there"] == document["shards"]


def test_the_command_exits_1_and_names_what_it_could_not_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built_store(tmp_path / "a", LENGTHS, GRID)
    flip(tmp_path / "a" / layout.shard_key("demo", "chr2", 0, 1))
    assert main(["copy", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    printed = capsys.readouterr()
    assert "failed: demo chr2 phase 0 shard 1: " in printed.err
