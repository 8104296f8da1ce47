"""In-silico mutagenesis of a region: only what the changed base reaches computed again, against full forwards.

    python benchmarks/variants_mutagenesis.py --puffin puffin.pth --splice openspliceai_mane_400nt_rs10.pt

Both give the change of the output, summed over the region, by each of the three other bases in each place. Full
forwards compute the whole region for each mutant, in batches of the size that the extractor asks for, as a loop around
the published networks does. They are timed on places spread over the region, the same for both; the region is random
sequence. Each is run three times, in turn, after one that warms up; the medians are compared. The largest difference
between the two is printed beside the largest change.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import machine, versions
from numpy.typing import NDArray

from builders.attribution.bins import Bins
from builders.attribution.mutagenesis import mutagenesis
from builders.extractors.base import ExtractorOptions, load_extractor
from catalog import Interval

RESULTS = Path(__file__).parent / "results"
LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)


def full_forwards(bins: Bins, sequence: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute each mutant whole."""
    network = bins.network(bins.n_bins)

    def output(rows: NDArray[np.uint8]) -> NDArray[np.float64]:
        found = network(rows)[bins.feature_set].astype(np.float64)
        return found.reshape(len(rows), bins.n_bins, -1).sum(1)[:, list(bins.columns)]

    reference = output(sequence[None])[0]
    mutants = [(row, base) for row, place in enumerate(places) for base in range(4) if LETTERS[base] != sequence[place]]
    changes = np.zeros((len(places), 4, len(bins.columns)))
    for first in range(0, len(mutants), network.batch_size):
        rows, letters = np.array(mutants[first : first + network.batch_size]).T
        batch = np.repeat(sequence[None], len(rows), axis=0)
        batch[np.arange(len(rows)), places[rows]] = LETTERS[letters]
        changes[rows, letters] = output(batch) - reference
    return changes


def compared(name: str, weights: Path, region_bp: int, n_places: int) -> dict[str, Any]:
    """Time both on one network and one region."""
    extractor = load_extractor(name, ExtractorOptions(device="cpu"), {"weights": str(weights)})
    bins = Bins.over(Interval("c", 0, region_bp), extractor, bin_size=None, channels=None)
    rng = np.random.default_rng(0)
    sequence = LETTERS[rng.integers(0, 4, bins.length)]
    places = np.linspace(0, region_bp - 1, n_places).astype(np.int64) - bins.start
    seconds: dict[str, list[float]] = {"affected": [], "full": []}
    found = {}
    for turn in range(4):
        for kind, way in (("affected", mutagenesis), ("full", full_forwards)):
            began = time.perf_counter()
            found[kind] = way(bins, sequence, places)
            if turn:  # the first one warms up
                seconds[kind].append(time.perf_counter() - began)
    row = {
        "extractor": name,
        "weights": weights.name,
        "region_bp": region_bp,
        "places": n_places,
        "receptive_field_bp": bins.reach,
        "seconds": seconds,
        "ratio": median(seconds["full"]) / median(seconds["affected"]),
        "largest_change": float(np.abs(found["full"]).max()),
        "largest_difference": float(np.abs(found["full"] - found["affected"]).max()),
    }
    print(json.dumps({key: value for key, value in row.items() if key != "seconds"}))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--puffin", type=Path)
    parser.add_argument("--splice", type=Path, action="append", default=[], help="one network a file; repeatable")
    parser.add_argument("--regions", type=int, nargs="+", default=[500, 2000, 5000], help="bp")
    parser.add_argument("--places", type=int, default=96)
    given = parser.parse_args()
    networks = [("puffin", given.puffin)] if given.puffin else []
    networks += [("splice", path) for path in given.splice]
    if not networks:
        parser.error("give --puffin or --splice")
    torch.set_num_threads(1)
    rows = [compared(name, path, region, given.places) for name, path in networks for region in given.regions]
    found = {"rows": rows, "threads": 1, "machine": machine(), "versions": versions("torch", "numpy")}
    (RESULTS / "variants_mutagenesis.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
