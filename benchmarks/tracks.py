"""bigWig files into a store, against reading the same values with the faster library, in one run.

    python benchmarks/tracks.py            # writes benchmarks/results/tracks.json
    python benchmarks/tracks.py --quick    # bins of 32 bp, once: does it run here at all?

Needs the extras `tracks` and `dev`, and the GM12878 files of chromosome 22. "Reading" is whole-contig calls of
pyBigWig and of pybigtools in this process, bare (three arrays, NaN where nothing is covered); and with pyBigWig, the
faster one, to the values that the store keeps (one array `(bins, 3)` float16, 0 where nothing is covered). "Ours"
reads, summarises, encodes, checksums, writes and commits, from the first shard handed out to the last one back. Each
figure is the best of several runs, taken in turn.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pybigtools
import pyBigWig

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

from benchmarks.build import random_genome  # noqa: E402
from benchmarks.machine import machine, versions  # noqa: E402
from builders import run_build  # noqa: E402
from builders.request import SequenceRequest  # noqa: E402
from builders.tracks import TrackRequest  # noqa: E402

SHARED = Path(os.environ.get("FEATURESTORE_SHARED", ROOT.parent / "shared"))
DATA = SHARED / "data/bigwig_chr22_hg38"
TRACKS = {
    "accessibility": DATA / "acc.GM12878.chr22.bw",
    "plus": DATA / "GM12878.ds.chr22.pl.bw",
    "minus": DATA / "GM12878.ds.chr22.mn.bw",
}
LENGTH = 50_818_468
SHARD_BASES = 1 << 21
"""25 shards of the contig, so that two workers end together; a genome has hundreds of the default size."""


def with_pybigwig(end: int) -> list[np.ndarray]:
    return [pyBigWig.open(str(path)).values("chr22", 0, end, numpy=True) for path in TRACKS.values()]


def with_pybigtools(end: int) -> list[np.ndarray]:
    return [pybigtools.open(str(path)).values("chr22", 0, end, fillna=None) for path in TRACKS.values()]


def as_stored(read: list[np.ndarray], bin_size: int) -> np.ndarray:
    """Give what the store keeps: means over all bases of a bin, `(bins, 3)` float16."""
    bases = [np.nan_to_num(values) for values in read]
    if bin_size > 1:
        whole = -(-len(bases[0]) // bin_size) * bin_size
        bases = [np.pad(values, (0, whole - len(values))).reshape(-1, bin_size).mean(axis=1) for values in bases]
    return np.stack(bases, axis=1).astype(np.float16)


def built(folder: Path, fasta: Path, *, workers: int, bin_size: int) -> float:
    """Build the tracks into a new store; give seconds of work (s)."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        request = TrackRequest(
            tracks={name: str(path) for name, path in TRACKS.items()},
            fasta=str(fasta),
            bin_size=bin_size,
            workers=workers,
            contigs=("chr22",),
            shard_bins=SHARD_BASES // bin_size,
        )
        report = run_build(f"{place}/s", request)
        assert report.is_complete, report.failed
        return report.work_seconds


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def tracks_row(folder: Path, fasta: Path, *, bin_size: int, length: int, runs: int) -> dict[str, Any]:
    """Time all ways in turn, and give the best of each."""
    ways: dict[str, Callable[[], float]] = {
        "pyBigWig_s": lambda: timed(lambda: with_pybigwig(length)),
        "pybigtools_s": lambda: timed(lambda: with_pybigtools(length)),
        "pyBigWig_as_stored_s": lambda: timed(lambda: as_stored(with_pybigwig(length), bin_size)),
        "ours_1_worker_s": lambda: built(folder, fasta, workers=1, bin_size=bin_size),
        "ours_2_workers_s": lambda: built(folder, fasta, workers=2, bin_size=bin_size),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            taken[name].append(way())
    best = {name: min(seconds) for name, seconds in taken.items()}
    bare = min(best["pyBigWig_s"], best["pybigtools_s"])
    return {
        "what": f"{len(TRACKS)} tracks of {length:,} bp in bins of {bin_size} bp into a store, float16",
        **best,
        "values_per_second_2_workers": len(TRACKS) * length / bin_size / best["ours_2_workers_s"],
        "ratio_to_the_values_stored": best["pyBigWig_as_stored_s"] / best["ours_2_workers_s"],
        "target_ratio": 1.0,
        "ratio_to_bare_reading": bare / best["ours_2_workers_s"],
        "ratio_2_workers_to_1": best["ours_1_worker_s"] / best["ours_2_workers_s"],
        "target_2_workers_to_1": 1.8,
        "load_before": os.getloadavg()[0],
        "runs": runs,
    }


def sequence_row(folder: Path, fasta: Path, *, length: int) -> dict[str, Any]:
    """Time the sequence set."""
    request = SequenceRequest(fasta=str(fasta), workers=2, shard_bins=SHARD_BASES)
    report = run_build(str(folder / "sequence.store"), request)
    assert report.is_complete
    return {
        "what": f"the sequence of {length:,} bp into a store, 2 workers",
        "bases_per_second": report.bins_per_second,
        "human_genome_s": 3_100_000_000 / report.bins_per_second,
        "bytes": report.bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/tracks.json")
    args = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"no files at {DATA}; FEATURESTORE_SHARED says where shared data lie")
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        # The contig must have its length; its bases do not matter to tracks.
        fasta = random_genome(Path(folder) / "chr22.fa", LENGTH)
        fasta.write_bytes(fasta.read_bytes().replace(b">chr1\n", b">chr22\n", 1))
        for bin_size in (32,) if args.quick else (1, 32):
            runs = 1 if args.quick else args.runs
            rows[f"tracks_{bin_size}bp"] = tracks_row(Path(folder), fasta, bin_size=bin_size, length=LENGTH, runs=runs)
            print(json.dumps(rows[f"tracks_{bin_size}bp"], indent=1))
        rows["sequence"] = sequence_row(Path(folder), fasta, length=LENGTH)
        print(json.dumps(rows["sequence"], indent=1))
    found = {
        "machine": machine(),
        "versions": versions("pybigtools", "pyBigWig", "numpy", "zarr", "numcodecs", "dask"),
        "rows": rows,
    }
    if not args.quick:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
