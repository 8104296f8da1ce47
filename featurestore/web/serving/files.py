"""The objects of the stores, read-only and in ranges, and the explorer's page over them.

Belongs here: `/` and `/stores/NAME/...`. Does not: windows (`featurestore.web.serving.routes`), the page itself
(`web/`).

The page is always the one of this distribution: a store's own `index.html` may be of any hand, and here it would run
with the rights of this server. Every other object is data, and is never shown as a page.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import AsyncIterator
from functools import partial
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from featurestore.format import layout
from featurestore.format.declarations import DECLARED
from featurestore.format.manifest import CARDS, MANIFEST, PAGE, PAGE_GENES, PAGE_MODELS, PAGE_STATUS
from featurestore.format.metadata import GROUP
from featurestore.objects.errors import LinkInStore
from featurestore.objects.objects import Objects
from featurestore.web.serving.budget import SMALL_BYTES, Budgets
from featurestore.web.serving.encoding import byte_range
from featurestore.web.serving.genes import UnknownName
from featurestore.web.serving.guard import with_query
from featurestore.web.serving.problems import documented
from featurestore.web.serving.stores import Served, ServedStore

_FOLDERS = {layout.FEATURES, layout.ANCHORED, layout.OVERLAYS, layout.COMMITS, layout.FAILURES, DECLARED, PAGE_MODELS}
_FILES = {GROUP, MANIFEST, PAGE_GENES, PAGE_STATUS, *CARDS}
_PART_BYTES = 1 << 20
_BINARY = "application/octet-stream"
_INLINE = re.compile(r"<(script|style)\b[^>]*>(.*?)</\1>", re.DOTALL)


def is_served(key: str) -> bool:
    """Tell whether a key is that of an object of a store: of its own folders and files, and inside them."""
    first, *others = key.split("/")
    if not others:
        return first in _FILES
    return first in _FOLDERS and not {"", ".", ".."} & set(others) and not re.search(r"[\\\x00-\x1f#?]", key)


def file_routes(served: Served, budgets: Budgets) -> APIRouter:
    """Make the routes."""
    router = APIRouter(tags=["stores' files"])
    page = files("featurestore.web").joinpath("static", PAGE).read_bytes()
    policy = page_policy(page.decode())

    def explorer() -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": policy})

    @router.get("/", include_in_schema=False)
    async def root(request: Request) -> Response:
        if len(served.stores) == 1:
            return RedirectResponse(with_query(f"/stores/{next(iter(served.stores))}/", request.scope))
        return Response(_list_of(served), media_type="text/html; charset=utf-8")

    @router.get("/stores/{name}/", include_in_schema=False)
    async def page_of(name: str) -> Response:
        served.get(name)
        return explorer()

    @router.get(f"/stores/{{name}}/{PAGE}", include_in_schema=False)
    async def page_by_name(name: str) -> Response:
        served.get(name)
        return explorer()

    @router.head("/stores/{name}/{key:path}", include_in_schema=False)
    @router.get(
        "/stores/{name}/{key:path}",
        operation_id="object",
        response_class=Response,
        responses={
            200: {"description": "The object.", "content": {_BINARY: {}, "application/json": {}}},
            206: {"description": "The range of it.", "content": {_BINARY: {}, "application/json": {}}},
            **documented(404, 416),
        },
    )
    async def read_object(name: str, key: str, request: Request) -> Response:
        """Read an object of a store, whole or one range: enough for the explorer, and to open the store by this URL."""
        store = served.get(name)
        if not is_served(key):
            raise UnknownName(f"{key!r} is no object of a store; MANIFEST.json of a sealed store lists them")
        return await _object(store, key, request, budgets)

    return router


async def _object(store: ServedStore, key: str, request: Request, budgets: Budgets) -> Response:
    objects = store.store.objects
    if key == PAGE_GENES and len(store.genes):
        also = store.genes.aliases
        return _json([[*gene, also[gene.gene_id]] if gene.gene_id in also else list(gene) for gene in store.genes])
    if key == PAGE_STATUS:  # as it is now, rather than as somebody wrote it
        return _json((await budgets.work(store.status)).to_json())
    try:
        size = await budgets.work(partial(objects.size, key))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, LinkInStore) as error:
        raise UnknownName(f"the store {store.name} has no object {key!r}") from error
    asked = request.headers.get("range")
    part = None if asked is None or "if-range" in request.headers else byte_range(asked, size)
    start, end = part or (0, size)
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(end - start), "Cache-Control": "private, no-cache"}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    media_type = "application/json" if key.endswith(".json") else _BINARY
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(None, status, headers=headers, media_type=media_type)
    return StreamingResponse(_parts(objects, key, start, end, budgets), status, headers=headers, media_type=media_type)


def _json(document: object) -> Response:
    return Response(json.dumps(document, separators=(",", ":"), ensure_ascii=False), media_type="application/json")


async def _parts(objects: Objects, key: str, start: int, end: int, budgets: Budgets) -> AsyncIterator[bytes]:
    give_back = await budgets.memory.take(min(SMALL_BYTES, budgets.memory.total))
    try:
        for first in range(start, end, _PART_BYTES):
            yield await budgets.work(partial(objects.get_part, key, first, min(_PART_BYTES, end - first)))
    finally:
        give_back()


def page_policy(page: str) -> str:
    """Make the content security policy of a page: its own inline scripts and styles run, and nothing else."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for match in _INLINE.finditer(page):
        digest = base64.b64encode(hashlib.sha256(match[2].encode()).digest()).decode()
        hashes[match[1]].append(f"'sha256-{digest}'")
    return (
        "default-src 'none'; connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors 'none'; script-src {' '.join(hashes['script'])}; style-src {' '.join(hashes['style'])}"
    )


def _list_of(served: Served) -> str:
    items = "".join(
        f'<li><a href="/stores/{html.escape(name)}/">{html.escape(name)}</a></li>' for name in served.stores
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Feature stores</title><main>'
        f"<h1>Feature stores</h1><ul>{items}</ul></main></html>"
    )
