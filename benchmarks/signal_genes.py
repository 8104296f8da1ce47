"""Genes with sequence and three signals: batches from memory, the mirror and the store, against the released way.

    python benchmarks/signal_genes.py                  # writes benchmarks/results/signal_genes.json
    python benchmarks/signal_genes.py --quick          # fewer rounds; writes no JSON

Real GM12878 signals of chr22 (accessibility, transcription starts of both strands) at 1 bp, and random bases in the
place of its sequence: what a base is does not change what reading it takes. 18,377 windows of 2,000 bp at random start
sites, in batches of 64 in random order. The released way opens the genome with pyfaidx and the bigWigs with pyBigWig,
reads a gene at a time, and stacks 64 of them. All ways give equal values (checked first, to float16), take turns on the
same genes in an order that changes with every round, and a ratio is the median of the rounds' ratios. One thread of
torch: a batch is too small for two.

Needs the extras `tracks` and `torch`, pyfaidx and pyBigWig.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine, versions  # noqa: E402
from benchmarks.read_timing import Row  # noqa: E402
from catalog.genes.table import GENE_SCHEMA  # noqa: E402
from loaders import SignalGeneDataset, signal_gene_dataset  # noqa: E402

CONTIG, CONTIG_BASES, UNSEQUENCED = "chr22", 50_818_468, 10_510_000
GENES, LENGTH, BATCH = 18_377, 2_000, 64
TRACKS = {
    "accessibility": "acc.GM12878.chr22.bw",
    "plus": "GM12878.ds.chr22.pl.bw",
    "minus": "GM12878.ds.chr22.mn.bw",
}
CODES = np.full(256, 4, dtype=np.uint8)
CODES[list(b"ACGT")] = range(4)

Batch = tuple[torch.Tensor, torch.Tensor]
Read = Callable[[NDArray[np.int64]], Batch]


def gene_table() -> pl.DataFrame:
    """Draw start sites whose windows lie on the sequenced part of the contig."""
    rng = np.random.default_rng(1)
    tss = rng.integers(UNSEQUENCED + LENGTH, CONTIG_BASES - LENGTH, size=GENES)
    strands = rng.choice(["+", "-"], size=GENES)
    rows = [
        (f"g{n}", f"g{n}", CONTIG, strand, int(at), None)
        for n, (at, strand) in enumerate(zip(tss, strands, strict=True))
    ]
    return pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")


def write_genome(path: Path) -> Path:
    """Write random bases in the contig's length, N where it is not sequenced."""
    bases = np.frombuffer(b"ACGT", dtype=np.uint8)[np.random.default_rng(0).integers(0, 4, size=CONTIG_BASES)]
    bases[:UNSEQUENCED] = ord("N")
    with path.open("wb") as file:
        file.write(f">{CONTIG}\n".encode())
        for start in range(0, CONTIG_BASES, 60):
            file.write(bases[start : start + 60].tobytes() + b"\n")
    return path


def build(folder: Path, bigwigs: Path) -> Path:
    """Build the store as a user does."""
    store, genome = folder / "genes.store", write_genome(folder / "chr22.fa")
    tracks = [part for name, file in TRACKS.items() for part in ("--track", f"{name}={bigwigs / file}")]
    for command in (["build-sequence", store, "--fasta", genome], ["build-tracks", store, *tracks]):
        subprocess.run([sys.executable, "-m", "featurestore_command", *map(str, command), "--workers", "1"], check=True)
    return store


def released(genome: Path, bigwigs: Path, tss: NDArray[np.int64]) -> Read:
    """Read a gene at a time, with the libraries that the released data set uses."""
    import pyBigWig
    import pyfaidx

    fasta = pyfaidx.Fasta(str(genome), sequence_always_upper=True)
    files = [pyBigWig.open(str(bigwigs / name)) for name in TRACKS.values()]

    def gene(place: int) -> Batch:
        start = int(tss[place]) - LENGTH // 2
        letters = str(fasta[CONTIG][start : start + LENGTH]).encode()
        signals = [np.nan_to_num(file.values(CONTIG, start, start + LENGTH, numpy=True)) for file in files]
        return torch.from_numpy(CODES[np.frombuffer(letters, dtype=np.uint8)]), torch.from_numpy(
            np.stack(signals, axis=1)
        )

    def read(places: NDArray[np.int64]) -> Batch:
        sequence, signals = zip(*(gene(place) for place in places.tolist()), strict=True)
        return torch.stack(sequence), torch.stack(signals)

    return read


def ours(dataset: SignalGeneDataset) -> Read:
    """Read batches of a dataset."""

    def read(places: NDArray[np.int64]) -> Batch:
        batch = dataset[places]
        return batch.sequence, batch.signals

    return read


def measure(ways: dict[str, tuple[Read, int]], rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Time every way in every round on the same genes; seconds and processor seconds a gene, one figure a round."""
    rng = np.random.default_rng(2)
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        order = rng.permutation(GENES)
        for name in rng.permutation(list(ways)).tolist():
            read, n_batches = ways[name]
            started, cpu_started = time.perf_counter(), time.process_time()
            for first in range(0, n_batches * BATCH, BATCH):
                read(order[first : first + BATCH])
            wall[name].append((time.perf_counter() - started) / n_batches / BATCH)
            cpu[name].append((time.process_time() - cpu_started) / n_batches / BATCH)
    return wall, cpu


def check_equal(ways: dict[str, tuple[Read, int]], reference: Read) -> None:
    """Refuse to time ways that read different values."""
    places = np.random.default_rng(3).permutation(GENES)[:BATCH]
    sequence, signals = reference(places)
    for name, (read, _) in ways.items():
        own_sequence, own_signals = read(places)
        if name != "memory, along the gene" and not (
            torch.equal(own_sequence, sequence) and torch.equal(own_signals.half(), signals.half())
        ):
            raise RuntimeError(f"{name} reads other values than pyfaidx and pyBigWig")


def table(wall: dict[str, list[float]], cpu: dict[str, list[float]], held_bytes: int) -> list[Row]:
    """Give the lines of the table, with their targets."""
    rates = {name: 1 / statistics.median(seconds) for name, seconds in wall.items()}
    of_cpu = {name: 1 / statistics.median(seconds) for name, seconds in cpu.items()}
    targets = {"memory": 20_000, "mirror": 10_000}
    rows = [
        Row(f"{name}: genes a second", rates[name], "", targets.get(name), details={"per_cpu_second": of_cpu[name]})
        for name in wall
    ]
    for name in ("memory", "mirror"):
        ratio = statistics.median(other / own for other, own in zip(wall["released"], wall[name], strict=True))
        rows.append(Row(f"{name} against the released way", ratio, "x", 20 if name == "memory" else None))
    return [*rows, Row(f"memory of {GENES:,} genes", held_bytes / 1e6, "MB")]


@contextmanager
def chosen_folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds, no JSON")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared/data", help="folder of real data")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where store and mirror lie; one that is there is used"
    )
    args = parser.parse_args()
    bigwigs = args.shared / "bigwig_chr22_hg38"
    if not bigwigs.is_dir():
        sys.exit(f"no folder {bigwigs}; say where the real data lie: --shared FOLDER")
    torch.set_num_threads(1)
    before = machine()
    with chosen_folder(args.folder) as folder:
        store = folder / "genes.store"
        if not store.exists():
            build(folder, bigwigs)
        genes = gene_table()
        datasets = {
            "memory": signal_gene_dataset(store, genes),
            "memory, along the gene": signal_gene_dataset(store, genes, orient="gene", stranded={"plus": "-minus"}),
            "mirror": signal_gene_dataset(store, genes, residence="cache", cache_dir=folder / "mirror"),
            "store": signal_gene_dataset(store, genes, residence="stream"),
        }
        n_batches = {"memory": 100, "memory, along the gene": 50, "mirror": 40, "store": 4}
        ways = {name: (ours(dataset), n_batches[name]) for name, dataset in datasets.items()}
        for name in ("memory", "memory, along the gene", "mirror"):  # an epoch, which reads all rows for the first time
            for first in range(0, GENES, BATCH):
                ways[name][0](np.arange(first, min(first + BATCH, GENES)))
        reference = released(folder / "chr22.fa", bigwigs, genes["tss"].to_numpy())
        check_equal(ways, reference)
        started = time.perf_counter()
        wall, cpu = measure(ways | {"released": (reference, 2)}, 3 if args.quick else 15)
        seconds = time.perf_counter() - started
    rows = table(wall, cpu, datasets["memory"].windows.held_bytes)
    for row in rows:
        print(row.line(), flush=True)
    if args.quick:
        return
    report = {
        "machine": before,
        "load_at_the_end": os.getloadavg(),
        "seconds": seconds,
        "versions": versions("numpy", "torch", "tensorstore", "pyfaidx", "pyBigWig"),
        "sizes": {"genes": GENES, "length": LENGTH, "signals": len(TRACKS), "batch": BATCH},
        "rows": [row.to_json() for row in rows],
    }
    out = ROOT / "benchmarks" / "results" / "signal_genes.json"
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
