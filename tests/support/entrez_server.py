"""A server that speaks as NCBI's E-utilities do about genes, on this machine, and logs the requests.

Belongs here: `esearch` and `esummary` of `db=gene` over records that a test gives, ways to fail, and asking it. Does
not: tests; fixtures (`tests/catalog/ncbi/conftest.py`).
"""

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from checkout import SHARED

from catalog.ncbi.fetch import FetchedAnnotations, fetch_annotations

DATA = SHARED / "data"
NCBI = DATA / "ncbi_gene"
needs_data = pytest.mark.skipif(not NCBI.is_dir(), reason=f"no real inputs at {NCBI}; set FEATURESTORE_SHARED")

EMAIL = "you@lab.org"


class EntrezRequest(NamedTuple):
    """One request."""

    utility: str
    params: dict[str, str]
    arrived: float  # s, time.monotonic

    @property
    def uids(self) -> list[int]:
        return [int(uid) for uid in self.params.get("id", "").split(",") if uid]


class EntrezServer(ThreadingHTTPServer):
    """NCBI Gene with these records, by id; `ensembl` says which an Ensembl id finds.

    `faults` are taken one a request: each answers instead of the server, or returns False to let it answer.
    """

    daemon_threads = True

    def __init__(self, records: Mapping[int, dict[str, Any]], ensembl: Mapping[str, list[int]] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.records = dict(records)
        self.ensembl = dict(ensembl or {})
        self.url = f"http://127.0.0.1:{self.server_address[1]}/entrez/eutils"
        self.requests: list[EntrezRequest] = []
        self.faults: deque[Callable[[_Handler], bool]] = deque()

    def __enter__(self) -> "EntrezServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def requested_uids(self) -> list[int]:
        """Give the ids of all requests for summaries, in order."""
        return [uid for request in self.requests for uid in request.uids]

    def answer(self, utility: str, params: dict[str, str]) -> dict[str, Any]:
        """Give the reply to a request as JSON."""
        header = {"header": {"type": utility, "version": "0.3"}}
        if utility == "esearch":
            found = [str(uid) for uid in self._found(params["term"])]
            return {**header, "esearchresult": {"count": str(len(found)), "retstart": "0", "idlist": found}}
        uids = params["id"].split(",")
        none = {"error": "cannot get document summary"}
        summaries = {uid: {"uid": uid, **self.records.get(int(uid), none)} for uid in uids}
        return {**header, "result": {"uids": uids, **summaries}}

    def _found(self, term: str) -> list[int]:
        names = {name.upper() for name in re.findall(r'"([^"]+)"\[(?:Preferred Symbol|All Fields)\]', term)}
        scope = re.search(r"txid(\d+)\[Organism:noexp\]", term)
        assert scope is not None
        assert "alive[prop]" in term
        by_ensembl = {uid for name in names for uid in self.ensembl.get(name, [])}
        return [
            uid
            for uid, record in self.records.items()
            if (record["name"].upper() in names or uid in by_ensembl)
            and _taxon(record) == int(scope[1])
            and not int(record["status"] or 0)
        ]


def _taxon(record: dict[str, Any]) -> int:
    return int(record["organism"]["taxid"] if "organism" in record else record["taxid"])


class _Handler(BaseHTTPRequestHandler):
    server: EntrezServer

    def do_GET(self) -> None:
        self._take(urlsplit(self.path).query)

    def do_POST(self) -> None:
        self._take(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def _take(self, query: str) -> None:
        arrived = time.monotonic()
        params = {name: values[0] for name, values in parse_qs(query).items()}
        utility = urlsplit(self.path).path.rpartition("/")[2].removesuffix(".fcgi")
        self.server.requests.append(EntrezRequest(utility, params, arrived))
        if not self.server.faults or not self.server.faults.popleft()(self):
            self.reply(json.dumps(self.server.answer(utility, params)).encode())

    def reply(self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None, cut: int = 0) -> None:
        """Answer; `cut` bytes of the body that the header promises are not sent."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) - cut])

    def log_message(self, *_: object) -> None: ...


Fault = Callable[[_Handler], bool]


def says(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Fault:
    """Answer any request with this."""

    def fault(handler: _Handler) -> bool:
        handler.reply(body, status=status, headers=headers)
        return True

    return fault


def cuts(handler: _Handler) -> bool:
    """Stop in the middle of the reply."""
    last = handler.server.requests[-1]
    body = json.dumps(handler.server.answer(last.utility, last.params)).encode()
    handler.reply(body, cut=len(body) // 2)
    return True


def hangs_up(handler: _Handler) -> bool:
    """Close the connection without a word."""
    return True


def answers(handler: _Handler) -> bool:
    """Let the server answer."""
    return False


def stalls(seconds: float) -> Fault:
    """Say nothing for a while, then close."""

    def fault(handler: _Handler) -> bool:
        time.sleep(seconds)
        return True

    return fault


def docsum(symbol: str, **fields: object) -> dict[str, Any]:
    """Make a document summary as NCBI writes them now."""
    return {
        "name": symbol,
        "description": "",
        "status": "",
        "currentid": "",
        "otheraliases": "",
        "otherdesignations": "",
        "nomenclaturename": "",
        "summary": "",
        "organism": {"scientificname": "Homo sapiens", "commonname": "human", "taxid": 9606},
        **fields,
    }


def genes(n: int) -> dict[int, dict[str, Any]]:
    return {uid: docsum(f"GENE{uid}", description=f"gene {uid}") for uid in range(1, n + 1)}


def fetch(server: EntrezServer, cache: Path, *queries: int | str, **options: Any) -> FetchedAnnotations:
    return fetch_annotations(queries, cache=cache, email=EMAIL, base_url=server.url, **{"retry_s": 5.0, **options})


def answers_in(fetched: FetchedAnnotations) -> list[tuple[str, int | None, str]]:
    return fetched.answers.drop("is_cached").rows()
