"""Predictions over HTTP, with what explains them: attention, occlusion, elements hidden.

Belongs here: the routes `/v1/model` and `/v1/predict` of `featurestore serve --model RUN`, found through the
entry-point group `featurestore.model_routes`. Does not: the server (`featurestore.web.serving`), the predictions
(`model.explain.served_bins`, `model.explain.served_signals`).
"""

from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from catalog import read_annotations
from catalog.expression.covariates import read_covariates
from featurestore.web.serving.request import ServeRequest
from featurestore.web.serving.routes import Documents, Extension, place_of
from featurestore.web.serving.stores import Served, ServedStore
from featurestore.web.serving.windows import Place
from model.explain.served_bins import ServedBins
from model.explain.served_documents import ModelReply, PredictQuery, PredictReply
from model.explain.served_signals import ServedSignals
from model.runs.folder import open_run
from model.runs.signals import covariates_as_trained


class ServedModel(Protocol):
    """A run, and what it needs to predict for a place of a served store."""

    def require_store(self, served: Served) -> None:
        """Check that at least one store has the features that the run was trained on; else the error of one of them."""
        ...

    def described(self) -> dict[str, Any]:
        """Say what it reads and what explains it, as `ModelReply` has it."""
        ...

    def size_of(self, query: PredictQuery) -> tuple[int, str]:
        """Count the values that one window has, and say how long it is; ValueError if it cannot be meant."""
        ...

    def reply(self, store: ServedStore, place: Place, query: PredictQuery) -> dict[str, Any]:
        """Predict for one place, from rows that are all of one state of the store.

        Raises
        ------
        OtherStore, ValueError
            If the store's features are not those of training, or what is wanted cannot be.
        NotBuilt, DamagedChunk
            As `FeatureReader.windows`.
        """
        ...


def predict_routes(extension: Extension) -> APIRouter:
    """Make the routes of a run.

    Raises
    ------
    CheckpointError, ValueError
        If the folder holds no whole run, no served store has its features, or its covariates are not there.
    """
    model = served_model(extension.request)
    model.require_store(extension.served)
    router = APIRouter(prefix="/v1", tags=["model"])
    documents = Documents(router, extension.budgets)

    @documents.route("/model", ModelReply)
    async def described(request: Request) -> Response:
        """Say what the model of `/v1/predict` reads, and what can explain its predictions."""
        return await documents.reply(request, ModelReply, model.described)

    @documents.route("/predict", PredictReply, 404, 413)
    async def predict(request: Request, query: Annotated[PredictQuery, Query()]) -> Response:
        """Predict expression around a gene's TSS or a position, and say what the prediction rests on."""
        store = extension.served.get(query.store)
        place = place_of(store, query.at, query.gene)
        n_values, what = model.size_of(query)
        extension.budgets.check_values(n_values, what=what)
        return await documents.reply(request, PredictReply, partial(model.reply, store, place, query))

    return router


def served_model(request: ServeRequest) -> ServedModel:
    """Open the run that a server is asked to serve, with its tables."""
    assert request.model is not None
    run = open_run(request.model, device=request.device)
    if run.signals is None:
        if request.covariates is not None:
            raise ValueError(
                "`covariates=` are for a run that reads measured signals, and this one reads bins: leave it out"
            )
        return ServedBins(run, None if request.annotations is None else read_annotations(request.annotations))
    if request.annotations is not None:
        raise ValueError("`annotations=` are for prompts, and a run of measured signals has none: leave it out")
    place = covariates_as_trained(run.signals, request.covariates)
    told = None if place is None else read_covariates(place, columns=run.signals.covariate_columns)
    return ServedSignals(run, told)
