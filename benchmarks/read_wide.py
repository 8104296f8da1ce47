"""Windows of 21,907 channels, against reading the same bytes and doing nothing with them.

Before every read from the local disk the kernel is told to drop the files from its page cache. The disk of a virtual
machine may still be cached by its host; the raw reads then gain by that as well.
"""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import obstore
from numcodecs.zstd import Zstd  # type: ignore[import-untyped]  # numcodecs has no stubs
from numpy.typing import NDArray
from obstore.store import S3Store

import featurestore
from benchmarks.read_local import ours
from benchmarks.read_remote import in_bucket
from benchmarks.read_store import CONTIG, SET, Made, drop_from_page_cache
from benchmarks.read_timing import N_BINS, Read, Row, Times
from featurestore.format import layout

MOST_WINDOWS = 16
"""Of a batch; 64 windows would be 700 MB."""
_THREADS = 8
ZSTD = Zstd()


class ByteRange(NamedTuple):
    """Inner chunks of one shard object that lie one after the other."""

    shard: int
    begin: int
    end: int
    chunks: tuple[int, ...]
    """Size of each chunk (bytes)."""


def ranges_of(made: Made, first: NDArray[np.int64]) -> list[ByteRange]:
    """Work out which bytes some windows need: whole inner chunks, each once, neighbours together."""
    size, chunk = made.feature_set.shard_bins, made.feature_set.chunk_bins
    chunks = {number for row in first.tolist() for number in range(row // chunk, (row + N_BINS - 1) // chunk + 1)}
    indexes = [_shard_index(path, size // chunk) for path in made.shard_paths()]
    found: list[ByteRange] = []
    for number in sorted(chunks):
        shard, inside = divmod(number * chunk, size)
        begin, length = indexes[shard][inside // chunk].tolist()
        if found and found[-1].shard == shard and found[-1].end == begin:
            _, begin, _, before = found.pop()
            found.append(ByteRange(shard, begin, begin + sum(before) + length, (*before, length)))
        else:
            found.append(ByteRange(shard, begin, begin + length, (length,)))
    return found


Fetch = Callable[[ByteRange], bytes]


def _shard_index(path: Path, n_chunks: int) -> NDArray[np.uint64]:
    """Read offset and size of every inner chunk: the end of a shard, before a checksum of 4 bytes."""
    with path.open("rb") as file:
        file.seek(-(16 * n_chunks + 4), os.SEEK_END)
        return np.frombuffer(file.read(16 * n_chunks), dtype="<u8").reshape(n_chunks, 2)


def from_files(paths: list[Path]) -> Fetch:
    """Read ranges of files."""

    def fetch(one: ByteRange) -> bytes:
        with paths[one.shard].open("rb", buffering=0) as file:
            return os.pread(file.fileno(), one.end - one.begin, one.begin)

    return fetch


def from_wire(url: str, endpoint: str) -> Fetch:
    """Read ranges of objects."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    store = S3Store(
        bucket,
        prefix=prefix,
        endpoint=endpoint,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )

    def fetch(one: ByteRange) -> bytes:
        key = layout.shard_key(SET, CONTIG, 0, one.shard)
        return bytes(obstore.get_range(store, key, start=one.begin, end=one.end))

    return fetch


def decoded(fetch: Fetch) -> Fetch:
    """Check and decompress every chunk of a range after reading it, and do nothing with the values."""

    def fetch_and_decode(one: ByteRange) -> bytes:
        data = fetch(one)
        begin = 0
        for length in one.chunks:
            stored, checksum = data[begin : begin + length - 4], data[begin + length - 4 : begin + length]
            assert google_crc32c.value(stored) == int.from_bytes(checksum, "little")
            ZSTD.decode(stored)
            begin += length
        return data

    return fetch_and_decode


def wide(made: Made, rounds: int, endpoint: str | None) -> list[Row]:
    """Compare with the local disk, without and with the page cache, and with the wire if a server is there."""
    paths = made.shard_paths()
    reader = featurestore.open(made.path)[SET]

    def drop() -> None:
        drop_from_page_cache(paths)

    rows = _share(made, rounds, "local disk, page cache dropped", ours(reader), from_files(paths), before=drop)
    for path in paths:
        path.read_bytes()
    rows += _share(made, rounds, "page cache", ours(reader), from_files(paths), target=None)
    if endpoint is not None:
        with in_bucket(made, endpoint) as url:
            far = ours(featurestore.open(url, storage_options={"endpoint_url": endpoint})[SET])
            rows += _share(made, rounds, "S3, no latency", far, from_wire(url, endpoint))
    return rows


def _share(
    made: Made,
    rounds: int,
    where: str,
    read: Read,
    fetch: Fetch,
    *,
    before: Callable[[], None] = lambda: None,
    target: float | None = 0.7,
) -> list[Row]:
    """Read some windows, the bytes that they need, and these with their codecs, in turns, the order changing."""
    rng = np.random.default_rng(5)
    size = 0
    windows = min(MOST_WINDOWS, made.n_bins // 1000)  # few enough that they seldom overlap: ours would gain by it
    times: dict[str, list[float]] = {"ours": [], "raw": [], "raw + codecs": []}
    read(np.zeros(1, dtype=np.int64))
    with ThreadPoolExecutor(_THREADS) as pool:
        for number in range(rounds):
            first = rng.integers(0, made.n_bins - N_BINS + 1, size=windows)
            ranges = ranges_of(made, first)
            size += sum(one.end - one.begin for one in ranges)
            turns: list[Callable[[], Any]] = [
                partial(read, first),
                partial(_fetched, pool, fetch, ranges),
                partial(_fetched, pool, decoded(fetch), ranges),
            ]
            for way in range(number, number + len(turns)):
                before()
                started = time.perf_counter()
                turns[way % len(turns)]()
                list(times.values())[way % len(turns)].append(time.perf_counter() - started)
    found = Times(times)
    rate = {name: size / rounds / statistics.median(seconds) / 1e6 for name, seconds in times.items()}
    details = {"mb_per_second": rate, "windows": windows, "mb": size / rounds / 1e6}
    return [
        Row(f"wide set / raw bandwidth, {where}", found.ratio("raw", "ours"), "x", target, details=details),
        Row(f"    the bytes with crc32c and zstd alone / raw, {where}", found.ratio("raw", "raw + codecs"), "x"),
    ]


def _fetched(pool: ThreadPoolExecutor, fetch: Fetch, ranges: list[ByteRange]) -> list[bytes]:
    return list(pool.map(fetch, ranges))
