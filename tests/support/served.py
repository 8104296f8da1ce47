"""A server in this process, for the tests that ask one."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import uvicorn
from numcodecs import zstd
from numpy.typing import NDArray
from starlette.testclient import TestClient

from featurestore.store import Store
from featurestore.web.serving.app import listen, make_app
from featurestore.web.serving.encoding import ARROW, JSON, NPY, TSV
from featurestore.web.serving.request import NamedPlace, ServeRequest


def client_of(*stores: Store | NamedPlace, token: str | None = None, **request: Any) -> TestClient:
    """Serve stores, the first as `a`, the second as `b`; a client follows no redirect."""
    places = [
        one if isinstance(one, NamedPlace) else NamedPlace(name, one.url)
        for name, one in zip("abcdef", stores, strict=False)
    ]
    app = make_app(places, ServeRequest(**request), token=token)
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


def body_of(reply: Any) -> bytes:
    """Give the body of a reply; zstd is decoded here, as the client knows gzip only."""
    return bytes(zstd.decompress(reply.content) if reply.headers.get("content-encoding") == "zstd" else reply.content)


def values_in(body: bytes, media_type: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Read the values of a reply in any media type, in the shape and dtype of the store's."""
    if media_type == NPY:
        return np.load(io.BytesIO(body), allow_pickle=False)  # type: ignore[no-any-return]
    if media_type == JSON:
        return np.asarray(json.loads(body)["values"]).astype(dtype)
    if media_type == ARROW:
        table = pl.read_ipc_stream(io.BytesIO(body))
    else:
        assert media_type == TSV
        table = pl.read_csv(io.BytesIO(body), separator="\t", comment_prefix="#", infer_schema_length=None)
    return table.select(table.columns[4:]).to_numpy().astype(dtype).reshape(shape)


@contextmanager
def served(*stores: Store, token: str | None = None, **request: Any) -> Iterator[str]:
    """Serve stores as `a`, `b` in a thread of this process."""
    places = [NamedPlace(name, store.url) for name, store in zip("ab", stores, strict=False)]
    config = uvicorn.Config(make_app(places, ServeRequest(**request), token=token), log_config=None)
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
