"""Reading windows of bins from memory, a local disk and S3, against what a user would use instead, in one run.

    python benchmarks/read_windows.py                  # writes benchmarks/results/read_windows.json
    python benchmarks/read_windows.py --quick          # smaller: does it run here at all?
    python benchmarks/read_windows.py --only local     # or memory, s3, wide, swap, stream; writes no JSON

Needs the extras `build` and `torch`; `h5py` (with `hdf5plugin` for zstd) and `xbatcher` if they are to be compared; and
for the part over S3 a server that `AWS_ENDPOINT_URL` names:

    eval "$(python tests/support/s3_server.py start /tmp/s3 9300)"

755,000 bins of 40 channels, float16, in shards of 16,384 bins and chunks of 256; windows of 251 bins in batches of 64,
at random centres. All ways read equal values, which is checked first. They take turns on the same windows, in an order
that changes with every round, and a ratio is the median of the rounds' ratios: the machine may be shared.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

from benchmarks.machine import machine, versions  # noqa: E402
from benchmarks.null_extractor import CHANNELS  # noqa: E402
from benchmarks.read_local import local, memory, swap  # noqa: E402
from benchmarks.read_memory import stream_memory  # noqa: E402
from benchmarks.read_remote import s3  # noqa: E402
from benchmarks.read_store import SHARD_BINS, narrow_store, optional, wide_store  # noqa: E402
from benchmarks.read_timing import BATCH, N_BINS, Row  # noqa: E402
from benchmarks.read_wide import wide  # noqa: E402

PEERS = ("h5py", "hdf5plugin", "xbatcher")
PARTS = ("memory", "local", "swap", "stream", "s3", "wide")
BINS = 755_000
"""About the bins of 4,096 bp of a human genome."""


def measure(folder: Path, chosen: tuple[str, ...], *, quick: bool, windows: int) -> list[Row]:
    """Run some parts; a store is made when the first of them needs it."""
    rounds = 3 if quick else 25
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    narrow = cache(lambda: narrow_store(folder / "narrow.store", BINS))
    # 4.3 GB, so that windows seldom share a chunk.
    large = cache(lambda: wide_store(folder / "wide.store", *((4, 1024) if quick else (16, SHARD_BINS))))
    work: dict[str, Callable[[], list[Row]]] = {
        "memory": lambda: memory(narrow(), rounds),
        "local": lambda: local(narrow(), rounds),
        "swap": lambda: swap(narrow(), rounds),
        # Four phases' worth of bins, 240 MB: more than the budget, so that it binds.
        "stream": lambda: stream_memory(narrow_store(folder / "stream.store", 4 * BINS), windows),
        "s3": lambda: s3(narrow(), min(rounds, 15), endpoint) if endpoint else [],
        "wide": lambda: wide(large(), min(rounds, 7), endpoint),
    }
    rows = []
    for part in chosen:
        for row in work[part]():
            print(row.line(), flush=True)
            rows.append(row)
    return rows


def left_out(chosen: tuple[str, ...]) -> list[str]:
    """Say what is not compared here, and why."""
    found = [f"{peer}: not installed here" for peer in PEERS if "local" in chosen and optional(peer) is None]
    if "AWS_ENDPOINT_URL" not in os.environ and {"s3", "wide"} & set(chosen):
        found.append("S3: AWS_ENDPOINT_URL is not set; tests/support/s3_server.py starts a server")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds, a smaller wide set, 20,000 streamed windows")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be given again")
    parser.add_argument("--windows", type=int, default=None, help="streamed while memory is watched (1,000,000)")
    parser.add_argument("--out", type=Path, default=None, help="JSON to write; by default only if all parts run")
    args = parser.parse_args()
    chosen = tuple(args.only or PARTS)
    windows = args.windows or (20_000 if args.quick else 1_000_000)
    before = machine()
    absent = left_out(chosen)
    for line in absent:
        print(f"left out: {line}")
    print(f"{'':66} {'measured':>9} {'':6} {'target':>9}")
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), chosen, quick=args.quick, windows=windows)
    for row in rows:
        if row.details:
            print(row.what, json.dumps(row.details, indent=1), sep="\n")
    name = f"read_windows{'_quick' if args.quick else ''}.json"
    out = args.out or (None if args.only else ROOT / "benchmarks" / "results" / name)
    if out is None:
        return
    found = versions("numpy", "obstore", "s3fs", "tensorstore", "torch", "xarray", "zarr")
    found |= versions(*(peer for peer in PEERS if optional(peer)))
    report = {
        "machine": before,
        "load_at_the_end": os.getloadavg(),
        "versions": found,
        "sizes": {"bins": BINS, "channels": CHANNELS, "shard_bins": SHARD_BINS, "n_bins": N_BINS, "batch": BATCH},
        "left_out": absent,
        "rows": [row.to_json() for row in rows],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
