"""Probes: features that are kept against computing them each epoch, the mirror against memory, and a whole probe.

    python benchmarks/probes.py --data shared/data

Rows are random sequences of 145 bp; the network is MPRA-DragoNN with its published weights. Targets: an epoch over kept
features at least 20 times as fast as computing them; an epoch of the CNN from the mirror within 10 % of memory; ridge
on four representations in under 5 minutes.
"""

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import machine

from builders.extractors.base import ExtractorOptions, load_extractor
from model.probes.features import Features, plan_features
from model.probes.networks import cnn
from model.probes.neural import Recipe, _Fit
from model.probes.representations import Representation
from model.probes.request import ProbeRequest
from model.probes.run import run_probe
from model.probes.task import Task, read_task

LENGTH = 145
BATCH = 128


def write_task(path: Path, rows: int) -> None:
    """Write random sequences whose target is the count of a word, with noise."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, (rows, LENGTH))]
    texts = [row.tobytes().decode() for row in letters]
    lines = [
        f"{text}\t{text.count('TGA') + noise:.4f}" for text, noise in zip(texts, rng.normal(size=rows), strict=True)
    ]
    path.write_text("\n".join(["sequence\ttarget", *lines]) + "\n")


def kept_against_computed(task: Task, folder: Path, weights: Path) -> dict[str, float]:
    """Time an epoch of batches: read from the mirror, and computed anew."""
    settings = {
        "weights": str(weights / "mpra_dragonn_conv.hdf5"),
        "architecture": str(weights / "mpra_dragonn_conv.model.json"),
    }
    plan = plan_features(task, Representation("net", "mpra-dragonn", settings), "pooled", folder=folder, device="cpu")
    values = plan.compute().values
    extractor = load_extractor("mpra-dragonn", ExtractorOptions(bin_size=LENGTH, device="cpu"), settings)
    sequences = np.frombuffer(b"".join(task.sequences), dtype=np.uint8).reshape(-1, LENGTH)
    order = np.random.default_rng(0).permutation(len(sequences))
    batches = [np.sort(order[first : first + BATCH]) for first in range(0, len(order), BATCH)]
    extractor(sequences[:BATCH])  # loads the weights
    began = time.perf_counter()
    for batch in batches:
        extractor(sequences[batch])
    computed = time.perf_counter() - began
    read = []
    for _ in range(5):
        began = time.perf_counter()
        for batch in batches:
            values[batch].astype(np.float32)
        read.append(time.perf_counter() - began)
    return {"computed_s": computed, "kept_s": statistics.median(read), "ratio": computed / statistics.median(read)}


def mirror_against_memory(task: Task, representation: Representation, folder: Path, epochs: int) -> dict[str, float]:
    """Time epochs of the CNN along the sequence, in turn from the mirror and from memory."""
    plan = plan_features(task, representation, "along", folder=folder, device="cpu")
    features: Features = plan.compute()
    _, positions, channels = features.values.shape
    targets = torch.from_numpy(task.targets).float()
    seconds: dict[str, list[float]] = {"mirror": [], "memory": []}
    fits = {}
    for name, values in {"mirror": features.values, "memory": np.array(features.values)}.items():
        torch.manual_seed(0)
        network = partial(cnn, channels, positions, 1, width=0.25, reduce=None)()
        recipe = Recipe(learning_rate=1e-3, batch_size=BATCH)
        fit = _Fit(network, values, targets, recipe, torch.device("cpu"), is_binary=False)
        fits[name] = fit, torch.optim.Adam(network.parameters(), lr=1e-3)
    for epoch in range(epochs):
        for name in ("mirror", "memory") if epoch % 2 else ("memory", "mirror"):
            fit, optimiser = fits[name]
            began = time.process_time()
            fit.epoch(task.rows(0), optimiser, np.random.default_rng(epoch))
            seconds[name].append(time.process_time() - began)
    mirror, memory = (statistics.median(seconds[name]) for name in ("mirror", "memory"))
    bytes_held = features.values.nbytes
    return {"mirror_cpu_s": mirror, "memory_cpu_s": memory, "ratio": mirror / memory, "bytes": bytes_held}


def main() -> None:
    """Run all three, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "probes.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_task(folder / "task.tsv", given.rows)
        request = ProbeRequest(
            task=folder / "task.tsv", out=folder / "out", features=("kmer:4", "kmer:5"), fractions=(1.0,), device="cpu"
        )
        began = time.perf_counter()
        run_probe(request)
        found: dict[str, object] = {"rows": given.rows, "ridge_on_4_representations_s": time.perf_counter() - began}
        print(found, flush=True)
        task = read_task(request)
        found["kept"] = kept_against_computed(task, folder / "kept", given.data / "real_weights")
        print(found["kept"], flush=True)
        for representation in (Representation("onehot", "onehot", {}), Representation("4-mers", "kmer", {"k": 4})):
            name = f"cnn_epoch_{representation.extractor}"
            found[name] = mirror_against_memory(task, representation, folder / "kept", given.epochs)
            print(name, found[name], flush=True)
    given.json.write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
