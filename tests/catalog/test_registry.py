"""The catalog of known stores: it says what a store says of itself, finds it again, and is never half written."""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import featurestore
from catalog import Grid, registry
from catalog.registry import (
    DamagedRegistry,
    KnownStore,
    Registry,
    StoreSummary,
    UnknownStore,
    parse_registry,
    refuse_secrets,
)
from featurestore import seal
from featurestore.cli.catalog import app
from featurestore.format import layout
from featurestore.format.manifest import CATALOG
from featurestore.testing import built_store, feature_set_of
from featurestore.upkeep.registry_file import (
    RegistryLocked,
    add_store,
    default_place,
    describe,
    not_reached,
    read_registry,
    update_registry,
)

LENGTHS = {"chr1": 200, "chr2": 40}
GRID = Grid(bin_size=16, offsets=(0, 8))
SECRET = "hunter2"


def visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


@pytest.fixture
def store(tmp_path: Path) -> featurestore.Store:
    return built_store(tmp_path / "demo.store", LENGTHS, GRID)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "data" / "catalog.json"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Serve the folder on a web server that gives files and lists none that a store could be told by."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@st.composite
def known_stores(draw: st.DrawFn, number: int = 0) -> KnownStore:
    text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
    shards = draw(st.integers(0, 9))
    known = {
        "name": draw(st.sampled_from(["classes", "motif"])),
        "extractor": draw(st.sampled_from(["sei", "motif"])),
        "fingerprint": draw(text),
        "channels": draw(st.lists(text, max_size=3)),
        "bin_size": 16,
        "offsets": [0],
        "contigs": 1,
        "anchors": [],
        "shards": shards,
        "committed": draw(st.integers(0, shards)),
        "licence": draw(text),
        "citation": draw(text),
    }
    return KnownStore(
        name=f"store{number}",
        url=f"/somewhere/{number}",
        assembly=draw(text),
        assembly_digest=draw(text),
        contigs=1,
        length=1,
        feature_sets=draw(st.sampled_from([(), (known,)])),
        size_bytes=0,
        objects=0,
        top_hash=draw(st.none() | text),
        as_of=draw(st.datetimes(timezones=st.just(UTC))),
    )


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    return Registry(stores=tuple(draw(known_stores(number)) for number in range(draw(st.integers(0, 4)))))


# The documents


@given(registries())
def test_a_registry_that_is_written_and_read_is_the_same(some: Registry) -> None:
    assert parse_registry(some.to_json(), where="here") == some


@given(registries(), st.data())
def test_a_search_finds_what_checking_each_store_finds(some: Registry, data: st.DataObject) -> None:
    """A store's own words, in other letters, find it; and nothing else is found than the stores that have them."""
    sets = [item for one in some.stores for item in one.feature_sets]
    texts = {
        "assembly": [one.assembly for one in some.stores],
        "extractor": [item.extractor for item in sets],
        "fingerprint": [item.fingerprint for item in sets],
        "channel": [channel for item in sets for channel in item.channels],
        "licence": [item.licence for item in sets],
    }
    wanted = {key: data.draw(st.none() | st.sampled_from(of)) for key, of in texts.items() if of}
    wanted = {key: text.swapcase() if text.isascii() else text for key, text in wanted.items() if text is not None}

    def fits(one: KnownStore) -> bool:
        folded = {key: text.casefold() for key, text in wanted.items()}
        if folded.pop("assembly", one.assembly.casefold()) not in (
            one.assembly.casefold(),
            one.assembly_digest.casefold(),
        ):
            return False
        return not folded or any(
            folded.get("extractor", item.extractor) == item.extractor
            and item.fingerprint.casefold().startswith(folded.get("fingerprint", ""))
            and ("channel" not in folded or any(folded["channel"] in name.casefold() for name in item.channels))
            and folded.get("licence", "") in item.licence.casefold()
            for item in one.feature_sets
        )

    assert some.find(**wanted) == [one for one in some.stores if fits(one)]


def test_words_are_found_wherever_they_stand_and_all_of_them(place: Path, store: featurestore.Store) -> None:
    add_store(store.url, place)
    known = read_registry(place)
    assert [one.name for one in known.find("CHANNEL1 tiny demo.STORE unknown")] == ["demo.store"]
    assert known.find("channel1 channel9") == []


def test_a_name_stands_for_one_store_and_a_store_for_one_name(place: Path, store: featurestore.Store) -> None:
    first = add_store(store.url, place)
    other = built_store(place.parent / "demo.store", LENGTHS, GRID)
    with pytest.raises(ValueError, match=r"has a store 'demo.store', at .*give another `name=`, or `featurestore cat"):
        add_store(other.url, place)
    add_store(other.url, place, name="another")
    assert add_store(store.url, place, name="renamed").url == first.url
    assert add_store(store.url, place).name == "renamed"
    assert [one.name for one in read_registry(place).stores] == ["another", "renamed"]
    update_registry(lambda known: known.without("another"), place)
    with pytest.raises(
        UnknownStore, match=r"no store 'another'; it has renamed\. `featurestore catalog add STORE` adds"
    ):
        read_registry(place).get("another")
    with pytest.raises(UnknownStore, match="no stores yet"):
        Registry().without("x")


# What is said of a store


def without_time(found: StoreSummary) -> dict[str, Any]:
    return found.model_dump(exclude={"as_of", "name", "url"})


def test_the_entry_of_a_sealed_store_is_what_it_says_of_itself_from_a_disk_and_a_web_server(
    store: featurestore.Store, served: str
) -> None:
    top_hash = seal(store).manifest.top_hash
    own = StoreSummary.model_validate_json(store.objects.get(CATALOG))
    here, there = describe(store.url), describe(f"{served}/demo.store")
    assert without_time(here) == without_time(there) == without_time(own)
    assert (here.name, here.top_hash, here.share) == ("demo.store", top_hash, 1.0)
    assert there.url == f"{served}/demo.store"
    contents = [path for folder in ("features", "zarr.json") for path in Path(store.url, folder).rglob("*")]
    files = [path for path in [*contents, Path(store.url, "zarr.json")] if path.is_file()]
    assert (here.objects, here.size_bytes) == (len(files), sum(path.stat().st_size for path in files))


def test_the_entry_of_a_store_that_is_not_finished_says_how_far_it_is(store: featurestore.Store) -> None:
    Path(store.url, layout.commit_key("demo", "chr1", 0, 0)).unlink()
    found = describe(store.url)
    (known,) = found.feature_sets
    assert (found.top_hash, known.licence, known.citation) == (None, "unknown", "unknown")
    assert known.channels == ("channel0", "channel1", "channel2")
    assert (known.shards, known.committed, known.contigs) == (10, 9, 2)
    assert found.share == known.share == 0.9
    store.declare(feature_set_of(Grid(bin_size=16, offsets=(4,))), ["chr1"])
    assert describe(store.url).feature_sets[0].committed == 9
    assert describe(store.url).feature_sets[0].shards == 15


def test_a_store_without_a_name_of_its_own_asks_for_one(store: featurestore.Store, place: Path) -> None:
    odd = Path(store.url).rename(place.parents[1] / "my store")
    with pytest.raises(ValueError, match=r"'my store' is no name for a store: .*give another `name=`"):
        describe(odd)
    assert describe(odd, name="mine").name == "mine"


# Secrets


@pytest.mark.parametrize(
    "url",
    [
        f"s3://KEY:{SECRET}@bucket/s",
        f"s3://KEY:ab/{SECRET}@bucket/s",
        f"https://{SECRET}@host/s",
        f"simplecache::https://user:{SECRET}@host/s",
        f"https://host/s?X-Amz-Signature={SECRET}",
        f"https://host/s#{SECRET}",
        f"abfs://box:{SECRET}@account.dfs.core.windows.net/s",
    ],
)
def test_a_url_with_a_secret_is_refused_before_anything_is_asked_and_is_not_repeated(
    url: str, place: Path, store: featurestore.Store
) -> None:
    with pytest.raises(
        ValueError, match=r"keeps no secrets; give the plain URL, and credentials in the environment"
    ) as refused:
        add_store(url, place)
    assert SECRET not in str(refused.value)
    assert not place.exists()
    entry = describe(store.url).model_dump(mode="json") | {"url": url}
    with pytest.raises(DamagedRegistry, match=r"keeps no secrets") as damaged:
        parse_registry(json.dumps({"stores": [entry]}).encode(), where="here")
    assert SECRET not in str(damaged.value)


@pytest.mark.parametrize("url", ["/a/b@c:d", "s3://b/s", "abfs://box@account.dfs.core.windows.net/s", "https://h:80/s"])
def test_a_plain_url_is_no_secret(url: str) -> None:
    refuse_secrets(url)


# The file


@pytest.mark.parametrize(
    "content",
    [b"", b'{"format": 1, "sto', b"[]", b'{"format": 9}', b'{"stores": [{"name": "x"}]}', b"\xff\xfe", b"[" * 99999],
)
def test_a_damaged_registry_is_refused_with_the_mend_and_left_as_it_is(
    content: bytes, place: Path, store: featurestore.Store
) -> None:
    place.parent.mkdir()
    place.write_bytes(content)
    mend = r"mend that file, or move it away and `featurestore catalog add` the stores again; it was left as it is"
    with pytest.raises(DamagedRegistry, match=mend):
        add_store(store.url, place)
    assert place.read_bytes() == content
    assert visible(place.parent) == [place.name]


def test_a_registry_is_bounded_in_size_when_read_and_when_written(
    place: Path, store: featurestore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_store(store.url, place)
    before = place.read_bytes()
    monkeypatch.setattr(registry, "_MAX_BYTES", len(before) + 10)
    with pytest.raises(
        ValueError, match=r"would have .*`featurestore catalog remove` stores, or add to another: `place=`"
    ):
        add_store(built_store(place.parent / "other", LENGTHS, GRID).url, place)
    assert place.read_bytes() == before
    monkeypatch.setattr(registry, "_MAX_BYTES", 10)
    with pytest.raises(DamagedRegistry, match="a catalog at most 10"):
        read_registry(place)


def write_at_once(where: str, entry: KnownStore, *, writers: int, each: int) -> None:
    """Have several writers add stores, and readers look on: every registry that is seen is whole, and none shrinks."""

    def write(writer: int) -> None:
        for number in range(each):
            name = f"s{writer}-{number}"
            update_registry(
                lambda known, name=name: known.with_store(entry.model_copy(update={"name": name, "url": f"/{name}"})),
                where,
            )

    def look() -> None:
        before = 0
        while not done.is_set():
            before, former = len(read_registry(where).stores), before
            assert before >= former

    done = threading.Event()
    with ThreadPoolExecutor() as pool:
        reader = pool.submit(look)
        list(pool.map(write, range(writers)))
        done.set()
        reader.result()
    assert len(read_registry(where).stores) == writers * each


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_writers_at_one_time_lose_nothing(where: str, place: Path, store: featurestore.Store) -> None:
    url = str(place) if where == "disk" else f"memory://registry/{uuid.uuid4().hex}/catalog.json"
    write_at_once(url, describe(store.url), writers=4, each=5)
    if where == "disk":
        assert visible(place.parent) == [place.name]


def test_a_lock_that_is_never_given_back_is_named(store: featurestore.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = f"memory://registry/{uuid.uuid4().hex}"
    lock = f"{folder}/catalog.json.lock"
    with fsspec.open(lock, "w") as file:
        file.write("elsewhere process 7")
    monkeypatch.setattr(sys.modules[describe.__module__], "_LOCK_WAIT_S", 0.1)
    with pytest.raises(
        RegistryLocked, match=rf"\(elsewhere process 7\).*if that is not running any more, remove {lock}"
    ):
        add_store(store.url, f"{folder}/catalog.json")
    fsspec.filesystem("memory").rm(lock)
    add_store(store.url, f"{folder}/catalog.json")


def test_a_lock_on_a_disk_is_waited_for_and_goes_with_the_process_that_held_it(
    place: Path, store: featurestore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.parent.mkdir()
    script = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print('held', flush=True); input()"
    command = [sys.executable, "-c", script, str(place.with_name(".catalog.json.lock"))]
    monkeypatch.setattr(sys.modules[describe.__module__], "_LOCK_WAIT_S", 0.1)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RegistryLocked, match=rf"{place} is being changed by another command.*wait for it, or end"):
            add_store(store.url, place)
        holder.kill()
    add_store(store.url, place)


def test_a_change_that_fails_leaves_the_registry_and_no_lock(place: Path, store: featurestore.Store) -> None:
    add_store(store.url, place)
    before = place.read_bytes()
    with pytest.raises(UnknownStore):
        update_registry(lambda known: known.without("absent"), place)
    assert place.read_bytes() == before
    assert visible(place.parent) == [place.name]


def test_the_registry_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_CATALOG", "s3://bucket/catalog.json")
    assert default_place() == "s3://bucket/catalog.json"
    monkeypatch.delenv("FEATURESTORE_CATALOG")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_place() == str(tmp_path / "featurestore/catalog.json")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # to be ignored, says the XDG specification
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_place() == str(tmp_path / ".local/share/featurestore/catalog.json")
    assert read_registry() == Registry()
    with pytest.raises(ValueError, match=r"one file of JSON.*give `place=` a name in \.json"):
        read_registry(tmp_path)


def test_a_registry_is_read_from_a_web_server(place: Path, served: str, store: featurestore.Store) -> None:
    add_store(store.url, place)
    assert read_registry(f"{served}/data/catalog.json") == read_registry(place)
    assert read_registry(f"{served}/data/none.json") == Registry()


# The verbs


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(verb: str, *arguments: str) -> tuple[int, str]:
        status: int = app([verb, *arguments, "--catalog", str(place)], standalone_mode=False) or 0
        return status, capsys.readouterr().out

    return run


def test_the_verbs_add_list_show_find_and_remove(
    run: Callable[..., tuple[int, str]], store: featurestore.Store, place: Path
) -> None:
    assert run("list") == (0, f"no stores in {place} yet; `featurestore catalog add STORE` adds one\n")
    assert run("add", store.url, "--name", "one") == (0, f"one is in the catalog: {store.url}, 100 % built\n")
    top_hash = seal(store).manifest.top_hash
    assert json.loads(run("add", store.url, "--json")[1])["top_hash"] == top_hash
    status, listed = run("list")
    assert status == 0
    assert "demo (3)" in listed
    assert "100 %" in listed
    assert "sealed" in listed
    (entry,) = json.loads(run("list", "--json")[1])
    assert (entry["name"], entry["share"], entry["not_reached"]) == ("one", 1.0, None)
    shown = run("show", "one")[1]
    assert top_hash in shown
    assert "licence: unknown" in shown
    assert "3 channels, bins of 16 bp, offsets 0, 8 bp, 2 of 2 contigs, 100 % built" in shown
    assert json.loads(run("show", "one", "--json")[1])["feature_sets"][0]["share"] == 1.0
    for criterion in (["--channel", "NEL2"], ["--assembly", "tiny"], ["--extractor", "demo"], ["--fingerprint", "f"]):
        assert [one["name"] for one in json.loads(run("find", *criterion, "--json")[1])] == ["one"]
    assert run("find", "channel0", "--licence", "unknown")[0] == 0
    assert run("find", "--channel", "CTCF")[0] == 1
    assert run("remove", "one")[1].endswith("the store itself is as it was\n")
    assert read_registry(place) == Registry()
    assert featurestore.verify(store, crc=True).is_sound


def test_a_store_that_is_offline_is_listed_and_said_not_to_be_reached(
    run: Callable[..., tuple[int, str]], store: featurestore.Store, served: str
) -> None:
    seal(store)
    run("add", store.url)
    run("add", f"{served}/demo.store", "--name", "a-" + "long" * 24)
    Path(store.url).rename(Path(store.url).with_name("moved"))
    status, listed = run("list")
    assert status == 0
    table = [line for line in listed.splitlines() if " was not reached: " not in line]
    assert max(map(len, table)) <= 100
    assert f"demo.store was not reached: no store at {store.url}" in listed
    assert "was not reached: could not read http://127.0.0.1" in listed
    assert "was not reached" not in run("list", "--offline")[1]
    assert {one["name"]: bool(one["not_reached"]) for one in json.loads(run("list", "--json")[1])}["demo.store"]


def test_what_others_wrote_into_a_catalog_does_not_steer_the_terminal(
    run: Callable[..., tuple[int, str]], store: featurestore.Store, place: Path
) -> None:
    entry = add_store(store.url, place)
    (known,) = entry.feature_sets
    evil = "[red]\x1b]0;owned\x07"
    update_registry(
        lambda _: Registry(
            stores=(
                entry.model_copy(
                    update={
                        "assembly": evil,
                        "feature_sets": (known.model_copy(update={"licence": evil, "channels": (evil,)}),),
                    }
                ),
            )
        ),
        place,
    )
    for verb in (["list"], ["show", "demo.store"], ["find"]):
        shown = run(*verb)[1]
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "[red]?]0;owned?" in shown


# A real object store


@pytest.fixture
def bucket() -> Iterator[str]:
    filesystem = fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    name = f"featurestore-{uuid.uuid4().hex[:12]}"
    filesystem.mkdir(name)
    yield f"s3://{name}"
    filesystem.rm(name, recursive=True)


@pytest.mark.skipif("AWS_ENDPOINT_URL" not in os.environ, reason="no S3 server: AWS_ENDPOINT_URL is not set")
def test_stores_and_the_registry_may_lie_in_an_object_store(bucket: str) -> None:
    url, place = f"{bucket}/some/demo.store", f"{bucket}/catalogs/catalog.json"
    seal(built_store(url, LENGTHS, GRID))
    assert read_registry(place) == Registry()
    entry = add_store(url, place)
    assert (entry.url, entry.share) == (url, 1.0)
    assert read_registry(place).find("demo", channel="channel1") == [entry]
    assert not_reached([entry]) == {}
    gone = entry.model_copy(update={"url": f"{bucket}/gone"})
    assert "no such object" in not_reached([gone])["demo.store"]
    write_at_once(f"{bucket}/shared.json", entry, writers=3, each=3)
    text = read_registry(place).to_json().decode()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in text
    assert os.environ["AWS_ACCESS_KEY_ID"] not in text.replace(bucket, "")
