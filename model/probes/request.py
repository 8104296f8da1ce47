"""Options of a probe: one value, from the command line or Python.

Belongs here: the options and what they mean. Does not: the code that reads them (`model.probes.task`,
`model.probes.run`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from builders.attribution.request import LEAST_BACKGROUNDS
from catalog.runtime.settings import library_options
from catalog.value_type import Dtype

Metric = Literal["pearson", "spearman", "mse", "auroc", "aupr"]
Split = Literal["column", "contig", "random", "folds"]
Preset = Literal["default", "paper"]
HEADS = ("ridge", "logistic", "mlp", "cnn", "resnet", "mprann")
_DISTINCT = ("features", "heads", "targets", "fractions", "motifs")


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """Which task, which representations, which heads, and where the scores go."""

    task: Path
    """Table of rows: sequence, or contig, start and end (0-based, half-open) and perhaps strand; and its targets."""
    out: Path
    """Folder of the features, scores and report; the same command goes on there."""
    fasta: str | None = None
    """The genome of rows that are places, a path or any fsspec URL: .fa, or .fa.gz made by bgzip."""
    features: tuple[str, ...] = ("kmer",)
    """Representations, comma-separated: extractors, each perhaps with its model, weights or k, as in
    kmer:5,puffin:puffin.pth,hf:FOLDER. One-hot and dinucleotides are always beside."""
    settings: Mapping[str, Any] = field(default_factory=dict, metadata={"flag": "--set", "metavar": "NAME=VALUE"})
    """Settings of an extractor, under its name, as in puffin.weights=puffin.pth; repeatable."""
    heads: tuple[str, ...] = ("ridge",)
    """What is fitted to features, comma-separated: ridge (logistic for classes) and mlp on pooled features; cnn, resnet
    and mprann along the sequence."""
    preset: Preset = "default"
    """default, or paper: heads and training of Tang et al. 2025."""
    targets: tuple[str, ...] | None = None
    """Columns to predict, comma-separated; empty cells are not known. [default: all columns of numbers that are not
    a place, a split or a fold]"""
    metric: Metric | None = None
    """pearson, spearman or mse of numbers; auroc or aupr of 0 and 1. [default: pearson, or auroc of 0 and 1]"""
    split: Split | None = None
    """column (train, validation, test), contig, folds (column fold), or random; equal sequences stay together there.
    [default: column if there is a column split, else random]"""
    test: tuple[str, ...] | None = None
    """Contigs or folds of the test part, comma-separated. [default: the last fold]"""
    validation: tuple[str, ...] | None = None
    """Contigs or folds of the validation part, comma-separated. [default: the last fold but one]"""
    seeds: int = 1
    """Fits of each head that begins at random."""
    fractions: tuple[float, ...] = (0.1, 0.3, 1.0)
    """Shares of the training rows of the learning curve, by the first seed; 1 alone for none."""
    resolution: int = 1
    """Bases a bin (bp) of the features along the sequence."""
    dtype: Dtype = "float16"
    """Type of the stored features: float16 or float32."""
    draws: int = 1000
    """Bootstrap draws of the test rows."""
    explain: int = 0
    """Test rows whose bases are explained, those of the highest first target: maps of each head (first seed), and how
    far they agree; 0 for none."""
    motifs: tuple[str, ...] | None = None
    """Motifs (A, C, G, T), comma-separated: what each adds to the output of each head, in the middle of shuffled test
    rows."""
    backgrounds: int = 300
    """Shuffles of test rows that motifs are put into."""
    cache: Path | None = None
    """Folder that keeps features for other runs. [default: features, in the folder of the run]"""
    device: str = "auto"
    """auto, cpu or cuda."""
    fasta_options: Mapping[str, Any] | None = field(
        default=None, repr=False, metadata={"flag": "--fasta-option", "metavar": "KEY=VALUE"}
    )
    """Credentials and endpoint of the genome, as fsspec and s3fs name them; repeat it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fasta_options", library_options(self.fasta_options))
        object.__setattr__(self, "motifs", _motifs(self.motifs))
        for name in _DISTINCT:
            values = getattr(self, name)
            if values is not None and (not values or len(set(values)) != len(values)):
                raise ValueError(f"`{name}=` names one or more, each once; got {', '.join(map(str, values)) or 'none'}")
        if unknown := [head for head in self.heads if head not in HEADS]:
            raise ValueError(f"`heads=` are of {', '.join(HEADS)}; got {unknown[0]!r}")
        if {"ridge", "logistic"} <= set(self.heads):
            raise ValueError("`heads=` are ridge, which is logistic for classes, or logistic; got both")
        least_of = {"seeds": 1, "resolution": 1, "draws": 20, "explain": 0, "backgrounds": LEAST_BACKGROUNDS}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise ValueError(f"`{name}=` is at least {least}; got {getattr(self, name)}")
        if not all(0 < share <= 1 for share in self.fractions) or max(self.fractions) != 1:
            raise ValueError(f"`fractions=` are above 0, and the largest is 1; got {self.fractions}")
        if self.dtype not in ("float16", "float32"):
            raise ValueError(f"`dtype=` of features to probe is float16 or float32; got {self.dtype}")


def _motifs(texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
    motifs = None if texts is None else tuple(text.strip().upper() for text in texts)
    if wrong := [motif for motif in motifs or () if not motif or not set(motif) <= set("ACGT")]:
        raise ValueError(f"`motifs=` are of the letters A, C, G, T; got {wrong[0]!r}")
    return motifs


@dataclass(frozen=True, kw_only=True)
class ZeroShotRequest:
    """Which scores, which effects, and where the correlations go."""

    scores: Path
    """Table that `featurestore variants` wrote."""
    effects: Path
    """Measured effects: contig, position (1-based), ref, alt, effect, and perhaps element."""
    out: Path
    """Table to write, tab-separated: a row an element and score."""
    effect_column: str = "effect"
    """Column of the effect; its size is compared."""
    element_column: str = "element"
    """Column of the element; without it all variants are of one."""
    draws: int = 1000
    """Bootstrap draws of the variants of an element."""

    def __post_init__(self) -> None:
        if self.draws < 20:
            raise ValueError(f"`draws=` is at least 20; got {self.draws}")
