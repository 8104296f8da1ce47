"""Windows from an S3 server that is 20 ms away."""

import multiprocessing
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import zarr
from zarr.storage import FsspecStore

import featurestore
from benchmarks.read_local import bare_tensorstore, centres_of, open_tensorstore, ours, zarr_slices
from benchmarks.read_store import CONTIG, SET, Made
from benchmarks.read_timing import BATCH, N_BINS, Read, Row, Way, check_equal, in_turns, rates
from featurestore.format import layout
from featurestore.testing.fault_proxy import FaultProxy
from loaders.residence.open import open_reader

LATENCY_S = 0.02
VALUES = layout.values_path(SET, CONTIG)


class FarServer:
    """A proxy that holds back every request for a while, in a process of its own: not under our interpreter's lock."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self.url: str = pipe.recv()

    def requests(self) -> int:
        """Count the requests so far."""
        self._pipe.send(None)
        return int(self._pipe.recv())

    def count(self, read: Read, first: Any) -> float:
        """Give the requests a window that one batch takes."""
        before = self.requests()
        read(first)
        return (self.requests() - before) / len(first)


@contextmanager
def far(endpoint: str) -> Iterator[FarServer]:
    """Start a proxy before a server, and stop it at the end."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(endpoint, there), daemon=True)
    process.start()
    there.close()
    try:
        yield FarServer(here)
    finally:
        here.close()
        process.join()


def _serve(endpoint: str, pipe: Connection) -> None:
    with FaultProxy(endpoint, latency_s=LATENCY_S) as proxy:
        pipe.send(proxy.url)
        try:
            while True:
                pipe.recv()
                pipe.send(proxy.traffic.requests.total())
        except EOFError:
            return


@contextmanager
def in_bucket(made: Made, endpoint: str) -> Iterator[str]:
    """Put a store into a new bucket, give its URL, and remove it at the end."""
    files = fsspec.filesystem("s3", endpoint_url=endpoint)
    bucket = f"featurestore-{uuid.uuid4().hex[:12]}"
    files.mkdir(bucket)
    try:
        files.put(f"{made.path}/", f"{bucket}/store/", recursive=True)
        yield f"s3://{bucket}/store"
    finally:
        files.rm(bucket, recursive=True)


def s3(made: Made, rounds: int, endpoint: str) -> list[Row]:
    """Stream windows, then keep them; through a proxy that adds 20 ms to every request."""
    with in_bucket(made, endpoint) as url, far(endpoint) as server:
        return [*_streamed(made, url, server, rounds), *_kept(made, url, server, rounds)]


def _streamed(made: Made, url: str, server: FarServer, rounds: int) -> list[Row]:
    options = {"endpoint_url": server.url}
    bucket, _, path = url.removeprefix("s3://").partition("/")
    kvstore = {
        "driver": "s3",
        "bucket": bucket,
        "path": f"{path}/{VALUES}/",
        "endpoint": server.url,
        "aws_region": os.environ.get("AWS_REGION", "us-east-1"),
        "aws_credentials": {"type": "environment"},
    }
    through_s3fs = FsspecStore.from_url(f"{url}/{VALUES}", storage_options=options, read_only=True)
    ways = [
        Way("ours", ours(featurestore.open(url, storage_options=options)[SET]), 4),
        Way("bare tensorstore", bare_tensorstore(open_tensorstore(kvstore)), 4),
        Way("zarr + s3fs", zarr_slices(zarr.open_array(through_s3fs, mode="r")), 1),
    ]
    times = in_turns(ways, made.n_bins, rounds)
    batch = np.random.default_rng(3).integers(0, made.n_bins - N_BINS, size=BATCH)
    counts = {way.name: server.count(way.read, batch) for way in ways}
    return [
        Row("S3, 20 ms / zarr + s3fs per window", times.ratio("zarr + s3fs", "ours"), "x", 10),
        Row("S3, 20 ms / bare tensorstore batches", times.ratio("bare tensorstore", "ours"), "x", 0.9),
        rates(times, "S3, 20 ms", {"requests_per_window": counts}),
    ]


def _kept(made: Made, url: str, server: FarServer, rounds: int) -> list[Row]:
    """Read the same windows twice with the residence `cache`; passes of a batch, and of 16."""
    rng = np.random.default_rng(4)
    rows = []
    for batches in (1, 16):
        first_s, again_s, asked_again = [], [], 0
        for _ in range(max(3, rounds // 3)):
            windows = rng.integers(0, made.n_bins - N_BINS, size=(batches, BATCH))
            with tempfile.TemporaryDirectory() as folder:
                reader = open_reader(
                    url, SET, residence="cache", cache_dir=Path(folder), storage_options={"endpoint_url": server.url}
                )
                reader.window(CONTIG, int(centres_of(windows[0])[0]), n_bins=1)  # opens the store: not part of a pass
                read = ours(reader)
                first_s.append(_seconds(read, windows))
                before = server.requests()
                again_s.append(_seconds(read, windows))
                asked_again += server.requests() - before
                check_equal(
                    [Way("kept", read, 1), Way("local", ours(featurestore.open(made.path)[SET]), 1)], windows[0]
                )
        ratio = statistics.median(first / again for first, again in zip(first_s, again_s, strict=True))
        details = {
            "first_s": statistics.median(first_s),
            "again_s": statistics.median(again_s),
            "requests_again": asked_again,
        }
        name = f"S3, 20 ms: kept windows again / first pass, {batches * BATCH:,} windows"
        rows.append(Row(name, ratio, "x", 20, details=details))
    return rows


def _seconds(read: Read, windows: Any) -> float:
    started = time.perf_counter()
    for first in windows:
        read(first)
    return time.perf_counter() - started
