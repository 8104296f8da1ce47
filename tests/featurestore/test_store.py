"""What is written is what is read, by every reader; what was never built is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import featurestore
from catalog import AssemblyMismatch, Grid, UnknownContig
from featurestore import (
    CommitConflict,
    ContigLayout,
    DamagedChunk,
    FingerprintMismatch,
    NotAStore,
    NotBuilt,
    TensorStoreRows,
    ZarrRows,
    repair,
    verify,
    write_shard,
)
from featurestore.format import layout
from featurestore.testing import (
    ORIGIN,
    assembly_of,
    built_store,
    feature_set_of,
    grids,
    random_sequences,
    values_of,
)
from loaders.residence.memory import HeldRows

LENGTHS = {"chr1": 1000, "chr2": 77, "tiny": 3}
GRID = Grid(bin_size=16, offsets=(0, 8))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> featurestore.Store:
    path = tmp_path_factory.mktemp("store")
    built_store(path, LENGTHS, GRID)
    return featurestore.open(path)


def expected_window(contig: str, centre: int, n_bins: int) -> tuple[np.ndarray, list[int], int]:
    """Look each bin up by hand: try every phase and every first bin, keep the nearest."""
    half = n_bins // 2 * 16 + (8 if n_bins % 2 else 0)
    candidates = [
        (abs(j * 16 - offset + half - centre), phase, j)
        for phase, offset in enumerate(GRID.offsets)
        for j in range(-200, 200)
    ]
    _, phase, first = min(candidates)
    feature_set = feature_set_of(GRID)
    values = values_of(feature_set, LENGTHS[contig], phase)
    rows = [values[j] if 0 <= j < len(values) else np.float16(feature_set.pad) for j in range(first, first + n_bins)]
    starts = [j * 16 - GRID.offsets[phase] for j in range(first, first + n_bins)]
    return np.stack(rows), starts, starts[0] + half - centre


@given(st.sampled_from(sorted(LENGTHS)), st.data(), st.integers(1, 90))
@settings(max_examples=150, deadline=None)
def test_a_window_holds_the_rows_nearest_its_centre_and_pad_outside(
    store: featurestore.Store, contig: str, data: st.DataObject, n_bins: int
) -> None:
    centre = data.draw(st.integers(0, LENGTHS[contig] - 1))
    window = store["demo"].window(contig, centre, n_bins=n_bins)
    values, starts, residual = expected_window(contig, centre, n_bins)
    np.testing.assert_array_equal(window.values, values)
    assert window.starts.tolist() == starts
    assert window.residual == residual
    assert abs(window.residual) <= 4  # two phases, bins of 16 bp
    assert window.values.dtype == np.float16


@given(st.lists(st.tuples(st.sampled_from(sorted(LENGTHS)), st.floats(0, 0.999)), min_size=1, max_size=20), st.data())
@settings(max_examples=50, deadline=None)
def test_every_engine_gives_the_same_windows(
    store: featurestore.Store, places: list[tuple[str, float]], data: st.DataObject
) -> None:
    contigs = [contig for contig, _ in places]
    centres = [int(LENGTHS[contig] * share) for contig, share in places]
    n_bins = data.draw(st.integers(1, 40))
    reader = store["demo"]
    assert isinstance(reader.source, TensorStoreRows)
    fast = reader.windows(contigs, centres, n_bins)
    slow = reader.with_source(ZarrRows(store.objects.zarr(read_only=True), "demo")).windows(contigs, centres, n_bins)
    held = reader.with_source(HeldRows(reader, 1 << 20)).windows(contigs, centres, n_bins)
    for other in (slow, held):
        np.testing.assert_array_equal(fast.values, other.values)
        np.testing.assert_array_equal(fast.starts, other.starts)
        np.testing.assert_array_equal(fast.residuals, other.residuals)
    one = reader.window(contigs[-1], centres[-1], n_bins=n_bins)
    np.testing.assert_array_equal(fast.values[-1], one.values)


@given(grids(max_bin_size=20), st.integers(1, 300), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_plain_zarr_reads_back_every_value_of_any_layout(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, length: int, chunks: int, channels: int
) -> None:
    path = tmp_path_factory.mktemp("any")
    shape = {"n_channels": channels, "chunk_bins": 2, "shard_bins": 2 * chunks}
    built_store(path, {"c": length}, grid, **shape)
    array = zarr.open_array(str(path), path="features/demo/c/values", mode="r")
    feature_set = feature_set_of(grid, **shape)
    for phase in range(len(grid.offsets)):
        expected = values_of(feature_set, length, phase)
        np.testing.assert_array_equal(array[phase, : len(expected)], expected)
        assert np.isnan(array[phase, len(expected) :]).all()
    assert verify(featurestore.open(path), crc=True).is_sound


def test_plain_zarr_sees_groups_attributes_and_checksummed_shards(store: featurestore.Store) -> None:
    group = zarr.open_group(store.url, mode="r")
    assert group.attrs["featurestore"]["format"] == 1
    assert group.attrs["featurestore"]["assembly"]["digest"] == store.assembly.digest
    metadata = json.loads(Path(store.url, "features/demo/chr1/values/zarr.json").read_text())
    (sharding,) = metadata["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert [codec["name"] for codec in sharding["configuration"]["codecs"]] == ["bytes", "zstd", "crc32c"]
    assert metadata["dimension_names"] == ["phase", "bin", "channel"]
    assert metadata["fill_value"] == "NaN"


def test_xarray_opens_a_contig_and_the_tree_inherits_the_channels(store: featurestore.Store) -> None:
    plain = xr.open_zarr(store.url, group="features/demo/chr1", consolidated=False)
    expected = values_of(feature_set_of(GRID), 1000, 1)
    np.testing.assert_array_equal(plain["values"][1].to_numpy(), expected)
    tree = xr.open_datatree(store.url, engine="zarr", group="features/demo", consolidated=False)
    assert tree["chr2"]["channel"].values.tolist() == ["channel0", "channel1", "channel2"]
    assert tree["offset"].values.tolist() == [0, 8]


def test_to_xarray_is_lazy_and_knows_where_each_bin_starts(store: featurestore.Store) -> None:
    dataset = store["demo"].to_xarray("1")
    assert not dataset["values"].variable._in_memory
    assert dataset["start"].sel(bin=2).values.tolist() == [32, 24]
    np.testing.assert_array_equal(
        dataset["values"].sel(channel="channel2")[0].to_numpy(), values_of(feature_set_of(GRID), 1000, 0)[:, 2]
    )
    assert set(store["demo"].to_xarray().children) == set(LENGTHS)
    assert store["demo"].to_xarray("chr1", chunks={})["values"].chunks is not None


def test_another_fsspec_url_holds_the_same_store() -> None:
    url = "memory://some/where.store"
    built_store(url, LENGTHS, GRID)
    store = featurestore.open(url)
    window = store["demo"].window("chr1", 999, n_bins=9)
    np.testing.assert_array_equal(window.values, expected_window("chr1", 999, 9)[0])
    assert verify(store, crc=True).is_sound
    assert store["demo"].to_xarray("chr2").sizes["channel"] == 3


def test_adding_a_phase_leaves_what_is_there(tmp_path: Path) -> None:
    built_store(tmp_path, {"c": 128}, Grid(bin_size=16), shard_bins=4)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("c/0/*/0")}
    store = featurestore.open(tmp_path)
    agreed = store.declare(feature_set_of(Grid(bin_size=16, offsets=(5, 0))), ["c"])
    assert agreed.offsets == (0, 5)
    store = featurestore.open(tmp_path)
    reader = store["demo"]
    assert reader.window("c", 8, n_bins=1).residual == 0
    with pytest.raises(NotBuilt, match=r"offset 5 .*featurestore build .*--contigs c --offsets 0,5"):
        reader.window("c", 3, n_bins=1)
    contig = ContigLayout(agreed, 128)
    assert contig.shape == (2, 9, 3)
    for shard in range(contig.n_shards(1)):
        first, end = contig.shard_span(1, shard)
        values = values_of(agreed, 128, 1)[first:end]
        write_shard(store.objects, contig, values, contig="c", phase=1, shard=shard, origin=ORIGIN)
    np.testing.assert_array_equal(reader.window("c", 3, n_bins=1).values, values_of(agreed, 128, 1)[:1])
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("c/0/*/0")} == before
    assert verify(featurestore.open(tmp_path), crc=True).is_sound


REQUESTS = ("get", "put", "create", "delete", "walk", "folders")


def interrupted(store: featurestore.Store, n: int, act: Callable[[], object]) -> None:
    """Have something done once, before the n-th request of a store."""
    count = 0

    def watched(request: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == n:
                act()
            return request(*arguments)

        return acting

    for name in REQUESTS:
        setattr(store.objects, name, watched(getattr(store.objects, name)))


@pytest.mark.parametrize("is_there", [False, True], ids=["a new set", "a set that is there"])
def test_builders_that_declare_at_one_time_agree_on_every_phase(tmp_path: Path, is_there: bool) -> None:
    for n in range(1, 100):
        url = tmp_path / str(n)
        assembly = assembly_of(random_sequences({"a": 64, "b": 40}))
        slow, quick = featurestore.create(url, assembly), featurestore.create(url, assembly)
        if is_there:
            slow.declare(feature_set_of(Grid(bin_size=16)), ["a"])
        agreed: list[tuple[int, ...]] = []
        other = feature_set_of(Grid(bin_size=16, offsets=(0, 4)))
        interrupted(slow, n, lambda: agreed.append(quick.declare(other, ["b"]).offsets))  # noqa: B023
        agreed.append(slow.declare(feature_set_of(Grid(bin_size=16, offsets=(0, 8))), ["a"]).offsets)
        if len(agreed) == 1:
            break
        final = quick.feature_set("demo").offsets
        assert set(final) == {0, 4, 8}
        # The number of a phase is part of its shards' keys: who was told one may rely on it.
        assert all(final[: len(offsets)] == offsets for offsets in agreed)
        assert quick.contigs("demo") == ["a", "b"]
        assert verify(quick, crc=True).is_sound
    assert n > 10


def test_of_two_extractors_that_declare_one_set_at_one_time_one_is_refused(tmp_path: Path) -> None:
    for n in range(1, 100):
        url = tmp_path / str(n)
        assembly = assembly_of(random_sequences({"a": 64}))
        slow, quick = featurestore.create(url, assembly), featurestore.create(url, assembly)
        outcomes: list[str] = []

        def declare(store: featurestore.Store, fingerprint: str, outcomes: list[str] = outcomes) -> None:
            described = feature_set_of(Grid(bin_size=16), fingerprint=fingerprint, n_channels=2 + len(fingerprint))
            try:
                outcomes.append(store.declare(described, ["a"]).fingerprint)
            except FingerprintMismatch:
                outcomes.append("refused")

        interrupted(slow, n, lambda: declare(quick, "quick"))  # noqa: B023
        declare(slow, "slow")
        if len(outcomes) == 1:
            break
        assert sorted(outcomes) in (["quick", "refused"], ["refused", "slow"])
        assert quick.feature_set("demo").fingerprint in outcomes
        assert verify(quick, crc=True).is_sound
    assert n > 10


def test_a_shard_that_was_never_built_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    store = built_store(tmp_path, LENGTHS, GRID, contigs=["chr1"])
    with pytest.raises(NotBuilt, match=r"featurestore build .* --extractor demo --contigs chr2"):
        store["demo"].window("chr2", 10, n_bins=3)
    with pytest.raises(NotBuilt, match="has no feature set 'sei'; it has demo"):
        _ = store["sei"]
    with pytest.raises(NotBuilt, match="--contigs chr2"):
        store["demo"].to_xarray("chr2")
    Path(tmp_path, layout.commit_key("demo", "chr1", 0, 1)).unlink()
    with pytest.raises(NotBuilt, match="bins 4-7 of the phase with offset 0 "):
        store["demo"].window("chr1", 16 * 5 + 8, n_bins=1)
    assert store["demo"].window("chr1", 16 * 9 + 8, n_bins=1).values.shape == (1, 3)
    assert verify(store).missing == 1


def test_a_reader_sees_shards_that_were_committed_after_its_first_read(tmp_path: Path) -> None:
    store = built_store(tmp_path, LENGTHS, GRID, contigs=["chr1"])
    reader = store["demo"]
    with pytest.raises(NotBuilt):
        reader.window("tiny", 1, n_bins=1)
    built_store(tmp_path, LENGTHS, GRID, contigs=["tiny"])
    assert np.isfinite(reader.window("tiny", 1, n_bins=1).values).all()


@pytest.mark.parametrize(
    ("contig", "centre", "n_bins", "error", "message"),
    [
        pytest.param("chr9", 5, 3, UnknownContig, "no contig 'chr9'; it has chr1, chr2, tiny", id="unknown contig"),
        pytest.param("chr2", 77, 3, ValueError, "bases are 0 to 76", id="centre one past the end"),
        pytest.param("chr2", -1, 3, ValueError, "centre -1 lies outside chr2", id="centre before base 0"),
        pytest.param("chr2", 5, 0, ValueError, "at least 1 bin", id="no bins"),
    ],
)
def test_bad_windows_are_refused(
    store: featurestore.Store, contig: str, centre: int, n_bins: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        store["demo"].window(contig, centre, n_bins=n_bins)


def test_bad_lists_of_windows_are_refused(store: featurestore.Store) -> None:
    with pytest.raises(ValueError, match="got 2 contigs and 1 centres"):
        store["demo"].windows(["chr1", "chr1"], [5], 3)
    with pytest.raises(ValueError, match="integer positions"):
        store["demo"].windows(["chr1"], [5.5], 3)
    with pytest.raises(ValueError, match="integer positions"):
        store["demo"].windows([], [], 3)


def test_an_other_assembly_and_an_other_fingerprint_are_refused(tmp_path: Path) -> None:
    store = built_store(tmp_path, LENGTHS, GRID)
    other = assembly_of(random_sequences(LENGTHS, seed=1), name="other")
    with pytest.raises(AssemblyMismatch, match=r"first differ at chr1.* store of its own"):
        featurestore.create(tmp_path, other)
    with pytest.raises(FingerprintMismatch, match=r"fingerprint f0, not f1.*another store"):
        store.declare(feature_set_of(GRID, fingerprint="f1"), ["chr1"])


def test_what_is_no_store_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="featurestore build"):
        featurestore.open(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="featurestore build"):
        featurestore.open(tmp_path)
    zarr.create_group(str(tmp_path / "plain"))
    with pytest.raises(NotAStore, match="lack 'featurestore'"):
        featurestore.open(tmp_path / "plain")
    zarr.create_group(str(tmp_path / "newer"), attributes={"featurestore": {"format": 99}})
    with pytest.raises(NotAStore, match="format 99; this version reads formats 1 and 2"):
        featurestore.open(tmp_path / "newer")


@pytest.mark.parametrize(
    ("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (1e6, "1000000.0")], ids=["NaN", "infinite", "too large"]
)
def test_values_that_cannot_be_stored_are_refused_before_anything_is_written(
    tmp_path: Path, value: float, shown: str
) -> None:
    store = featurestore.create(tmp_path, assembly_of(random_sequences({"c": 32})))
    feature_set = store.declare(feature_set_of(Grid(bin_size=16)), ["c"])
    values = np.zeros((2, 3), dtype=np.float32)
    values[1, 2] = value
    with pytest.raises(ValueError, match=rf"channel 'channel2' of row 1 is {shown}.*finite"):
        write_shard(store.objects, ContigLayout(feature_set, 32), values, contig="c", phase=0, shard=0, origin=ORIGIN)
    assert not list(tmp_path.rglob("c/0/*/0"))
    assert not list(Path(tmp_path).glob("commits/**/*.json"))


def test_two_writers_of_a_shard_agree_or_are_told(tmp_path: Path) -> None:
    store = featurestore.create(tmp_path, assembly_of(random_sequences({"c": 32})))
    contig = ContigLayout(store.declare(feature_set_of(Grid(bin_size=16)), ["c"]), 32)
    place = {"contig": "c", "phase": 0, "shard": 0, "origin": ORIGIN}
    first = write_shard(store.objects, contig, np.zeros((2, 3)), **place)
    assert write_shard(store.objects, contig, np.zeros((2, 3)), **place) == first
    with pytest.raises(CommitConflict, match="verify --crc"):
        write_shard(store.objects, contig, np.ones((2, 3)), **place)
    assert verify(store, crc=True).is_sound


def test_a_shard_left_without_a_record_is_written_again(tmp_path: Path) -> None:
    store = featurestore.create(tmp_path, assembly_of(random_sequences({"c": 32})))
    contig = ContigLayout(store.declare(feature_set_of(Grid(bin_size=16)), ["c"]), 32)
    key = layout.shard_key("demo", "c", 0, 0)
    store.objects.put(key, b"torn")
    assert verify(store).orphans == [key]
    write_shard(store.objects, contig, np.ones((2, 3)), contig="c", phase=0, shard=0, origin=ORIGIN)
    np.testing.assert_array_equal(store["demo"].window("c", 8, n_bins=1).values, np.ones((1, 3)))


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_found_by_verify_and_never_read_as_values(tmp_path: Path, damage: str) -> None:
    store = built_store(tmp_path, {"c": 64}, Grid(bin_size=16), chunk_bins=4)
    key = layout.shard_key("demo", "c", 0, 0)
    path = tmp_path / key
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        data[len(data) // 4] ^= 1
        path.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    (fault,) = verify(store, crc=True).faults
    assert fault.where == key
    assert "featurestore repair" in fault.mend
    for source in (store.rows("demo"), ZarrRows(store.objects.zarr(read_only=True), "demo")):
        with pytest.raises(DamagedChunk, match="featurestore verify"):
            store["demo"].with_source(source).window("c", 8, n_bins=1)


@pytest.mark.parametrize("damage", ["flip", "remove", "record"])
def test_repair_removes_what_is_at_fault_and_nothing_else(tmp_path: Path, damage: str) -> None:
    store = built_store(tmp_path, {"c": 640}, Grid(bin_size=16))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    key, record = layout.shard_key("demo", "c", 0, 3), layout.commit_key("demo", "c", 0, 3)
    if damage == "flip":
        (tmp_path / key).write_bytes(b"\0" + (tmp_path / key).read_bytes()[1:])
    elif damage == "remove":
        (tmp_path / key).unlink()
    else:
        (tmp_path / record).write_text("nonsense")
    repair(store, verify(store, crc=True))
    assert verify(store, crc=True).is_sound
    with pytest.raises(NotBuilt):
        store["demo"].window("c", 16 * 13, n_bins=1)
    built_store(tmp_path, {"c": 640}, Grid(bin_size=16))
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    assert all(after[path] == before[path] for path in before if "commits" not in path.parts)


def test_a_damaged_record_or_description_is_a_fault_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    built_store(tmp_path, {"c": 640}, Grid(bin_size=16))
    built_store(tmp_path, {"c": 640}, Grid(bin_size=16), name="other")
    record = layout.commit_key("demo", "c", 0, 3)
    (tmp_path / record).write_text("{}")
    (tmp_path / "features/other/zarr.json").write_text("{nothing")
    found = verify(featurestore.open(tmp_path), crc=True)
    assert {fault.where for fault in found.faults} == {record, "features/other/zarr.json"}
    assert found.shards == 19, "the declaration says what the damaged description cannot"


def test_a_set_that_was_never_declared_whole_is_none(tmp_path: Path) -> None:
    store = built_store(tmp_path, {"c": 64}, Grid(bin_size=16))
    half = feature_set_of(Grid(bin_size=16), name="half")
    store.declare(half, ["c"])
    (tmp_path / "features/half/zarr.json").unlink()  # it is written last
    assert store.feature_sets() == ["demo"]
    found = verify(store)
    assert (found.is_sound, found.strangers) == (True, [])
    with pytest.raises(NotBuilt, match="it has demo"):
        store.feature_set("half")
    store.declare(half, ["c"])
    assert store.feature_sets() == ["demo", "half"]


def test_changed_array_metadata_is_a_fault(tmp_path: Path) -> None:
    store = built_store(tmp_path, {"c": 64}, Grid(bin_size=16))
    path = tmp_path / "features/demo/c/values/zarr.json"
    path.write_text(path.read_text().replace('"NaN"', "0.0"))
    assert [fault.where for fault in verify(store).faults] == ["features/demo/c/values/zarr.json"]


@pytest.mark.parametrize("name", ["offset", "channel", "zarr.json", ".", ".."])
def test_a_contig_may_have_a_name_that_means_something_else(tmp_path: Path, name: str) -> None:
    store = built_store(tmp_path, {name: 40}, Grid(bin_size=16))
    assert store.contigs("demo") == [name]
    assert np.isfinite(store["demo"].window(name, 20, n_bins=1).values).all()
    assert xr.open_datatree(store.url, engine="zarr", group="features/demo", consolidated=False)["channel"].size == 3


def test_a_path_may_hold_spaces_and_letters_of_any_language(tmp_path: Path) -> None:
    path = tmp_path / "mein Speicher, ü #1 100%"
    built_store(path, {"c": 64}, Grid(bin_size=16))
    store = featurestore.open(path)
    assert store.url == str(path)
    assert np.isfinite(store["demo"].window("c", 20, n_bins=1).values).all()
    assert store["demo"].to_xarray("c").sizes["bin"] == 4
    assert verify(store, crc=True).is_sound


def test_a_contig_with_an_unusual_name_is_one_folder_deep(tmp_path: Path) -> None:
    name = "HLA-A*01:01/x|ü"
    store = built_store(tmp_path, {name: 40}, Grid(bin_size=16))
    assert store.contigs("demo") == [name]
    assert np.isfinite(store["demo"].window(name, 20, n_bins=1).values).all()
    assert verify(featurestore.open(tmp_path), crc=True).is_sound


def test_a_set_declared_while_it_is_looked_up_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, declared = featurestore.create(tmp_path / "s", assembly_of({"c": "ACGT"})), feature_set_of(Grid(bin_size=8))
    listed = type(store).feature_sets
    monkeypatch.setattr(type(store), "feature_sets", lambda self: [store.declare(declared, ["c"])] and listed(self))
    assert store.feature_set(declared.name) == declared


def test_reading_after_a_fork_is_refused_with_the_mend(
    store: featurestore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = store["demo"]
    reader.window("chr1", 100, n_bins=3)
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(RuntimeError, match="spawn"):
        reader.window("chr1", 100, n_bins=3)


def test_a_store_is_read_where_no_extra_is_installed(store: featurestore.Store) -> None:
    extras = [
        "torch",
        "transformers",
        "lightning",
        "dask",
        "distributed",
        "Bio",
        "scipy",
        "matplotlib",
        "fastapi",
        "uvicorn",
    ]
    script = f"""
import sys
for name in {extras}:
    sys.modules[name] = None
import featurestore
store = featurestore.open({store.url!r})
print(store["demo"].window("chr1", 500, n_bins=9).values.shape, store["demo"].to_xarray("chr1").sizes["bin"])
from featurestore.cli.main import main
assert main(["info", {store.url!r}]) == 0
sys.exit(main(["train", {store.url!r}, "--genes", "g", "--targets", "t", "--out", "o"]))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.stdout.startswith("(9, 3) 63"), ran.stderr
    assert ran.returncode == 2
    assert "pip install '.[model]' in the checkout" in ran.stderr
