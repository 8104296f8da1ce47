"""Windows over HTTP are those of the store, in every media type; names, errors and tags."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import body_of, client_of, values_in
from starlette.testclient import TestClient

from catalog import Channel, Grid
from featurestore.format.layout import ContigLayout, commit_key, values_path
from featurestore.format.writer import write_shard
from featurestore.store import Store, create
from featurestore.testing.fixtures import (
    ORIGIN,
    assembly_of,
    build_set,
    built_store,
    feature_set_of,
    random_sequences,
    values_of,
)
from featurestore.upkeep.seal import seal
from featurestore.web.serving.encoding import ARROW, JSON, NPY, TSV, WINDOW_TYPES
from featurestore.web.serving.stores import rows_around

GRID = Grid(bin_size=8, offsets=(0, 4))
LENGTHS = {"chr1": 500, "chr2": 90}
SETS = ("half", "single", "bytes")
GENES = "gene_id\tsymbol\tcontig\tstrand\ttss\nG1\tMYC\tchr1\t+\t203\nG2\tMYCN\t2\t-\t40\nG3\tTWIN\tchr1\t+\t5\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("served")
    store = built_store(folder / "store", LENGTHS, GRID, name="half")
    build_set(store, GRID, name="single", dtype="float32", n_channels=2)
    build_set(store, GRID, name="bytes", dtype="uint8")
    (folder / "genes.tsv").write_text(GENES + "G4\tTWIN\tchr2\t+\t5\n")
    return store


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[TestClient]:
    genes = Path(store.objects.local_folder or "").parent / "genes.tsv"
    with client_of(store, genes=genes) as client:
        yield client


places = st.sampled_from(sorted(LENGTHS)).flatmap(
    lambda contig: st.tuples(st.just(contig), st.integers(0, LENGTHS[contig] - 1))
)


@settings(max_examples=60)
@given(
    places=st.lists(places, min_size=1, max_size=4),
    bins=st.integers(1, 70),
    name=st.sampled_from(SETS),
    media_type=st.sampled_from(WINDOW_TYPES),
    coding=st.sampled_from(["identity", "gzip", "zstd"]),
)
def test_windows_are_those_of_the_store_in_every_media_type(
    client: TestClient, store: Store, places: list[tuple[str, int]], bins: int, name: str, media_type: str, coding: str
) -> None:
    expected = store[name].windows([contig for contig, _ in places], [centre for _, centre in places], bins)
    query = {"set": name, "bins": bins, "at": [f"{contig}:{centre}" for contig, centre in places]}
    reply = client.get("/v1/windows", params=query, headers={"Accept": media_type, "Accept-Encoding": coding})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == media_type
    found = values_in(body_of(reply), media_type, expected.values.shape, expected.values.dtype.name)
    np.testing.assert_array_equal(found, expected.values, strict=True)
    said = {field: reply.headers[f"featurestore-{field}"] for field in ("residual", "first-start", "bin-size")}
    assert said == {
        "residual": ",".join(map(str, expected.residuals.tolist())),
        "first-start": ",".join(map(str, expected.first_starts.tolist())),
        "bin-size": str(expected.bin_size),
    }


@pytest.mark.parametrize("media_type", WINDOW_TYPES)
def test_one_window_has_no_axis_for_windows(client: TestClient, store: Store, media_type: str) -> None:
    expected = store["single"].window("chr1", 300, n_bins=9)
    reply = client.get("/v1/window?set=single&at=chr1:300&bins=9", headers={"Accept": media_type})
    found = values_in(reply.content, media_type, expected.values.shape, "float32")
    np.testing.assert_array_equal(found, expected.values, strict=True)


def test_a_json_window_says_where_it_lies_and_what_it_is(client: TestClient, store: Store) -> None:
    reply = client.get("/v1/window?set=half&gene=MYC&bins=5").json()
    expected = store["half"].window("chr1", 203, n_bins=5)
    assert (reply["contig"], reply["centre"], reply["residual"]) == ("chr1", 203, expected.residual)
    assert reply["gene"] == {"symbol": "MYC", "gene_id": "G1", "contig": "chr1", "tss": 203, "strand": "+"}
    assert (reply["first_start"], reply["bin_size"]) == (expected.starts[0], 8)
    assert (reply["fingerprint"], reply["licence"]) == (store["half"].feature_set.fingerprint, "unknown")
    assert reply["channels"] == list(store["half"].channel_names)


def test_text_tables_have_the_licence_and_exact_places_of_bins(client: TestClient, store: Store) -> None:
    text = client.get("/v1/window?set=half&at=2:40&bins=3", headers={"Accept": TSV}).text
    comments = dict(line[2:].split(": ", 1) for line in text.splitlines() if line.startswith("#"))
    assert (comments["Licence"], comments["Contig"], comments["Bin-Size"]) == ("unknown", "chr2", "8")
    header, *rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    starts = store["half"].window("chr2", 40, n_bins=3).starts.tolist()
    assert header[:4] == ["window", "contig", "start", "end"]
    assert [row[1:4] for row in rows] == [["chr2", str(start), str(start + 8)] for start in starts]


def test_channels_are_chosen_by_name_in_the_order_asked(client: TestClient, store: Store) -> None:
    reply = client.get("/v1/window?set=half&at=chr1:100&bins=4&channels=channel2,channel0").json()
    assert reply["channels"] == ["channel2", "channel0"]
    expected = store["half"].window("chr1", 100, n_bins=4).values[:, [2, 0]]
    np.testing.assert_array_equal(np.asarray(reply["values"], np.float16), expected)


def test_a_table_with_a_channel_called_start_has_both_columns(tmp_path: Path) -> None:
    described = feature_set_of(GRID, name="named", n_channels=2)
    channels = (Channel(name="start"), Channel(name="a,b\tc"))
    store = create(tmp_path / "store", assembly_of(random_sequences({"chr1": 40})))
    described = store.declare(described.model_copy(update={"channels": channels}), ["chr1"])
    layout = ContigLayout(described, 40)
    for phase in range(2):
        for shard in range(layout.n_shards(phase)):
            first, end = layout.shard_span(phase, shard)
            rows = values_of(described, 40, phase)[first:end]
            write_shard(store.objects, layout, rows, contig="chr1", phase=phase, shard=shard, origin=ORIGIN)
    expected = store["named"].window("chr1", 20, n_bins=3).values
    with client_of(store) as client:
        for media_type in (ARROW, TSV):
            reply = client.get("/v1/window?at=chr1:20&bins=3", headers={"Accept": media_type})
            np.testing.assert_array_equal(values_in(reply.content, media_type, (3, 2), "float16"), expected)
        one = client.get("/v1/window", params={"at": "chr1:20", "bins": 3, "channel": "a,b\tc"}).json()
        np.testing.assert_array_equal(np.asarray(one["values"], np.float16), expected[:, 1:])


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        pytest.param("window?at=chr1:1&bins=3", 422, "name one of bytes, half, single", id="several sets, none named"),
        pytest.param("window?set=none&at=chr1:1", 404, "no feature set 'none'", id="no such set"),
        pytest.param("window?store=z&set=half&at=chr1:1", 404, "no store is served as 'z'", id="no such store"),
        pytest.param("window?set=half&at=chr9:1", 404, "it has chr1, chr2", id="no such contig"),
        pytest.param("window?set=half&at=chr1:500", 422, "0 to 499", id="past the end"),
        pytest.param("window?set=half&at=chr1", 422, "CONTIG:POSITION", id="no position"),
        pytest.param("window?set=half&gene=MYD", 404, "no gene has the symbol", id="no such gene"),
        pytest.param("window?set=half&gene=TWIN", 422, "G3, G4", id="a symbol of two genes"),
        pytest.param("window?set=half", 422, "name one place", id="no place"),
        pytest.param("window?set=half&at=chr1:1&gene=MYC", 422, "name one place", id="two places"),
        pytest.param("window?set=half&at=chr1:1&bins=0", 422, "bins", id="no bins"),
        pytest.param(
            "window?set=half&at=chr1:1&bin=3",
            422,
            "no parameter 'bin' here; there are at, bins, channel, channels, gene, overlay, set, store",
            id="a misspelt parameter",
        ),
        pytest.param("window?set=half&at=chr1:1&channels=x", 404, "no channel x", id="no such channel"),
        pytest.param("window?set=half&at=chr1:1&overlay=S/1", 404, "no overlay 'S/1'", id="no such overlay"),
        pytest.param("windows?set=half", 422, "1 to 1,024 places", id="no windows"),
        pytest.param("genes?q=", 422, "q", id="an empty search"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_that_says_what_to_do(
    client: TestClient, path: str, status: int, says: str
) -> None:
    reply = client.get(f"/v1/{path}")
    problem = reply.json()
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert says in problem["detail"]
    assert problem["status"] == status


def test_a_media_type_that_no_reply_has_is_406_and_weights_are_respected(client: TestClient) -> None:
    path = "/v1/window?set=half&at=chr1:9&bins=3"
    assert client.get(path, headers={"Accept": "image/png"}).status_code == 406
    for accept, chosen in [
        ("*/*", JSON),
        (f"{JSON};q=0.2, {NPY};q=0.9", NPY),
        ("text/*", TSV),
        (f"{JSON};q=0, */*;q=0.1", ARROW),
    ]:
        assert client.get(path, headers={"Accept": accept}).headers["content-type"] == chosen, accept


def test_genes_are_found_by_a_part_of_their_name_exact_ones_first(client: TestClient) -> None:
    found = client.get("/v1/genes?q=myc").json()
    assert [gene["symbol"] for gene in found] == ["MYC", "MYCN"]
    assert found[1]["contig"] == "chr2"
    assert [gene["gene_id"] for gene in client.get("/v1/genes?q=wi&limit=1").json()] == ["G3"]


def test_stores_sets_channels_and_status_are_described(client: TestClient, store: Store) -> None:
    (entry,) = client.get("/v1/stores").json()
    assert (entry["name"], entry["sets"], entry["genes"], entry["sealed"]) == ("a", sorted(SETS), 4, None)
    half = next(one for one in client.get("/v1/sets").json() if one["name"] == "half")
    assert (half["bin_size"], half["offsets"], half["n_channels"]) == (8, [0, 4], 3)
    assert half["contigs"] == [{"name": "chr1", "length": 500}, {"name": "chr2", "length": 90}]
    names = [channel["name"] for channel in client.get("/v1/channels?set=half").json()]
    assert names == list(store["half"].channel_names)
    assert client.get("/v1/status").json()["complete"] is True
    assert client.get("/v1/service-info").json()["type"]["artifact"] == "featurestore"


def test_two_stores_are_told_apart_by_the_names_they_were_given(store: Store, tmp_path: Path) -> None:
    other = built_store(tmp_path / "other", {"chrX": 80}, GRID, name="half")
    with client_of(store, other) as client:
        assert client.get("/v1/sets").status_code == 422
        assert [one["name"] for one in client.get("/v1/sets?store=b").json()] == ["half"]
        reply = client.get("/v1/window?store=b&at=X:20&bins=3").json()
        np.testing.assert_array_equal(
            np.asarray(reply["values"], np.float16), other["half"].window("chrX", 20, n_bins=3).values
        )


@pytest.mark.parametrize("media_type", WINDOW_TYPES)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_reply_that_the_client_has_is_not_sent_again(client: TestClient, media_type: str, coding: str) -> None:
    headers = {"Accept": media_type, "Accept-Encoding": coding}
    path = "/v1/window?set=half&at=chr1:200&bins=60"
    first = client.get(path, headers=headers)
    again = client.get(path, headers=headers | {"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(path.replace("200", "209"), headers=headers | {"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200
    for weak in (f'"x", W/{first.headers["etag"]}', "*"):
        assert client.get(path, headers=headers | {"If-None-Match": weak}).status_code == 304


def test_the_tag_is_made_of_the_hashes_in_the_commit_records(store: Store, tmp_path: Path) -> None:
    twin = built_store(tmp_path / "twin", LENGTHS, GRID, name="half")
    path = "/v1/window?set=half&at=chr1:200&bins=5"
    with client_of(store) as one, client_of(twin) as other:
        assert one.get(path).headers["etag"] == other.get(path).headers["etag"]


@settings(max_examples=30)
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_a_range_of_a_reply_is_that_part_of_it(client: TestClient, first: int, last: int) -> None:
    path, headers = "/v1/window?set=half&at=chr1:200&bins=60", {"Accept": NPY, "Accept-Encoding": "identity"}
    whole = client.get(path, headers=headers)
    part = client.get(path, headers=headers | {"Range": f"bytes={first}-{last}"})
    if last < first:
        assert (part.status_code, part.content) == (200, whole.content)
    elif first >= len(whole.content):
        assert (part.status_code, part.headers["content-range"]) == (416, f"bytes */{len(whole.content)}")
    else:
        assert (part.status_code, part.content) == (206, whole.content[first : last + 1])
    outdated = client.get(path, headers=headers | {"Range": "bytes=0-3", "If-Range": '"another"'})
    assert (outdated.status_code, outdated.content) == (200, whole.content)


def test_a_flipped_byte_is_a_500_that_names_the_shard_and_no_place_on_this_machine(tmp_path: Path) -> None:
    store = built_store(tmp_path / "store", {"chr1": 100}, GRID, name="half")
    key = f"{values_path('half', 'chr1')}/c/0/1/0"
    data = bytearray(store.objects.get(key))
    data[3] ^= 1
    store.objects.put(key, bytes(data))
    with client_of(store) as client:
        reply = client.get("/v1/window?at=chr1:50&bins=9")
        assert reply.status_code == 500
        assert "features/half/chr1/values/c/0/1/0" in reply.json()["detail"]
        assert str(tmp_path) not in reply.text


def test_what_was_never_built_is_404_and_served_once_it_is_built(tmp_path: Path) -> None:
    store = built_store(tmp_path / "store", {"chr1": 100}, GRID, name="half")
    key = commit_key("half", "chr1", 0, 1)
    record = store.objects.get(key)
    store.objects.delete(key)
    with client_of(store) as client:
        reply = client.get("/v1/window?at=chr1:44&bins=3")
        assert (reply.status_code, reply.json()["title"]) == (404, "Never built")
        store.objects.create(key, record)
        assert client.get("/v1/window?at=chr1:44&bins=3").status_code == 200


def test_a_sealed_store_says_its_top_hash(tmp_path: Path) -> None:
    store = built_store(tmp_path / "store", {"chr1": 40}, GRID)
    top_hash = seal(store).manifest.top_hash
    with client_of(store) as client:
        assert client.get("/v1/stores").json()[0]["sealed"] == top_hash


def test_json_has_every_digit(client: TestClient, store: Store) -> None:
    values = store["single"].window("chr1", 100, n_bins=30).values
    reply = json.loads(client.get("/v1/window?set=single&at=chr1:100&bins=30").content)
    np.testing.assert_array_equal(np.asarray(reply["values"]), values.astype(np.float64))


@given(place=places, before=st.integers(0, 300), after=st.integers(0, 300))
def test_rows_around_a_place_are_those_that_have_a_base_of_it(
    store: Store, place: tuple[str, int], before: int, after: int
) -> None:
    contig, centre = place
    bases = set(range(centre - before, centre + after + 1)) & set(range(LENGTHS[contig]))
    reader = store["half"]
    expected = [
        (contig, phase, row)
        for phase, offset in enumerate(GRID.offsets)
        for row in range(reader.n_rows(contig, phase))
        if bases & set(range(row * 8 - offset, row * 8 - offset + 8))
    ]
    found = rows_around(reader, contig, centre - before, centre + after + 1)
    assert [(name, phase, row) for name, phase, first, end in found for row in range(first, end)] == expected
