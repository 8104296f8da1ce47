"""How long a build with Sei takes until its first bin: this checkout against an earlier one, in turns, in one run.

    git worktree add ../before REVISION
    python benchmarks/first_bin.py ../before             # writes benchmarks/results/first_bin.json
    python benchmarks/first_bin.py ../before --gbp 0.1   # a smaller genome

Weights of full size (3.6 GB, by the rule of `benchmarks/sei_plain.py`) and a genome of 24 contigs of random bases are
written once, into `--scratch`. Each round starts with empty caches: one process describes the build (`start_job`: the
genome is indexed and digested, the weights are), as the client does; a second makes the source from that, checks its
fingerprint and computes one bin, as a worker does. What starting Dask takes is left out of both.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine, versions  # noqa: E402

CLIENT = """
import json, pickle, sys, time
began, spent, stages = time.perf_counter(), time.process_time(), []
def stage(name):
    stages.append([name.split()[0], time.perf_counter() - began])
from builders.request import BuildRequest
from builders.run import start_job
settings = {"weights": sys.argv[2], "precision": sys.argv[4]}
request = BuildRequest(
    fasta=sys.argv[1], extractor="sei", settings=settings, outputs=("profiles",), device=sys.argv[5]
)
started = start_job(sys.argv[3] + ".store", request, stage=stage)
with open(sys.argv[3], "wb") as file:
    pickle.dump(started.job, file)
wall = time.perf_counter() - began
print(json.dumps({"wall_s": wall, "processor_s": time.process_time() - spent, "stages": stages}))
"""
WORKER = """
import json, pickle, sys, time
began, spent = time.perf_counter(), time.process_time()
with open(sys.argv[3], "rb") as file:
    job = pickle.load(file)
source = job.source.make()
assert source.fingerprint == job.fingerprint
made = time.perf_counter() - began
source.pad()
wall = time.perf_counter() - began
print(json.dumps({"wall_s": wall, "processor_s": time.process_time() - spent, "made_s": made}))
"""


def inputs(scratch: Path, gbp: float) -> tuple[Path, Path]:
    """Write the genome and the weights, unless an earlier run has."""
    import numpy as np
    import torch

    from benchmarks.sei_plain import rule_state

    scratch.mkdir(parents=True, exist_ok=True)
    genome, weights = scratch / f"genome_{gbp:g}.fa", scratch / "sei.pth"
    if not genome.exists():
        rng, lines = np.random.default_rng(0), int(gbp * 1e9 / 24 / 60)
        with genome.with_suffix(".part").open("wb") as file:
            for contig in range(1, 25):
                file.write(f">chr{contig}\n".encode())
                bases = np.frombuffer(b"ACGTacgt", dtype=np.uint8)[rng.integers(0, 8, (lines, 60), dtype=np.uint8)]
                file.write(np.pad(bases, ((0, 0), (0, 1)), constant_values=ord("\n")).tobytes())
        genome.with_suffix(".part").rename(genome)
    if not weights.exists():
        torch.save(rule_state(21_907), weights.with_suffix(".part"))
        weights.with_suffix(".part").rename(weights)
    return genome, weights


def measured(checkout: Path, genome: Path, weights: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run both processes once, with caches of their own."""
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        environment = os.environ | {"PYTHONPATH": str(checkout), "FEATURESTORE_CACHE": f"{folder}/cache"}
        found = {}
        for name, code in (("client", CLIENT), ("worker", WORKER)):
            command = [sys.executable, "-c", code, str(genome), str(weights), f"{folder}/job"]
            done = subprocess.run(
                [*command, args.precision, args.device],
                env=environment,
                cwd=folder,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            found[name] = json.loads(done.stdout)
        shutil.rmtree(f"{folder}/cache", ignore_errors=True)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path, help="checkout of an earlier revision")
    parser.add_argument("--gbp", type=float, default=3.1, help="size of the genome (3.1)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured (3)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    parser.add_argument("--precision", default="bf16", help="of Sei (bf16)")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "first_bin", help="for 7 GB")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "first_bin.json")
    args = parser.parse_args()
    genome, weights = inputs(args.scratch, args.gbp)
    checkouts = {"before": args.before.resolve(), "now": ROOT}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
    for number in range(args.rounds):
        for name in sorted(checkouts, reverse=bool(number % 2)):
            runs[name].append(measured(checkouts[name], genome, weights, args))
            print(f"round {number + 1}, {name}: {json.dumps(runs[name][-1])}", file=sys.stderr)
    rows = {}
    for part in ("client", "worker"):
        for figure in ("wall_s", "processor_s"):
            before, now = ([run[part][figure] for run in runs[name]] for name in ("before", "now"))
            ratio = statistics.median(a / b for a, b in zip(before, now, strict=True))
            rows[f"{part}, {figure}"] = {
                "before": statistics.median(before),
                "now": statistics.median(now),
                "ratio": ratio,
            }
            print(
                f"{part:6} {figure:11}  before {statistics.median(before):7.2f}  now {statistics.median(now):7.2f}  "
                f"ratio {ratio:5.2f}"
            )
    report = {
        "machine": machine(),
        "versions": versions("torch", "numpy"),
        "sizes": {"gbp": args.gbp, "rounds": args.rounds, "device": args.device, "precision": args.precision},
        "rows": rows,
        "runs": runs,
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
