"""What exists and where it came from: assemblies, grids, feature sets, genes, annotations, expression, splits.

Conventions, here and in every package: positions are 0-based, half-open, in bp, on the forward strand; arrays run
`(windows, bins, channels)`; NaN means never built, and 0 means measured and zero.
"""

from catalog.assembly import Assembly, AssemblyMismatch, Contig, UnknownContig
from catalog.expression.promoters import read_peaks, read_quantification, signal_at_tss
from catalog.expression.targets import median_over_samples, read_samples, read_targets
from catalog.fasta.file import Fasta
from catalog.fasta.index import FastaIndex
from catalog.fasta.source import FastaChanged, FastaError
from catalog.feature_set import Channel, FeatureSet
from catalog.genes.anchors import Anchor, read_anchors
from catalog.genes.lifting import lift_genes, lift_positions
from catalog.genes.report import GeneReport, GeneTable
from catalog.genes.splits import Split
from catalog.genes.table import match_contigs, place_genes, read_gene_table, read_genes, write_genes
from catalog.grid import Grid, Placement, Placements
from catalog.interval import Interval
from catalog.ncbi.annotations import annotate, prompts_for, read_annotations
from catalog.ncbi.client import EntrezError
from catalog.ncbi.fetch import fetch_annotations
from catalog.registry import DamagedRegistry, KnownSet, KnownStore, Registry, StoreSummary, UnknownStore, parse_registry
from catalog.tables import TableError

__all__ = [
    "Anchor",
    "Assembly",
    "AssemblyMismatch",
    "Channel",
    "Contig",
    "DamagedRegistry",
    "EntrezError",
    "Fasta",
    "FastaChanged",
    "FastaError",
    "FastaIndex",
    "FeatureSet",
    "GeneReport",
    "GeneTable",
    "Grid",
    "Interval",
    "KnownSet",
    "KnownStore",
    "Placement",
    "Placements",
    "Registry",
    "Split",
    "StoreSummary",
    "TableError",
    "UnknownContig",
    "UnknownStore",
    "annotate",
    "fetch_annotations",
    "lift_genes",
    "lift_positions",
    "match_contigs",
    "median_over_samples",
    "parse_registry",
    "place_genes",
    "prompts_for",
    "read_anchors",
    "read_annotations",
    "read_gene_table",
    "read_genes",
    "read_peaks",
    "read_quantification",
    "read_samples",
    "read_targets",
    "signal_at_tss",
    "write_genes",
]
