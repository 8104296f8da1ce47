"""Errors as replies: RFC 9457 problem documents that say what to do.

Belongs here: which error is which status. Does not: raising errors.
"""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from catalog import UnknownContig
from featurestore.display import plain
from featurestore.format.commits import DamagedRecord, NotBuilt
from featurestore.format.declarations import NotAStore
from featurestore.format.manifest import DamagedManifest
from featurestore.objects.errors import StoreUnavailable
from featurestore.rows.source import DamagedChunk
from featurestore.web.serving.genes import UnknownName

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
_MOST_CHARACTERS = 1000
_URN = "urn:genomic-featurestore:problem:"
_log = logging.getLogger("featurestore.web")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(examples=[f"{_URN}unknown-contig"])
    title: str
    status: int
    detail: str = Field(description="What is wrong, what was expected, and how to mend it.")


class Busy(RuntimeError):
    """No room within the time that a request waits."""


class TooLarge(ValueError):
    """A request that exceeds a budget on its own."""


class StoreChanging(RuntimeError):
    """A store that is written anew while it is read."""


class NotAcceptable(ValueError):
    """A media type that no reply has."""


class Unsatisfiable(ValueError):
    """A range outside the reply."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the range lies outside the {size:,} bytes that there are; ask for bytes within")
        self.size = size


_KINDS: Mapping[type[BaseException], tuple[int, str, str]] = {
    UnknownName: (404, "unknown-name", "Not served under that name"),
    UnknownContig: (404, "unknown-contig", "No such contig"),
    NotBuilt: (404, "not-built", "Never built"),
    NotAcceptable: (406, "not-acceptable", "No reply has that media type"),
    TooLarge: (413, "too-large", "More than a reply may hold"),
    Unsatisfiable: (416, "unsatisfiable", "Range not satisfiable"),
    Busy: (503, "busy", "Too many requests at once"),
    StoreChanging: (503, "changing", "The store is being written"),
    StoreUnavailable: (503, "unavailable", "The store does not answer"),
    FileNotFoundError: (503, "unavailable", "The store is gone"),
    DamagedChunk: (500, "damaged", "Stored bytes are damaged"),
    DamagedRecord: (500, "damaged", "A record of the store is damaged"),
    DamagedManifest: (500, "damaged", "The store's manifest is damaged"),
    NotAStore: (500, "damaged", "The store cannot be read"),
    OSError: (500, "failed", "The store could not be read"),
    MemoryError: (503, "busy", "Out of memory"),
    ValueError: (422, "invalid", "Not a valid request"),
}
"""Status, last part of the type, and title, by the error's class or that of its first base that is listed."""


def problem_of(error: BaseException) -> Problem:
    """Describe an error; of one that is a bug, only that it is one."""
    kind = next((base for base in type(error).__mro__ if base in _KINDS), None)
    if kind is None:
        return Problem(
            type=f"{_URN}bug",
            title="A bug of the server",
            status=500,
            detail="the server's log says more; the same request will fail again",
        )
    status, slug, title = _KINDS[kind]
    return Problem(
        type=_URN + slug, title=title, status=status, detail=plain(" ".join(str(error).split()))[:_MOST_CHARACTERS]
    )


def problem_reply(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Make a reply of a problem; a 503 says when to try again."""
    sent = dict(headers or {}) | ({"Retry-After": str(RETRY_AFTER_S)} if problem.status == 503 else {})
    return Response(problem.model_dump_json(), problem.status, headers=sent, media_type=MEDIA_TYPE)


def plain_problem(status: int, slug: str, title: str, detail: str) -> Problem:
    """Make a problem that no error of a library stands for."""
    return Problem(type=_URN + slug, title=title, status=status, detail=detail)


def add_handlers(app: FastAPI, places: Mapping[str, str]) -> None:
    """Answer every error with a problem.

    Parameters
    ----------
    places
        From the location of each store to its name: clients see the name only.
    """

    async def answer(_: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem.status >= 500:
            is_ours = problem.type.endswith("bug")
            _log.error("%s: %s", type(error).__name__, error, exc_info=error if is_ours else None)
        for place, name in places.items():
            problem = problem.model_copy(update={"detail": problem.detail.replace(place, name)})
        headers = {"Content-Range": f"bytes */{error.size}"} if isinstance(error, Unsatisfiable) else None
        return problem_reply(problem, headers)

    async def answer_http(_: Request, error: HTTPException) -> Response:
        slug, mend = _HTTP.get(error.status_code, ("http", "see /openapi.json"))
        problem = plain_problem(error.status_code, slug, str(error.detail), mend)
        return problem_reply(problem, error.headers)

    async def answer_invalid(request: Request, error: RequestValidationError) -> Response:
        said = "; ".join(_wrong_with(request, one) for one in error.errors()[:8])
        status = 400 if request.url.path.startswith("/rnaget/") else 422  # as its specification has it
        return problem_reply(plain_problem(status, "invalid", "Not a valid request", f"{said}; see /openapi.json"))

    handlers: dict[Any, Any] = dict.fromkeys((OSError, ValueError, LookupError, RuntimeError, MemoryError), answer)
    handlers |= {Exception: answer, HTTPException: answer_http, RequestValidationError: answer_invalid}
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _wrong_with(request: Request, error: Mapping[str, Any]) -> str:
    """Describe one fault of a query; of a parameter that does not exist, say which there are."""
    name = ".".join(map(str, error["loc"][1:]))
    if error["type"] != "extra_forbidden":
        return f"{name}: {error['msg']}"
    models = [part.field_info.annotation for part in request.scope["route"].dependant.query_params]
    there = [field for model in models for field in getattr(model, "model_fields", ())]
    return f"there is no parameter {name!r} here; there are {', '.join(sorted(there))}"


_HTTP = {
    404: ("no-such-path", "/openapi.json lists the paths there are"),
    405: ("method", "this server is read-only: ask with GET or HEAD"),
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe replies of problems for an OpenAPI: 422, 500 and 503, and further statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in (*statuses, 422, 500, 503)}


_MEANINGS = {
    400: "A parameter is missing or wrong.",
    404: "Nothing of that name is there, or it was never built.",
    406: "The reply has no such media type.",
    413: "More values than a reply may hold.",
    416: "The range lies outside the object.",
    422: "A parameter is wrong.",
    500: "Stored bytes are damaged, or the server has a bug; the problem names the shard.",
    501: "Not implemented.",
    503: "The server is busy, or the store does not answer: try again after `Retry-After` seconds.",
}
