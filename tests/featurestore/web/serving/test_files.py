"""The objects of a store over HTTP: within the store, in ranges; and the explorer's page."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qsl, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import client_of
from starlette.testclient import TestClient

from catalog import Grid
from featurestore.store import Store
from featurestore.testing.fixtures import built_store
from featurestore.upkeep.seal import seal
from featurestore.web.serving.files import is_served, page_policy
from featurestore.web.serving.guard import with_query

SHARD = "features/motif/chr1/values/c/0/0/0"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("files")
    (folder / "secret.txt").write_text("secret")
    store = built_store(folder / "store", {"chr1": 100}, Grid(bin_size=8, offsets=(0, 4)), name="motif")
    seal(store)
    (folder / "store" / "notes.txt").write_text("secret")
    (folder / "store" / "index.html").write_text("<script>alert('secret')</script>")
    (folder / "store" / "features" / "motif" / "chr1" / "link").symlink_to(folder / "secret.txt")
    return store


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[TestClient]:
    with client_of(store) as client:
        yield client


@pytest.mark.parametrize("key", ["zarr.json", "MANIFEST.json", "explorer.json", "features/motif/zarr.json", SHARD])
def test_an_object_is_sent_as_it_is(store: Store, key: str) -> None:
    with client_of(store) as client:
        reply = client.get(f"/stores/a/{key}")
    assert (reply.status_code, reply.content) == (200, store.objects.get(key))
    assert "content-encoding" not in reply.headers


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "%2e%2e/secret.txt",
        "features/../../secret.txt",
        "features/%2e%2e/%2e%2e/secret.txt",
        "features%2f..%2f..%2fsecret.txt",
        "features/..%5c..%5csecret.txt",
        "features//etc/passwd",
        "/etc/passwd",
        "features/motif/chr1/link",
        "features",
        "features/motif",
        "notes.txt",
        "zarr.json/x",
        "http://169.254.169.254/",
        "features/%00",
    ],
)
def test_nothing_beside_the_objects_of_the_store_is_sent(store: Store, path: str) -> None:
    with client_of(store) as client:
        reply = client.get(f"/stores/a/{path}")
    assert reply.status_code in {307, 404}, reply.text
    assert "secret" not in reply.text.replace("secret.txt", "")
    assert "root:" not in reply.text


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=6).filter(lambda name: name != "token"),
        st.text(st.characters(codec="utf-8"), max_size=12)
        | st.sampled_from(["//evil.example/", "a\r\nSet-Cookie: b=c"]),
        max_size=4,
    )
)
def test_the_only_store_is_opened_with_the_state_of_the_link_and_without_its_token(
    client: TestClient, state: dict[str, str]
) -> None:
    reply = client.get("/", params={"token": "s3cret", **state})
    assert reply.status_code == 307
    where = reply.headers["location"]
    path, _, query = where.partition("?")
    assert (path, dict(parse_qsl(query, keep_blank_values=True))) == ("/stores/a/", state)
    assert where.isascii()
    assert where.isprintable()
    assert "set-cookie" not in reply.headers


@given(st.binary(max_size=40))
def test_bytes_that_a_header_cannot_hold_are_escaped_and_the_others_stay(query: bytes) -> None:
    path, _, kept = with_query("/stores/a/", {"query_string": query}).partition("?")
    assert path == "/stores/a/"
    assert kept.isascii()
    assert not kept or kept.isprintable()
    pieces = [piece for piece in query.split(b"&") if piece and unquote_to_bytes(piece.partition(b"=")[0]) != b"token"]
    assert [unquote_to_bytes(piece) for piece in kept.split("&") if piece] == list(map(unquote_to_bytes, pieces))


@given(st.text())
def test_a_key_that_is_served_has_no_part_that_leads_elsewhere(key: str) -> None:
    if is_served(f"features/{key}"):
        assert not {"", ".", ".."} & set(key.split("/"))
    assert not is_served(key) or key.split("/")[0].isascii()


@settings(max_examples=30)
@given(st.integers(0, 400), st.integers(0, 400))
def test_a_range_of_an_object_is_that_part_of_it(client: TestClient, store: Store, first: int, last: int) -> None:
    data = store.objects.get(SHARD)
    part = client.get(f"/stores/a/{SHARD}", headers={"Range": f"bytes={first}-{last}"})
    tail = client.get(f"/stores/a/{SHARD}", headers={"Range": f"bytes=-{last + 1}"})
    assert (tail.status_code, tail.content) == (206, data[-(last + 1) :])
    if first >= len(data) and first <= last:
        assert part.status_code == 416
    elif first <= last:
        assert (part.status_code, part.content) == (206, data[first : last + 1])
        assert part.headers["content-range"] == f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"


def test_the_page_is_ours_and_never_that_of_the_store(store: Store) -> None:
    page = files("featurestore.web").joinpath("static", "index.html").read_bytes()
    with client_of(store) as client:
        assert client.get("/").headers["location"] == "/stores/a/"
        for path in ("/stores/a/", "/stores/a/index.html"):
            reply = client.get(path)
            assert (reply.content, reply.headers["content-type"]) == (page, "text/html; charset=utf-8")
            assert "'sha256-" in reply.headers["content-security-policy"]
        assert client.get("/stores/b/").status_code == 404


def test_the_policy_allows_the_page_s_own_scripts_and_nothing_else() -> None:
    policy = page_policy("<style>a{}</style><script type='module'>1</script>")
    # printf 1 | openssl dgst -sha256 -binary | base64
    assert "script-src 'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='" in policy
    assert "unsafe" not in policy


def test_several_stores_are_listed(store: Store, tmp_path: Path) -> None:
    other = built_store(tmp_path / "other", {"chr1": 40}, Grid(bin_size=8))
    with client_of(store, other) as client:
        text = client.get("/").text
    assert '<a href="/stores/a/">' in text
    assert '<a href="/stores/b/">' in text


def test_genes_that_were_given_are_those_of_the_page(store: Store, tmp_path: Path) -> None:
    table = tmp_path / "genes.tsv"
    table.write_text("gene_id\tsymbol\tcontig\tstrand\ttss\nG1\tMYC\t1\t+\t50\n")
    with client_of(store, genes=table) as client:
        assert client.get("/stores/a/explorer_genes.json").json() == [["MYC", "G1", "chr1", 50, "+"]]
    with client_of(store) as client:
        assert client.get("/stores/a/explorer_genes.json").status_code == 404


def test_the_page_of_a_build_has_its_status_as_it_is_now(store: Store) -> None:
    with client_of(store) as client:
        assert client.get("/stores/a/explorer_status.json").json() == client.get("/v1/status").json()


def test_genes_beside_a_store_are_read_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    store = built_store(tmp_path / "store", {"chr1": 100}, Grid(bin_size=8))
    store.objects.put("explorer_genes.json", json.dumps([["MYC", "G1", "chr1", 50, "+"]]).encode())
    with client_of(store) as client:
        assert client.get("/v1/window?gene=MYC&bins=3").json()["centre"] == 50
    for wrong in (["MYC", "G1", "chr1", 500, "+"], ["MYC", "G1", "chr9", 5, "+"], ["MYC", "G1", "chr1", "5", "+"]):
        store.objects.put("explorer_genes.json", json.dumps([wrong]).encode())
        with pytest.raises(ValueError, match="featurestore explorer"):
            client_of(store)
