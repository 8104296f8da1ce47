"""Annotations from NCBI itself: the fields are those of its tables, and nothing is fetched twice."""

import json
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from Bio import Entrez
from checkout import SHARED
from entrez_server import Asked, EntrezServer, Fault, answers, cuts, hangs_up, says, stalls
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from catalog import retry
from catalog.cli import app
from catalog.ncbi import client as eutils
from catalog.ncbi.annotations import ANNOTATION_SCHEMA, annotate, prompts_for, read_annotations, write_annotations
from catalog.ncbi.cache import CACHE_SCHEMA, AnnotationCache, CacheDamaged
from catalog.ncbi.client import EntrezError, GeneRecord
from catalog.ncbi.fetch import ANSWER_SCHEMA, FetchedAnnotations, fetch_annotations, read_asks
from catalog.tables import TableError

DATA = SHARED / "data"
NCBI = DATA / "ncbi_gene"
needs_data = pytest.mark.skipif(not NCBI.is_dir(), reason=f"no real inputs at {NCBI}; set FEATURESTORE_SHARED")

EMAIL = "you@lab.org"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between requests; what NCBI allows has a test of its own."""
    monkeypatch.setattr(eutils, "_INTERVAL_S", 0.0)
    monkeypatch.setattr(eutils, "_INTERVAL_WITH_KEY_S", 0.0)
    monkeypatch.setattr(retry, "_FIRST_WAIT_S", 0.01)
    for name in ("NCBI_EMAIL", "NCBI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


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


@pytest.fixture
def server() -> Iterator[EntrezServer]:
    with EntrezServer(genes(30)) as served:
        yield served


def fetch(server: EntrezServer, cache: Path, *asked: int | str, **options: Any) -> FetchedAnnotations:
    return fetch_annotations(asked, cache=cache, email=EMAIL, base_url=server.url, **{"retry_s": 5.0, **options})


def answers_in(fetched: FetchedAnnotations) -> list[tuple[str, int | None, str]]:
    return fetched.answers.drop("is_cached").rows()


# Fields

words = st.text(st.characters(categories=["L", "N", "P"], exclude_characters='|,-"'), min_size=1, max_size=8)
lists = st.lists(words, max_size=3, unique=True)


@settings(max_examples=30, deadline=None)
@given(symbol=words, official=words | st.none(), description=words, aliases=lists, designations=lists)
def test_a_record_gives_the_row_that_its_line_in_gene_info_gives(
    tmp_path_factory: pytest.TempPathFactory,
    symbol: str,
    official: str | None,
    description: str,
    aliases: list[str],
    designations: list[str],
) -> None:
    folder = tmp_path_factory.mktemp("row")
    columns = (
        "tax_id GeneID Symbol Synonyms dbXrefs description Full_name_from_nomenclature_authority Other_designations"
    )
    texts = ("|".join(aliases), "-", description, official, "|".join(designations))
    line = "\t".join(["9606", "7", symbol, *(text or "-" for text in texts)])
    (folder / "gene_info").write_text("#" + columns.replace(" ", "\t") + "\n" + line + "\n")
    record = docsum(
        symbol,
        description=description,
        nomenclaturename=official or "",
        otheraliases=", ".join(aliases),
        otherdesignations="|".join(designations),
    )
    with EntrezServer({7: record}) as server:
        fetched = fetch(server, folder / "cache", 7)
    assert fetched.annotations.schema == ANNOTATION_SCHEMA
    assert fetched.annotations.rows() == read_annotations(folder / "gene_info").rows()


@needs_data
def test_real_records_of_2016_give_the_same_rows_and_prompts_either_way(tmp_path: Path) -> None:
    offline = read_annotations(NCBI / "Homo_sapiens.gene_info.2016.gz", tax_id=9606).head(500)
    records = {
        row["ncbi_gene_id"]: docsum(
            row["symbol"],
            nomenclaturename=row["name"],
            otheraliases=(row["aliases"] or "").replace("|", ", "),
            otherdesignations=row["designations"] or "",
        )
        for row in offline.iter_rows(named=True)
    }
    ensembl = dict(offline.select(pl.col("ncbi_gene_id").cast(pl.String), "gene_id").drop_nulls().iter_rows())
    with EntrezServer(records) as server:
        fetched = fetch(server, tmp_path / "cache", *records, gene_ids=ensembl)
    assert fetched.annotations.equals(offline)


@needs_data
@pytest.mark.parametrize("form", ["json", "xml"])
def test_the_real_summary_of_a_mouse_gene_is_read_and_its_empty_summary_is_null(tmp_path: Path, form: str) -> None:
    record = json.loads((NCBI / "esummary.gene.json").read_text())["result"]["21803"]
    if form == "xml":
        (real,) = ET.parse(NCBI / "esummary.gene.xml").iter("DocumentSummary")
        record = {child.tag.lower(): child.text for child in real if not len(child)}
    with EntrezServer({21803: record}) as server:
        fetched = fetch(server, tmp_path / form, 21803, "tgfb1", tax_id=10090)
        human = fetch(server, tmp_path / form, 21803)
    assert fetched.annotations.rows() == [
        (
            None,
            21803,
            "Tgfb1",
            "transforming growth factor, beta 1",
            "TGF-beta1|TGFbeta1|Tgfb|Tgfb-1",
            "TGF-beta 1|TGF-beta-1|regulatory protein|transforming growth factor beta-1|"
            "transforming growth factor-beta 1",
            None,
        )
    ]
    assert answers_in(fetched) == [("21803", 21803, "found"), ("tgfb1", 21803, "found")]
    assert human.annotations.is_empty()
    assert answers_in(human) == [("21803", None, "other organism")]
    assert server.uids_asked() == [21803]


@needs_data
def test_biopython_alone_cannot_read_these_replies() -> None:
    # If these begin to pass, `catalog.ncbi.client` may leave reading to Biopython again.
    with (NCBI / "esummary.gene.xml").open("rb") as file, pytest.raises(ValueError, match="secure URL"):
        Entrez.read(file)
    with (NCBI / "biopython_esummary8.xml").open("rb") as file, pytest.raises(RuntimeError, match="Neither query_key"):
        Entrez.read(file)


def test_what_a_text_must_not_hold_is_taken_out_so_that_annotations_can_be_written(tmp_path: Path) -> None:
    with EntrezServer({1: docsum("A", description="one\ttwo\r\nthree\x00\ud800 ", summary="  ")}) as server:
        fetched = fetch(server, tmp_path / "cache", 1)
        again = fetch(server, tmp_path / "cache", 1)
    assert fetched.annotations.select("name", "summary").rows() == [("one two three ?", None)]
    assert again.annotations.equals(fetched.annotations)
    write_annotations(fetched.annotations, tmp_path / "a.tsv")
    assert read_annotations(tmp_path / "a.tsv").equals(fetched.annotations)


# What was asked


def test_ids_symbols_and_ensembl_ids_find_the_same_gene_and_an_ensembl_id_is_its_gene_id(
    server: EntrezServer, tmp_path: Path
) -> None:
    server.ensembl["ENSG00000000007"] = [7]
    fetched = fetch(server, tmp_path / "cache", "GENE9", "gene7", "ENSG00000000007.12", 7, "GeneID:8")
    fetch(server, tmp_path / "cache", "ENSG00000000007", "ENSG00000000007.1", "Gene7", "GENE7")
    assert [asked.utility for asked in server.asked].count("esearch") == 2
    assert fetched.answers.schema == ANSWER_SCHEMA
    assert answers_in(fetched) == [
        ("GENE9", 9, "found"),
        ("gene7", 7, "found"),
        ("ENSG00000000007.12", 7, "found"),
        ("7", 7, "found"),
        ("GeneID:8", 8, "found"),
    ]
    assert fetched.annotations.select("gene_id", "ncbi_gene_id").rows() == [
        (None, 9),
        ("ENSG00000000007", 7),
        (None, 8),
    ]
    assert sorted(server.uids_asked()) == [7, 8, 9]


def test_a_name_of_two_genes_gives_both_and_the_symbol_decides(tmp_path: Path) -> None:
    with EntrezServer({1: docsum("ONE"), 2: docsum("TWO")}, {"ENSG00000000001": [1, 2]}) as server:
        fetched = fetch(server, tmp_path / "cache", "ENSG00000000001")
    assert fetched.annotations.select("gene_id", "symbol").rows() == [
        ("ENSG00000000001", "ONE"),
        ("ENSG00000000001", "TWO"),
    ]
    table = pl.DataFrame({"gene_id": ["ENSG00000000001"], "symbol": ["TWO"]})
    assert annotate(table, fetched.annotations)["ncbi_gene_id"].to_list() == [2]


def test_genes_that_ncbi_does_not_have_are_listed_and_remembered(server: EntrezServer, tmp_path: Path) -> None:
    unknown = (99, "NOBODY", "ENSG00000000099")
    never_asked = (0, 2**31, 10**30, "", 'A"[All Fields] OR ("B', "X*")
    fetched = fetch(server, tmp_path / "cache", 1, *unknown, *never_asked)
    assert fetched.annotations["symbol"].to_list() == ["GENE1"]
    assert answers_in(fetched)[1:] == [(str(name), None, "unknown") for name in (*unknown, *never_asked)]
    assert fetched.summary().splitlines()[0] == "1 of 10 found; 6 from the cache, 4 fetched"
    assert fetched.summary().splitlines()[1].startswith("unknown: 99, NOBODY, ENSG00000000099, 0, ")
    assert not [asked for asked in server.asked if "All Fields] OR" in asked.params.get("term", "")]
    n_asked = len(server.asked)
    again = fetch(server, tmp_path / "cache", 1, *unknown, *never_asked)
    assert len(server.asked) == n_asked
    assert again.answers["is_cached"].all()
    assert answers_in(again) == answers_in(fetched)


def test_replaced_ids_are_followed_and_discontinued_ones_listed(tmp_path: Path) -> None:
    records = {
        1: docsum("OLD", status=1, currentid=2),
        2: docsum("NEWER", status="1", currentid="3"),
        3: docsum("NEWEST"),
        4: docsum("GONE", status=2, currentid=0),
        5: docsum("ROUND", status=1, currentid=6),
        6: docsum("AND ROUND", status=1, currentid=5),
    }
    with EntrezServer(records) as server:
        fetched = fetch(server, tmp_path / "cache", 1, 3, 4, 5, "OLD")
        assert answers_in(fetched) == [
            ("1", 3, "replaced"),
            ("3", 3, "found"),
            ("4", None, "discontinued"),
            ("5", None, "discontinued"),
            ("OLD", None, "unknown"),
        ]
        assert fetched.annotations["symbol"].to_list() == ["NEWEST"]
        assert "replaced: 1 (now 3)\ndiscontinued: 4, 5\nunknown: OLD" in fetched.summary()
        assert sorted(server.uids_asked()) == [1, 2, 3, 4, 5, 6]
        fetch(server, tmp_path / "cache", 6, 2, 1)
        assert sorted(server.uids_asked()) == [1, 2, 3, 4, 5, 6]


def test_what_a_reply_leaves_out_is_asked_again_the_next_time(server: EntrezServer, tmp_path: Path) -> None:
    server.faults.append(says(json.dumps({"result": {"uids": ["1"], "1": docsum("GENE1")}}).encode()))
    fetched = fetch(server, tmp_path / "cache", 1, 2)
    assert answers_in(fetched) == [("1", 1, "found"), ("2", None, "unanswered")]
    assert answers_in(fetch(server, tmp_path / "cache", 1, 2)) == [("1", 1, "found"), ("2", 2, "found")]
    assert server.uids_asked() == [1, 2, 2]


def test_a_symbol_is_not_unknown_because_the_summary_that_a_search_names_fails(
    server: EntrezServer, tmp_path: Path
) -> None:
    failed = {"result": {"3": {"uid": "3", "error": "cannot get document summary"}}}
    server.faults += [answers, says(json.dumps(failed).encode())]
    assert answers_in(fetch(server, tmp_path / "cache", "GENE3")) == [("GENE3", None, "unanswered")]
    assert answers_in(fetch(server, tmp_path / "cache", "GENE3")) == [("GENE3", 3, "found")]


@settings(max_examples=25, deadline=None)
@given(
    runs=st.lists(st.lists(st.integers(1, 34) | st.integers(1, 34).map("GENE{}".format)), min_size=1, max_size=3),
    batch=st.integers(1, 7),
)
def test_whatever_is_asked_in_whatever_batches_each_record_is_fetched_once(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[int | str]], batch: int
) -> None:
    cache = tmp_path_factory.mktemp("runs")
    with EntrezServer(genes(30)) as server:
        for asked in runs:
            fetched = fetch(server, cache, *asked, batch=batch)
            numbers = [int(str(ask).removeprefix("GENE")) for ask in dict.fromkeys(asked)]
            assert fetched.answers["asked"].to_list() == list(dict.fromkeys(map(str, asked)))
            assert fetched.answers["ncbi_gene_id"].to_list() == [n if n <= 30 else None for n in numbers]
            wanted = [f"GENE{n}" for n in dict.fromkeys(numbers) if n <= 30]
            assert fetched.annotations["symbol"].to_list() == wanted
        uids = server.uids_asked()
        assert len(uids) == len(set(uids))
        assert all(len(asked.uids) <= batch for asked in server.asked)


# The requests


def test_each_request_says_who_asks_and_biopython_is_left_as_it_was(server: EntrezServer, tmp_path: Path) -> None:
    names = ("email", "api_key", "tool", "max_tries", "sleep_between_tries", "local_cache")
    before = [getattr(Entrez, name) for name in names]
    fetch(server, tmp_path / "cache", 1, "GENE2", api_key="secret")
    assert [getattr(Entrez, name) for name in names] == before
    assert {asked.utility for asked in server.asked} == {"esearch", "esummary"}
    for asked in server.asked:
        named = {name: asked.params[name] for name in ("db", "email", "tool", "api_key", "retmode")}
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
    (asked,) = server.asked
    assert (asked.params["email"], asked.params["api_key"]) == ("me@lab.org", "key")


@pytest.mark.parametrize(("api_key", "a_second"), [(None, 3), ("key", 10)])
def test_requests_come_no_faster_than_ncbi_allows(
    server: EntrezServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api_key: str | None, a_second: int
) -> None:
    monkeypatch.undo()
    server.faults += [answers, says(b"{}", status=500), answers]  # trying again is a request, too
    fetch(server, tmp_path / "cache", *range(1, 5), batch=1, api_key=api_key)
    fetch(server, tmp_path / "cache", *range(5, 9), batch=1, api_key=api_key)
    arrived = [asked.arrived for asked in server.asked]
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
    with pytest.raises(ImportError, match=r"needs Biopython: pip install 'genomic-featurestore\[catalog\]'"):
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
    assert server.uids_asked() == [1, 2] * 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(server: EntrezServer, tmp_path: Path, form: str) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)  # whole seconds
    server.faults.append(says(BUSY, status=429, headers={"Retry-After": "1" if form == "seconds" else at}))
    began = datetime.now(UTC)
    fetch(server, tmp_path / "cache", 1)
    first, second = server.asked
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
    assert len(server.asked) == 1


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
    assert {asked.utility for asked in server.asked} == {"esummary"}


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
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", ["id", "symbol", "ensembl"])
def test_when_ncbi_goes_down_the_error_says_how_far_it_came_and_the_same_call_goes_on(
    server: EntrezServer, tmp_path: Path, kind: str
) -> None:
    cache = tmp_path / "cache"
    names = {"id": "{}", "symbol": "GENE{}", "ensembl": "ENSG{:011}"}
    asked = [names[kind].format(uid) for uid in range(1, 31)]
    server.ensembl = {f"ENSG{uid:011}": [uid] for uid in range(1, 31)}
    n_before = {"id": 2, "symbol": 4, "ensembl": 22}[kind]
    server.faults += [answers] * n_before + [says(b"", status=503)] * 1000
    with pytest.raises(EntrezError, match=rf"503.*20 of 30 genes are answered and kept in {cache}: the same command"):
        fetch(server, cache, *asked, batch=10, retry_s=0.1)
    server.faults.clear()
    before = list(server.asked[:n_before])
    server.asked.clear()
    fetched = fetch(server, cache, *asked, batch=10)
    assert fetched.annotations.height == 30
    assert fetched.answers["is_cached"].sum() == 20
    asked_before = {terms for one in before for terms in _terms(one)}
    assert not asked_before & {terms for one in server.asked for terms in _terms(one)}


def _terms(asked: Asked) -> list[str]:
    return asked.params["term"].split(" OR ") if asked.utility == "esearch" else [str(uid) for uid in asked.uids]


def test_an_error_that_is_no_strict_json_is_quoted(server: EntrezServer, tmp_path: Path) -> None:
    server.faults.append(says(b'{"esearchresult":{"ERROR":"Search Backend failed: Exception:\n\'retstart\' ..."}}'))
    with pytest.raises(EntrezError, match="at last: Search Backend failed: Exception:\n'retstart'"):
        fetch(server, tmp_path / "cache", "GENE1", retry_s=0)


def test_an_address_where_nobody_listens_is_an_error_that_says_so(tmp_path: Path) -> None:
    with EntrezServer({}) as gone:
        pass
    with pytest.raises(EntrezError, match=r"NCBI \(127.0.0.1:\d+, esummary\).*refused"):
        fetch(gone, tmp_path / "cache", 1, retry_s=0.1)


SCRIPT = """
import sys
from catalog.ncbi import client as eutils
from catalog.ncbi.fetch import fetch_annotations
eutils._INTERVAL_S = 0.0
fetch_annotations(range(1, 31), cache=sys.argv[1], email="you@lab.org", base_url=sys.argv[2], batch=4)
"""


def test_a_process_killed_in_the_middle_is_gone_on_with_and_no_answer_is_asked_for_twice(
    server: EntrezServer, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    is_killed = threading.Event()

    def waits_for_the_kill(handler: object) -> bool:
        return is_killed.wait(30)

    server.faults += [answers] * 3 + [waits_for_the_kill]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(cache), server.url])
    deadline = time.monotonic() + 30
    while len(server.asked) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    is_killed.set()
    answered = [uid for asked in server.asked[:3] for uid in asked.uids]
    assert len(answered) == 12
    server.asked.clear()
    fetched = fetch(server, cache, *range(1, 31))
    assert fetched.annotations["ncbi_gene_id"].to_list() == list(range(1, 31))
    assert sorted([*answered, *server.uids_asked()]) == list(range(1, 31))


def test_two_processes_on_one_cache_keep_each_others_answers(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with EntrezServer(genes(30)) as server:
        command = [sys.executable, "-c", SCRIPT, str(cache), server.url]
        first = subprocess.Popen(command)
        second = subprocess.Popen([*command[:2], SCRIPT.replace("(1, 31)", "(20, 41)"), *command[3:]])
        assert (first.wait(), second.wait()) == (0, 0)
        server.asked.clear()
        assert fetch(server, cache, *range(1, 41)).annotations.height == 30
        assert server.asked == []


# The cache

RECORD = GeneRecord(7, 9606, None, True, "A", None, "B|C", None, "text")


def test_the_cache_gives_back_what_it_was_given_and_its_files_are_plain_parquet(tmp_path: Path) -> None:
    cache = AnnotationCache(tmp_path / "new" / "cache.parquet")
    cache.add({7: RECORD, 8: None}, {"A": [7, 9], "B": []}, searched_tax_id=9606)
    cache.add({8: RECORD._replace(ncbi_gene_id=8)}, {"B": [8]}, searched_tax_id=9606)
    cache.add({})
    again = AnnotationCache(cache.folder)
    assert again.records == cache.records == {7: RECORD, 8: RECORD._replace(ncbi_gene_id=8)}
    assert again.names == cache.names == {("A", 9606): [7, 9], ("B", 9606): [8]}
    frame = pl.read_parquet(cache.folder)
    assert frame.schema == CACHE_SCHEMA
    assert frame.height == 7
    assert (datetime.now(UTC) - frame["fetched"].min()).total_seconds() < 60  # type: ignore[operator]  # a date


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "another table"])
def test_a_damaged_file_of_the_cache_is_named(server: EntrezServer, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "cache"
    fetch(server, cache, 1, 2, batch=1)
    path = sorted(cache.iterdir())[0]
    data = bytearray(path.read_bytes())
    if damage == "one bit":
        data[len(data) // 2] ^= 1
    elif damage == "another table":
        path = cache / "mine.parquet"
        pl.DataFrame({"a": [1]}).write_parquet(path)
        data = bytearray(path.read_bytes())
    path.write_bytes(data[: {"truncated": 50, "empty": 0}.get(damage, len(data))])
    with pytest.raises(CacheDamaged, match=rf"{path} is damaged.*move it away.*fetched again"):
        fetch(server, cache, 1, 2)
    path.unlink()
    assert fetch(server, cache, 1, 2).annotations.height == 2


def test_a_file_in_the_place_of_the_cache_is_refused_before_anything_is_asked(
    server: EntrezServer, tmp_path: Path
) -> None:
    path = tmp_path / "ncbi.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(NotADirectoryError, match=r"ncbi.parquet is a file, and a cache .* is a folder.*name another"):
        fetch(server, path, 1)
    assert server.asked == []


# The command

featurestore = typer.Typer()
featurestore.add_typer(app)


def run(server: EntrezServer, folder: Path, *options: str) -> list[str]:
    paths = ["--cache", str(folder / "cache"), "--out", str(folder / "a.tsv")]
    command = ["fetch-annotations", *options, *paths, "--email", EMAIL, "--base-url", server.url]
    ran = CliRunner().invoke(featurestore, command)
    if ran.exception is not None:
        raise ran.exception
    return ran.stdout.splitlines()


def test_the_command_writes_annotations_that_a_gene_table_finds(server: EntrezServer, tmp_path: Path) -> None:
    table = tmp_path / "genes.tsv"
    table.write_text(
        "GeneID\tsymbol\tEnsembl_Gene\r\nGeneID:5\tRENAMED\tENSG00000000005.3\r\nNA\tGENE6\t\r\n99.0\tX\t\r\n"
    )
    assert read_asks(table) == {"5": "ENSG00000000005", "GENE6": None, "99": None}
    assert run(server, tmp_path, str(table)) == [
        f"{tmp_path}/a.tsv: 2 genes",
        "2 of 3 found; 0 from the cache, 3 fetched",
        "unknown: 99",
    ]
    n_asked = len(server.asked)
    assert run(server, tmp_path, str(table))[1] == "2 of 3 found; 3 from the cache, 0 fetched"
    assert len(server.asked) == n_asked
    genes = pl.DataFrame({"gene_id": ["ENSG00000000005", "Q"], "symbol": ["RENAMED", "gene6"]})
    prompts = prompts_for(genes, read_annotations(tmp_path / "a.tsv"))
    assert [prompt.split("\n")[1:3] for prompt in prompts] == [
        ["# Gene symbol: RENAMED", "# Full name: gene 5"],
        ["# Gene symbol: gene6", "# Full name: gene 6"],
    ]


def test_symbols_may_be_named_on_the_command_line(server: EntrezServer, tmp_path: Path) -> None:
    assert run(server, tmp_path, "--symbols", "GENE1, gene2,")[1] == "2 of 2 found; 0 from the cache, 2 fetched"
    for options in ([], ["--symbols", "A", str(tmp_path / "genes.tsv")]):
        with pytest.raises(ValueError, match="a gene table, or --symbols A,B; one of the two"):
            run(server, tmp_path, *options)


def test_a_table_that_names_no_genes_says_which_columns_would(server: EntrezServer, tmp_path: Path) -> None:
    table = tmp_path / "genes.tsv"
    table.write_text("a\tb\n1\t2\n")
    with pytest.raises(TableError, match="has a, b; expected a column NCBI_GeneID, symbol or gene_id"):
        run(server, tmp_path, str(table))
    with pytest.raises(FileNotFoundError, match=r"no table at .*give the path"):
        run(server, tmp_path, str(tmp_path / "none.tsv"))
    assert server.asked == []


@needs_data
def test_mane_and_annotation_files_say_what_to_ask() -> None:
    mane = read_asks(DATA / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz")
    assert len(mane) == 19_338
    assert mane["2"] == "ENSG00000175899"
    assert read_asks(NCBI / "ncbi_info_20260421.tsv")["25"] is None
    assert read_asks(NCBI / "ensembl_GRCh38_115.gff")["ABL1"] == "ENSG00000097007"
