"""The continuous group of GA4GH RNAget 1.1, below `/rnaget`.

Belongs here: its six paths and its service-info. Does not: what it has no words for, which version 1 of our own has
(`featurestore.web.serving.routes`).

A feature set is a continuous matrix: channels are its samples, named in the first column. RNAget has a column a base,
0-based and half-open, so every base has the value of the bin that covers it, in the phase with the first offset; NaN
where that bin was never built. Names and errors are those of the specification
(https://github.com/ga4gh-rnaseq/schema, OpenAPI of version 1.1.0).
"""

import hashlib
from functools import partial
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from catalog import FeatureSet, UnknownContig
from catalog.registry import UNKNOWN
from catalog.value_type import Values
from featurestore.distribution.version import __version__
from featurestore.reader import FeatureReader
from featurestore.rows.row_requests import RowRequest
from featurestore.web.serving.budget import Budgets
from featurestore.web.serving.encoding import BYTES_A_VALUE, TSV, Answer, Preferences, answer
from featurestore.web.serving.genes import UnknownName
from featurestore.web.serving.problems import Problem, documented, plain_problem, problem_reply
from featurestore.web.serving.routes import ARTIFACT, Documents
from featurestore.web.serving.stores import Marks, Served, ServedStore

RNAGET_VERSION = "1.1.0"
_FORMATS = ["tsv"]
_SEPARATOR = "~"
"""Between the names of store and set in an id: identifiers may have it, and our names do not."""


class _Range(BaseModel):
    model_config = ConfigDict(extra="forbid")

    chr: str | None = Field(None, max_length=200, description="Contig that `start` and `end` lie on.")
    start: int | None = Field(None, ge=0, lt=1 << 32, description="First base (0-based).")
    end: int | None = Field(None, ge=0, lt=1 << 32, description="End, excluded (0-based).")


class _Search(_Range):
    format: str = Field(max_length=20, description="`tsv`.")
    studyID: str | None = Field(None, max_length=200, description="Name of a store.")  # noqa: N815  # RNAget's name
    projectID: str | None = Field(None, max_length=200, description="Nothing has one.")  # noqa: N815  # RNAget's name
    version: str | None = Field(None, max_length=200, description="Fingerprint of the extractor.")
    sampleIDList: str | None = Field(  # noqa: N815  # RNAget's name
        None, max_length=1 << 16, description="Channels, comma-separated."
    )
    setID: str | None = Field(None, max_length=200, description="Name of a feature set.")  # noqa: N815  # like theirs


class Filter(BaseModel):
    """A parameter of a search."""

    filter: str
    fieldType: str = "string"  # noqa: N815  # RNAget's name
    description: str
    values: list[str] = []


class Ticket(BaseModel):
    """Where a matrix can be fetched."""

    version: str
    fileType: str  # noqa: N815  # RNAget's name
    studyID: str  # noqa: N815  # RNAget's name
    url: str
    units: str


class RnagetInfo(BaseModel):
    """GA4GH service-info, with what of RNAget is there."""

    id: str
    name: str
    type: dict[str, str]
    organization: dict[str, str]
    version: str
    supported: dict[str, bool]


class _Matrix(NamedTuple):
    """What a request asks for, checked."""

    store: ServedStore
    feature_set: FeatureSet
    contig: str
    start: int
    end: int
    columns: list[int]


class _Refused(Exception):
    """An error in the specification's own words."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.problem: Problem = plain_problem(status, title.lower().replace(" ", "-"), title, detail)


def rnaget_routes(served: Served, budgets: Budgets) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/rnaget", tags=["GA4GH RNAget"])
    documents = Documents(router, budgets)
    _add_lists(documents, served)
    _add_matrices(router, documents, served, budgets)
    for group in ("projects", "studies", "expressions"):
        router.add_api_route(f"/{group}{{rest:path}}", _not_implemented, include_in_schema=False)
    return router


async def _not_implemented() -> Response:
    detail = "this server has no expression matrices; /rnaget/service-info says what is supported"
    return problem_reply(plain_problem(501, "not-implemented", "Not Implemented", detail))


def _add_lists(documents: Documents, served: Served) -> None:
    @documents.route("/service-info", RnagetInfo)
    async def rnaget_service_info(request: Request) -> Response:
        """Say that of RNAget the continuous group is there."""
        return await documents.reply(request, RnagetInfo, _info)

    @documents.route("/continuous/formats", list[str])
    async def formats(request: Request) -> Response:
        """List the formats of matrices."""
        return await documents.reply(request, list[str], lambda: _FORMATS)

    @documents.route("/continuous/filters", list[Filter])
    async def filters(request: Request) -> Response:
        """List the parameters of `/continuous/ticket` and `/continuous/bytes`."""
        return await documents.reply(request, list[Filter], partial(_filters, served))


def _add_matrices(router: APIRouter, documents: Documents, served: Served, budgets: Budgets) -> None:
    statuses = (400, 404, 406, 413, 416, 501)
    matrix = {200: {"description": "The matrix.", "content": {TSV: {}}}, **documented(*statuses)}

    async def ticket(request: Request, name: str | None, query: _Range) -> Response:
        try:
            found = await budgets.work(partial(_matrix, served, name, query))
        except _Refused as error:
            return problem_reply(error.problem)
        return await documents.reply(request, Ticket, partial(_ticket, request, found, query))

    async def values(request: Request, name: str | None, query: _Range) -> Response:
        preferences = Preferences.of(request.headers, (TSV,))
        try:
            found = await budgets.work(partial(_matrix, served, name, query))
        except _Refused as error:
            return problem_reply(error.problem)
        n_values = (found.end - found.start) * len(found.columns)
        budgets.check_values(n_values, what=f"{found.end - found.start:,} bases of {len(found.columns):,} channels")
        return await budgets.reply(partial(_bytes, found, preferences), n_bytes=n_values * BYTES_A_VALUE[TSV])

    @documents.route("/continuous/ticket", Ticket, *statuses)
    async def search_ticket(request: Request, query: Annotated[_Search, Query()]) -> Response:
        """Say where the matrix of the set that matches can be fetched."""
        return await ticket(request, None, query)

    @router.get("/continuous/bytes", operation_id="continuous_bytes", responses=matrix, response_class=Response)
    async def search_bytes(request: Request, query: Annotated[_Search, Query()]) -> Response:
        """Fetch the matrix of the set that matches: channels x bases."""
        return await values(request, None, query)

    @documents.route("/continuous/{name}/ticket", Ticket, *statuses)
    async def ticket_by_id(request: Request, name: str, query: Annotated[_Range, Query()]) -> Response:
        """Say where the matrix of a set (`STORE~SET`) can be fetched."""
        return await ticket(request, name, query)

    @router.get("/continuous/{name}/bytes", operation_id="bytes_by_id", responses=matrix, response_class=Response)
    async def bytes_by_id(request: Request, name: str, query: Annotated[_Range, Query()]) -> Response:
        """Fetch the matrix of a set (`STORE~SET`): channels x bases."""
        return await values(request, name, query)


def _info() -> dict[str, Any]:
    return {
        "id": f"{ARTIFACT}.rnaget",
        "name": "Genomic feature store, continuous signals",
        "type": {"group": "org.ga4gh", "artifact": "rnaget", "version": RNAGET_VERSION},
        "organization": {"name": "The genomic-featurestore authors", "url": "urn:genomic-featurestore"},
        "version": __version__,
        "supported": {"projects": False, "studies": False, "expressions": False, "continuous": True},
    }


def _filters(served: Served) -> list[dict[str, Any]]:
    return [
        {"filter": "studyID", "description": "name of a store", "values": list(served.stores)},
        {
            "filter": "setID",
            "description": "name of a feature set",
            "values": sorted({name for store in served.stores.values() for name in store.sets()}),
        },
        {"filter": "version", "description": "fingerprint of the extractor"},
        {"filter": "sampleIDList", "description": "channels, comma-separated"},
        {"filter": "chr", "description": "contig that start and end lie on"},
        {"filter": "start", "fieldType": "integer", "description": "first base, 0-based"},
        {"filter": "end", "fieldType": "integer", "description": "end, excluded, 0-based"},
    ]


def _matrix(served: Served, name: str | None, query: _Range) -> _Matrix:
    """Find the set and the range of a request, and check them in the specification's order of errors."""
    if query.chr is None and (query.start is not None or query.end is not None):
        raise _Refused(400, "Bad Request", "start and end lie on a contig: name it with chr")
    if query.start is not None and query.end is not None and query.start > query.end:
        raise _Refused(501, "Not Implemented", "start lies after end, and no contig here is circular")
    try:
        store, described = _found(served, name, query)
        assembly = store.store.assembly
        contig = None if query.chr is None else assembly.resolve(query.chr)
    except (UnknownName, UnknownContig) as error:
        raise _Refused(404, "Not Found", str(error)) from error
    except ValueError as error:
        raise _Refused(400, "Bad Request", str(error)) from error
    if contig is None:
        raise _Refused(400, "Bad Request", "a whole matrix is larger than a reply: name chr, start and end")
    length = assembly.lengths[contig]
    start, end = query.start or 0, length if query.end is None else min(query.end, length)
    if start > length:
        raise _Refused(400, "Bad Request", f"start lies after {contig}, which has {length:,} bases")
    if start >= end:
        raise _Refused(404, "Not Found", "start equals end: there is nothing between them")
    return _Matrix(store, described, contig, start, end, _columns(described, query))


def _found(served: Served, name: str | None, query: _Range) -> tuple[ServedStore, FeatureSet]:
    if name is not None:
        store_name, separator, set_name = name.partition(_SEPARATOR)
        if not separator:
            raise UnknownName(f"{name!r} is no id: they are STORE{_SEPARATOR}SET; /v1/sets lists the names")
        store = served.get(store_name)
        return store, store.described(set_name)
    assert isinstance(query, _Search)
    if query.format not in _FORMATS:
        raise ValueError(f"`format` is one of {', '.join(_FORMATS)}; got {query.format!r}")
    if query.projectID is not None:
        raise UnknownName("nothing here has a projectID; leave it out")
    store = served.get(query.studyID)
    described = store.described(query.setID)
    if query.version not in (None, described.fingerprint):
        raise UnknownName(f"{store.name}{_SEPARATOR}{described.name} has version {described.fingerprint}")
    return store, described


def _columns(described: FeatureSet, query: _Range) -> list[int]:
    names = described.channel_names
    if not isinstance(query, _Search) or query.sampleIDList is None:
        return list(range(len(names)))
    wanted = {name.strip() for name in query.sampleIDList.split(",")}
    columns = [column for column, name in enumerate(names) if name in wanted]
    if not columns:
        raise _Refused(404, "Not Found", "no channel has one of the names of sampleIDList; /v1/channels lists them")
    return columns


def _ticket(request: Request, found: _Matrix, query: _Range) -> dict[str, Any]:
    described = found.feature_set
    base = f"{request.url.scheme}://{request.headers['host']}"
    if isinstance(query, _Search):
        asked = query.model_copy(update={"studyID": found.store.name, "setID": described.name})
        url = request.url.replace(path="/rnaget/continuous/bytes").include_query_params(
            **asked.model_dump(exclude_none=True)
        )
    else:
        url = request.url.replace(path=f"/rnaget/continuous/{found.store.name}{_SEPARATOR}{described.name}/bytes")
    return {
        "version": described.fingerprint,
        "fileType": "tsv",
        "studyID": found.store.name,
        "url": f"{base}{url.path}?{url.query}",
        "units": f"output of {described.extractor}",
    }


def _bytes(found: _Matrix, preferences: Preferences) -> Answer:
    def make(reader: FeatureReader, _: Marks) -> bytes:
        names = [reader.channel_names[column] for column in found.columns]
        lines = [
            "#labels\tchannel",
            f"#range\t{found.contig}:{found.start}-{found.end}",
            f"# assembly\t{reader.assembly.name} {reader.assembly.digest}",
            f"# bin_size\t{reader.feature_set.bin_size}",
            f"# fingerprint\t{reader.feature_set.fingerprint}",
            f"# licence\t{' '.join(reader.feature_set.licence.split()) or UNKNOWN}",
        ]
        for name, row in zip(names, _bases(found, reader).T.tolist(), strict=True):
            lines.append("\t".join([" ".join(name.split()), *(f"{value:.9g}" for value in row)]))
        return ("\n".join(lines) + "\n").encode()

    body = found.store.steady(found.feature_set.name, lambda _: [_rows(found)], make)
    tag = hashlib.sha256(body).hexdigest()[:32]
    return answer(preferences, tag, lambda: body, {"Content-Disposition": "attachment"})


def _rows(found: _Matrix) -> RowRequest:
    """Give the rows of the first phase that cover the bases."""
    bin_size, offset = found.feature_set.bin_size, found.feature_set.offsets[0]
    return RowRequest(found.contig, 0, (found.start + offset) // bin_size, (found.end - 1 + offset) // bin_size + 1)


def _bases(found: _Matrix, reader: FeatureReader) -> Values:
    """Read the value of every base, shape `(bases, channels)`, float32; NaN where its bin was never built."""
    contig, phase, first, end = _rows(found)
    rows = np.full((end - first, len(found.columns)), np.nan, dtype=np.float32)
    shard_bins = reader.layout(contig).shard_bins
    for shard in range(first // shard_bins, (end - 1) // shard_bins + 1):
        begin, stop = max(first, shard * shard_bins), min(end, (shard + 1) * shard_bins)
        request = RowRequest(contig, phase, begin, stop)
        if reader.is_built(request):
            rows[begin - first : stop - first] = reader.rows([request])[0][:, found.columns]
    described = found.feature_set
    bases = (np.arange(found.start, found.end) + described.offsets[0]) // described.bin_size - first
    return rows[bases]
