"""What exists and where it came from: assemblies, grids, feature sets, genes, annotations, expression, splits.

Conventions, here and in every package: positions are 0-based, half-open, in bp, on the forward strand; arrays run
`(windows, bins, channels)`; NaN means never built, and 0 means measured and zero.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catalog.assembly import Assembly, AssemblyMismatch, Contig, UnknownContig
    from catalog.expression.covariates import read_covariates
    from catalog.expression.promoters import read_peaks, read_quantification, signal_at_tss
    from catalog.expression.targets import TargetSettings, median_over_samples, read_samples, read_targets
    from catalog.fasta.file import Fasta
    from catalog.fasta.index import FastaIndex
    from catalog.fasta.source import FastaChanged, FastaError
    from catalog.feature_set import Channel, FeatureIdentity, FeatureSet
    from catalog.genes.anchors import Anchor, read_anchors
    from catalog.genes.folds import by_chromosome_fold
    from catalog.genes.lifting import lift_genes, lift_positions
    from catalog.genes.report import GeneReport, GeneTable
    from catalog.genes.splits import Split
    from catalog.genes.table import match_contigs, place_genes, read_gene_table, read_genes, write_genes
    from catalog.grid import Grid, Placement, Placements
    from catalog.interval import Interval
    from catalog.ncbi.annotations import annotate, prompts_for, read_annotations
    from catalog.ncbi.client import EntrezError
    from catalog.ncbi.fetch import fetch_annotations
    from catalog.ncbi.prompts import PromptSettings
    from catalog.registry import (
        DamagedRegistry,
        KnownSet,
        KnownStore,
        Registry,
        StoreSummary,
        UnknownStore,
        parse_registry,
    )
    from catalog.runtime.tables import TableError

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
    "FeatureIdentity",
    "FeatureSet",
    "GeneReport",
    "GeneTable",
    "Grid",
    "Interval",
    "KnownSet",
    "KnownStore",
    "Placement",
    "Placements",
    "PromptSettings",
    "Registry",
    "Split",
    "StoreSummary",
    "TableError",
    "TargetSettings",
    "UnknownContig",
    "UnknownStore",
    "annotate",
    "by_chromosome_fold",
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
    "read_covariates",
    "read_gene_table",
    "read_genes",
    "read_peaks",
    "read_quantification",
    "read_samples",
    "read_targets",
    "signal_at_tss",
    "write_genes",
]

_DOOR = {
    "Assembly": "catalog.assembly",
    "AssemblyMismatch": "catalog.assembly",
    "Channel": "catalog.feature_set",
    "Fasta": "catalog.fasta.file",
    "FeatureSet": "catalog.feature_set",
    "GeneTable": "catalog.genes.report",
    "Grid": "catalog.grid",
    "Interval": "catalog.interval",
    "Split": "catalog.genes.splits",
    "fetch_annotations": "catalog.ncbi.fetch",
    "lift_genes": "catalog.genes.lifting",
    "place_genes": "catalog.genes.table",
    "prompts_for": "catalog.ncbi.annotations",
    "read_annotations": "catalog.ncbi.annotations",
    "read_genes": "catalog.genes.table",
    "read_targets": "catalog.expression.targets",
}
"""Shown by `dir()` and tab completion."""
_MORE = {
    "Anchor": "catalog.genes.anchors",
    "Contig": "catalog.assembly",
    "DamagedRegistry": "catalog.registry",
    "EntrezError": "catalog.ncbi.client",
    "FastaChanged": "catalog.fasta.source",
    "FastaError": "catalog.fasta.source",
    "FastaIndex": "catalog.fasta.index",
    "FeatureIdentity": "catalog.feature_set",
    "GeneReport": "catalog.genes.report",
    "KnownSet": "catalog.registry",
    "KnownStore": "catalog.registry",
    "Placement": "catalog.grid",
    "Placements": "catalog.grid",
    "PromptSettings": "catalog.ncbi.prompts",
    "Registry": "catalog.registry",
    "StoreSummary": "catalog.registry",
    "TableError": "catalog.runtime.tables",
    "TargetSettings": "catalog.expression.targets",
    "UnknownContig": "catalog.assembly",
    "UnknownStore": "catalog.registry",
    "annotate": "catalog.ncbi.annotations",
    "by_chromosome_fold": "catalog.genes.folds",
    "lift_positions": "catalog.genes.lifting",
    "match_contigs": "catalog.genes.table",
    "median_over_samples": "catalog.expression.targets",
    "parse_registry": "catalog.registry",
    "read_anchors": "catalog.genes.anchors",
    "read_covariates": "catalog.expression.covariates",
    "read_gene_table": "catalog.genes.table",
    "read_peaks": "catalog.expression.promoters",
    "read_quantification": "catalog.expression.promoters",
    "read_samples": "catalog.expression.targets",
    "signal_at_tss": "catalog.expression.promoters",
    "write_genes": "catalog.genes.table",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    from catalog.runtime.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, door=_DOOR, more=_MORE)
