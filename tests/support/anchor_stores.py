"""Anchors on a tiny genome, and what their windows hold, counted by hand."""

from collections.abc import Sequence
from pathlib import Path

from builders.extractors.base import ExtractorOptions
from catalog.genes.anchors import Anchor

COMPOSITION = "builders.testing:CompositionExtractor.from_options"
LENGTHS = {"chr1": 5003, "chr2": 640, "short": 5}
OPTIONS = ExtractorOptions(bin_size=16, device="cpu")
ANCHORS = [  # in the order that they are stored in
    Anchor("start", "chr1", 0, "+"),
    Anchor("near", "chr1", 1000),
    Anchor("nearer", "chr1", 1016, "-"),
    Anchor("nearest", "chr1", 1016, "+"),
    Anchor("odd", "chr1", 1021),
    Anchor("end", "chr2", 639, "-"),
    Anchor("all", "short", 2),
]
N_BINS = 11


def write_anchors(path: Path, anchors: Sequence[Anchor]) -> Path:
    rows = ["name\tcontig\tposition\tstrand", *("\t".join(map(str, anchor)) for anchor in anchors)]
    path.write_text("\n".join(rows) + "\n")
    return path


def by_hand(sequences: dict[str, str], anchor: Anchor, n_bins: int, bin_size: int = 16) -> list[list[int]]:
    """Count the bases of each bin of a window from the window's own sequence."""
    bases = sequences[anchor.contig].upper()
    first = anchor.centre - bin_size // 2 - n_bins // 2 * bin_size
    window = "".join(bases[p] if 0 <= p < len(bases) else "N" for p in range(first, first + n_bins * bin_size))
    bins = [window[start : start + bin_size] for start in range(0, len(window), bin_size)]
    return [[held.count(base) for base in "ACGTN"] for held in bins]
