"""The continuous group of GA4GH RNAget: paths, formats and errors of its specification."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import client_of
from starlette.testclient import TestClient

from catalog import Grid
from featurestore.format.layout import commit_key
from featurestore.store import Store
from featurestore.testing.fixtures import built_store, values_of

LENGTH = 100
GRID = Grid(bin_size=8, offsets=(3, 0))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = built_store(tmp_path_factory.mktemp("rnaget") / "store", {"chr1": LENGTH}, GRID, name="motif")
    store.objects.delete(commit_key("motif", "chr1", 0, 1))
    return store


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[TestClient]:
    with client_of(store) as client:
        yield client


@settings(max_examples=40)
@given(st.integers(0, LENGTH - 1), st.integers(1, 60))
def test_every_base_has_the_value_of_its_bin_and_nan_where_it_was_never_built(
    client: TestClient, store: Store, start: int, length: int
) -> None:
    end = min(start + length, LENGTH)
    reply = client.get(f"/rnaget/continuous/a~motif/bytes?chr=1&start={start}&end={start + length}")
    lines = reply.text.splitlines()
    assert lines[:2] == ["#labels\tchannel", f"#range\tchr1:{start}-{end}"]
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert [row[0] for row in rows] == list(store["motif"].channel_names)
    values = values_of(store.feature_set("motif"), LENGTH, 0).astype(np.float32)
    values[4:8] = np.nan  # the second shard
    expected = np.stack([values[(base + 3) // 8] for base in range(start, end)], axis=1)
    np.testing.assert_array_equal(np.asarray([row[1:] for row in rows], dtype=np.float32), expected)


def test_a_ticket_leads_to_the_bytes(client: TestClient) -> None:
    search = "format=tsv&chr=chr1&start=3&end=13&sampleIDList=channel1"
    for path in (f"ticket?{search}", "a~motif/ticket?chr=chr1&start=3&end=13"):
        ticket = client.get(f"/rnaget/continuous/{path}").json()
        assert (ticket["fileType"], ticket["studyID"], ticket["version"]) == ("tsv", "a", "f0")
        reply = client.get(ticket["url"])
        assert (reply.status_code, reply.headers["content-disposition"]) == (200, "attachment")
        names = [line.split("\t")[0] for line in reply.text.splitlines() if not line.startswith("#")]
        assert names == (["channel1"] if "sampleIDList" in path else ["channel0", "channel1", "channel2"])
    assert client.get(f"/rnaget/continuous/bytes?{search}").text.startswith("#labels")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("continuous/a~none/bytes?chr=chr1&start=0&end=9", 404),
        ("continuous/none/ticket?chr=chr1", 404),
        ("continuous/a~motif/bytes?start=0", 400),
        ("continuous/a~motif/bytes?end=9", 400),
        ("continuous/a~motif/ticket?chr=chr1&start=9&end=3", 501),
        ("continuous/a~motif/bytes?chr=chr1&start=101", 400),
        ("continuous/a~motif/bytes?chr=chr1&start=3&end=3", 404),
        ("continuous/a~motif/bytes?chr=chr1&start=three", 400),
        ("continuous/a~motif/bytes", 400),
        ("continuous/a~motif/bytes?chr=chr9&start=3", 404),
        ("continuous/ticket?format=loom&chr=chr1", 400),
        ("continuous/ticket?format=tsv&chr=chr1&version=other", 404),
        ("continuous/bytes?format=tsv&chr=chr1&sampleIDList=other", 404),
        ("continuous/bytes?format=tsv&chr=chr1&projectID=p", 404),
        ("projects", 501),
        ("studies/filters", 501),
        ("expressions/formats", 501),
    ],
)
def test_errors_have_the_statuses_of_the_specification(client: TestClient, path: str, status: int) -> None:
    reply = client.get(f"/rnaget/{path}")
    assert (reply.status_code, reply.json()["status"]) == (status, status)


def test_what_is_supported_is_said(client: TestClient) -> None:
    info = client.get("/rnaget/service-info").json()
    assert info["type"] == {"group": "org.ga4gh", "artifact": "rnaget", "version": "1.1.0"}
    assert [group for group, there in info["supported"].items() if there] == ["continuous"]
    assert client.get("/rnaget/continuous/formats").json() == ["tsv"]
    assert {"filter", "fieldType", "description", "values"} == set(client.get("/rnaget/continuous/filters").json()[0])
    assert client.get("/rnaget/continuous/a~motif/bytes?chr=1", headers={"Accept": "image/png"}).status_code == 406
