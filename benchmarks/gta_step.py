"""A training step of GTA: with the prefix cache and without, what our own parts cost, what is in memory, in one run.

    python benchmarks/gta_step.py                  # writes benchmarks/results/gta_step.json
    python benchmarks/gta_step.py --quick          # small: does it run here at all?
    python benchmarks/gta_step.py --device cuda    # Llama-3-8B shapes, writes gta_step_cuda.json

Needs numpy, torch, transformers and this checkout. The language model is a Llama of random weights: speed does not
depend on what they are. On a CPU it has 8 blocks of width 512 (grouped queries, 3.5x wide MLP and 350 prompt tokens as
in GTA's Llama-3-8B), on a GPU 8 blocks of the real shape in bfloat16. Cases are timed in turns and medians compared,
since a machine is rarely ours alone; processor seconds are given as well as wall time for the same reason.

A step is prediction, squared error, gradients and Adam, for one batch of genes whose prompts have been read before.
Work a gene, in FLOP (a multiply-add is 2), for N bins after P prompt tokens through L blocks of width D:

    matrices    4 N L W          W weights a block; half going forward, half for the gradient of its input. The weights
                                 are frozen: their own gradient is never computed
    attention   12 N L D (P + (N + 1) / 2)      4 going forward, twice that back; a bin sees the prompt and those before
    prototypes  4 * 50 V D / batch              mix of V embeddings, and the gradient of the mix

The cached prompt's own work is not counted, nor is anything below a thousandth of the whole.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine, versions  # noqa: E402
from model.language.backbone import Backbone  # noqa: E402
from model.language.directory import quiet_transformers  # noqa: E402
from model.language.prefixes.cache import PrefixCache  # noqa: E402
from model.language.prompt_lengths import bucketed_order  # noqa: E402
from model.language.untrained import train_tokenizer  # noqa: E402
from model.networks.gta import GTA  # noqa: E402
from model.networks.gta_config import PRESETS  # noqa: E402

CHANNELS = 33
WORDS = ("enhancer", "of", "the", "heart", "myosin", "chain", "binds", "zinc", "in", "a", "promoter", "cell")
LENGTHS = (20, 600)
"""Shortest and longest prompt (tokens), evenly spread, of the trial of length buckets."""


@dataclass(frozen=True)
class Shape:
    """Sizes of one run."""

    hidden: int
    intermediate: int
    heads: int
    vocabulary: int
    batch: int
    rounds: int
    blocks: int = 8
    blocks_on_disk: int = 8
    prompt: int = 350
    bins: tuple[int, ...] = (251, 51)
    precision: str = "fp32"

    @property
    def weights(self) -> int:
        """Weights of the matrices of a block; keys and values have a quarter of the heads."""
        return self.hidden * (2 * self.hidden + self.hidden // 2 + 3 * self.intermediate)

    def flops(self, n_bins: int) -> float:
        """Work of one gene; see the docstring of the file."""
        attention = 12 * n_bins * self.blocks * self.hidden * (self.prompt + (n_bins + 1) / 2)
        prototypes = 4 * 50 * self.vocabulary * self.hidden / self.batch
        return 4 * n_bins * self.blocks * self.weights + attention + prototypes


SHAPES = {
    "cpu": Shape(hidden=512, intermediate=1792, heads=8, vocabulary=32_000, batch=16, rounds=4, blocks_on_disk=32),
    "quick": Shape(
        hidden=128, intermediate=448, heads=4, vocabulary=2000, batch=4, rounds=2, blocks=4, blocks_on_disk=8
    ),
    "cuda": Shape(
        hidden=4096,
        intermediate=14_336,
        heads=32,
        vocabulary=128_256,
        batch=16,
        rounds=15,
        precision="bf16",
    ),
}


# --- the model --------------------------------------------------------------------------------------------------------


def write_llama(directory: Path, shape: Shape, device: str) -> None:
    """Write a random Llama, made on the device, with a small tokenizer."""
    texts = [" ".join(WORDS)]
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.blocks_on_disk,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 4,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
    )
    torch.manual_seed(0)
    with torch.device(device), quiet_transformers():
        model = LlamaModel(config).to(torch.bfloat16 if shape.precision == "bf16" else torch.float32)
        model.save_pretrained(directory)
        train_tokenizer(texts, 300).save_pretrained(directory)


def load(directory: Path, shape: Shape, n_bins: int, device: str, max_layers: int | None) -> Backbone:
    """Load it; prompts are cut to `shape.prompt` tokens by the positions that are left."""
    positions = shape.prompt + n_bins
    return Backbone(directory, max_layers=max_layers, max_positions=positions, precision=shape.precision).to(device)


def prompts_of(count: int, words: Sequence[int] | int) -> list[str]:
    generator = np.random.default_rng(0)
    lengths = [words] * count if isinstance(words, int) else words
    return [" ".join(generator.choice(WORDS, size=length)) for length in lengths]


class Trial:
    """One GTA in training, on random genes."""

    def __init__(self, backbone: Backbone, shape: Shape, n_bins: int, *, preset: str, prompts: Sequence[str]) -> None:
        torch.manual_seed(0)
        config = replace(PRESETS[preset], prefix_cache=False, precision=shape.precision)
        names = [f"class {index}" for index in range(CHANNELS)]
        device = backbone.embeddings.device
        self.model = GTA(config, n_bins=n_bins, channel_names=names, backbone=backbone).to(device).train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        # As a training has it (`model.training.lightning_module.make_optimiser`).
        self.optimiser = torch.optim.Adam(trained, lr=1e-4, fused=device.type == "cuda" or None)
        self.features = torch.randn(len(prompts), n_bins, CHANNELS, device=device)
        self.targets = torch.randn(len(prompts), device=device)
        self.prompts = list(prompts)

    def loss(self, rows: Sequence[int]) -> Tensor:
        """Give the loss of a batch, with its gradients in place."""
        self.optimiser.zero_grad()
        index = torch.tensor(rows, device=self.features.device)
        predicted = self.model(self.features[index], [self.prompts[row] for row in rows])
        loss = torch.nn.functional.mse_loss(predicted, self.targets[index])
        loss.backward()  # type: ignore[no-untyped-call]  # not annotated there
        return loss

    def step(self, rows: Sequence[int]) -> None:
        """Train on a batch, and wait for the device."""
        self.loss(rows)
        self.optimiser.step()
        if self.features.device.type == "cuda":
            torch.cuda.synchronize()


# --- what is measured -------------------------------------------------------------------------------------------------


def in_turns(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Run each case once a round after one unmeasured run; give median seconds on the wall and of the processor."""
    wall: dict[str, list[float]] = {name: [] for name in cases}
    processor: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, run in cases.items():
            started, used = time.perf_counter(), time.process_time()
            run()
            if number:
                wall[name].append(time.perf_counter() - started)
                processor[name].append(time.process_time() - used)
    return {
        name: {"wall_s": statistics.median(wall[name]), "processor_s": statistics.median(processor[name])}
        for name in cases
    }


def cached_against_plain(backbone: Backbone, shape: Shape, n_bins: int) -> dict[str, Any]:
    """Compare a step with the prefix cache, the same without, and our own parts alone."""
    rows = range(shape.batch)
    prompts = prompts_of(shape.batch, 2 * shape.prompt)
    trials = {preset: Trial(backbone, shape, n_bins, preset=preset, prompts=prompts) for preset in ("paper", "best")}
    cache = PrefixCache(backbone)

    def step(preset: str, *, cached: bool) -> Callable[[], None]:
        def run() -> None:
            trials[preset].model.prefix_cache = cache if cached else None
            trials[preset].step(rows)

        return run

    def own(preset: str) -> Callable[[], None]:
        """Do a step in which the language model hands on what it is given."""

        def run() -> None:
            trials[preset].model.prefix_cache = None
            real, trials[preset].prompts = trials[preset].prompts, [""] * shape.batch
            backbone.run = lambda embedded, mask, **_: SimpleNamespace(last_hidden_state=embedded)  # type: ignore[method-assign]
            try:
                trials[preset].step(rows)
            finally:
                del backbone.run
                trials[preset].prompts = real

        return run

    result = {"n_bins": n_bins, "prompt_tokens": shape.prompt} | outputs_differ(trials["paper"], cache, rows)
    cases = {
        "cached": step("paper", cached=True),
        "plain": step("paper", cached=False),
        "own parts, paper": own("paper"),
        "own parts, best": own("best"),
    }
    times = in_turns(cases, shape.rounds)
    return (
        result | rates(times, shape, n_bins) | {"prefix_bytes_a_gene": cache.held_bytes / shape.batch, "times": times}
    )


def rates(times: dict[str, dict[str, float]], shape: Shape, n_bins: int) -> dict[str, Any]:
    """Work out speeds and ratios of the cases of `cached_against_plain`."""
    cached = times["cached"]
    return {
        "ratio": times["plain"]["wall_s"] / cached["wall_s"],
        "processor_ratio": times["plain"]["processor_s"] / cached["processor_s"],
        "own_share": {
            preset: times[f"own parts, {preset}"]["wall_s"] / cached["wall_s"] for preset in ("paper", "best")
        },
        "genes_per_s": shape.batch / cached["wall_s"],
        "tflops": shape.batch * shape.flops(n_bins) / cached["wall_s"] / 1e12,
    }


def outputs_differ(trial: Trial, cache: PrefixCache, rows: Sequence[int]) -> dict[str, float]:
    """Compare predictions, and gradients relative to the largest, with the cache and without."""
    found = []
    for held in (cache, None):
        trial.model.prefix_cache = held
        trial.model.eval()
        with torch.no_grad():
            predicted = trial.model(trial.features, trial.prompts)
        trial.model.train()
        trial.loss(rows)
        found.append((predicted, torch.cat([p.grad.ravel() for p in trial.model.parameters() if p.grad is not None])))
    (predicted, gradient), (plain, plain_gradient) = found
    return {
        "prediction_difference": float((predicted - plain).abs().max()),
        "gradient_difference": float((gradient - plain_gradient).abs().max() / plain_gradient.abs().max()),
    }


def buckets(backbone: Backbone, shape: Shape, n_bins: int) -> dict[str, Any]:
    """Compare steps without a cache over genes of many prompt lengths, in random order and in length buckets."""
    count, generator = 32 * shape.batch, np.random.default_rng(0)
    lengths = generator.integers(*LENGTHS, size=count)
    words = [len(backbone.tokenizer(prompt)["input_ids"]) for prompt in prompts_of(8, 300)]
    prompts = prompts_of(count, [max(1, round(300 * length / statistics.mean(words))) for length in lengths])
    lengths = np.array([len(row) for row in backbone.token_rows(prompts, n_bins)])
    trial = Trial(backbone, shape, n_bins, preset="paper", prompts=prompts)
    orders = {"random": generator.permutation(count), "bucketed": bucketed_order(lengths, shape.batch, 0)}
    padded = {}
    for name, order in orders.items():
        batches = lengths[order].reshape(-1, shape.batch)
        padded[name] = 1 - lengths.sum() / (batches.max(axis=1).sum() * shape.batch)
    chosen = generator.permutation(32)[:6]
    spent = dict.fromkeys(orders, 0.0)
    trial.step(range(shape.batch))
    for place in chosen:
        for name, order in orders.items():
            started = time.perf_counter()
            trial.step(order.reshape(-1, shape.batch)[place].tolist())
            spent[name] += time.perf_counter() - started
    return {
        "n_bins": n_bins,
        "padding_share": padded,
        "ratio": spent["random"] / spent["bucketed"],
        "steps": len(chosen),
        "spent_s": spent,
    }


def matmul_rate(shape: Shape, device: str) -> float:
    """Time a large square product in the precision of the model, FLOP/s."""
    size, repeats = (8192, 30) if device == "cuda" else (2048, 3)
    dtype = torch.bfloat16 if shape.precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))

    def run() -> None:
        for _ in range(repeats):
            a @ b
        if device == "cuda":
            torch.cuda.synchronize()

    return repeats * 2 * size**3 / in_turns({"product": run}, 5)["product"]["wall_s"]


# --- memory -----------------------------------------------------------------------------------------------------------


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def print_peak(directory: Path, shape: Shape, which: str) -> None:
    """Load the first blocks and train one step on a gene, or load all; print the peak before and after."""
    # So that what the first step brings into memory is there before.
    with tempfile.TemporaryDirectory() as folder:
        small = replace(SHAPES["quick"], blocks_on_disk=1)
        write_llama(Path(folder), small, "cpu")
        Trial(load(Path(folder), small, 51, "cpu", None), small, 51, preset="paper", prompts=prompts_of(1, 9)).step([0])
    before = peak_bytes()
    n_bins = shape.bins[0]
    backbone = load(directory, shape, n_bins, "cpu", None if which == "full" else shape.blocks)
    loaded = peak_bytes()
    if which == "cut":
        trial = Trial(backbone, shape, n_bins, preset="paper", prompts=prompts_of(1, 2 * shape.prompt))
        trial.model.prefix_cache = PrefixCache(backbone)
        trial.step([0])
    found = {
        "blocks": backbone.layers,
        "frozen_bytes": sum(weight.nbytes for weight in backbone.parameters()),
        "loaded_peak_bytes": loaded - before,
        "peak_bytes": peak_bytes() - before,
    }
    print(json.dumps(found))


def memory(directory: Path, shape: Shape, device: str, name: str) -> dict[str, Any]:
    """Compare processes that load the first blocks and train, and load all blocks."""
    if device == "cuda":
        return {"peak_bytes": torch.cuda.max_memory_allocated()}
    if not Path("/proc/self/status").exists():
        return {}
    found: dict[str, Any] = {}
    for which in ("cut", "full"):
        command = [sys.executable, __file__, "--peak-of", which, "--model", str(directory), "--shape", name]
        found[which] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found | {"peak_share": found["cut"]["peak_bytes"] / found["full"]["peak_bytes"]}


# --- the run ----------------------------------------------------------------------------------------------------------


def measure(shape: Shape, name: str, device: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_llama(directory, shape, device)
        rows = []
        for n_bins in shape.bins:
            rows.append(cached_against_plain(load(directory, shape, n_bins, device, shape.blocks), shape, n_bins))
            print_row(rows[-1])
        few = shape.bins[-1]
        longest = replace(shape, prompt=LENGTHS[1])
        found = {
            "matmul_tflops": matmul_rate(shape, device) / 1e12,
            "steps": rows,
            "buckets": buckets(load(directory, longest, few, device, shape.blocks), shape, few),
            "memory": memory(directory, shape, device, name),
            "precisions": error_of_16_bits(shape, device),
        }
    for row in rows:
        row["matmul_share"] = row["tflops"] / found["matmul_tflops"]
    return found


def error_of_16_bits(shape: Shape, device: str) -> list[dict[str, Any]]:
    """Print and give the error of each precision against float32, cached and not, and what it costs."""
    # Here, since it takes shapes and trials from this file.
    from benchmarks.gta_precision import precisions

    stored = replace(shape, precision="bf16", blocks_on_disk=shape.blocks)
    with tempfile.TemporaryDirectory() as folder:
        write_llama(Path(folder), stored, device)
        return [precisions(Path(folder), stored, n_bins, device) for n_bins in shape.bins]


def print_row(row: dict[str, Any]) -> None:
    print(
        f"N = {row['n_bins']:3}: {row['ratio']:.2f}x with the cache (processor {row['processor_ratio']:.2f}x), "
        f"predictions within {row['prediction_difference']:.1e}, gradients {row['gradient_difference']:.1e}; "
        f"own parts {row['own_share']['paper']:.1%} (paper), {row['own_share']['best']:.1%} (best); "
        f"{row['genes_per_s']:.1f} genes/s",
        flush=True,
    )


def print_rest(found: dict[str, Any]) -> None:
    for row in found["steps"]:
        print(f"N = {row['n_bins']:3}: {row['matmul_share']:.0%} of the rate of products")
    padding, ratio = found["buckets"]["padding_share"], found["buckets"]["ratio"]
    print(f"buckets: padding {padding['random']:.0%} -> {padding['bucketed']:.0%}, a step {ratio:.2f}x as fast")
    if "cut" in found["memory"]:
        cut, full = found["memory"]["cut"], found["memory"]["full"]
        print(
            f"memory: {cut['blocks']} of {full['blocks']} blocks resident, {cut['frozen_bytes'] / 1e6:.0f} of "
            f"{full['frozen_bytes'] / 1e6:.0f} MB frozen; peak of a step {cut['peak_bytes'] / 1e6:.0f} MB, of loading "
            f"all {full['peak_bytes'] / 1e6:.0f} MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a small model, two rounds")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=None, help="genes a step (16)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads on the CPU (all)")
    parser.add_argument("--out", type=Path, default=None, help="JSON to write (benchmarks/results/gta_step.json)")
    parser.add_argument("--peak-of", choices=("cut", "full"), default=None, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--shape", choices=SHAPES, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    name = args.shape or ("quick" if args.quick else args.device)
    shape = SHAPES[name] if args.batch is None else replace(SHAPES[name], batch=args.batch)
    if args.peak_of:
        print_peak(args.model, shape, args.peak_of)
        return
    started = machine()
    found = measure(shape, name, args.device)
    print_rest(found)
    suffix = {"cpu": "", "quick": "_quick", "cuda": "_cuda"}[name]
    out = args.out or ROOT / "benchmarks" / "results" / f"gta_step{suffix}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": started | {"gpu": torch.cuda.get_device_name() if args.device == "cuda" else None},
        "versions": versions("torch", "transformers", "numpy"),
        "sizes": {key: getattr(shape, key) for key in Shape.__dataclass_fields__} | {"threads": args.threads},
        **found,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
