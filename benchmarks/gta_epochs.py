"""Epochs of a model without a language model: genes/s batch by batch through Lightning, and an epoch at a time.

    python benchmarks/gta_epochs.py                  # writes benchmarks/results/gta_epochs.json
    python benchmarks/gta_epochs.py --device cuda    # writes benchmarks/results/gta_epochs_cuda.json

Needs the extra `model`. `gta-no-llm` is trained on genes at random places of a store of made-up features (6 contigs of
4 Mbp, 61 channels), for each batch size in three ways: batch by batch on windows in memory, as models with a language
model are; an epoch at a time on the same; and an epoch at a time on windows that are on the device. All take turns in
one process. Medians; validation on 32 genes is part of an epoch, and processor seconds are of whole trainings.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import torch  # noqa: E402

from benchmarks.machine import machine, versions  # noqa: E402
from catalog import Grid  # noqa: E402
from catalog.genes.table import GENE_SCHEMA  # noqa: E402
from featurestore.testing import built_store  # noqa: E402
from loaders import GeneDataset, gene_dataset  # noqa: E402
from model.networks.gta import GTA  # noqa: E402
from model.networks.gta_config import PRESETS  # noqa: E402
from model.predictors.build import default_training  # noqa: E402
from model.training import fit as fitting  # noqa: E402

LENGTHS = {f"chr{number}": 4_000_000 for number in range(1, 7)}
WAYS = ("batch by batch, memory", "by epochs, memory", "by epochs, device")


def genes_of(store: str, args: argparse.Namespace, residence: str) -> tuple[GeneDataset, GeneDataset]:
    """Make training and validation genes."""
    rng, count = np.random.default_rng(0), args.genes + 32
    rows = [
        (f"G{number}", f"S{number}", f"chr{rng.integers(1, 7)}", "+", int(rng.integers(0, 4_000_000)), None)
        for number in range(count)
    ]
    table = pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")
    targets = pl.DataFrame({"gene_id": table["gene_id"], "expression": rng.exponential(5.0, count)})
    every = gene_dataset(store, "demo", table, targets=targets, n_bins=args.bins, residence=residence)
    ids = every.gene_ids
    return every.subset(ids[32:]), every.subset(ids[:32])


def epoch_s(way: str, genes: tuple[GeneDataset, GeneDataset], batch_size: int, args: argparse.Namespace) -> list[float]:
    """Train some epochs; give the seconds of each but the first."""
    train, validation = genes
    torch.manual_seed(0)
    model = GTA(replace(PRESETS["no-llm"]), n_bins=args.bins, channel_names=train.channel_names)
    training = default_training("gta-no-llm")
    assert training is not None
    config = replace(training, epochs=args.epochs, batch_size=batch_size, device=args.device)
    chosen = fitting.trains_by_epochs
    if way.startswith("batch"):
        fitting.trains_by_epochs = lambda model, config: False
    try:
        report = fitting.fit(model, train, validation, config)
    finally:
        fitting.trains_by_epochs = chosen
    return [epoch.seconds for epoch in report.epochs[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--genes", type=int, default=None, help="training genes (512 on a CPU, 16,384 on a GPU)")
    parser.add_argument("--bins", type=int, default=251, help="bins a window (251)")
    parser.add_argument("--batch-sizes", default=None, help="comma-separated (16 on a CPU, 16,64,256 on a GPU)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs a training, the first of which is left out (3)")
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each (3)")
    parser.add_argument("--out", type=Path, default=None, help="JSON to write")
    args = parser.parse_args()
    is_gpu = args.device == "cuda"
    args.genes = args.genes or (16_384 if is_gpu else 512)
    sizes = [int(size) for size in (args.batch_sizes or ("16,64,256" if is_gpu else "16")).split(",")]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        built_store(Path(folder) / "s", LENGTHS, Grid(bin_size=4096), n_channels=61)
        genes = {residence: genes_of(f"{folder}/s", args, residence) for residence in ("memory", "device")}
        for size in sizes:
            spent: dict[str, list[float]] = {way: [] for way in WAYS}
            processor: dict[str, list[float]] = {way: [] for way in WAYS}
            for number in range(args.rounds):
                for way in WAYS if number % 2 else reversed(WAYS):
                    began = time.process_time()
                    found = epoch_s(way, genes[way.split(", ")[1]], size, args)
                    spent[way] += found
                    processor[way].append(time.process_time() - began)
                    print(f"batch {size}, {way}: {found}, {processor[way][-1]:.1f} s of processor", flush=True)
            for way in WAYS:
                ratio = statistics.median(spent[WAYS[0]]) / statistics.median(spent[way])
                cpu_ratio = statistics.median(processor[WAYS[0]]) / statistics.median(processor[way])
                rate = args.genes / statistics.median(spent[way])
                rows.append(
                    {
                        "batch_size": size,
                        "way": way,
                        "genes_per_s": rate,
                        "ratio": ratio,
                        "processor_ratio": cpu_ratio,
                        "wall_s": spent[way],
                        "processor_s": processor[way],
                    }
                )
                print(
                    f"batch {size:4}  {way:24} {rate:10,.0f} genes/s  {ratio:5.2f}x, "
                    f"of processor time {cpu_ratio:5.2f}x"
                )
    default = ROOT / "benchmarks" / "results" / f"gta_epochs{'_cuda' if is_gpu else ''}.json"
    out = args.out or default
    report = {
        "machine": machine() | {"gpu": torch.cuda.get_device_name() if is_gpu else None},
        "versions": versions("torch", "numpy", "lightning"),
        "sizes": {"genes": args.genes, "bins": args.bins, "epochs": args.epochs, "rounds": args.rounds},
        "rows": rows,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
