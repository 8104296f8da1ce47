"""The routes of version 1: stores, sets, channels, genes, windows, status.

Belongs here: what each path takes and gives. Does not: reading (`featurestore.web.serving.stores`), bytes
(`featurestore.web.serving.encoding`).
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response

from catalog.registry import UNKNOWN
from featurestore.distribution.version import __version__
from featurestore.reader import parse_place
from featurestore.web.serving import documents as doc
from featurestore.web.serving.budget import Budgets
from featurestore.web.serving.encoding import (
    ARROW,
    BYTES_A_VALUE,
    JSON,
    NPY,
    TSV,
    WINDOW_TYPES,
    Answer,
    Preferences,
    answer,
    encode_windows,
    tag_of,
    unchanged,
    window_headers,
)
from featurestore.web.serving.problems import documented
from featurestore.web.serving.request import ServeRequest
from featurestore.web.serving.stores import Served, ServedStore
from featurestore.web.serving.windows import Place, Wanted

GROUP, ARTIFACT, API_VERSION = "genomic-featurestore", "featurestore", "1.0.0"
"""What a client recognises this service by."""
MOST_WINDOWS = 1024
_STATED = {
    "description": "Values, exact. Metadata that a type has no place for is in the headers `Featurestore-...`.",
    "headers": {
        f"Featurestore-{name}": {"schema": {"type": "string"}, "description": text}
        for name, text in {
            "Residual": "Centre as read minus the requested centre (bp), comma-separated, one a window.",
            "First-Start": "First base of each window's first bin (bp).",
            "Bin-Size": "(bp)",
            "Fingerprint": "Of the extractor.",
            "Licence": "Percent-encoded.",
        }.items()
    },
    "content": {ARROW: {}, NPY: {}, TSV: {}},
}


def document_answer(request: Request, document: Any, kind: Any) -> Answer:
    """Answer with a JSON document."""
    adapter = TypeAdapter(kind)
    body = adapter.dump_json(adapter.validate_python(document))
    tag = hashlib.sha256(body).hexdigest()[:32]
    return answer(Preferences.of(request.headers, (JSON,)), tag, lambda: body, {})


def place_of(store: ServedStore, at: str | None, gene: str | None) -> Place:
    """Read the one place of a query: ValueError if it names none or two, UnknownName for a gene that is not known."""
    if (at is None) is (gene is None):
        raise ValueError("name one place: `at=chr1:1000000` (0-based bp) or `gene=SYMBOL`")
    return _places_of(store, [] if at is None else [at], [] if gene is None else [gene])[0]


def _places_of(store: ServedStore, ats: Sequence[str], genes: Sequence[str]) -> list[Place]:
    places = [Place(*parse_place(at)) for at in ats]
    return places + [Place(gene.contig, gene.tss, gene) for gene in map(store.genes.get, genes)]


def _wanted_of(store: ServedStore, query: doc.WindowQuery | doc.WindowsQuery) -> Wanted:
    if isinstance(query, doc.WindowQuery):
        places = [place_of(store, query.at, query.gene)]
    else:
        n_places = len(query.at) + len(query.gene)
        if not 1 <= n_places <= MOST_WINDOWS:
            raise ValueError(f"name 1 to {MOST_WINDOWS:,} places with `at=` and `gene=`; got {n_places}")
        places = _places_of(store, query.at, query.gene)
    listed = [] if query.channels is None else [name.strip() for name in query.channels.split(",") if name.strip()]
    return Wanted(
        places=places,
        n_bins=query.bins,
        feature_set=query.set,
        overlay=query.overlay,
        channels=None if query.channels is None and not query.channel else [*listed, *query.channel],
    )


async def window_reply(
    request: Request, served: Served, budgets: Budgets, query: doc.WindowQuery | doc.WindowsQuery
) -> Response:
    """Answer a query for windows."""
    preferences = Preferences.of(request.headers, WINDOW_TYPES)
    store = served.get(query.store)
    wanted = _wanted_of(store, query)
    n_values = await budgets.work(partial(store.values_of, wanted))
    several = "a window" if len(wanted.places) == 1 else f"{len(wanted.places):,} windows"
    budgets.check_values(n_values, what=f"{several} of {wanted.n_bins:,} bins")
    is_single = isinstance(query, doc.WindowQuery)

    def make() -> Answer:
        media_type = preferences.media_type
        if preferences.known and (tag := store.tag(wanted)) and preferences.has(tag_of(tag, media_type)):
            return unchanged(tag_of(tag, media_type))
        reading = store.read(wanted)
        encode = partial(encode_windows, reading, media_type, is_single=is_single)
        return answer(preferences, tag_of(reading.etag, media_type), encode, window_headers(reading))

    return await budgets.reply(make, n_bytes=n_values * BYTES_A_VALUE[preferences.media_type])


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What an entry of the group `featurestore.model_routes` is called with; it returns an APIRouter."""

    served: Served
    budgets: Budgets
    request: ServeRequest
    """`request.model` is the run that the routes are of."""


class Documents:
    """Adds routes that answer with a JSON document."""

    def __init__(self, router: APIRouter, budgets: Budgets) -> None:
        self.router = router
        self._budgets = budgets

    def route(self, path: str, kind: Any, *statuses: int) -> Callable[[Any], Any]:
        """Decorate the function of a path; `kind` is the type of its document."""
        responses = {200: {"model": kind}, **documented(406, *statuses)}
        return self.router.get(path, operation_id=_operation(self.router, path), responses=responses)

    async def reply(self, request: Request, kind: Any, make: Callable[[], Any]) -> Response:
        """Answer with the document that `make` gives in a thread."""
        return await self._budgets.reply(lambda: document_answer(request, make(), kind))


def data_routes(served: Served, budgets: Budgets, *, extra_routes: Sequence[str]) -> APIRouter:
    """Make the routes below `/v1`."""
    router = APIRouter(prefix="/v1", tags=["data"])
    documents = Documents(router, budgets)
    _add_service(documents, served, budgets, extra_routes)
    _add_sets(documents, served)
    _add_windows(router, served, budgets)
    return router


def _add_service(documents: Documents, served: Served, budgets: Budgets, extra_routes: Sequence[str]) -> None:
    @documents.route("/service-info", doc.ServiceInfo)
    async def service_info(request: Request) -> Response:
        """Say what this server is, in the words of GA4GH service-info 1.0."""
        return await documents.reply(
            request, doc.ServiceInfo, partial(info_of, served, budgets.max_values, extra_routes)
        )

    @documents.route("/stores", list[doc.StoreEntry])
    async def stores(request: Request) -> Response:
        """List the stores."""

        def entries() -> list[dict[str, Any]]:
            return [_store_entry(store) for store in served.stores.values()]

        return await documents.reply(request, list[doc.StoreEntry], entries)

    @documents.route("/status", doc.StatusReply, 404)
    async def status(request: Request, query: Annotated[doc.StoreQuery, Query()]) -> Response:
        """Say what is built by contig and phase, who built it and how fast, and which shards failed."""
        store = served.get(query.store)
        return await documents.reply(request, doc.StatusReply, lambda: store.status().to_json())


def _add_sets(documents: Documents, served: Served) -> None:
    @documents.route("/sets", list[doc.SetEntry], 404)
    async def sets(request: Request, query: Annotated[doc.StoreQuery, Query()]) -> Response:
        """List the feature sets of a store, with fingerprint and licence."""
        return await documents.reply(request, list[doc.SetEntry], partial(_set_entries, served.get(query.store)))

    @documents.route("/channels", list[doc.ChannelEntry], 404)
    async def channels(request: Request, query: Annotated[doc.SetQuery, Query()]) -> Response:
        """List the channels of a feature set, in the order of the values' last axis."""
        make = partial(_channel_entries, served.get(query.store), query.set)
        return await documents.reply(request, list[doc.ChannelEntry], make)

    @documents.route("/genes", list[doc.GeneHit], 404)
    async def genes(request: Request, query: Annotated[doc.GenesQuery, Query()]) -> Response:
        """Find genes by a part of their symbol or id: exact matches first, then those that begin with it."""
        search = partial(served.get(query.store).genes.search, query.q, limit=query.limit)
        return await documents.reply(request, list[doc.GeneHit], lambda: [gene._asdict() for gene in search()])


def _add_windows(router: APIRouter, served: Served, budgets: Budgets) -> None:
    def route(path: str, kind: type[BaseModel]) -> Callable[[Any], Any]:
        responses = {200: _STATED | {"model": kind}, **documented(404, 406, 413, 416)}
        return router.get(path, operation_id=_operation(router, path), responses=responses)

    @route("/window", doc.WindowReply)
    async def window(request: Request, query: Annotated[doc.WindowQuery, Query()]) -> Response:
        """Read one window of any number of bins, around a gene's TSS or a position."""
        return await window_reply(request, served, budgets, query)

    @route("/windows", doc.WindowsReply)
    async def windows(request: Request, query: Annotated[doc.WindowsQuery, Query()]) -> Response:
        """Read several windows of one set and one number of bins."""
        return await window_reply(request, served, budgets, query)


def _operation(router: APIRouter, path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", f"{router.prefix}{path}").strip("_")


def info_of(served: Served, max_values: int, extra_routes: Sequence[str]) -> dict[str, Any]:
    """Describe the service."""
    return {
        "id": GROUP,
        "name": "Genomic feature store",
        "type": {"group": GROUP, "artifact": ARTIFACT, "version": API_VERSION},
        "description": "Windows of features along genomes, 0-based and half-open.",
        "organization": {"name": "The genomic-featurestore authors", "url": "urn:genomic-featurestore"},
        "version": __version__,
        "stores": list(served.stores),
        "max_values": max_values,
        "routes": list(extra_routes),
    }


def _store_entry(served: ServedStore) -> dict[str, Any]:
    manifest = served.store.manifest()
    return {
        "name": served.name,
        "assembly": {"name": served.store.assembly.name, "digest": served.store.assembly.digest},
        "sets": served.sets(),
        "genes": len(served.genes),
        "sealed": None if manifest is None else manifest.top_hash,
    }


def _set_entries(served: ServedStore) -> list[dict[str, Any]]:
    store = served.store
    entries = []
    for name in served.sets():
        described = served.described(name)
        fields = ("name", "extractor", "fingerprint", "citation", "dtype", "bin_size")
        entries.append(
            {field: getattr(described, field) for field in fields}
            | {
                "store": served.name,
                "assembly": {"name": store.assembly.name, "digest": store.assembly.digest},
                "offsets": list(described.offsets),
                "licence": described.licence.strip() or UNKNOWN,
                "n_channels": len(described.channels),
                "contigs": [
                    {"name": contig, "length": store.assembly.lengths[contig]} for contig in store.contigs(name)
                ],
                "overlays": store.overlays(name),
            }
        )
    return entries


def _channel_entries(served: ServedStore, name: str | None) -> list[dict[str, Any]]:
    return [channel.model_dump() for channel in served.described(name).channels]
