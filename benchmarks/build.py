"""Overhead of a build over its extractor, against a plain dask and zarr pipeline, in one run.

    python benchmarks/build.py            # writes benchmarks/results/build.json
    python benchmarks/build.py --quick    # smaller: does it run here at all?

Needs the extra `build`. An extractor that costs nothing leaves the store's side: reading sequence, encoding, checksums,
writing, commit records, and Dask. The plain pipeline writes equal values with `dask.array.to_zarr` in the same shards
with the default codecs: it reads no sequence, and keeps no checksums of its chunks, no hashes and no records.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

from benchmarks.machine import machine, versions  # noqa: E402
from benchmarks.null_extractor import CHANNELS, pool  # noqa: E402
from builders.execution.cluster import outcomes  # noqa: E402
from builders.execution.local_workers import local_cluster  # noqa: E402
from builders.execution.shard import Receipt  # noqa: E402
from builders.execution.tasks import ShardTask  # noqa: E402
from builders.execution.throughput import measure  # noqa: E402
from builders.extractors.base import ExtractorOptions, load_extractor  # noqa: E402
from builders.extractors.source import ExtractorSource  # noqa: E402
from builders.run import build  # noqa: E402
from catalog import Assembly, Fasta  # noqa: E402

GENOME_BINS = 755_000
"""About the bins of 4,096 bp of a human genome."""
SHARD_BINS = 16_384
NULL = "benchmarks.null_extractor:NullExtractor.from_options"


def random_genome(path: Path, length: int) -> Path:
    """Write a random FASTA file of one contig, some lines at a time."""
    rng = np.random.default_rng(0)
    bases = np.frombuffer(b"ACGT", dtype=np.uint8)
    with path.open("wb") as file:
        file.write(b">chr1\n")
        for first in range(0, length, 80 * 100_000):
            rows = bases[rng.integers(0, 4, size=(min(100_000, -(-(length - first) // 80)), 80), dtype=np.uint8)]
            lines = np.concatenate([rows, np.full((len(rows), 1), ord("\n"), dtype=np.uint8)], axis=1).tobytes()
            here = min(length - first, 80 * len(rows))
            file.write(lines[: here + here // 80])
        file.write(b"\n" if length % 80 else b"")
    return path


def store_side(folder: Path, bins: int) -> dict[str, Any]:
    """Bins a second that are read, encoded, checksummed, written and committed by two workers; and the plain way."""
    fasta = random_genome(folder / "genome.fa", bins * 16)
    report = build(
        str(folder / "ours.store"),
        fasta=fasta,
        extractor=NULL,
        options=ExtractorOptions(bin_size=16, device="cpu"),
        workers=2,
        shard_bins=SHARD_BINS,
    )
    assert report.is_complete
    plain_s = plain_pipeline(folder / "plain.zarr", bins)
    return {
        "what": f"store side of a build, {bins:,} bins x {CHANNELS} channels, 2 workers",
        "bins_per_second": report.bins_per_second,
        "target": 200_000,
        "plain_bins_per_second": bins / plain_s,
        "ratio": plain_s / report.work_seconds,
        "bytes": report.bytes,
    }


def plain_pipeline(path: Path, bins: int) -> float:
    """Write equal values as a user of dask and zarr would, on two workers; give seconds once these are up."""
    import dask.array as da

    def block(block_info: Any = None) -> Any:
        begin, end = block_info[None]["array-location"][0]
        return pool()[: end - begin]

    array = da.map_blocks(
        block, chunks=((SHARD_BINS,) * (bins // SHARD_BINS) + (bins % SHARD_BINS,), (CHANNELS,)), dtype=np.float16
    )
    with local_cluster(2, one_core_each=True, device="cpu"):
        da.zeros((4, 4), chunks=2).compute()
        started = time.perf_counter()
        array.to_zarr(str(path), shards=(SHARD_BINS, CHANNELS), chunks=(256, CHANNELS))
        return time.perf_counter() - started


def nothing(task: ShardTask) -> Receipt:
    """Answer as a worker would, without work."""
    return Receipt(task=task, worker="w", extractor_calls=1, bytes=1, busy=0.0)


def tasks_of(count: int) -> Any:
    return (ShardTask("chr1", 0, number, number * SHARD_BINS, (number + 1) * SHARD_BINS) for number in range(count))


def dask_overhead(count: int) -> dict[str, Any]:
    """Seconds a shard that Dask takes by itself, with two workers."""
    with local_cluster(2, one_core_each=True, device="cpu") as client:
        for _ in outcomes(client, nothing, tasks_of(100)):
            pass
        started = time.perf_counter()
        for _ in outcomes(client, nothing, tasks_of(count)):
            pass
        seconds = time.perf_counter() - started
    return {"what": "Dask's own time a shard", "ms": 1000 * seconds / count, "target": 20, "shards": count}


def memory_of_many(count: int, way: str) -> list[tuple[int, int]]:
    """Memory of this process, which holds client and scheduler, as shards come back: `(shards, bytes)`."""
    seen = []
    with local_cluster(2, one_core_each=True, device="cpu") as client:
        if way == "ours":
            ended: Any = outcomes(client, nothing, tasks_of(count))
        else:
            from distributed import as_completed

            ended = as_completed(client.map(partial(nothing), list(tasks_of(count)), pure=False))
        for number, _ in enumerate(ended, start=1):
            if number % (count // 10) == 0:
                seen.append((number, resident()))
                print(f"  {way}: {number:,} shards, {seen[-1][1] / 2**20:,.0f} MiB", file=sys.stderr)
    return seen


def resident() -> int:
    """Memory that this process holds now (bytes)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def in_own_process(*arguments: str) -> Any:
    """Run a part of this script by itself, so that what others left in memory is not counted."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def scheduler_memory(count: int) -> dict[str, Any]:
    ours = in_own_process("--part", "ours", "--count", str(count))
    plain = in_own_process("--part", "client.map", "--count", str(count))
    first, last, most = ours[0][1], ours[-1][1], max(size for _, size in ours)
    return {
        "what": f"scheduler and client memory over {count:,} shards",
        "peak_mb": most / 1e6,
        "target": 500,
        "growth_mb_after_the_first_tenth": (last - first) / 1e6,
        "client_map_peak_mb": max(size for _, size in plain) / 1e6,
        "ours": ours,
        "client_map": plain,
    }


def two_workers(folder: Path, length: int) -> dict[str, Any]:
    """One worker against two, with the motif extractor, which keeps to one core. In turns, the best of each.

    Beside it, what two processes that share nothing but the machine make of the same extractor: its cores may not be
    worth two.
    """
    fasta = random_genome(folder / "two.fa", length)
    speeds: dict[int, list[float]] = {1: [], 2: []}
    bare: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(2):
        for workers in (1, 2):
            report = build(
                str(folder / f"two-{workers}-{repeat}.store"),
                fasta=fasta,
                extractor="motif",
                options=ExtractorOptions(device="cpu"),
                workers=workers,
                shard_bins=max(256, length // 4096 // 96),
            )
            speeds[workers].append(report.bins_per_second)
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                bare[workers].append(sum(pool.map(partial(extractor_alone, fasta), [length / 1e8] * workers)))
    return {
        "what": "two workers against one, motif extractor, 2 cores",
        "ratio": max(speeds[2]) / max(speeds[1]),
        "target": 1.8,
        "ratio_of_bare_processes": max(bare[2]) / max(bare[1]),
        "bins_per_second": {str(workers): found for workers, found in speeds.items()},
        "bare_bins_per_second": {str(workers): found for workers, found in bare.items()},
    }


def extractor_alone(fasta: Path, seconds: float) -> float:
    """Bins a second of the motif extractor with nothing but a genome."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with Fasta(fasta) as genome:
        source = ExtractorSource(load_extractor("motif", ExtractorOptions(device="cpu")), genome, bin_size=4096)
        return measure(source, Assembly.from_fasta(genome), seconds=seconds)


def worker_memory(folder: Path, shard_bins: int) -> dict[str, Any]:
    """Peak memory of a worker over contigs of 4, 16 and 64 shards of one size, and over shards twice as large."""
    peaks = {}
    for shards, size in ((4, shard_bins), (16, shard_bins), (64, shard_bins), (16, 2 * shard_bins)):
        notes = folder / f"peaks-{shards}-{size}"
        notes.mkdir()
        os.environ["NULL_PEAKS"] = str(notes)
        report = build(
            str(folder / f"peak-{shards}-{size}.store"),
            fasta=random_genome(folder / f"peak-{shards}-{size}.fa", shards * size * 1024),
            extractor=NULL,
            options=ExtractorOptions(bin_size=1024, device="cpu"),
            workers=1,
            shard_bins=size,
        )
        assert report.is_complete
        peaks[f"{shards} shards of {size:,} bins"] = max(int(note.read_text()) for note in notes.iterdir()) / 1e6
    del os.environ["NULL_PEAKS"]
    of_one_size = [peak for name, peak in peaks.items() if name.endswith(f" {shard_bins:,} bins")]
    return {
        "what": "worker peak memory, by shards of a contig",
        "peak_mb": peaks,
        "ratio": max(of_one_size) / min(of_one_size),
        "sequence_of_a_shard_mb": shard_bins * 1024 / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument(
        "--only", help="some of store,dask,workers,peaks,scheduler; the others stay as they were measured"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "build.json")
    parser.add_argument("--part", choices=("ours", "client.map"), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(memory_of_many(args.count, args.part)))
        return
    part = 10 if args.quick else 1
    measured = json.loads(args.out.read_text())["rows"] if args.only and args.out.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "store": lambda: store_side(folder, GENOME_BINS // part),
            "dask": lambda: dask_overhead(2000 // part),
            "workers": lambda: two_workers(folder, 1_000_000_000 // part),
            "peaks": lambda: worker_memory(folder, SHARD_BINS),
            "scheduler": lambda: scheduler_memory(100_000 // part),
        }
        for key in args.only.split(",") if args.only else parts:
            load = os.getloadavg()[0]
            measured[key] = parts[key]() | {"load_before": load}
    for row in measured.values():
        print(row["what"])
        for key, value in row.items():
            if key not in ("what", "ours", "client_map"):
                print(f"    {key}: {value:,.4g}" if isinstance(value, float) else f"    {key}: {value}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    found = versions("dask", "distributed", "numpy", "obstore", "zarr")
    args.out.write_text(json.dumps({"machine": machine(), "versions": found, "rows": measured}, indent=1) + "\n")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
