"""An epoch of GTA whose prompts lie in tiers, against the same steps with every prompt's KV cache on the device.

    python benchmarks/gta_prefix_tiers.py                  # writes benchmarks/results/gta_prefix_tiers.json
    python benchmarks/gta_prefix_tiers.py --quick          # small: does it run here at all?
    python benchmarks/gta_prefix_tiers.py --device cuda    # Llama-3-8B shapes, writes gta_prefix_tiers_cuda.json

Needs numpy, torch, transformers and this checkout; on a GPU, pinned memory and disk for `--genes` prompts of 11.5 MB.
The language model is the random Llama of `gta_step.py`. Steps are prediction, squared error, gradients and Adam.

On a CPU the tiers are simulated: budgets for a third of the prompts each on the device and the host, the rest on
disk. On a GPU the budgets are those that `train` measures, beside the other case's `--on-device` genes, and what they
do not hold goes to `--folder`. Epochs of both cases are run in turns; the first of each, which computes the prompts,
is given apart. A machine is rarely ours alone, so that the ratio is given by processor time as well as on the wall.

The error of int8 is that of predictions against those with keys and values as the model computes them, root mean
square, as a share of the standard deviation of predictions between genes (of an untrained head, whose spread is
small).
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gta_step import SHAPES, Shape, Trial, load, prompts_of, write_llama  # noqa: E402
from benchmarks.machine import machine, versions  # noqa: E402
from model.language.backbone import Backbone  # noqa: E402
from model.language.prefixes.cache import PrefixCache  # noqa: E402
from model.language.prefixes.prefetch import LookAhead  # noqa: E402
from model.language.prefixes.store import PrefixStore  # noqa: E402

HEAD = "a promoter of the heart binds zinc in a cell of the heart in a cell "
TARGET = 0.9


def order(count: int, batch: int, epoch: int) -> list[list[int]]:
    """Shuffle the genes into whole batches."""
    drawn = np.random.default_rng(epoch).permutation(count)[: count // batch * batch]
    return [rows.tolist() for rows in drawn.reshape(-1, batch)]


class Rates(NamedTuple):
    """Genes a second."""

    wall: float
    processor: float


class Case:
    """Epochs over some genes with a cache."""

    def __init__(self, trial: Trial, cache: PrefixCache, genes: int, batch: int, n_bins: int) -> None:
        self.trial, self.cache, self.genes, self.batch, self.n_bins = trial, cache, genes, batch, n_bins
        self.epochs = 0
        self.planned = cache.plan(trial.prompts[:genes], n_bins)

    def batches(self) -> Iterator[list[int]]:
        """Give the next epoch's batches, announced as a training announces them."""
        prompts = self.trial.prompts
        rows = order(self.genes, self.batch, self.epochs)
        self.epochs += 1
        return iter(LookAhead(rows, lambda rows: self.cache.announce([prompts[row] for row in rows], self.n_bins)))

    def epoch(self) -> Rates:
        """Train over one epoch; give genes a second, on the wall and of the processor, prefetch thread included."""
        self.trial.model.prefix_cache = self.cache
        started, used, steps = time.perf_counter(), time.process_time(), 0
        for rows in self.batches():
            self.trial.step(rows)
            if self.epochs == 1 and steps == 0:
                self.cache.measure_step(self.batch)
            steps += 1
        genes = steps * self.batch
        return Rates(genes / (time.perf_counter() - started), genes / (time.process_time() - used))


def tiered_against_device(
    backbone: Backbone, shape: Shape, n_bins: int, *, genes: int, on_device: int, epochs: int, folder: Path
) -> dict[str, Any]:
    """Compare the rate of whole epochs in tiers with that of epochs with every prompt on the device."""
    trial = Trial(backbone, shape, n_bins, preset="paper", prompts=prompts(genes, shape))
    is_cuda = backbone.embeddings.device.type == "cuda"
    whole = whole_bytes(backbone, trial.prompts, n_bins)
    third = None if is_cuda else whole // 3
    # Files have headers and checksums.
    store = PrefixStore(folder, max_bytes=2 * whole)
    fast = Case(trial, PrefixCache(backbone, max_bytes=2 * whole, host_bytes=0), on_device, shape.batch, n_bins)
    fast.epoch()
    cache = PrefixCache(backbone, max_bytes=third, host_bytes=third, store=store)
    tiered = Case(trial, cache, genes, shape.batch, n_bins)
    first = tiered.epoch()
    cache.hit_rates()
    rates: dict[str, list[Rates]] = {"device": [], "tiers": []}
    for _ in range(epochs):
        rates["device"].append(fast.epoch())
        rates["tiers"].append(tiered.epoch())
    hits = cache.hit_rates()
    pairs = list(zip(rates["tiers"], rates["device"], strict=True))
    return {
        "n_bins": n_bins,
        "genes": genes,
        "genes_on_device": on_device,
        "prompts": tiered.planned,
        "holds": cache.report(),
        "hits": hits,
        "first_epoch_genes_per_s": first.wall,
        "device_genes_per_s": statistics.median(rate.wall for rate in rates["device"]),
        "tiers_genes_per_s": statistics.median(rate.wall for rate in rates["tiers"]),
        "ratio": statistics.median(tiers.wall / device.wall for tiers, device in pairs),
        "processor_ratio": statistics.median(tiers.processor / device.processor for tiers, device in pairs),
        "epochs": {name: [rate._asdict() for rate in found] for name, found in rates.items()},
        "target": TARGET,
    }


def prompts(genes: int, shape: Shape) -> list[str]:
    return [HEAD + text for text in prompts_of(genes, 2 * shape.prompt)]


def whole_bytes(backbone: Backbone, texts: list[str], n_bins: int) -> int:
    """Count the bytes of all prompts, as the model computes them."""
    layout = PrefixCache(backbone, max_bytes=0, host_bytes=0).layout
    return sum(map(len, backbone.token_rows(texts, n_bins))) * layout.token_bytes


@torch.no_grad()
def int8_error(backbone: Backbone, shape: Shape, n_bins: int) -> dict[str, float]:
    """Measure what int8 changes in predictions, against how they differ between genes, and what it saves."""
    trial = Trial(backbone, shape, n_bins, preset="best", prompts=prompts(shape.batch, shape))
    trial.model.eval()
    read = {}
    held = {}
    for dtype in ("model", "int8"):
        trial.model.prefix_cache = cache = PrefixCache(backbone, dtype=dtype)
        read[dtype] = trial.model(trial.features, trial.prompts)
        held[dtype] = cache.held_bytes
    difference = (read["int8"] - read["model"]).square().mean().sqrt()
    return {
        "n_bins": n_bins,
        "error_of_spread": float(difference / read["model"].std()),
        "bytes_of_model": held["int8"] / held["model"],
    }


def print_row(row: dict[str, Any]) -> None:
    print(
        f"N = {row['n_bins']:3}, {row['genes']} genes: {row['tiers_genes_per_s']:.1f} genes/s in tiers, "
        f"{row['device_genes_per_s']:.1f} with all on the device: {row['ratio']:.2f}x, by processor time "
        f"{row['processor_ratio']:.2f}x "
        f"(target {row['target']:.1f}x); "
        f"first epoch {row['first_epoch_genes_per_s']:.1f}\n  {row['prompts']}\n  {row['holds']}\n  hits "
        + ", ".join(f"{name} {rate:.0%}" for name, rate in row["hits"].items()),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a small model")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--genes", type=int, default=None, help="genes an epoch (96; on a GPU 15,000)")
    parser.add_argument("--on-device", type=int, default=None, help="genes of the other case (all; on a GPU 2,048)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each case (3)")
    parser.add_argument("--batch", type=int, default=None, help="genes a step (16)")
    parser.add_argument("--bins", type=int, nargs="*", default=None, help="bins a window (51; on a GPU 251 and 51)")
    parser.add_argument("--folder", type=Path, default=None, help="the tier on disk (a temporary folder)")
    parser.add_argument("--out", type=Path, default=None, help="JSON to write (benchmarks/results/...)")
    args = parser.parse_args()
    name = "quick" if args.quick else args.device
    shape = SHAPES[name] if args.batch is None else replace(SHAPES[name], batch=args.batch)
    genes = args.genes or (15_000 if args.device == "cuda" else 6 * shape.batch)
    on_device = args.on_device or min(genes, 2048 if args.device == "cuda" else genes)
    started = machine()
    rows, errors = [], []
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary, "llama")
        write_llama(directory, shape, args.device)
        for n_bins in args.bins or ((251, 51) if args.device == "cuda" else (51,)):
            backbone = load(directory, shape, n_bins, args.device, shape.blocks)
            errors.append(int8_error(backbone, shape, n_bins))
            print(
                f"N = {n_bins:3}: int8 changes predictions by {errors[-1]['error_of_spread']:.2%} of their spread "
                f"between genes, in {errors[-1]['bytes_of_model']:.0%} of the bytes",
                flush=True,
            )
            with tempfile.TemporaryDirectory(dir=args.folder) as folder:
                row = tiered_against_device(
                    backbone,
                    shape,
                    n_bins,
                    genes=genes,
                    on_device=on_device,
                    epochs=args.epochs,
                    folder=Path(folder),
                )
            rows.append(row)
            print_row(row)
    suffix = {"cpu": "", "quick": "_quick", "cuda": "_cuda"}[name]
    out = args.out or ROOT / "benchmarks" / "results" / f"gta_prefix_tiers{suffix}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": started | {"gpu": torch.cuda.get_device_name() if args.device == "cuda" else None},
        "versions": versions("torch", "transformers", "numpy"),
        "sizes": {key: getattr(shape, key) for key in Shape.__dataclass_fields__},
        "epochs": rows,
        "int8": errors,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
