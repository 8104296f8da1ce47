"""What `gta_learning.py` fits: which models, on which genomes, compared with which."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.gta_variants import PAPER_VARIANTS, VARIANTS
from catalog.simulation.grammar import Density


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One model, fitted once."""

    label: str
    model: str
    n_bins: int = 251
    backbone: str = "untrained"
    """`untrained`; `encoder` or `smollm2`, which are pretrained; the same with ` reset` for random weights."""
    seed: int = 0
    """Of the genome, the initial weights and the order of training."""
    fit: int = 0
    """Of several fits to one genome: changes the initial weights and the order of training."""
    genes: int = 6000
    """Of the genome."""
    train: int | None = None
    """Training genes, drawn by seed; None takes all."""
    density: Density | None = None
    """Promoters of which organism; None for four times the human's (`SimulationConfig`)."""
    informative: bool = False
    """Whether each prompt says, in a word, roughly how much the gene is expressed."""

    @property
    def key(self) -> str:
        """Name of its score in the JSON."""
        fit = f", fit {self.fit}" if self.fit else ""
        more = f", {self.density} density" if self.density else ""
        more += ", informative prompts" if self.informative else ""
        genes = f"{self.train or 'all'} of {self.genes} genes"
        return f"{self.label}, {self.n_bins} bins, seed {self.seed}{fit}, {genes}{more}"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One table: the same models on several genomes."""

    rows: Sequence[Trial]
    compared: Sequence[tuple[Trial, Trial]] = ()
    genomes: Sequence[int] | None = None
    """Seeds of the genomes; None for as many as are asked for."""
    fits: int = 1
    """To each genome."""

    def of(self, row: Trial, seeds: int) -> list[Trial]:
        """List the trials of a row: all fits to each genome."""
        genomes = range(seeds) if self.genomes is None else self.genomes
        return [replace(row, seed=seed, fit=fit) for fit in range(self.fits) for seed in genomes]


def _gta(model: str, n_bins: int = 251, backbone: str = "untrained", label: str = "", **changes: bool) -> Trial:
    return Trial(label=label or model, model=model, n_bins=n_bins, backbone=backbone, **changes)


BEST, BEST_51 = _gta("gta-best"), _gta("gta-best", 51)
NO_LLM, NO_LLM_51 = _gta("gta-no-llm"), _gta("gta-no-llm", 51)
POSITIONS, POSITIONS_51 = _gta("gta-paper-positions"), _gta("gta-paper-positions", 51)
SEQUENCE, SEQUENCE_51 = _gta("gta-sequence-only"), _gta("gta-sequence-only", 51)
PROMPT = _gta("gta-prompt-only")
PAPER, PAPER_51 = _gta("gta-paper"), _gta("gta-paper", 51)
MLP, CNN, MEAN = _gta("mlp"), _gta("cnn"), _gta("mean")
EXPONENTIAL, EXPONENTIAL_51 = _gta("ridge-exponential"), _gta("ridge-exponential", 51)
CENTRE = _gta("ridge-centre")

_ENCODER = _gta("gta-best", 51, "encoder", "gta-best, pretrained encoder")
_ENCODER_RESET = _gta("gta-best", 51, "encoder reset", "gta-best, the encoder untrained")
_SMOL = _gta("gta-best", 51, "smollm2", "gta-best, SmolLM2")
_SMOL_RESET = _gta("gta-best", 51, "smollm2 reset", "gta-best, SmolLM2 with random weights")
_TOLD, _TOLD_PROMPT = replace(BEST_51, informative=True), replace(_gta("gta-prompt-only", 51), informative=True)

CHANGE_SEEDS = (5, 6)
"""Genomes on which models are chosen; those of the tables are 0 to 4."""


def _human(*rows: Trial) -> tuple[Trial, ...]:
    return tuple(replace(row, density="human") for row in rows)


PARTS: dict[str, Part] = {
    "table": Part(
        rows=(
            BEST,
            BEST_51,
            NO_LLM,
            NO_LLM_51,
            SEQUENCE,
            PROMPT,
            MLP,
            CNN,
            EXPONENTIAL,
            EXPONENTIAL_51,
            CENTRE,
            MEAN,
        ),
        compared=(
            (BEST, BEST_51),
            (BEST, EXPONENTIAL),
            (BEST, CENTRE),
            (BEST, MLP),
            (BEST, NO_LLM),
            (BEST, SEQUENCE),
            (NO_LLM, NO_LLM_51),
        ),
    ),
    "paper": Part(
        rows=(PAPER, PAPER_51, POSITIONS, POSITIONS_51),
        compared=((POSITIONS, CENTRE), (BEST, POSITIONS), (POSITIONS, POSITIONS_51)),
        fits=2,
    ),
    "prompts": Part(
        rows=(_TOLD, SEQUENCE_51, _TOLD_PROMPT),
        compared=((_TOLD, BEST_51), (_TOLD, NO_LLM_51), (BEST_51, SEQUENCE_51)),
    ),
    "human": Part(
        rows=_human(BEST, BEST_51, NO_LLM, NO_LLM_51, POSITIONS, MLP, EXPONENTIAL, EXPONENTIAL_51, CENTRE),
        compared=[
            _human(*pair)
            for pair in (
                (BEST, BEST_51),
                (BEST, EXPONENTIAL),
                (BEST, CENTRE),
                (BEST, NO_LLM),
                (BEST, POSITIONS),
                (NO_LLM, NO_LLM_51),
            )
        ],
    ),
    "pretrained": Part(
        rows=(_ENCODER, _ENCODER_RESET, _gta("gta-prompt-only", 251, "encoder", "gta-prompt-only, pretrained encoder")),
        compared=((_ENCODER, _ENCODER_RESET), (_ENCODER, NO_LLM_51)),
    ),
    "smollm2": Part(
        rows=(_SMOL, _SMOL_RESET, NO_LLM_51),
        compared=((_SMOL, _SMOL_RESET), (_SMOL, NO_LLM_51)),
        genomes=(0,),
        fits=3,
    ),
}
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
    """List what a part fits; of a table, one genome after the other."""
    if part == "curve":
        return [of_curve(model, size) for size in SIZES for model in CURVE]
    if part == "changes":
        return [
            Trial(label=label, model=variant.model, seed=seed)
            for seed in CHANGE_SEEDS
            for label, variant in VARIANTS.items()
        ]
    if part == "choice":
        return [trial for label in PAPER_VARIANTS for trial in of_choice(label)]
    found = [trial for row in PARTS[part].rows for trial in PARTS[part].of(row, seeds)]
    return sorted(found, key=lambda trial: (trial.fit, trial.seed))


def of_choice(label: str) -> list[Trial]:
    """List the fits of a variant of the paper's model."""
    row = Trial(label=label, model=PAPER_VARIANTS[label].model, n_bins=51)
    return Part(rows=(row,), genomes=CHANGE_SEEDS).of(row, 0)


def of_curve(model: str, size: int) -> Trial:
    """Name a point of the learning curve, which is at human density."""
    return Trial(label=model, model=model, train=size, genes=_GENES_OF_CURVE, density="human")


def pairs(seeds: int) -> list[Pair]:
    """List what is compared gene by gene."""
    of_parts = [
        Pair(first, second)
        for part in PARTS.values()
        for one, other in part.compared
        for first, second in zip(part.of(one, seeds), part.of(other, seeds), strict=True)
    ]
    of_curves = [Pair(*(of_curve(model, size) for model in both)) for size in SIZES for both in CURVE_COMPARED]
    return [*of_parts, *of_curves]
