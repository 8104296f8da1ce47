"""What `/v1/model` and `/v1/predict` take and give, as the OpenAPI describes them.

Belongs here: models of queries and replies, and what runs of both kinds read of a query. Does not: what fills them.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from catalog import FeatureSet
from catalog.registry import UNKNOWN
from featurestore.web.serving.documents import AssemblyName, GeneHit, StoreQuery
from featurestore.web.serving.stores import ServedStore
from featurestore.web.serving.windows import Place
from model.predictors.checkpoint import LONGEST
from model.runs.folder import SUBSETS, Run

UNIT = "log(1 + expression)"
_ELEMENT = re.compile(r"(\d{1,12})-(\d{1,12})")


class PredictQuery(StoreQuery):
    """A prediction, by gene or by place."""

    at: str | None = Field(None, max_length=200, description="Centre, CONTIG:POSITION, 0-based bp.")
    gene: str | None = Field(None, max_length=200, description="Symbol or gene id.")
    bins: int | None = Field(
        None, ge=1, le=LONGEST, description="Bins of the window; those of training, if absent. Not of a run of signals."
    )
    context: int | None = Field(
        None,
        ge=1,
        le=LONGEST,
        description="Bases of the window of a run that reads measured signals (bp); those of training, if absent.",
    )
    overlay: str | None = Field(
        None,
        max_length=200,
        description="Personal genome to read through, such as NA12878/1, or none for the reference; that of training, "
        "if absent.",
    )
    hide: list[Annotated[str, Field(max_length=30)]] = Field(
        [], max_length=100, description="START-END (0-based bp): every bin that it touches is hidden. May be repeated."
    )
    explain: list[Literal["attention", "occlusion"]] = Field(
        [],
        max_length=2,
        description="attention: of each bin to the prototypes; occlusion: each bin hidden in turn, or of a run of "
        "signals each signal in each part of the window.",
    )


class ModelReply(BaseModel):
    """The model of `/v1/predict`."""

    model: str
    reads: Literal["bins", "signals"] = Field(
        description="Windows of bins, or bases with measured signals and covariates."
    )
    sets: list[str] = Field(description="Feature sets.")
    channels: list[str] = Field(description="That it reads, in order.")
    bin_size: int | None = Field(description="(bp); 1 for a run of signals; null if the run does not say.")
    n_bins: int = Field(description="Bins a window in training; of a run of signals, bases.")
    covariates: list[str] = Field(description="Numbers that it reads of each gene; a place without a gene has none.")
    overlay: str | None = Field(description="Personal genome that it was trained through; null for the reference.")
    tasks: list[str] = Field(description="What is predicted, if several.")
    unit: str
    explains: list[Literal["attention", "occlusion"]] = Field(description="What `explain=` may name.")
    hides: bool = Field(description="Whether `hide=` may be given.")


class HiddenReply(BaseModel):
    """A prediction with some bins hidden, which then hold the mean bin of the training windows.

    Of a run of signals these are bases: every signal holds its mean over the training genes there, and the base is N.
    """

    bins: list[int] = Field(description="Those that are hidden, from the left of the window.")
    prediction: list[float]
    change: list[float] = Field(description="Prediction without them minus with them.")


class AttentionReply(BaseModel):
    """Attention of the bins to the prototypes, mean over the heads."""

    prototypes: list[str]
    weights: list[list[float]] = Field(description="bins x prototypes; they sum to 1 over the prototypes.")


class SignalOcclusionReply(BaseModel):
    """Change of the prediction with one signal hidden in one part of the window: without it minus with it."""

    signals: list[str] = Field(description="`sequence` stands for the bases.")
    starts: list[int] = Field(description="First base of each part, from the left of the window (bp).")
    ends: list[int] = Field(description="End of each part, excluded (bp).")
    change: list[list[float]] = Field(description="parts x signals.")
    whole: list[float] = Field(description="With the signal hidden in the whole window.")


class PredictReply(BaseModel):
    """A prediction, and what explains it. Bins run from the left of the window, whatever the gene's strand."""

    store: str
    set: str
    overlay: str | None = Field(description="Personal genome that was read through; null for the reference.")
    assembly: AssemblyName
    model: str
    contig: str
    centre: int = Field(description="(0-based bp)")
    gene: GeneHit | None
    subset: Literal["train", "validation", "test"] | None = Field(description="Of the genes of training, if any.")
    bin_size: int = Field(description="(bp)")
    n_bins: int
    first_start: int = Field(description="First base of the first bin (bp).")
    residual: int = Field(description="Centre of the window as read minus the requested centre (bp, signed).")
    unit: str
    tasks: list[str] = Field(description="What is predicted, if several.")
    prediction: list[float] = Field(description="One number, or one a task.")
    alternatives: dict[str, float] = Field(
        description="Predictions of other kinds that the model has: of Prism, `do` or `observational`."
    )
    hidden: HiddenReply | None
    attention: AttentionReply | None
    occlusion: list[float] | None = Field(description="Of each bin, the prediction without it minus with it.")
    occlusion_by_signal: SignalOcclusionReply | None = Field(description="In its place, of a run of signals.")
    fingerprint: str
    licence: str


def identity_of(run: Run, store: ServedStore, place: Place, described: Sequence[FeatureSet]) -> dict[str, Any]:
    """Give what replies of both kinds of runs say alike; `described` are the sets that were read."""
    assembly = store.store.assembly
    licences = dict.fromkeys(one.licence.strip() or UNKNOWN for one in described)
    subsets = {gene: name for name in SUBSETS for gene in getattr(run.split, name)} if place.gene else {}
    return {
        "store": store.name,
        "set": run.feature_set,
        "assembly": {"name": assembly.name, "digest": assembly.digest},
        "model": run.predictor.name,
        "centre": place.centre,
        "gene": None if place.gene is None else place.gene._asdict(),
        "subset": None if place.gene is None else subsets.get(place.gene.gene_id),
        "unit": UNIT,
        "tasks": list(run.tasks),
        "licence": "; ".join(licences),
    }


def touched(elements: Sequence[str], *, first: int, n_bins: int, bin_size: int) -> list[int]:
    """List the bins of a window that elements touch, by number from its left; ValueError for one that touches none.

    Parameters
    ----------
    elements
        `START-END` each (0-based bp).
    first
        First base of the window (bp).
    """
    found: set[int] = set()
    for text in elements:
        match = _ELEMENT.fullmatch(text)
        start, end = (int(match[1]), int(match[2])) if match else (0, 0)
        bins = range(max(0, (start - first) // bin_size), min(n_bins, -(-(end - first) // bin_size)))
        if start >= end or not bins:
            raise ValueError(
                f"`hide=` is START-END (0-based bp, end excluded) within the window, which runs from {first} to "
                f"{first + n_bins * bin_size}; got {text!r}"
            )
        found.update(bins)
    return sorted(found)


def gene_row(store: ServedStore, place: Place) -> tuple[str, str, str, str, int, None]:
    """Give the row of a gene table (`catalog.genes.table.GENE_SCHEMA`) for a place, also one without a gene."""
    contig, gene = store.store.assembly.resolve(place.contig), place.gene
    name = f"{contig}:{place.centre}" if gene is None else gene.gene_id
    symbol, strand = (name, "+") if gene is None else (gene.symbol, gene.strand)
    return (name, symbol, contig, strand, place.centre, None)
