"""Test vectors of the store's format: `python tests/support/format_vectors.py` writes `tests/data/format`.

A tiny store with every value type, two phases, a contig whose name needs escapes, a shard that was never built and an
anchored array; beside it `expected.json`, windows worked out from the values before they were written.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from catalog import Grid
from catalog.genes.anchors import Anchor
from featurestore.format import layout
from featurestore.store import create
from featurestore.testing.fixtures import assembly_of, build_anchored, build_set, random_sequences, values_of

VECTORS = Path(__file__).parents[1] / "data" / "format"
GRID = Grid(bin_size=8, offsets=(0, 4))
LENGTHS = {"chrA": 70, "HLA-A*01:01": 20}
DTYPES = {"half": "float16", "byte": "uint8", "single": "float32"}
NOT_BUILT = ("byte", "chrA", 0, 2)
"""Set, contig, phase and shard."""
WINDOWS = [
    *(
        (name, contig, centre, n_bins)
        for name in DTYPES
        for contig, centre, n_bins in (("chrA", 30, 3), ("chrA", 33, 4))
    ),
    ("half", "chrA", 0, 5),
    ("half", "chrA", 69, 4),
    ("half", "chrA", 35, 11),
    ("single", "HLA-A*01:01", 10, 5),
    ("byte", "chrA", 60, 3),
]


def write(folder: Path) -> None:
    """Write the store and the expected windows into a folder."""
    store = create(folder / "tiny.store", assembly_of(random_sequences(LENGTHS)))
    for name, dtype in DTYPES.items():
        build_set(store, GRID, name=name, n_channels=2, dtype=dtype)
    anchors = [Anchor("g1", "chrA", 44, "+"), Anchor("g2", "chrA", 20, "-")]
    build_anchored(store, "half", anchors, name="tss", n_bins=3)
    store.objects.delete(layout.commit_key(*NOT_BUILT))
    store.objects.delete(layout.shard_key(*NOT_BUILT))
    expected = [_expected(store, *window) for window in WINDOWS]
    lines = ",\n".join(json.dumps(window) for window in expected)
    (folder / "expected.json").write_text(f"[\n{lines}\n]\n")


def _expected(store: Any, name: str, contig: str, centre: int, n_bins: int) -> dict[str, Any]:
    """Work out a window: every place that the phases have is tried."""
    middle = n_bins * GRID.bin_size // 2
    places = [
        (abs(row * GRID.bin_size - offset + middle - centre), phase, row)
        for phase, offset in enumerate(GRID.offsets)
        for row in range(-20, 20)
    ]
    _, phase, first = min(places)
    features = store[name].feature_set
    values = values_of(features, LENGTHS[contig], phase)
    rows = [
        values[row].tolist() if 0 <= row < len(values) else list(features.pad) for row in range(first, first + n_bins)
    ]
    window = {"set": name, "contig": contig, "centre": centre, "n_bins": n_bins}
    built = phase != NOT_BUILT[2] or name != NOT_BUILT[0] or first + n_bins <= 8
    found = {"values": rows} if built else {"error": "was not built"}
    residual = first * GRID.bin_size - GRID.offsets[phase] + middle - centre
    return window | {"phase": phase, "first_bin": first, "residual": residual} | found


if __name__ == "__main__":
    shutil.rmtree(VECTORS, ignore_errors=True)
    VECTORS.mkdir(parents=True)
    write(VECTORS)
    sys.stdout.write(
        f"{VECTORS}: {sum(path.stat().st_size for path in VECTORS.rglob('*') if path.is_file()):,} bytes\n"
    )
