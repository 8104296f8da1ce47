"""Sei forward passes: ours against a plain eager module written from the layer table, in one run.

    python benchmarks/sei_forward.py            # writes benchmarks/results/sei_forward.json
    python benchmarks/sei_forward.py --quick    # fewer bins and profiles: does it run here at all?

Needs numpy, torch and this checkout. Weights follow the rule of the golden data, so none are downloaded. On a GPU it
also tries the variants that were not taken. Both sides are timed in turns, and medians compared, since a machine is
rarely ours alone; processor seconds are given as well as wall time for the same reason.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.sei_plain import PlainSei, directions_of, loaded, reference, rule_state, sequences  # noqa: E402
from builders.extractors.sei.batches import Compute, GpuRunner, HostRunner, batch_that_fits  # noqa: E402
from builders.extractors.sei.inference import FastSei, features  # noqa: E402
from builders.extractors.sei.network import N_PROFILES, SeiNetwork, encode, reverse_complement  # noqa: E402
from builders.extractors.sei.precision import arithmetic  # noqa: E402

FLOPS_PER_STRAND = 108.42e9
"""Of the published network: the work that is asked for, not what ours makes of it."""
GENOME_BINS = 753_983
"""Bins of 4,096 bp on chr1-22, X, Y of GRCh38, partial last bins counted."""
OUTPUTS = ("classes", "profiles")


# --- errors -----------------------------------------------------------------------------------------------------------


def errors(values: Mapping[str, NDArray[Any]], truth: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in OUTPUTS:
        off = np.abs(values[name].astype(np.float64) - truth[name])
        found |= {f"{name}_max": float(off.max()), f"{name}_mean": float(off.mean())}
    return found


def ours_of(state: dict[str, torch.Tensor], **options: Any) -> FastSei:
    with torch.device("meta"):
        network = SeiNetwork(len(state["classifier.2.bias"]))
    loaded(network, state)
    if options.get("release"):
        state.clear()
    return FastSei(network, **options)


# --- time -------------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """One way to run the network, and what was measured of it."""

    name: str
    precision: str
    run: Callable[[NDArray[np.uint8]], Any]
    bins: int
    """A call."""
    exact: Callable[[NDArray[np.uint8]], Any] | None = None
    """The same with float32 results, for errors: float16 in itself is off by 2.4e-4 near 1."""
    wall_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    error: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0

    def time(self, bases: NDArray[np.uint8]) -> None:
        """Run one call and note what it took."""
        started, processor = time.perf_counter(), time.process_time()
        self.run(bases[: self.bins])
        self.wall_s.append((time.perf_counter() - started) / self.bins)
        self.processor_s.append((time.process_time() - processor) / self.bins)


def plain_runner(network: PlainSei, directions: torch.Tensor, device: str) -> Callable[[NDArray[np.uint8]], Any]:
    """Wrap the plain module as a user would: encode on the host, both strands in one batch, TF32 as torch sets it."""

    def run(bases: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            onehot = encode(torch.from_numpy(bases)).to(device)
            forward, reverse = network(torch.cat([onehot, reverse_complement(onehot)])).chunk(2)
            profiles = (forward + reverse) / 2
            return {"profiles": profiles.cpu().numpy(), "classes": (profiles @ directions.T).cpu().numpy()}

    return run


def compute_of(network: FastSei, directions: torch.Tensor, outputs: tuple[str, ...] = OUTPUTS) -> Compute:
    return lambda bases: features(network, directions, bases, outputs)


def matmul_rate(precision: str, device: str, *, quick: bool) -> float:
    """Time a large square product in this precision, FLOP/s."""
    size = (2048 if device == "cpu" else 8192) // (2 if quick else 1)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    repeats = 3 if device == "cpu" else 30
    with arithmetic(precision):
        a @ b
        _wait(device)
        started = time.perf_counter()
        for _ in range(repeats):
            a @ b
        _wait(device)
    return repeats * 2 * size**3 / (time.perf_counter() - started)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def in_turns(cases: list[Case], bases: NDArray[np.uint8], device: str, args: argparse.Namespace) -> dict[str, float]:
    """Time each case once a round, and the products beside them; give the median rate of products by precision."""
    rates: dict[str, list[float]] = {case.precision: [] for case in cases}
    for case in cases:
        case.run(bases[: case.bins])
    for number in range(args.rounds):
        for case in cases:
            case.time(bases)
        for precision, found in rates.items():
            found.append(matmul_rate(precision, device, quick=args.quick))
        print(f"  {device}: round {number + 1} of {args.rounds}", file=sys.stderr)
    return {precision: statistics.median(found) for precision, found in rates.items()}


# --- devices ----------------------------------------------------------------------------------------------------------


def cpu_cases(state: dict[str, torch.Tensor], directions: torch.Tensor, bins: int) -> Iterator[Case]:
    yield Case("plain", "fp32", plain_runner(_plain(state), directions, "cpu"), bins)
    for precision in ("fp32", "bf16"):
        compute = compute_of(ours_of(state, precision=precision), directions)
        yield Case("ours", precision, HostRunner(compute, size=bins, dtype=torch.float32), bins)


def gpu_cases(state: dict[str, torch.Tensor], directions: torch.Tensor, bins: int, batch: int) -> Iterator[Case]:
    """Give ours by precision first, then what else could have been chosen."""
    here = directions.cuda()
    yield Case("plain", "fp32", plain_runner(_plain(state).cuda(), here, "cuda"), batch // 4)
    for kernel, precision, use_graph, how in (
        ("tiled", "fp32", True, "fused"),
        ("tiled", "tf32", True, "fused"),
        ("tiled", "bf16", True, "fused"),
        ("tiled", "bf16", False, "fused"),
        ("tiled", "bf16", True, ""),
        ("tiled", "bf16", True, "compiled"),
        ("direct", "bf16", True, ""),
        ("direct", "bf16", True, "compiled"),
        ("direct", "tf32", True, ""),
    ):
        network = ours_of(state, precision=precision, device="cuda", kernel=kernel, fused=how == "fused")
        compute = compute_of(network, here)
        if how == "compiled":
            compute = torch.compile(compute, dynamic=False)
        is_default = kernel == "tiled" and use_graph and how == "fused"
        name = "ours" if is_default else f"{kernel}{' graph' * use_graph}{' ' * bool(how)}{how}"
        free_bytes, _ = torch.cuda.mem_get_info()
        size = batch_that_fits(free_bytes, 4 * network.bytes_each, at_most=batch)
        device = torch.device("cuda", torch.cuda.current_device())
        runner = GpuRunner(compute, device=device, size=size, dtype=torch.float16, use_graph=use_graph)
        exact = GpuRunner(compute, device=device, size=size, dtype=torch.float32, use_graph=False)
        yield Case(name, precision, runner, bins, exact)


def _plain(state: Mapping[str, torch.Tensor]) -> PlainSei:
    with torch.device("meta"):
        network = PlainSei(len(state["classifier.2.bias"]))
    return loaded(network, state)


def on_cpu(state: dict[str, torch.Tensor], args: argparse.Namespace) -> list[dict[str, Any]]:
    bases = sequences(max(args.bins, 6))
    directions = directions_of(args.profiles)
    truth = reference(state, bases[:6], "cpu")
    cases = list(cpu_cases(state, directions, args.bins))
    for case in cases:
        case.error = errors(case.run(bases[:6]), truth)
    rates = in_turns(cases, bases, "cpu", args)
    for case in cases:
        case.peak_bytes = peak_in_a_process(case, args)
    rows = [row_of(case, cases[0], "cpu", rates[case.precision]) for case in cases]
    emulated = HostRunner(compute_of(ours_of(state, precision="tf32"), directions), size=args.bins, dtype=torch.float32)
    error = errors(emulated(bases[:6]), truth)
    return [*rows, {"device": "cpu", "name": "emulated", "precision": "tf32", "error": error}]


def peak_in_a_process(case: Case, args: argparse.Namespace) -> int:
    """Run one call for profiles in a process of its own, and ask what it took."""
    command = [sys.executable, __file__, "--peak-of", f"{case.name}:{case.precision}", "--bins", str(args.bins)]
    command += ["--profiles", str(args.profiles), "--threads", str(torch.get_num_threads())]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(args: argparse.Namespace) -> None:
    name, precision = args.peak_of.split(":")
    state = rule_state(args.profiles)
    if name == "plain":
        run: Callable[[NDArray[np.uint8]], Any] = plain_runner(_plain(state), directions_of(args.profiles), "cpu")
    else:
        ours = ours_of(state, precision=precision, release=True)
        compute = compute_of(ours, directions_of(args.profiles), ("profiles",))
        run = HostRunner(compute, size=args.bins, dtype=torch.float32)
    for _ in range(2):
        run(sequences(args.bins))
    # Not getrusage: on Linux its maximum is handed down from the process that started this one.
    peak = next(line for line in _lines("/proc/self/status") if line.startswith("VmHWM"))
    print(int(peak.split()[1]) * 1024)


def on_gpu(state: dict[str, torch.Tensor], args: argparse.Namespace) -> list[dict[str, Any]]:
    batch = 16 if args.quick else 256
    bases = sequences(4 * batch)
    truth = reference(state, bases[:6], "cuda")
    rows: list[dict[str, Any]] = []
    plain: Case | None = None
    for case in gpu_cases(state, directions_of(args.profiles), 4 * batch, batch):
        try:
            torch.cuda.reset_peak_memory_stats()
            case.error = errors((case.exact or case.run)(bases[:6]), truth)
            plain = plain or case
            turns = [case] if case is plain else [plain, case]
            plain.wall_s, plain.processor_s = [], []
            rates = in_turns(turns, bases, "cuda", args)
            case.peak_bytes = torch.cuda.max_memory_allocated()
            rows.append(row_of(case, plain, "cuda", rates[case.precision]))
        except Exception as error:  # one variant that does not run must not cost the others
            rows.append({"device": "cuda", "name": case.name, "precision": case.precision, "failed": repr(error)[:500]})
        print(line_of(rows[-1]), file=sys.stderr)
        if isinstance(case.run, GpuRunner):
            case.run, case.exact = _gone, None
            torch.cuda.empty_cache()
    return rows


def _gone(_: NDArray[np.uint8]) -> None:
    raise AssertionError


# --- report -----------------------------------------------------------------------------------------------------------


def row_of(case: Case, plain: Case, device: str, rate: float) -> dict[str, Any]:
    wall, processor = statistics.median(case.wall_s), statistics.median(case.processor_s)
    flops = 2 * FLOPS_PER_STRAND / wall
    return {
        "device": device,
        "name": case.name,
        "precision": case.precision,
        "bins_a_call": case.bins,
        "bins_per_s": 1 / wall,
        "ratio": statistics.median(a / b for a, b in zip(plain.wall_s, case.wall_s, strict=True)),
        "processor_ratio": statistics.median(plain.processor_s) / processor if device == "cpu" else None,
        "tflops": flops / 1e12,
        "matmul_tflops": rate / 1e12,
        "matmul_share": flops / rate,
        "grch38_hours": GENOME_BINS * wall / 3600,
        "peak_gb": case.peak_bytes / 1e9,
        "error": case.error,
        "wall_s": case.wall_s,
    }


COLUMNS = (
    "device run               prec   bins/s   ratio  (cpu s)  TFLOP/s  of matmul  GRCh38 h  peak GB"
    "   profiles max/mean   classes max/mean"
)


def line_of(row: Mapping[str, Any]) -> str:
    head = f"{row['device']:6} {row['name']:17} {row['precision']:5}"
    if "failed" in row:
        return f"{head}  failed: {row['failed'][:90]}"
    off = row["error"]
    tail = "   ".join(f"{off[f'{name}_max']:8.1e} {off[f'{name}_mean']:8.1e}" for name in ("profiles", "classes"))
    if "ratio" not in row:
        return f"{head}{'':70}   {tail}"
    processor = f"{row['processor_ratio']:7.2f}" if row["processor_ratio"] else "      -"
    return (
        f"{head} {row['bins_per_s']:8.2f} {row['ratio']:7.2f}  {processor} {row['tflops']:8.3f}"
        f" {row['matmul_share']:9.0%} {row['grch38_hours']:9.2f} {row['peak_gb']:8.2f}   {tail}"
    )


def machine() -> dict[str, Any]:
    names = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": names[0].partition(": ")[2] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "memory": next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), ""),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="2 bins a call, 1,024 profiles, 2 rounds")
    parser.add_argument("--rounds", type=int, default=7, help="times that each case is timed (7)")
    parser.add_argument("--bins", type=int, default=8, help="bins a call on the CPU, both strands each (8)")
    parser.add_argument("--profiles", type=int, default=N_PROFILES, help=f"profiles of the network ({N_PROFILES})")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads on the CPU (all)")
    parser.add_argument("--device", choices=("all", "cpu", "cuda"), default="all")
    parser.add_argument("--out", type=Path, default=None, help="JSON to write (benchmarks/results/sei_forward.json)")
    parser.add_argument("--peak-of", default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.bins, args.profiles = 2, 2, 1024
    torch.set_num_threads(args.threads)
    if args.peak_of:
        print_peak(args)
        return
    state = rule_state(args.profiles)
    rows = []
    if args.device != "cuda":
        rows += on_cpu(state, args)
    if args.device != "cpu" and torch.cuda.is_available():
        rows += on_gpu(state, args)
    print(COLUMNS)
    for row in rows:
        print(line_of(row))
    results = ROOT / "benchmarks" / "results"
    out = (
        args.out
        or results / f"sei_forward{'_quick' if args.quick else ''}{'_cuda' if args.device == 'cuda' else ''}.json"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": machine(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "sizes": {key: value for key, value in vars(args).items() if key in ("bins", "profiles", "rounds", "quick")},
        "rows": rows,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
