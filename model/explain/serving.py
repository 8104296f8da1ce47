"""Predictions over HTTP, with what explains them: attention, occlusion by bin, elements hidden.

Belongs here: the route `/v1/predict` of `featurestore serve --model RUN`, found through the entry-point group
`featurestore.model_routes`. Does not: the server (`featurestore.web.serving`), predicting (`model.predictors`),
explanations (`model.explain.occlusion`, `model.explain.attention`).
"""

import re
from functools import partial
from threading import Lock
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.responses import Response

from catalog import FeatureSet, read_annotations
from catalog.genes.table import GENE_SCHEMA
from catalog.ncbi.annotations import ANNOTATION_SCHEMA, annotate
from catalog.ncbi.prompts import write_prompt
from catalog.registry import UNKNOWN
from featurestore.reader import FeatureReader
from featurestore.rows.row_requests import RowRequest
from featurestore.web.serving.documents import AssemblyName, GeneHit, StoreQuery
from featurestore.web.serving.routes import Documents, Extension, place_of
from featurestore.web.serving.stores import Marks, Served, ServedStore
from featurestore.web.serving.windows import Place
from loaders import GeneDataset, WindowSettings
from loaders.gene_windows import windows_of_genes
from model.explain.attention import aligns_bins, attention_of
from model.explain.occlusion import knock_out, own_fill, predict_occluded
from model.predictors.checkpoint import LONGEST
from model.predictors.predictor import require_readable
from model.runs.folder import SUBSETS, Run, open_run
from model.runs.genes import sets_in

_ELEMENT = re.compile(r"(\d{1,12})-(\d{1,12})")
_UNIT = "log(1 + expression)"


class PredictQuery(StoreQuery):
    """A prediction, by gene or by place."""

    at: str | None = Field(None, max_length=200, description="Centre, CONTIG:POSITION, 0-based bp.")
    gene: str | None = Field(None, max_length=200, description="Symbol or gene id.")
    bins: int | None = Field(None, ge=1, le=LONGEST, description="Bins of the window; those of training, if absent.")
    hide: list[Annotated[str, Field(max_length=30)]] = Field(
        [], max_length=100, description="START-END (0-based bp): every bin that it touches is hidden. May be repeated."
    )
    explain: list[Literal["attention", "occlusion"]] = Field(
        [], max_length=2, description="attention: of each bin to the prototypes; occlusion: each bin hidden in turn."
    )


class HiddenReply(BaseModel):
    """A prediction with some bins hidden, which then hold the mean bin of the training windows."""

    bins: list[int] = Field(description="Those that are hidden, from the left of the window.")
    prediction: list[float]
    change: list[float] = Field(description="Prediction without them minus with them.")


class AttentionReply(BaseModel):
    """Attention of the bins to the prototypes, mean over the heads."""

    prototypes: list[str]
    weights: list[list[float]] = Field(description="bins x prototypes; they sum to 1 over the prototypes.")


class PredictReply(BaseModel):
    """A prediction, and what explains it. Bins run from the left of the window, whatever the gene's strand."""

    store: str
    set: str
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
    hidden: HiddenReply | None
    attention: AttentionReply | None
    occlusion: list[float] | None = Field(description="Of each bin, the prediction without it minus with it.")
    fingerprint: str
    licence: str


def predict_routes(extension: Extension) -> APIRouter:
    """Make the route of a run.

    Raises
    ------
    CheckpointError, ValueError
        If the folder holds no whole run, or it reads signals, or no served store has its features.
    """
    request = extension.request
    assert request.model is not None
    told = None if request.annotations is None else read_annotations(request.annotations)
    model = ServedModel(open_run(request.model, device=request.device), told)
    model.require_store(extension.served)
    router = APIRouter(prefix="/v1", tags=["model"])
    documents = Documents(router, extension.budgets)

    @documents.route("/predict", PredictReply, 404, 413)
    async def predict(request: Request, query: Annotated[PredictQuery, Query()]) -> Response:
        """Predict expression around a gene's TSS or a position, and say which bins the prediction rests on."""
        store = extension.served.get(query.store)
        place = place_of(store, query.at, query.gene)
        extension.budgets.check_values(
            model.values_of(query), what=f"{query.bins or model.run.predictor.n_bins:,} bins"
        )
        return await documents.reply(request, PredictReply, partial(model.reply, store, place, query))

    return router


class ServedModel:
    """A run, and what it needs to predict for a place of a served store.

    Parameters
    ----------
    annotations
        For the prompts (`catalog.ncbi.annotations.read_annotations`); None for symbols alone.
    """

    def __init__(self, run: Run, annotations: pl.DataFrame | None) -> None:
        if run.signals is not None:
            raise ValueError(
                "the run reads sequence and measured signals, and only runs that read windows of bins are served; use "
                "`featurestore predict`, or another `model=`"
            )
        self.run = run
        self._annotations = pl.DataFrame(schema=ANNOTATION_SCHEMA) if annotations is None else annotations
        self._subsets = {gene: name for name in SUBSETS for gene in getattr(run.split, name)}
        # The model is one, and its threads use all cores.
        self._lock = Lock()

    def require_store(self, served: Served) -> None:
        """Check that at least one store has the features that the run was trained on; else the error of one of them."""
        errors: list[ValueError | LookupError] = []
        for store in served.stores.values():
            contig = next(iter(store.store.assembly.lengths))
            try:
                require_readable(self.run.predictor, self._dataset(store, Place(contig, 0), self.run, anchors=None))
            except (ValueError, LookupError) as error:
                errors.append(error)
            else:
                return
        raise ValueError(f"no store has what `model=` reads: {errors[0]}") from errors[0]

    def values_of(self, query: PredictQuery) -> int:
        """Count the values that one window has."""
        predictor = self.run.predictor
        assert predictor.trained_on is not None, "a run that was saved was trained"
        return (query.bins or predictor.n_bins) * len(predictor.trained_on.channel_names)

    def reply(self, store: ServedStore, place: Place, query: PredictQuery) -> dict[str, Any]:
        """Predict for one place, from rows that are all of one state of the store.

        Raises
        ------
        OtherStore, ValueError
            If the store's features are not those of training, or what is wanted cannot be.
        NotBuilt, DamagedChunk
            As `FeatureReader.windows`.
        """
        run = self.run.with_n_bins(query.bins)

        def rows(reader: FeatureReader) -> list[RowRequest]:
            return reader.plan([place.contig], [place.centre], run.predictor.n_bins).requests

        def make(reader: FeatureReader, _: Marks) -> dict[str, Any]:
            with self._lock:
                return self._predicted(store, reader.feature_set, place, query, run)

        return store.steady(sets_in(run.feature_set)[0], rows, make)

    def _predicted(
        self, store: ServedStore, described: FeatureSet, place: Place, query: PredictQuery, run: Run
    ) -> dict[str, Any]:
        dataset = self._dataset(store, place, run, anchors=run.windows.anchors)
        whole = run.predictor.predict(dataset).reshape(-1)
        placed = dataset.windows.placed(range(1))
        first, is_reversed = int(placed.starts[0]), bool(dataset.windows.is_reversed[0])
        hidden = attention = occlusion = None
        if (query.hide or "occlusion" in query.explain) and own_fill(run.predictor) is None:
            raise ValueError(
                f"{run.predictor.name} keeps no mean bin to put in a hidden one's place; leave `hide=` and "
                "occlusion out"
            )
        if query.hide:
            hidden = _hidden(dataset, run, whole, _touched(query.hide, first, dataset), is_reversed=is_reversed)
        if "attention" in query.explain:
            attention = _attention(dataset, run, is_reversed=is_reversed)
        if "occlusion" in query.explain:
            occlusion = _occlusion(dataset, run, first)
        assembly = store.store.assembly
        return {
            "store": store.name,
            "set": run.feature_set,
            "assembly": {"name": assembly.name, "digest": assembly.digest},
            "model": run.predictor.name,
            "contig": dataset.windows.contigs[0],
            "centre": place.centre,
            "gene": None if place.gene is None else place.gene._asdict(),
            "subset": None if place.gene is None else self._subsets.get(place.gene.gene_id),
            "bin_size": dataset.windows.bin_size,
            "n_bins": dataset.n_bins,
            "first_start": first,
            "residual": int(placed.residuals[0]),
            "unit": _UNIT,
            "tasks": list(run.tasks),
            "prediction": whole.tolist(),
            "hidden": hidden,
            "attention": attention,
            "occlusion": occlusion,
            "fingerprint": dataset.fingerprint,
            "licence": described.licence.strip() or UNKNOWN,
        }

    def _dataset(self, store: ServedStore, place: Place, run: Run, *, anchors: str | None) -> GeneDataset:
        """Make the dataset of one place, with windows and prompt as the run learned from them."""
        record, opened = run.windows, store.store
        contig, gene = opened.assembly.resolve(place.contig), place.gene
        name = f"{contig}:{place.centre}" if gene is None else gene.gene_id
        symbol, strand = (name, "+") if gene is None else (gene.symbol, gene.strand)
        genes = pl.DataFrame([(name, symbol, contig, strand, place.centre, None)], schema=GENE_SCHEMA, orient="row")
        settings = WindowSettings(
            n_bins=run.predictor.n_bins,
            orient=record.orient,
            channels=record.channels or ("all",),
            overlay=record.overlay,
            residence="stream",
            dtype="float32",
        )
        told = annotate(genes, self._annotations)
        return GeneDataset(
            windows_of_genes(opened, sets_in(run.feature_set), genes, anchors, settings),
            genes,
            prompts=[write_prompt(row, run.prompt_settings) for row in told.iter_rows(named=True)],
            targets=[float("nan")],
            annotations=told,
            prompt_settings=run.prompt_settings,
        )


def _touched(elements: list[str], first: int, dataset: GeneDataset) -> list[int]:
    """List the bins of a window that elements touch; ValueError for one that touches none."""
    found: set[int] = set()
    bin_size, n_bins = dataset.windows.bin_size, dataset.n_bins
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


def _hidden(
    dataset: GeneDataset, run: Run, whole: NDArray[np.float32], bins: list[int], *, is_reversed: bool
) -> dict[str, Any]:
    mask = np.isin(np.arange(dataset.n_bins), bins)[None]
    predicted = predict_occluded(run.predictor, dataset, mask[:, ::-1] if is_reversed else mask).reshape(-1)
    return {"bins": bins, "prediction": predicted.tolist(), "change": (predicted - whole).tolist()}


def _attention(dataset: GeneDataset, run: Run, *, is_reversed: bool) -> dict[str, Any]:
    predictor = run.predictor
    if not aligns_bins(predictor):
        raise ValueError(f"{predictor.name} has no prototypes that bins attend to; leave `explain=attention` out")
    found = attention_of(predictor, dataset, dataset.gene_ids)
    weights = found.over_heads()[0]
    return {"prototypes": found.prototypes, "weights": (weights[::-1] if is_reversed else weights).tolist()}


def _occlusion(dataset: GeneDataset, run: Run, first: int) -> list[float]:
    """Hide each bin in turn: one prediction a bin."""
    bin_size, contig = dataset.windows.bin_size, dataset.windows.contigs[0]
    starts = first + np.arange(dataset.n_bins, dtype=np.int64) * bin_size
    bins = pl.DataFrame({"contig": [contig] * len(starts), "start": starts, "end": starts + bin_size})
    return knock_out(run.predictor, dataset, bins).sort("element")["change"].to_list()
