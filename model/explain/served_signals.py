"""A run that reads bases with measured signals (Prism), as it is served: the numbers of `predict` and `interpret`.

Belongs here: one place of a served store to a reply. Does not: the routes (`model.explain.serving`), predicting
(`model.predictors`), hiding signals (`model.explain.signals`).
"""

from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np
import polars as pl

from catalog.genes.identifiers import plain_ids
from catalog.genes.table import GENE_SCHEMA
from featurestore.reader import FeatureReader
from featurestore.rows.row_requests import RowRequest
from featurestore.web.serving.stores import Marks, Served, ServedStore, rows_around
from featurestore.web.serving.windows import Place
from loaders import GeneDataset
from model.explain.served_documents import UNIT, PredictQuery, gene_row, identity_of, touched
from model.explain.signals import SignalBatches, changes_by_part, predict_without, prism_models
from model.networks.prism.features import InputNames
from model.predictors.predictor import require_readable
from model.runs.folder import Run
from model.runs.scores import alternatives_of
from model.runs.signals import signals_around

_MOST_TRIED = 20
"""Genes that are tried before a store is refused: anchors may lack the first."""


class ServedSignals:
    """A run, and what it needs to predict for a place of a served store.

    Parameters
    ----------
    covariates
        Table of `catalog.expression.covariates.read_covariates`; None for a run that reads none.
    """

    def __init__(self, run: Run, covariates: pl.DataFrame | None) -> None:
        assert run.signals is not None
        self._run = run
        self._record = run.signals
        self._covariates = covariates
        self._with_covariates = set() if covariates is None else set(covariates["gene_id"].to_list())
        # The model is one, and its threads use all cores.
        self._lock = Lock()

    def require_store(self, served: Served) -> None:
        """Check that at least one store has the features that the run was trained on; else the error of one of them."""
        errors: list[ValueError | LookupError] = []
        for store in served.stores.values():
            for place in self._first_places(store):
                try:
                    require_readable(self._run.predictor, self._dataset(store, place, self._run))
                except (ValueError, LookupError) as error:
                    errors.append(error)
                else:
                    return
        if not errors:
            raise ValueError(
                "`model=` reads covariates or anchors of genes, and no gene of its tables is served: give `genes=`, a "
                "table of these genes"
            )
        raise ValueError(f"no store has what `model=` reads: {errors[0]}") from errors[0]

    def described(self) -> dict[str, Any]:
        """Say what it reads and what explains it."""
        predictor = self._run.predictor
        assert predictor.trained_on is not None, "a run that was saved was trained"
        names = InputNames.of_channels(predictor.trained_on.channel_names)
        hides = bool(prism_models(predictor))
        return {
            "model": predictor.name,
            "reads": "signals",
            "sets": self._sets(),
            "channels": list(names.signals),
            "bin_size": 1,
            "n_bins": predictor.n_bins,
            "covariates": list(names.covariates),
            "overlay": None,
            "tasks": list(self._run.tasks),
            "unit": UNIT,
            "explains": ["occlusion"] if hides else [],
            "hides": hides,
        }

    def size_of(self, query: PredictQuery) -> tuple[int, str]:
        """Count the values that one window has, and say how long it is."""
        if query.bins is not None:
            raise ValueError("the run reads bases with measured signals: say `context=` (bp), and leave `bins=` out")
        length = query.context or self._run.predictor.n_bins
        return length * (len(self._record.signals) + 1), f"{length:,} bases with {len(self._record.signals)} signals"

    def reply(self, store: ServedStore, place: Place, query: PredictQuery) -> dict[str, Any]:
        """Predict for one place, from rows that are all of one state of the store."""
        if query.overlay is not None:
            raise ValueError(
                f"{self._run.feature_set} are measured signals, which no variant changes: leave `overlay=` out"
            )
        if "attention" in query.explain:
            raise ValueError(
                f"{self._run.predictor.name} has no prototypes that bins attend to; leave `explain=attention` out"
            )
        if place.gene is None and self._record.covariate_columns:
            raise ValueError(
                f"the run reads {', '.join(self._record.covariate_columns)} of a gene beside its signals, and a "
                "position has none: name a gene with `gene=`"
            )
        run = self._run.with_n_bins(query.context)
        length = run.predictor.n_bins
        start = place.centre - length // 2

        def rows(reader: FeatureReader) -> list[RowRequest]:
            return rows_around(reader, place.contig, start, start + length)

        def predicted() -> dict[str, Any]:
            with self._lock:
                return self._predicted(store, place, query, run)

        def make(_: FeatureReader, __: Marks) -> dict[str, Any]:
            return predicted()

        # Those of anchored arrays are opened anew for each reply.
        gridded = [name for name in self._sets() if "@" not in name]
        return store.steady(gridded[0], rows, make, beside=gridded[1:]) if gridded else predicted()

    def _predicted(self, store: ServedStore, place: Place, query: PredictQuery, run: Run) -> dict[str, Any]:
        dataset = self._dataset(store, place, run)
        whole = run.predictor.predict(dataset).reshape(-1)
        first, length = int(dataset.windows.placed(range(1)).starts[0]), dataset.n_bins
        is_turned = bool(dataset.windows.is_reversed[0])
        hidden = occlusion = None
        if query.hide:
            bases = touched(query.hide, first=first, n_bins=length, bin_size=1)
            mask = np.isin(np.arange(length), bases)[None]
            batches = SignalBatches(run, dataset, is_shown=False)
            predicted = predict_without(batches, mask[:, ::-1] if is_turned else mask)
            hidden = {"bins": bases, "prediction": predicted.tolist(), "change": (predicted - whole).tolist()}
        if "occlusion" in query.explain:
            occlusion = _occlusion(SignalBatches(run, dataset, is_shown=False), first, is_turned=is_turned)
        described = [store.described(name.partition("@")[0]) for name in self._sets()]
        return identity_of(run, store, place, described) | {
            "overlay": None,
            "contig": dataset.windows.contigs[0],
            "bin_size": 1,
            "n_bins": length,
            "first_start": first,
            "residual": 0,
            "prediction": whole.tolist(),
            "alternatives": {name: float(found[0]) for name, found in alternatives_of(run.predictor, dataset).items()},
            "hidden": hidden,
            "attention": None,
            "occlusion": None,
            "occlusion_by_signal": occlusion,
            "fingerprint": dataset.fingerprint,
        }

    def _dataset(self, store: ServedStore, place: Place, run: Run) -> GeneDataset:
        return signals_around(
            self._record,
            store.store,
            pl.DataFrame([gene_row(store, place)], schema=GENE_SCHEMA, orient="row"),
            length=run.predictor.n_bins,
            orient=run.windows.orient,
            covariates=self._covariates,
        )

    def _sets(self) -> list[str]:
        return [*([] if self._record.sequence is None else [self._record.sequence]), *self._record.sets]

    def _first_places(self, store: ServedStore) -> Iterator[Place]:
        """Give places to try a store with: a base, or genes where only genes can be read."""
        if not self._record.covariate_columns and not any("@" in name for name in self._record.sets):
            yield Place(next(iter(store.store.assembly.lengths)), 0)
            return
        genes = list(store.genes)
        ids = pl.DataFrame({"gene_id": [gene.gene_id for gene in genes]}, schema={"gene_id": pl.String})
        ids = ids.select(plain_ids("gene_id"))
        known = [
            gene
            for gene, name in zip(genes, ids["gene_id"], strict=True)
            if self._covariates is None or name in self._with_covariates
        ]
        for gene in known[:_MOST_TRIED]:
            yield Place(gene.contig, gene.tss, gene)


def _occlusion(batches: SignalBatches, first: int, *, is_turned: bool) -> dict[str, Any]:
    """Hide each signal in each part, from the left of the window."""
    hidden, change = changes_by_part(batches)
    names = list(dict.fromkeys(one.name for one in hidden))
    by_name = change[:, 0].reshape(len(names), -1)  # the whole window, then its parts
    bases, length = [one.bases for one in hidden[1 : by_name.shape[1]]], batches.genes.n_bins
    parts = by_name[:, 1:]
    if is_turned:
        bases, parts = [slice(length - one.stop, length - one.start) for one in bases[::-1]], parts[:, ::-1]
    return {
        "signals": names,
        "starts": [first + one.start for one in bases],
        "ends": [first + one.stop for one in bases],
        "change": parts.T.tolist(),
        "whole": by_name[:, 0].tolist(),
    }
