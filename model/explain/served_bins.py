"""A run that reads windows of bins, as it is served: the numbers of `predict`, `knock_out` and `attention_of`.

Belongs here: one place of a served store to a reply. Does not: the routes (`model.explain.serving`), predicting
(`model.predictors`), explanations (`model.explain.occlusion`, `model.explain.attention`).
"""

from threading import Lock
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from catalog.genes.table import GENE_SCHEMA
from catalog.ncbi.annotations import ANNOTATION_SCHEMA, annotate
from catalog.ncbi.prompts import write_prompt
from featurestore.reader import FeatureReader
from featurestore.rows.row_requests import RowRequest
from featurestore.web.serving.stores import Marks, Served, ServedStore, rows_around
from featurestore.web.serving.windows import Place
from loaders import GeneDataset, WindowSettings
from loaders.gene_windows import windows_of_genes
from model.explain.attention import aligns_bins, attention_of
from model.explain.occlusion import knock_out, own_fill, predict_occluded
from model.explain.served_documents import UNIT, PredictQuery, gene_row, identity_of, touched
from model.predictors.predictor import require_readable
from model.runs.folder import Run
from model.runs.genes import sets_in

_REFERENCE = "none"
"""In place of the name of an overlay: the reference."""


class ServedBins:
    """A run, and what it needs to predict for a place of a served store.

    Parameters
    ----------
    annotations
        For the prompts (`catalog.ncbi.annotations.read_annotations`); None for symbols alone.
    """

    def __init__(self, run: Run, annotations: pl.DataFrame | None) -> None:
        self._run = run
        self._annotations = pl.DataFrame(schema=ANNOTATION_SCHEMA) if annotations is None else annotations
        # The model is one, and its threads use all cores.
        self._lock = Lock()

    def require_store(self, served: Served) -> None:
        """Check that at least one store has the features that the run was trained on; else the error of one of them."""
        errors: list[ValueError | LookupError] = []
        for store in served.stores.values():
            place = Place(next(iter(store.store.assembly.lengths)), 0)
            try:
                require_readable(
                    self._run.predictor, self._dataset(store, place, self._run, anchors=None, overlay=None)
                )
            except (ValueError, LookupError) as error:
                errors.append(error)
            else:
                return
        raise ValueError(f"no store has what `model=` reads: {errors[0]}") from errors[0]

    def described(self) -> dict[str, Any]:
        """Say what it reads and what explains it."""
        predictor = self._run.predictor
        assert predictor.trained_on is not None, "a run that was saved was trained"
        hides = own_fill(predictor) is not None
        explains = (["attention"] if aligns_bins(predictor) else []) + (["occlusion"] if hides else [])
        return {
            "model": predictor.name,
            "reads": "bins",
            "sets": sets_in(self._run.feature_set),
            "channels": list(predictor.trained_on.channel_names),
            "bin_size": predictor.trained_on.identity.bin_size,
            "n_bins": predictor.n_bins,
            "covariates": [],
            "overlay": self._run.windows.overlay,
            "tasks": list(self._run.tasks),
            "unit": UNIT,
            "explains": explains,
            "hides": hides,
        }

    def size_of(self, query: PredictQuery) -> tuple[int, str]:
        """Count the values that one window has, and say how long it is."""
        predictor = self._run.predictor
        assert predictor.trained_on is not None, "a run that was saved was trained"
        if query.context is not None:
            raise ValueError(f"{predictor.name} reads windows of bins: say `bins=`, and leave `context=` out")
        n_bins = query.bins or predictor.n_bins
        return n_bins * len(predictor.trained_on.channel_names), f"{n_bins:,} bins"

    def reply(self, store: ServedStore, place: Place, query: PredictQuery) -> dict[str, Any]:
        """Predict for one place, from rows that are all of one state of the store."""
        run, sets = self._run.with_n_bins(query.bins), sets_in(self._run.feature_set)
        named = run.windows.overlay if query.overlay is None else query.overlay
        overlay = None if named == _REFERENCE else named
        # A window lies at most half a bin beside its centre, and the widest bins are those that are counted.
        reach = (run.predictor.n_bins + 1) * max(store.described(name).bin_size for name in sets)

        def rows(reader: FeatureReader) -> list[RowRequest]:
            if len(sets) == 1:
                return reader.plan([place.contig], [place.centre], run.predictor.n_bins).requests
            return rows_around(reader, place.contig, place.centre - reach // 2, place.centre + reach // 2 + 1)

        def make(_: FeatureReader, __: Marks) -> dict[str, Any]:
            with self._lock:
                return self._predicted(store, place, query, run, overlay)

        return store.steady(sets[0], rows, make, overlay=overlay, beside=sets[1:])

    def _predicted(
        self, store: ServedStore, place: Place, query: PredictQuery, run: Run, overlay: str | None
    ) -> dict[str, Any]:
        dataset = self._dataset(store, place, run, anchors=run.windows.anchors, overlay=overlay)
        whole = run.predictor.predict(dataset).reshape(-1)
        placed = dataset.windows.placed(range(1))
        first, is_reversed = int(placed.starts[0]), bool(dataset.windows.is_reversed[0])
        n_bins, bin_size = dataset.n_bins, dataset.windows.bin_size
        hidden = attention = occlusion = None
        if (query.hide or "occlusion" in query.explain) and own_fill(run.predictor) is None:
            raise ValueError(
                f"{run.predictor.name} keeps no mean bin to put in a hidden one's place; leave `hide=` and "
                "occlusion out"
            )
        if query.hide:
            bins = touched(query.hide, first=first, n_bins=n_bins, bin_size=bin_size)
            hidden = _hidden(dataset, run, whole, bins, is_reversed=is_reversed)
        if "attention" in query.explain:
            attention = _attention(dataset, run, is_reversed=is_reversed)
        if "occlusion" in query.explain:
            occlusion = _occlusion(dataset, run, first)
        described = [store.described(name) for name in sets_in(run.feature_set)]
        return identity_of(run, store, place, described) | {
            "overlay": overlay,
            "contig": dataset.windows.contigs[0],
            "bin_size": bin_size,
            "n_bins": n_bins,
            "first_start": first,
            "residual": int(placed.residuals[0]),
            "prediction": whole.tolist(),
            "alternatives": {},
            "hidden": hidden,
            "attention": attention,
            "occlusion": occlusion,
            "occlusion_by_signal": None,
            "fingerprint": dataset.fingerprint,
        }

    def _dataset(
        self, store: ServedStore, place: Place, run: Run, *, anchors: str | None, overlay: str | None
    ) -> GeneDataset:
        """Make the dataset of one place, with windows and prompt as the run learned from them."""
        record = run.windows
        genes = pl.DataFrame([gene_row(store, place)], schema=GENE_SCHEMA, orient="row")
        settings = WindowSettings(
            n_bins=run.predictor.n_bins,
            orient=record.orient,
            channels=record.channels or ("all",),
            overlay=overlay,
            residence="stream",
            dtype="float32",
        )
        told = annotate(genes, self._annotations)
        return GeneDataset(
            windows_of_genes(store.store, sets_in(run.feature_set), genes, anchors, settings),
            genes,
            prompts=[write_prompt(row, run.prompt_settings) for row in told.iter_rows(named=True)],
            targets=[float("nan")],
            annotations=told,
            prompt_settings=run.prompt_settings,
        )


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
