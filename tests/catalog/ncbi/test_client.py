"""Requests to NCBI: who asks and how often, what is tried again, and what is an error."""

import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from Bio import Entrez
from entrez_server import (
    EMAIL,
    NCBI,
    EntrezRequest,
    EntrezServer,
    Fault,
    answers,
    cuts,
    fetch,
    hangs_up,
    needs_data,
    says,
    stalls,
)

from catalog.ncbi import client as eutils
from catalog.ncbi.client import EntrezError
from catalog.ncbi.fetch import fetch_annotations

# The requests


def test_each_request_says_who_asks_and_biopython_is_left_as_it_was(server: EntrezServer, tmp_path: Path) -> None:
    names = ("email", "api_key", "tool", "max_tries", "sleep_between_tries", "local_cache")
    before = [getattr(Entrez, name) for name in names]
    fetch(server, tmp_path / "cache", 1, "GENE2", api_key="secret")
    assert [getattr(Entrez, name) for name in names] == before
    assert {request.utility for request in server.requests} == {"esearch", "esummary"}
    for request in server.requests:
        named = {name: request.params[name] for name in ("db", "email", "tool", "api_key", "retmode")}
        assert named == {
            "db": "gene",
            "email": EMAIL,
            "tool": "genomic-featurestore",
            "api_key": "secret",
            "retmode": "json",
        }


def test_who_asks_may_be_said_in_the_environment(
    server: EntrezServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCBI_EMAIL", " me@lab.org\n")
    monkeypatch.setenv("NCBI_API_KEY", "key\n")
    fetch_annotations([1], cache=tmp_path / "cache", base_url=server.url)
    (request,) = server.requests
    assert (request.params["email"], request.params["api_key"]) == ("me@lab.org", "key")


@pytest.mark.parametrize(("api_key", "a_second"), [(None, 3), ("key", 10)])
def test_requests_come_no_faster_than_ncbi_allows(
    server: EntrezServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api_key: str | None, a_second: int
) -> None:
    monkeypatch.undo()
    server.faults += [answers, says(b"{}", status=500), answers]  # trying again is a request, too
    fetch(server, tmp_path / "cache", *range(1, 5), batch=1, api_key=api_key)
    fetch(server, tmp_path / "cache", *range(5, 9), batch=1, api_key=api_key)
    arrived = [request.arrived for request in server.requests]
    assert len(arrived) == 9
    assert arrived[-1] - arrived[0] >= 8 / a_second


def test_arguments_that_cannot_be_say_what_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    for email in (None, "", "nobody"):
        with pytest.raises(ValueError, match=r"asks every user .* e-mail .*`email='you@lab.org'`.*set NCBI_EMAIL"):
            fetch_annotations([1], cache=cache, email=email)
    with pytest.raises(ValueError, match=r"batch must be 1 to 500.*got 501"):
        fetch_annotations([1], cache=cache, email=EMAIL, batch=501)
    with pytest.raises(ValueError, match=r"http or https, such as https://eutils.*got 'file:///etc'"):
        fetch_annotations([1], cache=cache, email=EMAIL, base_url="file:///etc")
    with pytest.raises(TypeError, match=r"a list of genes, got the text 'TP53'; write \['TP53'\]"):
        fetch_annotations("TP53", cache=cache, email=EMAIL)
    monkeypatch.setitem(sys.modules, "Bio", None)
    with pytest.raises(ImportError, match=r"needs Biopython: pip install '\.\[catalog\]' in the checkout"):
        fetch_annotations([1], cache=cache, email=EMAIL)
    assert not cache.exists()


# Failures

BUSY = b'{"error":"API rate limit exceeded","api-key":"secret","count":"11","limit":"10"}'


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(says(BUSY, status=429), id="too many requests"),
        pytest.param(says(b"<html>", status=502), id="bad gateway"),
        pytest.param(cuts, id="cut in the middle"),
        pytest.param(hangs_up, id="no word"),
        pytest.param(stalls(1.5), id="stalled"),
        pytest.param(says(b""), id="empty"),
        pytest.param(says(b"[" * 100_000), id="nested without end"),
        pytest.param(says(b'{"error": "error forwarding request"}'), id="error with status 200"),
        pytest.param(says(b'{"esearchresult": {"ERROR": "Search Backend failed:\n busy"}}'), id="backend"),
        pytest.param(says(b'{"result": {"1": {"name": "A"}}}'), id="half a record"),
        pytest.param(says(b'{"result": {"1": {"name": ["A"], "taxid": 9606}}}'), id="no text"),
        pytest.param(says(b'{"result": {"1": {"name": "A", "taxid": 1' + b"0" * 30 + b"}}}"), id="no number"),
        pytest.param(says(b'{"result": [1]}'), id="no records"),
        pytest.param(says(b"[]"), id="no object"),
    ],
)
def test_what_passes_is_tried_again(server: EntrezServer, tmp_path: Path, fault: Fault) -> None:
    server.faults += [fault, fault]
    fetched = fetch(server, tmp_path / "cache", 1, 2, timeout_s=1.0)
    assert fetched.annotations["symbol"].to_list() == ["GENE1", "GENE2"]
    assert server.requested_uids() == [1, 2] * 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(server: EntrezServer, tmp_path: Path, form: str) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)  # whole seconds
    server.faults.append(says(BUSY, status=429, headers={"Retry-After": "1" if form == "seconds" else at}))
    began = datetime.now(UTC)
    fetch(server, tmp_path / "cache", 1)
    first, second = server.requests
    if form == "seconds":
        assert second.arrived - first.arrived >= 1
    else:
        assert (datetime.now(UTC) - began).total_seconds() >= 0.9


def test_a_server_that_asks_for_more_patience_than_there_is_is_not_waited_for(
    server: EntrezServer, tmp_path: Path
) -> None:
    server.faults.append(says(BUSY, status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(EntrezError, match="429 API rate limit exceeded; NCBI asks to wait 3600 s, the limit is 5"):
        fetch(server, tmp_path / "cache", 1)
    assert len(server.requests) == 1


@needs_data
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("biopython_esummary8.xml", "Neither query_key nor id specified"),
        ("esummary.gene.xml", "no JSON, or cut: '<.xml version"),
        ("biopython_esearch1.xml", "no JSON, or cut: '<.xml version"),
    ],
)
def test_a_reply_in_xml_is_never_parsed_but_quoted(server: EntrezServer, tmp_path: Path, name: str, said: str) -> None:
    server.faults += [says((NCBI / name).read_bytes())] * 100
    with pytest.raises(EntrezError, match=rf"esummary\) gave no answer to \d+ tries in \d+ s, at last: {said}"):
        fetch(server, tmp_path / "cache", 1, retry_s=0.1)


def test_entities_in_a_reply_are_not_expanded_and_nothing_that_it_names_is_fetched(
    server: EntrezServer, tmp_path: Path
) -> None:
    bomb = f"""<?xml version="1.0"?><!DOCTYPE eSummaryResult SYSTEM "{server.url}/dtd" [<!ENTITY a "aaaa">
        <!ENTITY b "&a;&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]><e><ERROR>&b;&c;</ERROR></e>"""
    server.faults += [says(bomb.encode())] * 100
    with pytest.raises(EntrezError, match="at last: &b;&c;"):
        fetch(server, tmp_path / "cache", 1, retry_s=0.1)
    assert {request.utility for request in server.requests} == {"esummary"}


def test_a_reply_without_end_is_given_up(server: EntrezServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eutils, "_LARGEST_REPLY", 100_000)
    server.faults += [says(b" " * 200_000)]
    with pytest.raises(EntrezError, match="a reply of more than 100,000 bytes"):
        fetch(server, tmp_path / "cache", 1, retry_s=0)


def test_a_reply_that_drips_is_given_up(server: EntrezServer, tmp_path: Path) -> None:
    def drips(handler: Any) -> bool:
        handler.reply(b"{" + b" " * 1000, cut=1000)
        for _ in range(8):
            time.sleep(0.1)
            handler.wfile.write(b" ")
        return True

    server.faults += [drips]
    with pytest.raises(EntrezError, match=r"not whole after 0.3 s"):
        fetch(server, tmp_path / "cache", 1, retry_s=0, timeout_s=0.3)


def test_a_refusal_is_told_at_once_and_does_not_tell_the_key(server: EntrezServer, tmp_path: Path) -> None:
    server.faults.append(says(b'{"error":"API key secret is invalid","api-key":"secret"}', status=400))
    with pytest.raises(EntrezError, match=r"refuses .* 400 API key \.\.\. is invalid; check .* API key") as raised:
        fetch(server, tmp_path / "cache", 1, api_key="secret")
    assert "secret" not in str(raised.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["id", "symbol", "ensembl"])
def test_when_ncbi_goes_down_the_error_says_how_far_it_came_and_the_same_call_goes_on(
    server: EntrezServer, tmp_path: Path, kind: str
) -> None:
    cache = tmp_path / "cache"
    names = {"id": "{}", "symbol": "GENE{}", "ensembl": "ENSG{:011}"}
    queries = [names[kind].format(uid) for uid in range(1, 31)]
    server.ensembl = {f"ENSG{uid:011}": [uid] for uid in range(1, 31)}
    n_before = {"id": 2, "symbol": 4, "ensembl": 22}[kind]
    server.faults += [answers] * n_before + [says(b"", status=503)] * 1000
    with pytest.raises(EntrezError, match=rf"503.*20 of 30 genes are answered and kept in {cache}: the same command"):
        fetch(server, cache, *queries, batch=10, retry_s=0.1)
    server.faults.clear()
    before = list(server.requests[:n_before])
    server.requests.clear()
    fetched = fetch(server, cache, *queries, batch=10)
    assert fetched.annotations.height == 30
    assert fetched.answers["is_cached"].sum() == 20
    requested_before = {terms for one in before for terms in _terms(one)}
    assert not requested_before & {terms for one in server.requests for terms in _terms(one)}


def _terms(request: EntrezRequest) -> list[str]:
    return request.params["term"].split(" OR ") if request.utility == "esearch" else [str(uid) for uid in request.uids]


def test_an_error_that_is_no_strict_json_is_quoted(server: EntrezServer, tmp_path: Path) -> None:
    server.faults.append(says(b'{"esearchresult":{"ERROR":"Search Backend failed: Exception:\n\'retstart\' ..."}}'))
    with pytest.raises(EntrezError, match="at last: Search Backend failed: Exception:\n'retstart'"):
        fetch(server, tmp_path / "cache", "GENE1", retry_s=0)


def test_an_address_where_nobody_listens_is_an_error_that_says_so(tmp_path: Path) -> None:
    with EntrezServer({}) as gone:
        pass
    with pytest.raises(EntrezError, match=r"NCBI \(127.0.0.1:\d+, esummary\).*refused"):
        fetch(gone, tmp_path / "cache", 1, retry_s=0.1)
