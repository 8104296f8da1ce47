"""What `gta_learning.py` fits: which models, on which genomes, compared with which."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.gta_variants import PAPER_VARIANTS, VARIANTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One model, fitted once."""

    label: str
    model: str
    n_bins: int = 251
    backbone: str = "untrained"
    seed: int = 0
    """Of the genome, the initial weights and the order of training."""
    fit: int = 0
    """Of several fits to one genome: changes the initial weights and the order of training."""
    genes: int = 6000
    """Of the genome."""
    train: int | None = None
    """Training genes, drawn by seed; None takes all."""

    @property
    def key(self) -> str:
        """Name of its score in the JSON."""
        fit = f", fit {self.fit}" if self.fit else ""
        return f"{self.label}, {self.n_bins} bins, seed {self.seed}{fit}, {self.train or 'all'} of {self.genes} genes"

    def folder(self, work: Path) -> Path:
        """Say where its fitted model and what that predicts of the test genes are kept."""
        return work / "fitted" / re.sub(r"[^\w.-]+", "-", self.key)


class Pair(NamedTuple):
    """Two models whose scores on the same genes are compared."""

    first: Trial
    second: Trial

    @property
    def key(self) -> str:
        """Name of the comparison in the JSON."""
        return f"{self.first.key} | {self.second.key}"


TABLE = (
    ("gta-best", "gta-best", 251, "untrained"),
    ("gta-best", "gta-best", 51, "untrained"),
    ("gta-no-llm", "gta-no-llm", 251, ""),
    ("gta-no-llm", "gta-no-llm", 51, ""),
    ("gta-sequence-only", "gta-sequence-only", 251, "untrained"),
    ("gta-prompt-only", "gta-prompt-only", 251, "untrained"),
    ("gta-paper", "gta-paper", 251, "untrained"),
    ("mlp", "mlp", 251, ""),
    ("cnn", "cnn", 251, ""),
    ("ridge-exponential", "ridge-exponential", 251, ""),
    ("ridge-exponential", "ridge-exponential", 51, ""),
    ("ridge-centre", "ridge-centre", 251, ""),
    ("mean", "mean", 251, ""),
)
PRETRAINED = (
    ("gta-best, pretrained encoder", "gta-best", 51, "pretrained"),
    ("gta-best, the encoder untrained", "gta-best", 51, "reset"),
    ("gta-prompt-only, pretrained encoder", "gta-prompt-only", 251, "pretrained"),
)
COMPARED = (
    ("gta-best", 251, "gta-best", 51),
    ("gta-best", 251, "ridge-exponential", 251),
    ("gta-best", 251, "ridge-centre", 251),
    ("gta-best", 251, "mlp", 251),
    ("gta-best", 251, "gta-no-llm", 251),
    ("gta-best", 251, "gta-sequence-only", 251),
    ("gta-no-llm", 251, "gta-no-llm", 51),
    ("gta-best, pretrained encoder", 51, "gta-best, the encoder untrained", 51),
    ("gta-best, pretrained encoder", 51, "gta-no-llm", 51),
)
CHANGE_SEEDS = (5, 6)
"""Genomes on which models are chosen; those of the table are 0 to 4."""
CURVE = ("gta-best", "gta-no-llm", "ridge-exponential", "ridge-centre")
CURVE_COMPARED = (
    ("gta-best", "ridge-centre"),
    ("gta-best", "ridge-exponential"),
    ("gta-no-llm", "ridge-centre"),
    ("gta-best", "gta-no-llm"),
)
SIZES = (250, 500, 1000, 2000, 4000, 12_000)
_GENES_OF_CURVE = 18_000


def trials(part: str, seeds: int) -> list[Trial]:
    """List what a part fits, cheap models of one genome after the other."""
    if part == "curve":
        printed = of_curve("gta-paper", SIZES[-1])
        return [*(of_curve(model, size) for size in SIZES for model in CURVE), printed]
    if part == "changes":
        return [
            Trial(label=label, model=variant.model, seed=seed)
            for seed in CHANGE_SEEDS
            for label, variant in VARIANTS.items()
        ]
    if part == "paper":
        return [
            Trial(label=label, model=variant.model, n_bins=51, seed=seed, fit=fit)
            for fit in range(2)
            for seed in CHANGE_SEEDS
            for label, variant in PAPER_VARIANTS.items()
        ]
    rows = PRETRAINED if part == "pretrained" else TABLE
    return [
        Trial(label=label, model=model, n_bins=n_bins, backbone=backbone, seed=seed)
        for seed in range(seeds)
        for label, model, n_bins, backbone in rows
    ]


def of_curve(model: str, size: int) -> Trial:
    """Name a point of the learning curve."""
    return Trial(label=model, model=model, train=size, genes=_GENES_OF_CURVE)


def pairs(seeds: int) -> list[Pair]:
    """List what is compared gene by gene."""
    known = {(label, n_bins): model for label, model, n_bins, _ in (*TABLE, *PRETRAINED)}
    return [
        *(
            Pair(*(Trial(label=label, model=known[label, n], n_bins=n, seed=seed) for label, n in (one, other)))
            for seed in range(seeds)
            for one, other in ((row[:2], row[2:]) for row in COMPARED)
        ),
        *(Pair(*(of_curve(model, size) for model in both)) for size in SIZES for both in CURVE_COMPARED),
    ]
