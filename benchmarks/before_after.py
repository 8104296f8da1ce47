"""How fast this checkout is against an earlier one: windows, builds and steps of training, in turns, in one run.

    git worktree add ../before REVISION
    python benchmarks/before_after.py ../before     # writes benchmarks/results/before_after.json

Each checkout runs its own copies of `read_windows.py`, `build.py` and `gta_step.py`, under its own `.venv` where it has
one, once a round and in an order that changes with the round. A ratio is the median over rounds of before / after:
above 1, this checkout is the faster. Processor seconds where a benchmark has them: a machine is rarely ours alone.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine, versions  # noqa: E402


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark, and the figures that are taken from its JSON: seconds, or what grows with them."""

    script: str
    arguments: tuple[str, ...]
    figures: Callable[[Any], dict[str, float]]


def windows(report: Any) -> dict[str, float]:
    """Processor microseconds a window, of ours."""
    found = {}
    for row in report["rows"]:
        for name, us in row["details"].get("cpu_us_per_window", {}).items():
            if name.startswith("ours"):
                found[f"windows, {row['what'].partition(':')[0]}, {name}"] = us
    return found


def builds(report: Any) -> dict[str, float]:
    """Seconds a bin."""
    store, workers = report["rows"]["store"], report["rows"]["workers"]
    return {
        "build, store side": 1 / store["bins_per_second"],
        "build, motif, 1 worker": 1 / max(workers["bins_per_second"]["1"]),
        "build, motif, 2 workers": 1 / max(workers["bins_per_second"]["2"]),
    }


def steps(report: Any) -> dict[str, float]:
    """Processor seconds a step."""
    return {f"GTA step, {row['n_bins']} bins": row["times"]["cached"]["processor_s"] for row in report["steps"]}


PARTS = (
    Part("read_windows.py", ("--quick", "--only", "memory", "--only", "local"), windows),
    Part("build.py", ("--quick", "--only", "store,workers"), builds),
    Part("gta_step.py", ("--quick",), steps),
)


def run(checkout: Path, part: Part, out: Path) -> dict[str, float]:
    """Run one benchmark of one checkout."""
    own = checkout / ".venv/bin/python"
    python = str(own) if own.exists() else sys.executable
    command = [python, str(checkout / "benchmarks" / part.script), *part.arguments, "--out", str(out)]
    out.unlink(missing_ok=True)
    subprocess.run(
        command, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)}, stdout=subprocess.DEVNULL, check=True
    )
    return part.figures(json.loads(out.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path, help="a checkout of the earlier revision")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/before_after.json")
    args = parser.parse_args()
    checkouts = {"before": args.before.resolve(), "after": ROOT}
    started, order = machine(), random.Random(1)
    seen: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            for _ in range(args.rounds):
                for which in order.sample(sorted(checkouts), k=2):
                    for figure, value in run(checkouts[which], part, Path(folder) / "report.json").items():
                        seen.setdefault(figure, {}).setdefault(which, []).append(value)
    rows = []
    for figure, found in seen.items():
        ratios = [before / after for before, after in zip(found["before"], found["after"], strict=True)]
        rows.append({"what": figure, "before_over_after": statistics.median(ratios), "ratios": ratios, **found})
        print(f"{figure:58} {statistics.median(ratios):6.3f}x  ({min(ratios):.3f} to {max(ratios):.3f})")
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=checkouts["before"], capture_output=True, text=True, check=True
    )
    report = {
        "machine": started,
        "versions": versions("numpy", "tensorstore", "torch", "zarr"),
        "before": revision.stdout.strip(),
        "rows": rows,
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
