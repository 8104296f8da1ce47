"""A store behind `featurestore serve`: the same windows, without Zarr.

    store = featurestore.open("http://data.lab.org/stores/hg38", storage_options={"token": token})
    store["motif"].window("chr1", 1_000_000, n_bins=251)

Belongs here: telling a server from a static folder, and reading windows from it. Does not: the server
(`featurestore.web.serving`), stores whose objects are read here (`featurestore.store`).

Nothing of Zarr, tensorstore or obstore is imported, but for the class of an error.
"""

import http.client
import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalog.runtime.retry import Backoff, stall_s
from catalog.runtime.whole_numbers import whole_numbers
from featurestore.display import Display, Displayed, some
from featurestore.rows.windows import Window, Windows

if TYPE_CHECKING:
    from featurestore.store import Store

_ARTIFACT = "featurestore"
_NPY = "application/x-npy"
_PROBLEM = "application/problem+json"
_MOST_DOCUMENT_BYTES = 1 << 26
_MOST_HEADER_BYTES = 4096
"""Of an array in NPY, before its values."""
_WINDOWS_AT_ONCE = 128
"""Windows of one request: their places are in its URL."""


def open_store(url: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> "Store":
    """Open a store for reading, at its place or behind a server.

    Parameters
    ----------
    url
        A local path, `s3://bucket/prefix`, or any other fsspec URL. An `http://` or `https://` URL may also be that of
        `featurestore serve`, or of one of its stores, `.../stores/NAME`: what comes back is then a `RemoteStore`, which
        lists feature sets and reads windows as a `Store` does, and has no objects. One request tells which it is.
    storage_options
        As fsspec and s3fs name them: `key`, `secret`, `endpoint_url`, `region`, `anon`; else from the environment. Of a
        server, `token`.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the URL.
    NotAStore
        If it is not a feature store, or of a format that this version does not know.
    PermissionError
        If a server demands another token.
    ValueError
        If a server has several stores, and the URL names none of them.
    """
    parts = urlsplit(os.fspath(url))
    if parts.scheme in {"http", "https"} and parts.netloc:
        remote = _find_server(parts, storage_options or {})
        if remote is not None:
            # Typed as what nearly every URL is; a user who wants the difference has `RemoteStore` to ask for.
            return cast("Store", remote)
    from featurestore.store import open_store as open_here

    return open_here(url, storage_options=storage_options)


class RemoteStore(Displayed):
    """A store behind a server: `store["motif"].window(...)`, as of a `Store`. Made by `featurestore.open`."""

    def __init__(self, server: "_Server", name: str) -> None:
        self._server = server
        self.name = name
        self.url = f"{server.url}/stores/{name}"

    def feature_sets(self) -> list[str]:
        """List the names of the feature sets."""
        return [str(one["name"]) for one in self._sets()]

    def genes(self, text: str, *, limit: int = 20) -> list[dict[str, Any]]:
        """Find genes by a part of their symbol or id: symbol, gene_id, contig, tss (0-based bp), strand of each."""
        found = self._server.document("/v1/genes", store=self.name, q=text, limit=limit)
        return [dict(one) for one in found]

    def __getitem__(self, name: str) -> "RemoteReader":
        """Return the reader of one feature set; NotBuilt if there is none of that name."""
        for one in self._sets():
            if one["name"] == name:
                channels = self._server.document("/v1/channels", store=self.name, set=name)
                return RemoteReader(self._server, one, tuple(channel["name"] for channel in channels))
        raise _error("not-built", f"{self.url} has no feature set {name!r}; it has {', '.join(self) or 'none yet'}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.feature_sets())

    def __len__(self) -> int:
        return len(self.feature_sets())

    def __bool__(self) -> bool:
        return True

    def __contains__(self, name: object) -> bool:
        return name in self.feature_sets()

    def _sets(self) -> list[Mapping[str, Any]]:
        return list(self._server.document("/v1/sets", store=self.name))

    def _display(self) -> Display:
        return Display(f"RemoteStore {self.url}", (("feature sets", some(self.feature_sets())),))


class RemoteReader(Displayed):
    """One feature set behind a server, read by genome position. Made by `store[name]`."""

    def __init__(
        self, server: "_Server", entry: Mapping[str, Any], channels: tuple[str, ...], overlay: str | None = None
    ) -> None:
        self._server = server
        self._entry = entry
        self.name = str(entry["name"])
        self.channel_names = channels
        """Names of the columns, in order."""
        self.bin_size = int(entry["bin_size"])
        """(bp)"""
        self.offsets = tuple(map(int, entry["offsets"]))
        """How far each phase starts left of base 0 (bp)."""
        self.dtype = np.dtype(entry["dtype"])
        self.fingerprint = str(entry["fingerprint"])
        self.licence = str(entry["licence"])
        self.overlay = overlay
        """Personal genome that it reads through; None for the reference."""

    def with_overlay(self, name: str) -> "RemoteReader":
        """Return a reader of the same set through an overlay, such as `NA12878/1`."""
        return RemoteReader(self._server, self._entry, self.channel_names, name)

    def window(self, contig: str, centre: int, *, n_bins: int = 251) -> Window:
        """Read one window; as `FeatureReader.window`."""
        values, said = self._fetch([contig], [centre], n_bins)
        start = said.first_starts[0]
        return Window(
            contig=said.contigs[0],
            centre=int(centre),
            values=values[0],
            starts=start + np.arange(n_bins, dtype=np.int64) * self.bin_size,
            phase=int(said.phases[0]),
            residual=int(said.residuals[0]),
        )

    def windows(self, contigs: Sequence[str] | str, centres: ArrayLike, n_bins: int = 251) -> Windows:
        """Read many windows; as `FeatureReader.windows`. Large batches take several requests."""
        positions = whole_numbers(centres, name="centres").tolist()
        names = [contigs] * len(positions) if isinstance(contigs, str) else list(contigs)
        if not positions or len(names) != len(positions):
            raise ValueError(f"one contig a centre: got {len(names)} contigs and {len(positions)} centres")
        most = max(1, self._server.max_values // max(1, n_bins * len(self.channel_names)))
        step = min(_WINDOWS_AT_ONCE, most)
        parts = [
            self._fetch(names[first : first + step], positions[first : first + step], n_bins)
            for first in range(0, len(positions), step)
        ]
        return Windows(
            values=np.concatenate([values for values, _ in parts]),
            first_starts=np.concatenate([said.first_starts for _, said in parts]),
            phases=np.concatenate([said.phases for _, said in parts]),
            residuals=np.concatenate([said.residuals for _, said in parts]),
            bin_size=self.bin_size,
        )

    def _fetch(self, contigs: Sequence[str], centres: Sequence[int], n_bins: int) -> tuple[NDArray[Any], "_Said"]:
        places = [f"{contig}:{centre}" for contig, centre in zip(contigs, centres, strict=True)]
        overlay = {} if self.overlay is None else {"overlay": self.overlay}
        query = {"store": self._entry["store"], "set": self.name, "bins": n_bins, "at": places, **overlay}
        shape = (len(places), n_bins, len(self.channel_names))
        size = int(np.prod(shape)) * self.dtype.itemsize
        body, headers = self._server.get("/v1/windows", query, accept=_NPY, most=size + _MOST_HEADER_BYTES)
        if headers.get("Featurestore-Fingerprint") != self.fingerprint:
            raise ValueError(f"{self.name} was built anew with another fingerprint; open the store again")
        values = np.load(BytesIO(body), allow_pickle=False)
        if values.shape != shape or values.dtype != self.dtype:
            raise ValueError(f"{self._server.url} sent {values.dtype} of shape {values.shape}, and not {shape}")
        return values, _said(headers, self.offsets)

    def _display(self) -> Display:
        return Display(
            f"RemoteReader {self.name} of {self._server.url}",
            (("channels", some(self.channel_names)), ("bins", f"{self.bin_size:,} bp"), ("licence", self.licence)),
        )


class _Said(NamedTuple):
    """What headers say of some windows."""

    contigs: list[str]
    first_starts: NDArray[np.int64]
    phases: NDArray[np.int64]
    residuals: NDArray[np.int64]


def _said(headers: http.client.HTTPMessage, offsets: Sequence[int]) -> _Said:
    def numbers(name: str) -> list[int]:
        return [int(text) for text in headers[f"Featurestore-{name}"].split(",")]

    phases = [offsets.index(offset) for offset in numbers("Offset")]
    columns = (numbers("First-Start"), phases, numbers("Residual"))
    contigs = unquote(headers["Featurestore-Contig"]).split(",")
    return _Said(contigs, *(np.asarray(column, dtype=np.int64) for column in columns))


class _Server:
    """The connection to a server; requests of several threads take turns."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self.max_values = 1
        self._parts = urlsplit(url)
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
        self._connection: http.client.HTTPConnection | None = None
        self._lock = Lock()

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def document(self, path: str, **query: Any) -> Any:
        """Fetch a JSON document."""
        body, _ = self.get(path, query, accept="application/json", most=_MOST_DOCUMENT_BYTES)
        return json.loads(body)

    def get(
        self, path: str, query: Mapping[str, Any], *, accept: str, most: int
    ) -> tuple[bytes, http.client.HTTPMessage]:
        """Fetch a reply of at most `most` bytes; a busy server, or a lost connection, is asked again."""
        target = f"{self._parts.path}{path}?{urlencode(query, doseq=True)}"
        backoff = Backoff()
        while True:
            try:
                status, headers, body = self.ask(target, accept=accept, most=most)
            except (OSError, http.client.HTTPException) as error:
                wait_s = None if isinstance(error, ssl.SSLCertVerificationError) else backoff.wait_s()
                if wait_s is None:
                    raise _error("unavailable", f"{self.url} does not answer: {error!r}") from error
            else:
                if status == 200:
                    return body, headers
                wait_s = backoff.wait_s() if status in {502, 503, 504} else None
                if wait_s is None:
                    raise _problem(status, headers, body, self.url)
            time.sleep(wait_s)

    def ask(self, target: str, *, accept: str, most: int) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send one request, over the connection that is open or a new one."""
        with self._lock:
            connection = self._connection or _connect(self._parts)
            self._connection = None
            try:
                connection.request("GET", target, headers={"Accept": accept, **self._headers})
                reply = connection.getresponse()
                body = reply.read(most + 1)
            except BaseException:
                connection.close()
                raise
            if len(body) > most:
                connection.close()
                raise ValueError(f"{self.url} sends more than the {most:,} bytes that were expected of it")
            self._connection = connection
            return reply.status, reply.headers, body


def _connect(parts: SplitResult) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=stall_s())


def _find_server(parts: SplitResult, options: Mapping[str, Any]) -> RemoteStore | None:
    """Ask a URL whether it is a server's, and give the store that it names; None for a static folder."""
    base, marker, name = parts.path.rstrip("/").rpartition("/stores/")
    if not marker or "/" in name:
        base, name = parts.path.rstrip("/"), ""
    token = options.get("token")
    server = _Server(f"{parts.scheme}://{parts.netloc}{base}", None if token is None else str(token))
    try:
        target = f"{base}/v1/service-info"
        status, headers, body = server.ask(target, accept="application/json", most=_MOST_DOCUMENT_BYTES)
        info = json.loads(body) if status == 200 else {}
    except (OSError, http.client.HTTPException, ValueError):
        return None
    if status == 401 and headers.get_content_type() == _PROBLEM:
        raise _problem(status, headers, body, server.url)
    if not isinstance(info, dict) or info.get("type", {}).get("artifact") != _ARTIFACT:
        return None
    server.max_values = int(info["max_values"])
    stores = [str(store) for store in info["stores"]]
    if name not in stores and (name or len(stores) != 1):
        listed = ", ".join(f"{server.url}/stores/{store}" for store in stores)
        raise ValueError(f"{server.url} serves {len(stores)} stores; open one of {listed}")
    return RemoteStore(server, name or stores[0])


def _problem(status: int, headers: http.client.HTTPMessage, body: bytes, url: str) -> Exception:
    if headers.get_content_type() != _PROBLEM:
        return _error("unavailable", f"{url} answered {status}")
    problem = json.loads(body)
    kind = "token" if status == 401 else str(problem["type"]).rpartition(":")[2]
    mend = '; here: `storage_options={"token": ...}`' if status == 401 else ""
    return _error(kind, f"{url}: {problem['detail']}{mend}")


def _error(kind: str, text: str) -> Exception:
    """Make the error that reading the store here would raise."""
    if kind == "token":
        return PermissionError(text)
    if kind == "unknown-contig":
        from catalog import UnknownContig

        return UnknownContig(text)
    if kind in {"not-built", "unknown-name"}:
        from featurestore.format.commits import NotBuilt

        return NotBuilt(text)
    if kind == "damaged":
        from featurestore.rows.source import DamagedChunk

        return DamagedChunk(text)
    if kind in {"busy", "changing", "unavailable", "failed", "bug"}:
        from featurestore.objects.errors import StoreUnavailable

        return StoreUnavailable(text)
    return ValueError(text)
