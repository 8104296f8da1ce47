"""What NCBI has answered is kept: whole files, whoever is killed and whoever shares the folder."""

import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from entrez_server import EntrezServer, answers, fetch, genes

from catalog.ncbi.cache import CACHE_SCHEMA, AnnotationCache, CacheDamaged
from catalog.ncbi.client import GeneRecord

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
    while len(server.requests) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    is_killed.set()
    answered = [uid for request in server.requests[:3] for uid in request.uids]
    assert len(answered) == 12
    server.requests.clear()
    fetched = fetch(server, cache, *range(1, 31))
    assert fetched.annotations["ncbi_gene_id"].to_list() == list(range(1, 31))
    assert sorted([*answered, *server.requested_uids()]) == list(range(1, 31))


def test_two_processes_on_one_cache_keep_each_others_answers(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with EntrezServer(genes(30)) as server:
        command = [sys.executable, "-c", SCRIPT, str(cache), server.url]
        first = subprocess.Popen(command)
        second = subprocess.Popen([*command[:2], SCRIPT.replace("(1, 31)", "(20, 41)"), *command[3:]])
        assert (first.wait(), second.wait()) == (0, 0)
        server.requests.clear()
        assert fetch(server, cache, *range(1, 41)).annotations.height == 30
        assert server.requests == []


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
    assert server.requests == []
