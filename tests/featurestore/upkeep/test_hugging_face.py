"""A store goes to the Hugging Face Hub and comes back as it was; the Hub here is a server that speaks its protocol."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hub_server import TOKEN, Hub, running_hub

import featurestore
from catalog import Grid
from featurestore import seal, verify
from featurestore.cli.main import main
from featurestore.format.manifest import CROISSANT, MANIFEST, README
from featurestore.store import Store
from featurestore.testing import built_store, feature_set_of
from featurestore.upkeep import hugging_face
from featurestore.upkeep.hugging_face import NotPushed, pull, push
from featurestore.upkeep.shard_copies import DamagedShard

# The client's own, in its upload of large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw:DeprecationWarning")

LENGTHS = {"chr1": 200, "HLA-A*01:01": 40}
GRID = Grid(bin_size=16, offsets=(0, 8))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("FEATURESTORE_RETRY_S", "0")
    with running_hub() as hub:
        yield hub


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = built_store(tmp_path / "s", LENGTHS, GRID)
    seal(store)
    return store


def files_of(store: Store) -> dict[str, bytes]:
    folder = Path(store.url)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_pushed_store_is_the_repository_byte_for_byte_and_comes_back_equal(
    hub: Hub, store: Store, tmp_path: Path
) -> None:
    done = push(store, "me/genome")
    files = {path: data for path, data in hub.files("me/genome").items() if path != ".gitattributes"}
    assert files == files_of(store)
    assert {README, CROISSANT, MANIFEST} < files.keys()
    assert (done.objects, done.was_there, done.bytes) == (len(files), 0, sum(map(len, files.values())))
    report = pull("me/genome", tmp_path / "back")
    assert report.is_complete
    back = featurestore.open(tmp_path / "back")
    found = verify(back, crc=True)
    assert (found.faults, found.strangers, found.top_hash) == ([], [], done.top_hash)
    for contig, length in LENGTHS.items():
        one, other = (item["demo"].window(contig, length // 2, n_bins=25) for item in (store, back))
        np.testing.assert_array_equal(one.values, other.values)
    shards = {key for key in files if "/values/c/" in key}
    assert {key: files_of(back)[key] for key in shards} == {key: files[key] for key in shards}


def test_a_second_push_sends_nothing_and_one_that_was_stopped_goes_on(
    hub: Hub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hugging_face, "_MOST_FILES", 10)
    left = 3

    def dying(method: str, path: str) -> int | None:
        nonlocal left
        left -= path.endswith("/commit/main")
        return 403 if path.endswith("/commit/main") and left < 0 else None

    hub.before = dying
    with pytest.raises(ConnectionError, match=r"refuses me/genome \(status 403"):
        push(store, "me/genome")
    assert MANIFEST not in hub.files("me/genome"), "what is there in part is no sealed store"
    with pytest.raises(NotPushed, match="holds no sealed store"):
        pull("me/genome", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    hub.before = lambda method, path: None
    done = push(store, "me/genome")
    assert done.was_there == 30
    assert done.objects == len(files_of(store))
    commits = len(hub.repositories["me/genome"].commits)
    again = push(store, "me/genome")
    assert (again.was_there, again.bytes) == (again.objects, 0)
    assert len(hub.repositories["me/genome"].commits) == commits


@pytest.mark.parametrize("change", ["one object is gone", "a former object is there"])
def test_a_manifest_that_is_sent_again_was_not_there(hub: Hub, store: Store, change: str) -> None:
    push(store, "me/genome")
    files, whole, shard = hub.files("me/genome"), files_of(store), "features/demo/chr1/values/c/0/0/0"
    seen: list[tuple[int, int]] = []
    if change == "one object is gone":
        del files[shard]
        sent = [shard, MANIFEST]
    else:
        files[f"{shard}0"] = b"of a former state"
        sent = [MANIFEST]
    done = push(store, "me/genome", progress=lambda *sizes: seen.append(sizes))
    n_bytes = sum(len(whole[key]) for key in sent)
    assert (done.was_there, done.bytes) == (len(whole) - len(sent), n_bytes)
    total = sum(map(len, whole.values()))
    assert seen[-1] == (total, 0)
    assert all(left >= 0 and done + left == total for done, left in seen)
    assert {key: data for key, data in hub.files("me/genome").items() if key != ".gitattributes"} == whole


def test_a_store_that_changed_replaces_what_was_pushed_and_an_old_commit_stays(
    hub: Hub, store: Store, tmp_path: Path
) -> None:
    first = push(store, "me/genome")
    hub.repositories["me/genome"].commits[-1]["LICENSE"] = b"ours\n"
    other = built_store(tmp_path / "other", {"chr1": 200}, GRID, contigs=["chr1"])
    seal(other)
    second = push(other, "me/genome")
    files = dict(hub.files("me/genome"))
    assert files.pop("LICENSE") == b"ours\n", "what is not of a store is left alone"
    del files[".gitattributes"]
    assert files == files_of(other)
    assert pull("me/genome", tmp_path / "old", revision=first.commit).top_hash == first.top_hash
    assert pull("me/genome", tmp_path / "new").top_hash == second.top_hash
    manifests = [MANIFEST in commit for commit in hub.repositories["me/genome"].commits]
    assert manifests[-1]
    assert False in manifests[2:-1], "the manifest goes first and comes last"


def test_a_damaged_shard_is_pushed_nowhere_and_pulled_nowhere(hub: Hub, store: Store, tmp_path: Path) -> None:
    shard = next(Path(store.url).glob("features/demo/chr1/values/c/*/*/*"))
    key, whole = shard.relative_to(store.url).as_posix(), shard.read_bytes()
    shard.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(DamagedShard, match=r"is not what MANIFEST\.json says"):
        push(store, "me/genome")
    shard.write_bytes(whole)
    push(store, "me/genome")
    hub.files("me/genome")[key] = bytes([whole[0] ^ 1]) + whole[1:]
    report = pull("me/genome", tmp_path / "back")
    assert not report.is_complete
    assert len(report.failed) == 1
    assert not (tmp_path / "back" / key).exists()
    hub.files("me/genome")[key] = whole
    again = pull("me/genome", tmp_path / "back")
    assert (again.is_complete, again.copied) == (True, 1)


def test_a_path_that_leads_out_of_the_folder_writes_nothing_there(hub: Hub, store: Store, tmp_path: Path) -> None:
    push(store, "me/genome")
    for path in ("features/../../escaped", "../escaped", "/escaped", "features/demo/..\\escaped"):
        hub.files("me/genome")[path] = b"escaped"
    before = set(tmp_path.rglob("*"))
    with suppress(OSError, ValueError):
        pull("me/genome", tmp_path / "in" / "back")
    new = {item for item in set(tmp_path.rglob("*")) - before if tmp_path / "in" not in item.parents}
    assert new <= {tmp_path / "in"}
    assert not any("escaped" in item.name for item in tmp_path.rglob("*"))


def test_what_cannot_be_pushed_is_refused_with_the_mend(hub: Hub, store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotPushed, match=r"is not sealed.*`featurestore seal` it"):
        push(built_store(tmp_path / "open", LENGTHS, GRID), "me/genome")
    for name in ("genome", "me/../genome", "me/genome/main", "https://hub/me", "me/", "me/a b"):
        with pytest.raises(ValueError, match="named OWNER/NAME"):
            push(store, name)
        with pytest.raises(ValueError, match="named OWNER/NAME"):
            pull(name, tmp_path / "back")
    assert hub.repositories == {}
    push(store, "me/genome")
    hub.files("me/genome")[README] = b"# By hand\n"
    with pytest.raises(NotPushed, match=r"README\.md that was written by another hand"):
        push(store, "me/genome")
    assert hub.files("me/genome")[README] == b"# By hand\n"
    with pytest.raises(ConnectionError, match=r"refuses me/absent .*`hf auth login`"):
        pull("me/absent", tmp_path / "back")


def test_a_hub_that_does_not_answer_is_said_in_one_sentence(
    hub: Hub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    for attempt in (lambda: push(store, "me/genome"), lambda: pull("me/genome", tmp_path / "back")):
        with pytest.raises(ConnectionError, match=r"does not answer for me/genome .*the same command goes on"):
            attempt()


def test_the_commands_say_what_they_did_and_never_the_token(
    hub: Hub, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["push", store.url, "me/genome", "--private"]) == 0
    assert hub.repositories["me/genome"].private
    assert main(["pull", "me/genome", str(tmp_path / "back")]) == 0
    printed = "".join(capsys.readouterr())
    assert f"{hub.url}/datasets/me/genome, commit " in printed
    assert "10 of 10 shards at" in printed
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}Wrong")
    assert main(["pull", "me/genome", str(tmp_path / "other")]) == 2
    assert main(["push", store.url, "me/genome"]) == 2
    printed += (refused := "".join(capsys.readouterr()))
    assert "`hf auth login`" in refused
    assert TOKEN not in printed
    assert "Traceback" not in printed


def test_a_store_on_the_hub_is_read_in_place(hub: Hub, store: Store) -> None:
    commit = push(store, "me/genome").commit
    there = featurestore.open(f"hf://datasets/me/genome@{commit}")
    np.testing.assert_array_equal(
        there["demo"].window("chr1", 100, n_bins=9).values, store["demo"].window("chr1", 100, n_bins=9).values
    )
    assert there.feature_set("demo") == feature_set_of(GRID)
