"""A sealed store says what it holds in one hash, opens at once, and is finished by the same command when stopped."""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import xarray as xr
import zarr

import featurestore
from catalog import Grid
from featurestore import ContigLayout, Manifest, NotSealed, Origin, repair, seal, verify
from featurestore.cli.main import main
from featurestore.format import layout
from featurestore.format import manifest as manifests
from featurestore.format.coordinates import is_coordinate
from featurestore.format.manifest import CARDS, CROISSANT, MANIFEST, README, DamagedManifest
from featurestore.format.writer import write_shard
from featurestore.testing import ORIGIN, built_store, feature_set_of, values_of
from featurestore.xarray_view import set_datatree

LENGTHS = {"chr1": 200, "HLA-A*01:01": 40}
GRID = Grid(bin_size=16, offsets=(0, 8))


class Killed(BaseException):
    """Stands for SIGKILL: nothing that catches errors catches it."""


@pytest.fixture
def store(tmp_path: Path) -> featurestore.Store:
    return built_store(tmp_path / "s", LENGTHS, GRID)


def files_of(folder: str | Path) -> dict[str, bytes]:
    folder = Path(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def before_writes(store: featurestore.Store, act: Callable[[str], None]) -> None:
    """Have something done before every request of a store that changes it, with the key."""

    def watched(request: Callable[..., Any]) -> Callable[..., Any]:
        def acting(key: str, *data: bytes) -> Any:
            act(key)
            return request(key, *data)

        return acting

    for name in ("put", "create", "delete"):
        setattr(store.objects, name, watched(getattr(store.objects, name)))


def dying_after(n: int) -> Callable[[str], None]:
    left = n

    def act(key: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed(key)

    return act


def test_plain_xarray_and_zarr_open_a_sealed_store_at_any_level_without_a_warning(store: featurestore.Store) -> None:
    seal(store)
    url, expected = store.url, values_of(feature_set_of(GRID), 200, 1)
    for dataset in (
        xr.open_zarr(url, group="features/demo/chr1"),
        xr.open_zarr(f"{url}/features/demo/chr1"),
        xr.open_datatree(url, engine="zarr")["features/demo/chr1"].to_dataset(),
        xr.open_datatree(url, engine="zarr", group="features/demo")["chr1"].to_dataset(),
        xr.open_datatree(f"{url}/features/demo", engine="zarr")["chr1"].to_dataset(),
    ):
        np.testing.assert_array_equal(dataset["values"].to_numpy()[1, : len(expected)], expected)
    for path in ("", "features", "features/demo", "features/demo/chr1"):
        at_once = zarr.open_group(url, path=path, mode="r", use_consolidated=True)
        one_by_one = zarr.open_group(url, path=path, mode="r", use_consolidated=False)
        if path:  # the root also has folders that are not Zarr's, of which zarr warns when it lists
            assert {name: repr(member.metadata) for name, member in at_once.arrays()} == {
                name: repr(member.metadata) for name, member in one_by_one.arrays()
            }
        assert "consolidated_metadata" in at_once.metadata.to_dict()
    np.testing.assert_array_equal(
        store["demo"].window("chr1", 100, n_bins=3).values,
        featurestore.open(url)["demo"].window("chr1", 100, n_bins=3).values,
    )


@pytest.fixture
def served(store: featurestore.Store) -> Iterator[str]:
    """Serve the store on a web server that gives objects and lists none."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = Path(store.url, unquote(self.path).lstrip("/"))
            if not path.is_file():
                self.send_error(404)
                return
            data, byte_range = path.read_bytes(), self.headers.get("Range", "")
            first, _, last = byte_range.removeprefix("bytes=").partition("-")
            start = int(first) if first else len(data) - int(last) if last else 0
            part = data[start : int(last) + 1 if first and last else None]
            self.send_response(206 if byte_range else 200)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
            self.send_header("Last-Modified", formatdate(usegmt=True))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else part)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_xarray_reads_a_sealed_store_from_a_server_that_does_not_list(store: featurestore.Store, served: str) -> None:
    seal(store)
    reader = featurestore.open(served)["demo"]
    expected = values_of(feature_set_of(GRID), 200, 1)
    for dataset in (reader.to_xarray("chr1"), set_datatree(reader.objects, reader.feature_set)["chr1"].to_dataset()):
        np.testing.assert_array_equal(dataset["values"].to_numpy()[1, : len(expected)], expected)


def without_coordinates(store: featurestore.Store, folder: Path) -> dict[str, bytes]:
    """Copy what Zarr knows of a sealed store, but for coordinates, and have zarr consolidate it; return the files."""
    shutil.copytree(store.url, folder, ignore=shutil.ignore_patterns("commits", "declared", MANIFEST, *CARDS))
    for contig in folder.glob("features/*/*/values"):
        for name in layout.DIMENSIONS:
            shutil.rmtree(contig.parent / name)
    groups = [path for path in folder.rglob("zarr.json") if json.loads(path.read_text())["node_type"] == "group"]
    for path in groups:
        document = json.loads(path.read_text())
        document.pop("consolidated_metadata")
        path.write_text(json.dumps(document, indent=2))
    for path in groups:
        zarr.consolidate_metadata(str(path.parent), zarr_format=3)
    return files_of(folder)


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_the_manifest_lists_every_object_as_it_is(store: featurestore.Store, tmp_path: Path) -> None:
    made = seal(store).manifest
    assert store.manifest() == made
    assert Manifest.model_validate(made.model_dump(mode="json")) == made
    files = files_of(store.url)
    listed_elsewhere = {MANIFEST: files.pop(MANIFEST), CROISSANT: files.pop(CROISSANT)}
    assert {key: (size, digest) for key, (size, digest) in made.objects.items()} == {
        key: (len(data), hashlib.sha256(data).hexdigest()) for key, data in files.items()
    }
    sealed = hashlib.sha256(listed_elsewhere[MANIFEST]).hexdigest()
    assert sealed in listed_elsewhere[CROISSANT].decode()
    contents = without_coordinates(store, tmp_path / "bare")
    lines = [f"{key}\t{len(data)}\t{hashlib.sha256(data).hexdigest()}\n" for key, data in sorted(contents.items())]
    assert made.top_hash == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert (made.complete, made.assembly, made.fingerprints) == (True, store.assembly.digest, {"demo": "f0"})


def test_equal_contents_have_an_equal_top_hash_and_others_another(tmp_path: Path) -> None:
    first = seal(built_store(tmp_path / "one", LENGTHS, GRID)).manifest
    in_steps = built_store("memory://seal/equal.store", LENGTHS, Grid(bin_size=16))
    in_steps.declare(feature_set_of(GRID), [])
    other_run = Origin(run="another", device="gpu", seconds=9.0, versions={"numpy": "9"}, worker="elsewhere")
    for contig, length in LENGTHS.items():
        inside = ContigLayout(in_steps.feature_set("demo"), length)
        for shard in range(inside.n_shards(1)):
            first_bin, end = inside.shard_span(1, shard)
            values = values_of(inside.feature_set, length, 1)[first_bin:end]
            write_shard(in_steps.objects, inside, values, contig=contig, phase=1, shard=shard, origin=other_run)
    assert seal(in_steps).manifest.top_hash == first.top_hash
    assert cards_without_time(in_steps) == cards_without_time(featurestore.open(tmp_path / "one"))
    changed = built_store(tmp_path / "other", LENGTHS, GRID, fingerprint="f1")
    assert seal(changed).manifest.top_hash != first.top_hash


def test_sealing_again_writes_nothing_and_unsealing_gives_every_byte_back(store: featurestore.Store) -> None:
    before = files_of(store.url)
    made = seal(store)
    sealed = files_of(store.url)
    again = seal(store)
    assert (made.was_sealed, again.was_sealed, again.manifest) == (False, True, made.manifest)
    assert files_of(store.url) == sealed
    store.unseal()
    store.unseal()
    assert files_of(store.url) == before


def cards_without_time(store: featurestore.Store) -> tuple[str, str]:
    manifest = store.manifest()
    assert manifest is not None
    catalog, readme = (store.objects.get(key).decode() for key in ("catalog.json", README))
    minute = f"{manifest.created:%Y-%m-%d %H:%M}"
    assert minute in readme
    return catalog.replace(json.loads(catalog)["as_of"], ""), readme.replace(minute, "")


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("damage", [lambda data: data[:-9] + b"#" + data[-8:], None], ids=["changed", "gone"])
def test_a_card_that_is_damaged_is_found_and_written_anew(
    store: featurestore.Store, card: str, damage: Callable[[bytes], bytes] | None
) -> None:
    top_hash = seal(store).manifest.top_hash
    path = Path(store.url, card)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    (fault,) = verify(store, crc=True).faults
    assert fault.where == card
    assert "`featurestore repair` takes it and MANIFEST.json away, then `featurestore seal` writes both" in fault.mend
    repair(store, verify(store, crc=True))
    assert not {MANIFEST, *CARDS} & files_of(store.url).keys()
    assert seal(store).manifest.top_hash == top_hash
    assert verify(store, crc=True).is_sound


def test_a_lost_manifest_is_named_and_sealing_writes_it_anew(store: featurestore.Store) -> None:
    top_hash = seal(store).manifest.top_hash
    Path(store.url, MANIFEST).unlink()
    found = verify(store, crc=True)
    assert found.is_sound  # sealing may have been stopped
    (note,) = found.notes
    assert note.startswith("MANIFEST.json is not there, but croissant.json names it")
    assert note.endswith("`featurestore seal` writes it anew")
    assert seal(store).manifest.top_hash == top_hash
    assert not verify(store, crc=True).notes


def test_a_readme_of_another_hand_is_never_written_over_or_removed(store: featurestore.Store) -> None:
    own = Path(store.url, README)
    own.write_text("# Ours\n")
    with pytest.raises(NotSealed, match=r"README\.md that was written by another hand.*give that file another name"):
        seal(store)
    own.unlink()
    seal(store)
    own.write_text("# Ours\n")
    store.unseal()
    assert own.read_text() == "# Ours\n"


def test_a_store_that_an_earlier_version_sealed_is_sound_and_gets_its_cards(store: featurestore.Store) -> None:
    made = seal(store).manifest
    objects = {key: sealed for key, sealed in made.objects.items() if key not in CARDS}
    store.objects.put(MANIFEST, made.model_copy(update={"objects": objects}).to_json())
    for card in CARDS:
        store.objects.delete(card)
    assert verify(store, crc=True).is_sound
    again = seal(store)
    assert (again.was_sealed, again.manifest.top_hash) == (False, made.top_hash)
    assert set(CARDS) < files_of(store.url).keys()
    assert verify(store, crc=True).is_sound


def lost_coordinates(files: dict[str, bytes]) -> set[str]:
    """Name the coordinates that some document lists, or that have one, of which an object is not there."""
    listed = {key for key in files if is_coordinate(key) and key.endswith("zarr.json")}
    for key in files:
        if key.endswith("zarr.json"):
            folder, document = key.removesuffix("zarr.json"), json.loads(files[key])
            below = document.get("consolidated_metadata", {}).get("metadata", {})
            listed |= {f"{folder}{name}/zarr.json" for name in below}
    listed = set(filter(is_coordinate, listed))
    return (listed | {key.replace("zarr.json", "c/0") for key in listed}) - files.keys()


@pytest.mark.parametrize("action", [seal, featurestore.Store.unseal], ids=["sealing", "unsealing"])
def test_killed_before_any_write_the_store_is_read_and_sealing_again_finishes(
    tmp_path: Path, action: Callable[[featurestore.Store], object]
) -> None:
    start = built_store(tmp_path / "start", {"chr1": 200}, GRID)
    expected = seal(built_store(tmp_path / "expected", {"chr1": 200}, GRID)).manifest.top_hash
    if action is featurestore.Store.unseal:
        seal(start)
    for n in range(100):
        url = tmp_path / f"killed-{n}"
        shutil.copytree(start.url, url)
        killed = featurestore.open(url)
        before_writes(killed, dying_after(n))
        try:
            action(killed)
        except Killed:
            pass
        else:
            break
        store = featurestore.open(url)
        assert not lost_coordinates(files_of(url)), "a coordinate that is listed is there, with its values"
        # Killed just before or after the manifest is there, only that is missed.
        assert {fault.where for fault in verify(store, crc=True).faults} <= {MANIFEST}
        assert np.isfinite(store["demo"].window("chr1", 100, n_bins=3).values).all()
        assert seal(store).manifest.top_hash == expected
        declared = store.declare(feature_set_of(Grid(bin_size=16, offsets=(4,))), ["chr1"])
        assert declared.offsets == (0, 8, 4)
        assert not any(b"consolidated" in data or is_coordinate(key) for key, data in files_of(url).items()), "stale"
    assert n > 5


def test_a_change_takes_the_seal_off_first_and_what_changes_nothing_leaves_it(store: featurestore.Store) -> None:
    seal(store)
    sealed = files_of(store.url)
    assert store.declare(feature_set_of(Grid(bin_size=16)), ["chr1"]).offsets == (0, 8)
    assert files_of(store.url) == sealed
    keys: list[str] = []
    before_writes(store, keys.append)
    store.declare(feature_set_of(Grid(bin_size=16, offsets=(4,))), ["chr1"])
    assert keys[0] == MANIFEST
    assert store.manifest() is None
    with pytest.raises(
        NotSealed, match=r"lacks 5 shards of 'demo'; `featurestore build .* --contigs .* --offsets 0,8,4"
    ):
        seal(store)
    assert all(b"consolidated" not in data for data in files_of(store.url).values())
    assert not seal(store, partial=True).manifest.complete


def test_what_is_not_fit_is_not_sealed(store: featurestore.Store) -> None:
    key = layout.shard_key("demo", "chr1", 0, 1)
    path, whole = Path(store.url, key), Path(store.url, key).read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(NotSealed, match=rf"not sound \(1 faults, the first: {key}: .*`featurestore repair`"):
        seal(store)
    path.write_bytes(whole)
    Path(store.url, layout.commit_key("demo", "chr1", 0, 1)).unlink()
    with pytest.raises(NotSealed, match=rf"1 shards without a record.*{key}.*`featurestore build` writes them again"):
        seal(store, partial=True)
    path.unlink()
    with pytest.raises(NotSealed, match=r"lacks 1 shards .*--extractor demo.*`partial=True`"):
        seal(store)
    assert MANIFEST not in files_of(store.url)
    with pytest.raises(NotSealed, match="no feature set yet"):
        seal(featurestore.create("memory://seal/empty.store", store.assembly))


@pytest.mark.parametrize("when", ["zarr.json", MANIFEST])
@pytest.mark.parametrize("offsets", [(0, 8), (0, 8, 4)], ids=["a contig", "a contig and a phase"])
def test_a_store_that_a_build_changes_meanwhile_is_not_left_sealed(
    tmp_path: Path, when: str, offsets: tuple[int, ...]
) -> None:
    store = built_store(tmp_path, LENGTHS, GRID, contigs=["chr1"])
    done = False

    def build_more(key: str) -> None:
        nonlocal done
        if key == when and not done:
            done = True
            built_store(tmp_path, LENGTHS, Grid(bin_size=16, offsets=offsets))

    before_writes(store, build_more)
    with pytest.raises(NotSealed, match=r"changed while it was being sealed; .* `featurestore repair`"):
        seal(store)
    assert all(b"consolidated" not in data for data in files_of(tmp_path).values())
    repair(store, verify(store))
    assert seal(store).manifest.complete
    assert store.feature_set("demo").offsets == offsets


def test_a_seal_that_does_not_fit_the_store_any_more_is_a_fault_and_repair_takes_it_off(
    store: featurestore.Store,
) -> None:
    Path(store.url, layout.commit_key("demo", "chr1", 0, 1)).unlink()
    Path(store.url, layout.shard_key("demo", "chr1", 0, 1)).unlink()
    seal(store, partial=True)
    inside = ContigLayout(store.feature_set("demo"), 200)
    values = values_of(inside.feature_set, 200, 0)[slice(*inside.shard_span(0, 1))]
    write_shard(store.objects, inside, values, contig="chr1", phase=0, shard=1, origin=ORIGIN)
    found = verify(store)
    assert {fault.where for fault in found.faults} == {
        layout.commit_key("demo", "chr1", 0, 1),
        layout.shard_key("demo", "chr1", 0, 1),
    }
    assert all("`featurestore repair` takes MANIFEST.json away" in fault.mend for fault in found.faults)
    repair(store, found)
    assert verify(store, crc=True).is_sound
    assert seal(store).manifest.complete
    Path(store.url, layout.commit_key("demo", "chr1", 0, 0)).unlink()
    assert [fault.what for fault in verify(store).faults] == ["is in MANIFEST.json, but not there"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda text: text[:-2], "is no JSON", id="cut short"),
        pytest.param(lambda text: "[]", "is damaged: its digest", id="another document"),
        pytest.param(lambda text: text.replace('"version": "', '"version": "9'), "is damaged: its digest", id="edited"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused_with_the_mend(
    store: featurestore.Store, damage: Callable[[str], str], message: str
) -> None:
    seal(store)
    path = Path(store.url, MANIFEST)
    path.write_text(damage(path.read_text()))
    with pytest.raises(
        DamagedManifest, match=rf"{message}.*`featurestore repair` removes it, then `featurestore seal`"
    ):
        store.manifest()
    repair(store, verify(store, crc=True))
    assert not seal(store).was_sealed


def test_a_manifest_that_contradicts_itself_or_is_huge_is_refused(
    store: featurestore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = seal(store).manifest
    forged = made.model_copy(update={"top_hash": "0" * 64})
    store.objects.put(MANIFEST, forged.to_json())
    with pytest.raises(DamagedManifest, match="its top hash is not that of the objects"):
        store.manifest()
    monkeypatch.setattr(manifests, "_MAX_BYTES", 100)
    with pytest.raises(DamagedManifest, match="at most 100 are read"):
        store.manifest()


def test_the_verb_seals_and_says_so(store: featurestore.Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seal", store.url]) == 0
    made = store.manifest()
    assert made is not None
    assert capsys.readouterr().out == f"sealed: {len(made.objects)} objects, complete, top hash {made.top_hash}\n"
    assert main(["seal", store.url, "--quick", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["was_sealed"], document["top_hash"], document["complete"]) == (True, made.top_hash, True)
    assert main(["verify", store.url, "--crc"]) == 0
    assert f"the manifest (top hash {made.top_hash})" in capsys.readouterr().out
    Path(store.url, layout.shard_key("demo", "chr1", 0, 0)).unlink()
    assert main(["repair", store.url]) == 0
    assert "run the same `featurestore build` again; then seal again" in capsys.readouterr().out
    assert main(["seal", store.url]) == 2
    assert "error: " in capsys.readouterr().err
    assert main(["seal", store.url, "--partial"]) == 0
    assert "NOT complete" in capsys.readouterr().out
