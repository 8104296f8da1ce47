"""What exists and where it came from: assemblies, grids, feature sets, genes, annotations, expression, splits.

Conventions, here and in every package: positions are 0-based, half-open, in bp, on the forward strand; arrays run
`(windows, bins, channels)`; NaN means never built, and 0 means measured and zero.
"""

from catalog.anchors import Anchor, read_anchors
from catalog.assembly import Assembly, AssemblyMismatch, Contig, UnknownContig
from catalog.expression import read_targets
from catalog.fasta import Fasta
from catalog.fasta_index import FastaIndex
from catalog.fasta_source import FastaChanged, FastaError
from catalog.feature_set import Channel, FeatureSet
from catalog.genes import match_contigs, read_genes, write_genes
from catalog.grid import Grid, Placement, Placements
from catalog.interval import Interval
from catalog.ncbi import annotate, prompts_for, read_annotations
from catalog.splits import Split
from catalog.tables import TableError

__all__ = [
    "Anchor",
    "Assembly",
    "AssemblyMismatch",
    "Channel",
    "Contig",
    "Fasta",
    "FastaChanged",
    "FastaError",
    "FastaIndex",
    "FeatureSet",
    "Grid",
    "Interval",
    "Placement",
    "Placements",
    "Split",
    "TableError",
    "UnknownContig",
    "annotate",
    "match_contigs",
    "prompts_for",
    "read_anchors",
    "read_annotations",
    "read_genes",
    "read_targets",
    "write_genes",
]
