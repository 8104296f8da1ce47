"""What faults of an object store cost: a build and the reading of it, at rising shares of requests that fail.

    eval "$(python tests/support/s3_server.py start /tmp/s3 9300)"
    python benchmarks/faults.py            # writes benchmarks/results/faults.json
    python benchmarks/faults.py --quick    # smaller: does it run here at all?

Needs the extra `build` and a server that `AWS_ENDPOINT_URL` names. A proxy in this process makes requests fail, drawn
at random with a fixed seed: 503 SlowDown, connections reset before and after the server did what was asked, and answers
cut short. Each round takes every share in turn; medians are compared. Every store must be byte for byte the one that
was built without faults. The extractor costs nothing and a shard is small, so that nearly all the time is requests and
waits between them: of a shard that takes a minute to compute the same waits are a small part.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import featurestore  # noqa: E402
from benchmarks.machine import machine, versions  # noqa: E402
from builders.extractors.base import ExtractorOptions  # noqa: E402
from builders.run import build  # noqa: E402
from featurestore import connect, verify  # noqa: E402
from featurestore.testing import random_sequences, write_fasta  # noqa: E402
from featurestore.testing.fault_proxy import SLOW_DOWN, FaultProxy, Trouble, sometimes  # noqa: E402

FAULTS = (SLOW_DOWN, Trouble.RESET_BEFORE, Trouble.RESET_AFTER, Trouble.CUT)
BIN_SIZE = 16
SHARD_BINS = 256
WINDOW_BINS = 31


def contents(url: str, endpoint: str) -> dict[str, bytes]:
    """Read everything that a build must make equal each time: its records, which tell the time, are left out."""
    objects = connect(url, {"endpoint_url": endpoint})
    return {key: objects.get(key) for key, _ in objects.walk("features")}


def measure(url: str, proxy: FaultProxy, endpoint: str, fasta: Path, share: float, seed: int) -> dict[str, Any]:
    """Build one store and read all of it in windows, with faults; then check it without."""
    proxy.rule = sometimes(share, FAULTS, seed=seed)
    before, faults_before = proxy.traffic.requests.total(), proxy.traffic.faults.total()
    report = build(
        url,
        fasta=fasta,
        extractor="builders.testing:CompositionExtractor.from_options",
        options=ExtractorOptions(bin_size=BIN_SIZE, device="cpu"),
        workers=1,
        shard_bins=SHARD_BINS,
    )
    started = time.perf_counter()
    reader = featurestore.open(url)["composition"]
    n_bins = SHARD_BINS * report.planned
    # One by one: a batch would ask for each shard once.
    centres = range(0, n_bins * BIN_SIZE, WINDOW_BINS * BIN_SIZE)
    read = [reader.window("chr1", centre, n_bins=WINDOW_BINS).values for centre in centres]
    read_s = time.perf_counter() - started
    requests, faults = proxy.traffic.requests.total() - before, proxy.traffic.faults.total() - faults_before
    proxy.rule = None
    return {
        "build_s": report.work_seconds,
        "read_s": read_s,
        "requests": requests,
        "faults": faults,
        "is_complete": report.is_complete,
        "is_sound": verify(featurestore.open(url), crc=True).is_sound,
        "contents": contents(url, endpoint),
        "windows": np.stack(read),
    }


def row_of(share: float, rounds: list[dict[str, Any]], without: list[dict[str, Any]]) -> dict[str, Any]:
    def median(name: str, found: list[dict[str, Any]]) -> float:
        return float(statistics.median(each[name] for each in found))

    truth = without[0]
    return {
        "share": share,
        "build_s": median("build_s", rounds),
        "build_ratio": median("build_s", rounds) / median("build_s", without),
        "read_s": median("read_s", rounds),
        "read_ratio": median("read_s", rounds) / median("read_s", without),
        "requests": sum(each["requests"] for each in rounds),
        "retried": sum(each["faults"] for each in rounds),
        "is_complete": all(each["is_complete"] for each in rounds),
        "is_sound": all(each["is_sound"] for each in rounds),
        "is_identical": all(each["contents"] == truth["contents"] for each in rounds),
        "windows_equal": all(np.array_equal(each["windows"], truth["windows"]) for each in rounds),
    }


def line_of(row: dict[str, Any]) -> str:
    good = row["is_complete"] and row["is_sound"] and row["is_identical"] and row["windows_equal"]
    return (
        f"{row['share']:6.0%} {row['build_s']:9.2f} {row['build_ratio']:6.2f} {row['read_s']:9.2f} "
        f"{row['read_ratio']:6.2f} {row['requests']:9d} {row['retried']:8d}   {'identical, sound' if good else 'WRONG'}"
    )


def measure_shares(args: argparse.Namespace, endpoint: str) -> dict[float, list[dict[str, Any]]]:
    """Build and read through a proxy that fails, once a round for each share of failing requests."""
    filesystem = fsspec.filesystem("s3", endpoint_url=endpoint)
    bucket = f"featurestore-{uuid.uuid4().hex[:12]}"
    filesystem.mkdir(bucket)
    shares = [0.0, *(percent / 100 for percent in args.percent)]
    found: dict[float, list[dict[str, Any]]] = {share: [] for share in shares}
    with FaultProxy(endpoint) as proxy, tempfile.TemporaryDirectory() as folder:
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        length = args.shards * SHARD_BINS * BIN_SIZE
        fasta = write_fasta(Path(folder) / "genome.fa", random_sequences({"chr1": length}))
        for number in range(args.rounds):
            for share in shares:
                url = f"s3://{bucket}/{number}-{share}"
                found[share].append(measure(url, proxy, endpoint, fasta, share, seed=number))
            print(f"  round {number + 1} of {args.rounds}", file=sys.stderr)
    filesystem.rm(bucket, recursive=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="8 shards, 1 round")
    parser.add_argument("--shards", type=int, default=40, help="shards of the build (40)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each share is measured (3)")
    parser.add_argument("--percent", type=float, nargs="*", default=[1, 5, 20], help="requests that fail (1 5 20)")
    parser.add_argument("--out", type=Path, default=None, help="JSON to write (benchmarks/results/faults.json)")
    args = parser.parse_args()
    if args.quick:
        args.shards, args.rounds = 8, 1
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint is None:
        sys.exit("AWS_ENDPOINT_URL is not set; tests/support/s3_server.py starts a server here")
    found = measure_shares(args, endpoint)
    rows = [row_of(share, rounds, found[0.0]) for share, rounds in found.items()]
    print("faults   build s  ratio    read s  ratio  requests  retried   verdict")
    for row in rows:
        print(line_of(row))
    results = ROOT / "benchmarks" / "results"
    out = args.out or results / f"faults{'_quick' if args.quick else ''}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    sizes = {"shards": args.shards, "rounds": args.rounds, "shard_bins": SHARD_BINS, "window_bins": WINDOW_BINS}
    report = {
        "machine": machine(),
        "versions": versions("obstore", "tensorstore", "zarr", "distributed"),
        "sizes": sizes,
        "rows": rows,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
