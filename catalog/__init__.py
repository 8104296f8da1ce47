"""What exists and where it came from: assemblies, grids, feature sets, genes, annotations, expression, splits.

Conventions, here and in every package: positions are 0-based, half-open, in bp, on the forward strand; arrays run
`(windows, bins, channels)`; NaN means never built, and 0 means measured and zero.
"""

from catalog.assembly import Assembly, AssemblyMismatch, Contig, UnknownContig
from catalog.fasta import Fasta, FastaError
from catalog.feature_set import Channel, FeatureSet
from catalog.grid import Grid, Placement, Placements
from catalog.interval import Interval

__all__ = [
    "Assembly",
    "AssemblyMismatch",
    "Channel",
    "Contig",
    "Fasta",
    "FastaError",
    "FeatureSet",
    "Grid",
    "Interval",
    "Placement",
    "Placements",
    "UnknownContig",
]
