"""Annotations from NCBI itself: the fields are those of its tables, and nothing is fetched twice."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import polars as pl
import pytest
import typer
from Bio import Entrez
from entrez_server import (
    DATA,
    EMAIL,
    NCBI,
    EntrezServer,
    answers,
    answers_in,
    docsum,
    fetch,
    genes,
    needs_data,
    says,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from catalog.cli import app
from catalog.ncbi.annotations import ANNOTATION_SCHEMA, annotate, prompts_for, read_annotations, write_annotations
from catalog.ncbi.fetch import ANSWER_SCHEMA, read_asks
from catalog.runtime.tables import TableError

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
    assert server.requested_uids() == [21803]


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


# Queries


def test_ids_symbols_and_ensembl_ids_find_the_same_gene_and_an_ensembl_id_is_its_gene_id(
    server: EntrezServer, tmp_path: Path
) -> None:
    server.ensembl["ENSG00000000007"] = [7]
    fetched = fetch(server, tmp_path / "cache", "GENE9", "gene7", "ENSG00000000007.12", 7, "GeneID:8")
    fetch(server, tmp_path / "cache", "ENSG00000000007", "ENSG00000000007.1", "Gene7", "GENE7")
    assert [request.utility for request in server.requests].count("esearch") == 2
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
    assert sorted(server.requested_uids()) == [7, 8, 9]


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
    never_requested = (0, 2**31, 10**30, "", 'A"[All Fields] OR ("B', "X*")
    fetched = fetch(server, tmp_path / "cache", 1, *unknown, *never_requested)
    assert fetched.annotations["symbol"].to_list() == ["GENE1"]
    assert answers_in(fetched)[1:] == [(str(name), None, "unknown") for name in (*unknown, *never_requested)]
    assert fetched.summary().splitlines()[0] == "1 of 10 found; 6 from the cache, 4 fetched"
    assert fetched.summary().splitlines()[1].startswith("unknown: 99, NOBODY, ENSG00000000099, 0, ")
    assert not [request for request in server.requests if "All Fields] OR" in request.params.get("term", "")]
    n_requests = len(server.requests)
    again = fetch(server, tmp_path / "cache", 1, *unknown, *never_requested)
    assert len(server.requests) == n_requests
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
        assert sorted(server.requested_uids()) == [1, 2, 3, 4, 5, 6]
        fetch(server, tmp_path / "cache", 6, 2, 1)
        assert sorted(server.requested_uids()) == [1, 2, 3, 4, 5, 6]


def test_what_a_reply_leaves_out_is_asked_again_the_next_time(server: EntrezServer, tmp_path: Path) -> None:
    server.faults.append(says(json.dumps({"result": {"uids": ["1"], "1": docsum("GENE1")}}).encode()))
    fetched = fetch(server, tmp_path / "cache", 1, 2)
    assert answers_in(fetched) == [("1", 1, "found"), ("2", None, "unanswered")]
    assert answers_in(fetch(server, tmp_path / "cache", 1, 2)) == [("1", 1, "found"), ("2", 2, "found")]
    assert server.requested_uids() == [1, 2, 2]


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
        for queries in runs:
            fetched = fetch(server, cache, *queries, batch=batch)
            numbers = [int(str(ask).removeprefix("GENE")) for ask in dict.fromkeys(queries)]
            assert fetched.answers["asked"].to_list() == list(dict.fromkeys(map(str, queries)))
            assert fetched.answers["ncbi_gene_id"].to_list() == [n if n <= 30 else None for n in numbers]
            wanted = [f"GENE{n}" for n in dict.fromkeys(numbers) if n <= 30]
            assert fetched.annotations["symbol"].to_list() == wanted
        uids = server.requested_uids()
        assert len(uids) == len(set(uids))
        assert all(len(request.uids) <= batch for request in server.requests)


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
    n_requests = len(server.requests)
    assert run(server, tmp_path, str(table))[1] == "2 of 3 found; 3 from the cache, 0 fetched"
    assert len(server.requests) == n_requests
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
    assert server.requests == []


@needs_data
def test_mane_and_annotation_files_say_what_to_ask() -> None:
    mane = read_asks(DATA / "mane_v1.4" / "MANE.GRCh38.v1.4.summary.txt.gz")
    assert len(mane) == 19_338
    assert mane["2"] == "ENSG00000175899"
    assert read_asks(NCBI / "ncbi_info_20260421.tsv")["25"] is None
    assert read_asks(NCBI / "ensembl_GRCh38_115.gff")["ABL1"] == "ENSG00000097007"
