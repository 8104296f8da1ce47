"""What verifying says of a store, and what repairing makes of it."""

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

import featurestore
from catalog import AssemblyMismatch, Grid
from featurestore import Fault, NotAStore, repair, verify
from featurestore.cli import upkeep as upkeep_cli
from featurestore.cli.main import main
from featurestore.format import layout
from featurestore.format.declarations import Declaration, DeclarationLog
from featurestore.format.http_listing import ListedObjects
from featurestore.format.metadata import root_documents, set_documents
from featurestore.testing import assembly_of, built_store, feature_set_of, random_sequences
from featurestore.upkeep.verification.ordered import in_order

LENGTHS = {"chr1": 200, "chr2": 40}
GRID = Grid(bin_size=16, offsets=(0, 8))


@pytest.fixture
def store(tmp_path: Path) -> featurestore.Store:
    return built_store(tmp_path, LENGTHS, GRID)


def files_of(folder: str | Path) -> dict[str, bytes]:
    folder = Path(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_metadata_is_what_follows_from_the_descriptions_and_lost_objects_are_written_anew(
    store: featurestore.Store,
) -> None:
    before = files_of(store.url)
    expected = root_documents(store.assembly) | set_documents(store.assembly, store.feature_set("demo"), LENGTHS)
    assert {key: data for key, data in before.items() if key in expected} == expected
    assert before.keys() - expected.keys() == {
        "declared/demo/0.json",
        *(key for key in before if key.startswith("commits/") or "/values/c/" in key),
    }
    for key in sorted(expected.keys() - {"zarr.json"}):
        Path(store.url, key).unlink()
        (fault,) = verify(store).faults
        assert (fault.where, fault.what) == (key, "is not there")
        assert "`featurestore repair` writes it anew" in fault.mend
        assert repair(store, verify(store)).written == [key]
        assert files_of(store.url) == before


def test_a_damaged_description_stops_readers_and_names_the_mend(store: featurestore.Store) -> None:
    path = Path(store.url, "features/demo/zarr.json")
    whole = path.read_text()
    path.write_text(whole.replace('"channel1"', '"channel7"'))
    with pytest.raises(NotAStore, match="its digest is that of another; `featurestore repair` mends it"):
        store.feature_set("demo")
    path.write_text(whole[:-10])
    with pytest.raises(NotAStore, match=r"is no JSON .*`featurestore repair .*` writes it anew"):
        store.feature_set("demo")
    repair(store, verify(store))
    assert path.read_text() == whole
    root = Path(store.url, "zarr.json")
    root.write_text(root.read_text().replace('"tiny"', '"tidy"'))
    with pytest.raises(NotAStore, match=r"is damaged: .* remove .*zarr.json and build with the same FASTA"):
        featurestore.open(store.url)


def test_a_root_made_for_another_assembly_is_refused(store: featurestore.Store, tmp_path: Path) -> None:
    whole = Path(store.url, "zarr.json").read_bytes()
    Path(store.url, "zarr.json").unlink()
    sequences = random_sequences(LENGTHS)
    assert featurestore.create(tmp_path, assembly_of(sequences)).feature_sets() == ["demo"]
    assert Path(store.url, "zarr.json").read_bytes() == whole
    Path(store.url, "zarr.json").unlink()
    other = featurestore.create(tmp_path, assembly_of(random_sequences(LENGTHS, seed=1)))
    with pytest.raises(AssemblyMismatch, match="build with its FASTA"):
        other.declare(feature_set_of(GRID), ["chr1"])
    found = verify(other)
    assert [fault.where for fault in found.faults] == ["features/demo/zarr.json"]
    assert repair(other, found) == ([], [])


def test_a_description_without_a_digest_is_read_and_is_a_fault_that_repair_mends(store: featurestore.Store) -> None:
    path = Path(store.url, "features/demo/zarr.json")
    whole = path.read_bytes()
    document = json.loads(whole)
    del document["attributes"]["digest"]
    path.write_text(json.dumps(document))
    Path(store.url, "declared/demo/0.json").unlink()
    assert featurestore.open(store.url).feature_set("demo") == feature_set_of(GRID)
    repair(store, verify(store))
    assert path.read_bytes() == whole
    assert verify(store, crc=True).is_sound


def test_the_newest_declaration_holds_and_the_group_follows_it(store: featurestore.Store) -> None:
    more = feature_set_of(Grid(bin_size=16, offsets=(0, 8, 4)))
    log = DeclarationLog(store.objects, store.assembly, "demo")
    assert log.add(Declaration(1, more))
    assert not log.add(Declaration(1, feature_set_of(GRID))), "a declaration is never changed"
    found = verify(store)
    assert {fault.where for fault in found.faults} == {
        "features/demo/zarr.json",
        "features/demo/offset/zarr.json",
        "features/demo/offset/c/0",
        "features/demo/chr1/values/zarr.json",
        "features/demo/chr2/values/zarr.json",
    }
    repair(store, found)
    assert store.feature_set("demo") == more
    assert verify(store).is_sound


@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_declaration_is_mended(store: featurestore.Store, number: int) -> None:
    store.declare(feature_set_of(Grid(bin_size=16, offsets=(4,))), [])
    path = Path(store.url, f"declared/demo/{number}.json")
    path.write_text("{}")
    found = verify(store)
    assert [fault.where for fault in found.faults] == [f"declared/demo/{number}.json"]
    repair(store, found)
    assert verify(store).is_sound
    assert store.declare(feature_set_of(Grid(bin_size=16, offsets=(12,))), []).offsets == (0, 8, 4, 12)


def test_a_set_of_which_nothing_can_be_read_is_left_as_it_is(store: featurestore.Store) -> None:
    Path(store.url, "declared/demo/0.json").write_text("{}")
    Path(store.url, "features/demo/zarr.json").write_text("{}")
    before = files_of(store.url)
    found = verify(store)
    (fault,) = found.faults
    assert fault.where == "features/demo/zarr.json"
    assert "from a copy" in fault.mend
    assert found.strangers == []
    assert repair(store, found) == ([], [])
    assert files_of(store.url) == before


def test_strangers_are_listed_and_are_no_fault(store: featurestore.Store) -> None:
    strange = ["notes.txt", "features/demo/chr1/values/c/7/0/0", "commits/demo/chr1/readme"]
    for key in [*strange, "failures/demo/chr1/0-1.json", "README.md"]:
        store.objects.put(key, b"{}")
    found = verify(store, crc=True)
    assert found.is_sound
    assert found.strangers == sorted(strange)


def test_a_record_of_another_extractor_or_division_is_a_fault(store: featurestore.Store, tmp_path: Path) -> None:
    other = built_store("memory://verify/other.store", LENGTHS, GRID, fingerprint="f1")
    record = layout.commit_key("demo", "chr1", 0, 1)
    store.objects.put(record, other.objects.get(record))
    (fault,) = verify(store).faults
    assert fault.what == "its record is that of another assembly, extractor or division into shards"
    assert fault.remove == (record, layout.shard_key("demo", "chr1", 0, 1))


def test_a_shard_that_is_committed_while_the_store_is_listed_is_no_fault(store: featurestore.Store) -> None:
    sizes = dict(store.objects.walk(""))
    key = layout.shard_key("demo", "chr1", 0, 1)
    del sizes[key]
    listed = featurestore.Store(ListedObjects(store.objects, sizes), store.assembly)
    assert verify(listed, crc=True).is_sound
    store.objects.delete(key)
    assert [fault.what for fault in verify(listed).faults] == ["is committed but not there"]


def test_only_so_many_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(lambda number: number * 2, items(), threads=2)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert len(taken) <= 3 + 4 * 2
    assert list(results) == [2 * number for number in range(3, 1000)]


def test_progress_counts_the_committed_shards_of_the_whole_store(store: featurestore.Store) -> None:
    seen: list[tuple[int, int]] = []
    found = verify(store, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, found.shards) for number in range(1, found.shards + 1)]


def test_the_verb_says_what_it_looked_at(store: featurestore.Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", store.url]) == 0
    assert "looked at: 11 metadata objects, the records and shards (presence and size)\n" in capsys.readouterr().out
    assert main(["verify", store.url, "--crc"]) == 0
    assert "(every byte)" in capsys.readouterr().out
    Path(store.url, "features/demo/offset/c/0").unlink()
    store.objects.put("notes.txt", b"")
    assert main(["verify", store.url]) == 1
    out = capsys.readouterr().out
    assert "fault: features/demo/offset/c/0: is not there; `featurestore repair`" in out
    assert "not of this store: notes.txt" in out
    assert main(["repair", store.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": [], "written": ["features/demo/offset/c/0"], "left": []}


def test_bins_are_recomputed_by_the_check_that_is_installed(
    store: featurestore.Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["verify", store.url, "--recompute", "5"]) == 2
    assert "--fasta FILE" in capsys.readouterr().err
    monkeypatch.setattr(upkeep_cli, "entry_points", lambda **_: EntryPoints())
    assert main(["verify", store.url, "--recompute", "5", "--fasta", "g.fa"]) == 2
    assert "pip install '.[build]' in the checkout" in capsys.readouterr().err
    entry = EntryPoint("recompute", f"{__name__}:recompute_nothing", "featurestore.checks")
    monkeypatch.setattr(EntryPoint, "load", lambda _: recompute_nothing)
    monkeypatch.setattr(upkeep_cli, "entry_points", lambda **wanted: [entry] if wanted["name"] == entry.name else [])
    assert main(["verify", store.url, "--recompute", "5", "--fasta", "g.fa", "--seed", "7"]) == 1
    out = capsys.readouterr().out
    assert "fault: 5 bins: of g.fa with seed 7; mend" in out
    assert "5 bins of each feature set computed again" in out


def recompute_nothing(store: featurestore.Store, k: int, **options: Any) -> list[Fault]:
    return [Fault(f"{k} bins", f"of {options['fasta']} with seed {options['seed']}", "mend")]
