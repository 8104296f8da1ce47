"""Memory of a process that streams many windows, against the budget that it was given."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.read_local import centres_of
from benchmarks.read_store import CONTIG, SET, Made
from benchmarks.read_timing import BATCH, N_BINS, Row
from loaders.residence.open import open_reader

BUDGET_BYTES = 64 << 20


def stream_memory(made: Made, windows: int) -> list[Row]:
    """Run the stream in a process of its own, so that what others left in memory is not counted."""
    command = [sys.executable, "-m", "benchmarks.read_memory", str(made.path), str(made.n_bins), str(windows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    samples = [int(size) for size in done.stdout.split()]
    return [
        Row(
            f"stream, {windows:,} windows: most memory beyond the start / budget",
            max(samples) / BUDGET_BYTES,
            "x",
            1.1,
            at_most=True,
            details={"budget_mb": BUDGET_BYTES / 1e6, "mb_after_each_tenth": [size / 1e6 for size in samples]},
        )
    ]


def stream(path: Path, n_bins: int, windows: int) -> list[int]:
    """Stream random windows; give the most memory ever held beyond that of the opened reader, after each tenth."""
    reader = open_reader(path, SET, residence="stream", stream_bytes=BUDGET_BYTES)
    rng = np.random.default_rng(6)
    before = _most_memory()
    found = []
    for _ in range(10):
        for _ in range(max(1, windows // BATCH // 10)):
            reader.windows(CONTIG, centres_of(rng.integers(0, n_bins - N_BINS, size=BATCH)), N_BINS)
        found.append(_most_memory() - before)
    return found


def _most_memory() -> int:
    """Give the most memory that this process has held (bytes), also for a moment."""
    # Not by getrusage, which tells a child what its parent had reached.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    print(*stream(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
