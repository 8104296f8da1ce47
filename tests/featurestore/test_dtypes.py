"""Sets of every type of values go the whole way: written, read by every engine and residence, kept and compared."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

import featurestore
from builders.execution.shard import collect
from builders.plan import describe, make_plan
from builders.testing import CompositionExtractor
from catalog import Grid
from catalog.genes.anchors import Anchor
from catalog.value_type import Dtype
from featurestore import Store, ZarrRows, create
from featurestore.anchored.declare import declare_anchored
from featurestore.anchored.layout import describe_anchored
from featurestore.format.layout import ContigLayout
from featurestore.format.metadata import GROUP, root_documents
from featurestore.format.writer import write_shard
from featurestore.testing import ORIGIN, assembly_of, built_store, feature_set_of, random_sequences, values_of
from loaders import JoinedDataset, WindowDataset
from loaders.residence.open import Residence, open_reader

LENGTHS = {"chr1": 1000, "chr2": 77}
GRID = Grid(bin_size=16, offsets=(0, 8))
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
TENSORS = {"float16": torch.float32, "float32": torch.float32, "uint8": torch.uint8}
CENTRES = [0, 300, 512, 999]


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> Dtype:
    found: Dtype = request.param
    return found


@pytest.fixture
def store(tmp_path: Path, dtype: Dtype) -> Store:
    return built_store(tmp_path / "s", LENGTHS, GRID, dtype=dtype)


def expected_windows(dtype: Dtype, n_bins: int) -> np.ndarray[Any, Any]:
    """Cut windows out of the values that were written, bin by bin."""
    described = feature_set_of(GRID, dtype=dtype)
    pad = np.asarray(described.pad, dtype=dtype)
    windows = []
    for centre in CENTRES:
        phase, first, _ = GRID.nearest(centre, n_bins)
        rows = values_of(described, LENGTHS["chr1"], phase)
        windows.append([rows[row] if 0 <= row < len(rows) else pad for row in range(first, first + n_bins)])
    return np.asarray(windows, dtype=dtype)


@pytest.mark.parametrize("residence", get_args(Residence))
def test_every_residence_gives_what_was_written(
    tmp_path: Path, store: Store, dtype: Dtype, residence: Residence
) -> None:
    reader = open_reader(store.url, "demo", residence=residence, cache_dir=tmp_path / "cache")
    for _ in range(2):  # the second time from what is kept
        found = reader.windows("chr1", CENTRES, 9).values
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, expected_windows(dtype, 9))


def test_plain_zarr_reads_what_was_written(store: Store, dtype: Dtype) -> None:
    array = zarr.open_array(store.url, path="features/demo/chr1/values", mode="r")
    assert array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(array[1, :63], values_of(feature_set_of(GRID, dtype=dtype), LENGTHS["chr1"], 1)[:63])
    rows = store["demo"].with_source(ZarrRows(store.objects.zarr(read_only=True), "demo"))
    np.testing.assert_array_equal(rows.windows("chr1", CENTRES, 9).values, expected_windows(dtype, 9))


def test_a_committed_shard_that_is_gone_is_no_value(store: Store) -> None:
    Path(store.url, "features/demo/chr1/values/c/0/0/0").unlink()
    for source in (store.rows("demo"), ZarrRows(store.objects.zarr(read_only=True), "demo")):
        with pytest.raises(featurestore.DamagedChunk):
            store["demo"].with_source(source).window("chr1", 24, n_bins=1)


def test_tensors_have_the_type_that_is_asked_for(store: Store, dtype: Dtype) -> None:
    windows = WindowDataset(store.url, "demo", contigs="chr1", centres=CENTRES, n_bins=9)
    assert windows[range(4)].dtype == TENSORS[dtype]
    np.testing.assert_array_equal(windows[range(4)].numpy(), expected_windows(dtype, 9))
    wider = WindowDataset(store.url, "demo", contigs="chr1", centres=CENTRES, n_bins=9, dtype=torch.float64)
    np.testing.assert_array_equal(wider[range(4)].numpy(), expected_windows(dtype, 9).astype(np.float64))
    assert JoinedDataset([windows, windows])[[0, 5]].dtype == TENSORS[dtype]
    if dtype != "uint8":
        with pytest.raises(ValueError, match=f"show a set of uint8.*these values are of {dtype}: leave out dtype"):
            WindowDataset(store.url, "demo", contigs="chr1", centres=CENTRES, dtype=torch.uint8)


def test_xarray_shows_what_was_never_built_as_nan_and_polars_gives_floats(tmp_path: Path, dtype: Dtype) -> None:
    store = built_store(tmp_path / "s", LENGTHS, GRID, dtype=dtype, contigs=["chr1"])
    store.declare(feature_set_of(GRID, dtype=dtype), ["chr2"])
    own = store["demo"].to_xarray("chr1", offset=8)["values"].to_numpy()
    expected = values_of(feature_set_of(GRID, dtype=dtype), LENGTHS["chr1"], 1)
    np.testing.assert_array_equal(own, expected)
    plain = xr.open_zarr(store.url, group="features/demo/chr2", consolidated=False)["values"]
    assert plain.dtype.kind == "f"
    assert np.isnan(plain.to_numpy()).all()
    table = store["demo"].to_polars("chr1", 0, 160, offset=8)
    np.testing.assert_array_equal(table.select("channel0", "channel1", "channel2").to_numpy(), expected[:11])


def test_a_copy_is_equal_sound_and_sealed_alike(tmp_path: Path, store: Store, dtype: Dtype) -> None:
    sealed = featurestore.seal(store).manifest
    assert sealed.format == store.format == (1 if dtype == "float16" else 2)
    report = featurestore.copy(store.url, tmp_path / "copied")
    copied = featurestore.open(tmp_path / "copied")
    assert report.top_hash == sealed.top_hash
    assert featurestore.verify(copied, crc=True).faults == []
    assert featurestore.diff(store, copied).is_equal
    assert copied["demo"].windows("chr1", CENTRES, 9).values.dtype == np.dtype(dtype)
    assert f"| {dtype} |" in Path(store.url, "README.md").read_text()
    assert f"channels of {dtype}" in Path(store.url, "croissant.json").read_text()


def test_a_damaged_shard_is_found_and_mended(store: Store, dtype: Dtype) -> None:
    shard = Path(store.url, "features/demo/chr1/values/c/1/2/0")
    before = shard.read_bytes()
    shard.write_bytes(before[:-40] + bytes(40))
    featurestore.repair(store, featurestore.verify(store, crc=True))
    layout = ContigLayout(store.feature_set("demo"), LENGTHS["chr1"])
    values = values_of(layout.feature_set, LENGTHS["chr1"], 1)[slice(*layout.shard_span(1, 2))]
    write_shard(store.objects, layout, values, contig="chr1", phase=1, shard=2, origin=ORIGIN)
    assert shard.read_bytes() == before
    assert featurestore.verify(store, crc=True).is_sound


@pytest.mark.parametrize("other", DTYPES)
def test_sets_of_two_types_are_not_one_and_are_compared_as_numbers(
    tmp_path: Path, store: Store, dtype: Dtype, other: Dtype
) -> None:
    wanted = feature_set_of(GRID, dtype=other).model_copy(update={"pad": store.feature_set("demo").pad})
    if other == dtype:
        assert store.declare(wanted, ["chr1"]).dtype == dtype
        return
    with pytest.raises(featurestore.FingerprintMismatch, match=f"values of {dtype}, not {other}"):
        store.declare(wanted, ["chr1"])
    found = featurestore.diff(store, built_store(tmp_path / "o", LENGTHS, GRID, dtype=other))
    assert found.sets[0].description["dtype"] == (dtype, other)
    assert found.sets[0].equal_shards == 0
    ours, theirs = (values_of(feature_set_of(GRID, dtype=kind), 1000, 0).astype(float) for kind in (dtype, other))
    assert found.sets[0].channels[0].max_abs >= np.abs(ours - theirs)[:, 0].max()


@pytest.mark.parametrize("n_bins", [5, 3])
def test_anchored_windows_keep_the_type(tmp_path: Path, dtype: Dtype, n_bins: int) -> None:
    store = create(tmp_path / "s", assembly_of(random_sequences(LENGTHS)))
    anchors = [Anchor("a", "chr1", 100), Anchor("b", "chr1", 500), Anchor("c", "chr2", 40)]
    feature_set = store.declare(feature_set_of(GRID, dtype=dtype), ())
    (array,) = describe_anchored(
        [feature_set], anchors, name="some", n_bins=5, assembly=store.assembly.digest, shard_anchors=2
    )
    array = declare_anchored(store, array, anchors)
    values = values_of(feature_set, 15 * GRID.bin_size, 0)
    for shard in range(array.n_shards):
        rows = values[slice(*array.shard_span(0, shard))]
        write_shard(store.objects, array, rows, contig="anchors", phase=0, shard=shard, origin=ORIGIN)
    found = featurestore.open_anchored(store, "demo", "some").windows(["a", "b", "c"], n_bins)
    assert found.dtype == np.dtype(dtype)
    first = (5 - n_bins) // 2
    np.testing.assert_array_equal(found, values.reshape(3, 5, 3)[:, first : first + n_bins])
    assert featurestore.verify(store, crc=True).is_sound
    document = json.loads(store.objects.get("anchored/demo/some/values/zarr.json"))
    assert document["attributes"].get("_FillValue") == (255 if dtype == "uint8" else None)


def test_a_build_describes_computes_and_sizes_every_type(dtype: Dtype) -> None:
    extractor = CompositionExtractor(16)
    unknown = extractor(np.full((1, 16), ord("N"), dtype=np.uint8))
    pads = {name: rows[0].tolist() for name, rows in unknown.items()}
    described = describe(extractor, Grid(bin_size=16), pads=pads, dtype=dtype)
    assert {item.dtype for item in described} == {dtype}
    sequences = np.frombuffer(b"ACGT" * 12, dtype=np.uint8).reshape(3, 16)
    computed = collect([extractor(sequences)], described, 3)["composition"]
    assert computed.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(computed, [[4, 4, 4, 4, 0]] * 3)
    plan = make_plan(described, assembly_of({"c": "A" * 160}), ["c"], offsets=(0,))
    assert plan.bytes == 10 * 6 * np.dtype(dtype).itemsize


# Format


def test_a_store_of_float16_is_of_format_1_to_the_byte(tmp_path: Path) -> None:
    store = built_store(tmp_path / "s", LENGTHS, GRID)
    assert store.objects.get(GROUP) == root_documents(store.assembly, number=1)[GROUP]
    for key in ("features/demo/zarr.json", "declared/demo/0.json", "features/demo/chr1/values/zarr.json"):
        assert b"dtype" not in store.objects.get(key)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_the_root_says_format_2_before_a_set_of_another_type_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Dtype
) -> None:
    store = built_store(tmp_path / "s", LENGTHS, GRID)
    featurestore.seal(store)
    wanted = feature_set_of(GRID, name="other", dtype=dtype)
    create_once, at_declaration = store.objects.create, []

    def watched(key: str, data: bytes) -> bool:
        if key.startswith("declared/other"):
            at_declaration.append(featurestore.open(store.url).format)
        return create_once(key, data)

    monkeypatch.setattr(store.objects, "create", watched)
    store.declare(wanted, ["chr1"])
    assert at_declaration == [2]
    assert store.feature_set("demo").dtype == "float16"
    assert featurestore.verify(store).is_sound


def test_a_root_that_was_raised_for_a_set_that_never_came_is_sound(tmp_path: Path) -> None:
    store = built_store(tmp_path / "s", LENGTHS, GRID)
    store.objects.put(GROUP, root_documents(store.assembly, number=2)[GROUP])
    assert featurestore.verify(store).is_sound
    assert featurestore.seal(store).manifest.format == 2


def test_a_root_that_says_less_than_its_sets_need_is_mended(tmp_path: Path) -> None:
    store = built_store(tmp_path / "s", LENGTHS, GRID, dtype="uint8")
    store.objects.put(GROUP, root_documents(store.assembly, number=1)[GROUP])
    found = featurestore.verify(store)
    assert [fault.where for fault in found.faults] == [GROUP]
    featurestore.repair(store, found)
    assert store.format == 2
    assert featurestore.verify(store).is_sound
