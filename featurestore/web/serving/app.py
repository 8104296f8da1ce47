"""The server as an ASGI application, and running it.

    from featurestore.web.serving.app import make_app, serve

Belongs here: putting the parts together, listening, stopping. Does not: any one route.
"""

import asyncio
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response
from starlette.types import ASGIApp

from catalog.runtime.plugins import load_plugin, plugins
from catalog.runtime.retry import RETRY_VARIABLE
from featurestore.distribution.version import __version__
from featurestore.store import open_store
from featurestore.web.serving.budget import Budgets
from featurestore.web.serving.files import file_routes
from featurestore.web.serving.genes import GeneIndex, UnknownName, genes_of_table
from featurestore.web.serving.guard import Guard
from featurestore.web.serving.problems import MEDIA_TYPE, Problem, add_handlers
from featurestore.web.serving.request import TOKEN_VARIABLE, NamedPlace, ServeRequest
from featurestore.web.serving.rnaget import rnaget_routes
from featurestore.web.serving.routes import Extension, data_routes
from featurestore.web.serving.stores import Served, ServedStore

GROUP = "featurestore.model_routes"
"""Entry-point group; each entry takes an `Extension` and gives an APIRouter. Loaded only where a model is served."""
_RETRY_S = "15"
"""How long a read of a store is retried: a client waits less patiently than a build."""
_STOP_S = 10
_MOST_CONNECTIONS = 2048


def make_app(places: Sequence[NamedPlace], request: ServeRequest, *, token: str | None = None) -> ASGIApp:
    """Open the stores and make the application that serves them.

    Parameters
    ----------
    token
        That clients have to send; None for none.

    Raises
    ------
    OSError, ValueError
        If a store cannot be opened, no gene of the table lies on any, or the model reads none of them.
    """
    served = _opened(places, request)
    budgets = Budgets(
        max_values=request.max_values, memory_bytes=request.memory_bytes, reads_at_once=request.reads_at_once
    )
    app = FastAPI(
        title="Genomic feature store",
        version=__version__,
        summary="Windows of features along genomes: any centre, any number of bins; 0-based, half-open.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    extensions = _extensions(Extension(served=served, budgets=budgets, request=request))
    app.include_router(data_routes(served, budgets, extra_routes=tuple(extensions)))
    for router in extensions.values():
        app.include_router(router)
    if request.model is None:
        for path in ("/v1/predict", "/v1/model"):
            app.add_api_route(path, _without_model, include_in_schema=False)
    app.include_router(rnaget_routes(served, budgets))
    app.include_router(file_routes(served, budgets))
    add_handlers(app, {store.url: name for name, store in served.stores.items()})
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # as FastAPI documents it
    return Guard(app, hosts=("localhost", request.host, *request.allowed_hosts), origins=request.cors, token=token)


def serve(places: Sequence[NamedPlace], request: ServeRequest, *, started: Callable[[str], None]) -> None:
    """Serve stores until the process is asked to stop (SIGTERM, SIGINT).

    Parameters
    ----------
    started
        Called with the server's URL, once it listens.

    Raises
    ------
    ValueError
        If other machines would reach it and there is no token.
    OSError, ValueError
        As `make_app`; or if it cannot listen there.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None
    listening = listen(request.host, request.port)
    with listening:
        address, port, *_ = listening.getsockname()
        if token is None and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            raise ValueError(
                f"`host={request.host!r}` lets other machines in: put a token into the environment's {TOKEN_VARIABLE}, "
                "for example `openssl rand -hex 32`, and give it to those who may read"
            )
        os.environ.setdefault(RETRY_VARIABLE, _RETRY_S)
        app = make_app(places, request, token=token)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            h11_max_incomplete_event_size=1 << 16,  # the places of 1,024 windows are in a URL
            timeout_graceful_shutdown=_STOP_S,
        )
        server = _Server(config, lambda: started(f"http://{_shown(address, request.host)}:{port}/"))
        # uvicorn raises the signal that stopped it again, once it has stopped: that is no failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        asyncio.run(server.serve(sockets=[listening]))


class _Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self._started()


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address; OSError names the options that help."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address, family=family, backlog=_MOST_CONNECTIONS)
    except OSError as error:
        raise OSError(
            f"cannot listen on {host} port {port}: {_reason(error)}; take another `host=` or `port=`, or "
            "`port=0` for any that is free"
        ) from error
    # Connections inherit it. asyncio sets it on sockets of protocol 6 only, and these have 0: the body of a reply would
    # wait 40 ms for the other side to acknowledge the head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _reason(error: OSError) -> str:
    """Say what is wrong, without the address, which Python adds."""
    is_of_system = error.errno is not None and not isinstance(error, socket.gaierror)
    return os.strerror(error.errno) if is_of_system and error.errno else error.strerror or str(error)


def _shown(address: str, host: str) -> str:
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _opened(places: Sequence[NamedPlace], request: ServeRequest) -> Served:
    stores = [open_store(place.url) for place in places]
    given: Sequence[GeneIndex | None] = [None] * len(stores)
    if request.genes is not None:
        given = genes_of_table(request.genes, [store.assembly for store in stores])
    n_sets = sum(max(1, len(store.feature_sets())) for store in stores)
    return Served(
        ServedStore(place.name, store, genes=genes, cache_bytes=request.cache_bytes // n_sets)
        for place, store, genes in zip(places, stores, given, strict=True)
    )


def _extensions(extension: Extension) -> dict[str, APIRouter]:
    """Make the routes of a model, by the names of their entry points; without a model nothing is imported."""
    if extension.request.model is None:
        return {}
    found = plugins(GROUP)
    if not found:
        raise ValueError("nothing that is installed adds routes for `model=`; install genomic-featurestore anew")
    return {name: load_plugin(entry)(extension) for name, entry in found.items()}


async def _without_model() -> Response:
    raise UnknownName("this server has no model, so it predicts nothing; start it with `--model RUN`")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the whole interface; problems and the token once for all paths."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        parts = found.setdefault("components", {})
        parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        refused = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
        for path in found["paths"].values():
            for operation in path.values():
                operation["security"] = [{}, {"token": []}]
                operation["responses"] |= {
                    "401": refused | {"description": "A token is needed."},
                    "421": refused | {"description": "The Host header names another server."},
                }
        app.openapi_schema = found
    return app.openapi_schema
