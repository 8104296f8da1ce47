"""Client of NCBI's E-utilities for gene records: identification, rate limit, retries, and parsing of replies.

Belongs here: sending, rate limit, retries, parsing replies. Does not: what to request (`catalog.ncbi.fetch`), caching
(`catalog.ncbi.cache`).

Terms of use: https://www.ncbi.nlm.nih.gov/books/NBK25497. `Bio.Entrez` writes the requests: tool, e-mail, key, GET or
POST. Sending and parsing are ours: its sender has no timeout, retries at once after a 429, and has a fixed address;
its parser downloads the DTD that a reply names, and fails on that of genes. Replies are JSON, which has none.
"""

import http.client
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from catalog.runtime.documents import DamagedDocument, parse_json
from catalog.runtime.plugins import how_to_install
from catalog.runtime.retry import Backoff, is_transient_status

BASE_URL = "https://eutils.ncbi.nlm.nih.gov/entrez/eutils"
TOOL = "genomic-featurestore"
MOST_UIDS = 500
"""Largest number of records that NCBI returns in one JSON reply."""

# 3 requests a second, 10 with a key, and a margin: at exactly 1/3 s there are replies of 429.
_INTERVAL_S = 0.37
_INTERVAL_WITH_KEY_S = 0.11
_LARGEST_REPLY = 1 << 25  # bytes; 500 genes take about 5 MB
_LARGEST_NUMBER = 2**63 - 1
_NOT_LIVE = (1, 2)  # replaced, discontinued (https://www.ncbi.nlm.nih.gov/books/NBK3841); 0 or empty is live
_MOST_FOUND = 10_000  # uids that one search may return

_Read = TypeVar("_Read")
_clock = threading.Lock()
_sent_at = 0.0
"""When this process last sent a request (s, `time.monotonic`): NCBI's rate limit is per IP address."""


class EntrezError(OSError):
    """NCBI refused a request, or retries of a transient error did not help."""


class GeneRecord(NamedTuple):
    """What NCBI's summary of one gene holds of an annotation."""

    ncbi_gene_id: int
    tax_id: int
    replaced_by: int | None
    """The current gene, where this record was replaced."""
    is_live: bool
    symbol: str | None
    name: str | None
    aliases: str | None
    """Joined by `|`, as in `gene_info`."""
    designations: str | None
    summary: str | None


class _BadReply(ValueError):
    """A reply without an answer; NCBI sends these, with status 200, when it is busy."""


class Eutils:
    """A client with one e-mail address and key, for one base URL.

    Parameters
    ----------
    email
        Contact for NCBI; None takes the environment's `NCBI_EMAIL`.
    api_key
        Allows 10 requests a second rather than 3; None takes the environment's `NCBI_API_KEY`, if there is one.
    retry_s
        Time budget of one request, retries included (s); None for the environment's `FEATURESTORE_RETRY_S`, or 120.
    timeout_s
        Timeout of one attempt (s).

    Raises
    ------
    ValueError
        If there is no e-mail address, or the base URL is not http or https.
    ImportError
        If Biopython is not installed.
    """

    def __init__(
        self,
        *,
        email: str | None = None,
        api_key: str | None = None,
        base_url: str = BASE_URL,
        retry_s: float | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._email = (email or os.environ.get("NCBI_EMAIL", "")).strip()
        self._api_key = (api_key or os.environ.get("NCBI_API_KEY", "")).strip() or None
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", self._email):
            raise ValueError(
                f"NCBI asks every user of its E-utilities for an e-mail address, got {self._email!r}; "
                "give yours as `email='you@lab.org'`, or set NCBI_EMAIL"
            )
        if urlsplit(base_url).scheme not in ("http", "https"):
            raise ValueError(f"base_url must be an address of http or https, such as {BASE_URL}, got {base_url!r}")
        try:
            from Bio import Entrez
        except ModuleNotFoundError as error:
            raise ImportError(f"asking NCBI needs Biopython: {how_to_install('catalog')}", name=error.name) from error
        self._request: Callable[[str, dict[str, object]], Request] = Entrez._build_request
        self._base_url = base_url.rstrip("/")
        self._retry_s = retry_s
        self._timeout_s = timeout_s

    def search(self, term: str) -> list[int]:
        """Return the ids of the genes that a search finds.

        Raises
        ------
        EntrezError
            If NCBI gives no answer.
        """
        return self._ask("esearch", {"term": term, "retmax": _MOST_FOUND}, _read_search)

    def summaries(self, uids: Sequence[int]) -> dict[int, GeneRecord | None]:
        """Return the records of up to `MOST_UIDS` genes; None for one that NCBI says it does not have.

        Genes that the reply does not mention are left out.

        Raises
        ------
        EntrezError
            If NCBI gives no answer.
        """
        return self._ask("esummary", {"id": list(uids)}, lambda reply: _read_summaries(reply, uids))

    def _ask(self, utility: str, params: dict[str, object], read: Callable[[Any], _Read]) -> _Read:
        who = {"tool": TOOL, "email": self._email, "api_key": self._api_key}
        request = self._request(f"{self._base_url}/{utility}.fcgi", {"db": "gene", "retmode": "json", **params, **who})
        backoff = Backoff(budget_s=self._retry_s)
        while True:
            _take_turn(_INTERVAL_WITH_KEY_S if self._api_key else _INTERVAL_S)
            asked_s = 0.0
            try:
                return read(self._reply(request))
            except HTTPError as error:
                with error:
                    said = f"{error.code} {self._said(error)}".strip()
                if not is_transient_status(error.code):
                    raise EntrezError(
                        f"NCBI refuses the request ({utility}): {said}; check the e-mail address and the API key"
                    ) from error
                asked_s = _retry_after_s(error.headers.get("Retry-After"))
                cause: Exception = error
            except (OSError, http.client.HTTPException, _BadReply) as error:
                said, cause = str(error) or type(error).__name__, error
            wait_s = backoff.wait_s(at_least_s=asked_s)
            if wait_s is None:
                raise self._no_answer(utility, backoff, said, asked_s) from cause
            time.sleep(wait_s)

    def _no_answer(self, utility: str, backoff: Backoff, said: str, asked_s: float) -> EntrezError:
        due = f" NCBI asks to wait {asked_s:.0f} s," if asked_s else ""
        return EntrezError(
            f"NCBI ({urlsplit(self._base_url).netloc}, {utility}) gave no answer to {backoff.failures} tries in "
            f"{backoff.elapsed_s:.0f} s, at last: {said};{due} the limit is {backoff.budget_s:g} s (retry_s)"
        )

    def _reply(self, request: Request) -> Any:
        deadline = time.monotonic() + self._timeout_s
        body = bytearray()
        with urlopen(request, timeout=self._timeout_s) as reply:  # noqa: S310  # http or https: checked above
            while part := reply.read1(1 << 16):
                body += part
                if len(body) > _LARGEST_REPLY:
                    raise _BadReply(f"a reply of more than {_LARGEST_REPLY:,} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the reply was not whole after {self._timeout_s:g} s")
        return _parsed(bytes(body))

    def _said(self, error: HTTPError) -> str:
        """Message of an error reply, without the API key that NCBI repeats in it."""
        try:
            text = error.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return error.reason
        found = re.search(r'"error"\s*:\s*"([^"]*)"', text)
        said = found[1] if found else error.reason
        return said.replace(self._api_key, "...") if self._api_key else said


def _take_turn(interval_s: float) -> None:
    global _sent_at
    with _clock:
        time.sleep(max(0.0, _sent_at + interval_s - time.monotonic()))
        _sent_at = time.monotonic()


def _retry_after_s(text: str | None) -> float:
    """Parse the header `Retry-After`: seconds or a date; 0 for anything else."""
    if not text:
        return 0.0
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _parsed(body: bytes) -> Any:
    """Parse a reply.

    Raises
    ------
    _BadReply
        If it is truncated, not JSON, or an error.
    """
    try:
        # Not strict: NCBI's error texts hold bare line breaks.
        reply = parse_json(body, where="the reply", mend="ask again", max_bytes=_LARGEST_REPLY, strict=False)
    except DamagedDocument as error:
        text = body.decode(errors="replace")
        message = re.search(r"<ERROR>([^<]*)</ERROR>", text)  # it falls back to XML for some errors
        raise _BadReply(message[1] if message else f"no JSON, or cut: {text[:80]!r}") from error
    if not isinstance(reply, dict):
        raise _BadReply(f"no answer: {str(reply)[:80]!r}")
    inner = reply.get("esearchresult")
    said = reply.get("error") or (inner.get("ERROR") if isinstance(inner, dict) else None)
    if said:
        raise _BadReply(str(said)[:200])
    return reply


def _read_search(reply: Any) -> list[int]:
    try:
        result = reply["esearchresult"]
        found = [_whole(uid) for uid in result["idlist"]]
        n_found = _whole(result["count"])
    except (KeyError, TypeError) as error:
        raise _BadReply(f"no result of a search: {str(reply)[:80]!r}") from error
    if n_found > len(found):
        raise _BadReply(f"a search that finds {n_found:,} genes and names {len(found):,}")
    return found


def _read_summaries(reply: Any, uids: Sequence[int]) -> dict[int, GeneRecord | None]:
    found: dict[int, GeneRecord | None] = {}
    try:
        for uid in uids:
            summary = reply["result"].get(str(uid), {"error": "not in the reply"})
            if "error" not in summary:
                found[uid] = _record(uid, summary)
            elif "cannot get document summary" in summary["error"]:
                found[uid] = None
    except (KeyError, TypeError, AttributeError) as error:
        raise _BadReply(f"no summaries of genes: {str(reply)[:80]!r}") from error
    return found


def _record(uid: int, summary: dict[str, Any]) -> GeneRecord:
    """Read one document summary, old (2012, numbers) or new (text, `organism`), as `gene_info` has its fields."""
    tax_id = summary["organism"]["taxid"] if "organism" in summary else summary["taxid"]
    replaced_by = _whole(summary.get("currentid"))
    aliases = _text(summary.get("otheraliases"))
    return GeneRecord(
        ncbi_gene_id=uid,
        tax_id=_whole(tax_id),
        replaced_by=None if replaced_by in (0, uid) else replaced_by,
        is_live=_whole(summary.get("status")) not in _NOT_LIVE,
        symbol=_text(summary["name"]),
        name=_text(summary.get("nomenclaturename")) or _text(summary.get("description")),
        aliases=aliases and aliases.replace(", ", "|"),
        designations=_text(summary.get("otherdesignations")),
        summary=_text(summary.get("summary")),
    )


def _whole(value: object) -> int:
    try:
        number = int(str(value or 0))
    except ValueError:
        number = -1
    if not 0 <= number <= _LARGEST_NUMBER:
        raise _BadReply(f"{str(value)[:40]!r} where a number belongs")
    return number


def _text(value: object) -> str | None:
    """Put a text on one line, None if it is empty; lone surrogates, which JSON can hold, are replaced."""
    if not isinstance(value, str | None):
        raise _BadReply(f"{str(value)[:40]!r} where a text belongs")
    text = (value or "").encode(errors="replace").decode()
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split()) or None
