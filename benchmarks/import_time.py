"""What it costs to import a package, and to begin to use it, in a process of its own; Python's own start left out.

    python benchmarks/import_time.py     # writes benchmarks/results/import_time.json

Besides `import featurestore`: what a first `featurestore.open` imports, and what a user would import instead: zarr,
xarray, torch. Processor seconds, since a machine is rarely ours alone; of several processes, in turns, the least.
"""

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine, versions  # noqa: E402

NOTHING = "pass"
STATEMENTS = (
    NOTHING,
    "import featurestore",
    "import catalog",
    "import loaders",
    "import featurestore; featurestore.open",
    "import zarr",
    "import xarray",
    "import torch",
)
TARGET_S = 0.5


def seconds(statement: str) -> float:
    """Run a statement in a new process, and give the processor time that it took (s)."""
    _, status, used = os.wait4(os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", statement]), 0)
    if status:
        raise RuntimeError(f"{statement!r} ended with status {status}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/import_time.json")
    given = parser.parse_args()
    taken: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(given.rounds):
        for statement in STATEMENTS:
            taken[statement].append(seconds(statement))
    start = min(taken.pop(NOTHING))
    fastest = {statement: round(min(times) - start, 4) for statement, times in taken.items()}
    for statement, took in fastest.items():
        print(f"{statement:40} {took:6.3f} s")
    print(
        f"import featurestore: {'within' if fastest['import featurestore'] < TARGET_S else 'NOT within'} {TARGET_S} s"
    )
    report = {"machine": machine(), "versions": versions("zarr", "xarray", "torch"), "target_s": TARGET_S, "s": fastest}
    given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
