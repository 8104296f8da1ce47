"""Plain xarray, without this package, selects from a sealed store by channel and position."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import featurestore
from catalog import Channel, Grid
from featurestore import repair, seal, verify
from featurestore.format.coordinates import contigs_with_coordinates, coordinate_keys, is_coordinate
from featurestore.format.manifest import MANIFEST, DamagedManifest
from featurestore.format.metadata import signed
from featurestore.testing import built_store, feature_set_of, grids

LENGTHS = {"chr1": 200, "tiny": 3}
GRID = Grid(bin_size=16, offsets=(0, 8))


@settings(max_examples=6)
@given(grids(), st.integers(1, 150), st.data())
def test_what_is_selected_by_label_is_the_window_of_the_store(grid: Grid, length: int, data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        store = built_store(Path(folder, "s"), {"chr1": length}, grid)
        seal(store)
        plain = xr.open_zarr(store.url, group="features/demo/chr1")["values"]
        for position in data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=4)):
            window = store["demo"].window("chr1", position, n_bins=5)
            offset = grid.offsets[window.phase]
            inside = (window.starts > -grid.bin_size) & (window.starts < length)
            first, last = window.starts[inside][[0, -1]] + offset
            for index, channel in enumerate(store["demo"].feature_set.channel_names):
                found = plain.sel(phase=offset, channel=channel, bin=slice(first, last))
                np.testing.assert_array_equal(found.to_numpy(), window.values[inside, index])
            row = plain.sel(phase=offset).sel(bin=position + offset, method="pad")
            assert int(row["bin"] - row["phase"]) == window.starts[2], "the bin of the position itself"
            np.testing.assert_array_equal(row.to_numpy(), window.values[2])


@pytest.fixture
def store(tmp_path: Path) -> featurestore.Store:
    store = built_store(tmp_path / "s", LENGTHS, GRID)
    seal(store)
    return store


def test_the_line_of_the_readme_selects_bins_that_begin_in_a_region(store: featurestore.Store) -> None:
    contig = xr.open_zarr(store.url, group="features/demo/chr1")
    found = contig["values"].sel(phase=0, channel="channel1", bin=slice(32, 100))
    assert found["bin"].to_numpy().tolist() == [32, 48, 64, 80, 96]
    np.testing.assert_array_equal(found, store["demo"].to_polars("chr1", 32, 112)["channel1"].to_numpy())
    starts = contig["bin"] - contig["phase"]
    assert starts.sel(phase=8).to_numpy()[:3].tolist() == [-8, 8, 24]


def test_a_new_phase_takes_the_coordinates_off_until_the_store_is_sealed_again(store: featurestore.Store) -> None:
    store.declare(feature_set_of(Grid(bin_size=16, offsets=(4,))), ["chr1"])
    assert not any(is_coordinate(key) for key, _ in store.objects.walk(""))
    seal(store, partial=True)
    again = xr.open_zarr(store.url, group="features/demo/chr1")["values"].sel(phase=4, channel="channel0")
    assert np.isnan(again.to_numpy()).all(), "declared, and not built"


@pytest.mark.parametrize("item", ["zarr.json", "c/0"])
@pytest.mark.parametrize("lost", [True, False], ids=["lost", "damaged"])
def test_a_coordinate_that_is_not_as_sealed_is_a_fault_and_sealing_again_mends_it(
    store: featurestore.Store, item: str, *, lost: bool
) -> None:
    file = Path(store.url, "features/demo/chr1/bin", item)
    before = file.read_bytes()
    assert verify(store, crc=True).is_sound
    if lost:
        file.unlink()
    else:
        file.write_bytes(bytes([before[0] ^ 1]) + before[1:])
    found = verify(store, crc=True)
    assert [fault.where for fault in found.faults] == [f"features/demo/chr1/bin/{item}"]
    repair(store, found)
    seal(store)
    assert file.read_bytes() == before
    assert verify(store, crc=True).is_sound


def test_a_manifest_that_hashes_another_document_than_is_there_is_refused(store: featurestore.Store) -> None:
    document = json.loads(Path(store.url, MANIFEST).read_text())
    group = "features/demo/chr1/zarr.json"
    document["hashed_as"][group] = document["objects"][group]
    document.pop("digest")
    Path(store.url, MANIFEST).write_text(json.dumps(signed(document), indent=1, ensure_ascii=False))
    with pytest.raises(DamagedManifest, match="top hash is not that"):
        store.manifest()


def test_coordinates_are_bounded_and_the_longest_contigs_have_them() -> None:
    one = feature_set_of(Grid(bin_size=1))
    assert contigs_with_coordinates(one, {"long": 1 << 21, "short": 1 << 20}) == ["short"]
    many = {f"c{number}": 16 + number for number in range(3000)}
    chosen = contigs_with_coordinates(feature_set_of(GRID), many)
    assert sorted(chosen) == sorted(sorted(many, key=lambda name: -many[name])[:1024])
    wide = feature_set_of(GRID).model_copy(update={"channels": (Channel(name="c" * 10_000_000),)})
    assert contigs_with_coordinates(wide, many) == [f"c{number}" for number in range(2999, 2993, -1)], "64 MiB of names"


def test_the_keys_of_coordinates_are_those_that_sealing_writes(store: featurestore.Store) -> None:
    described = store.feature_set("demo")
    there = {key for key, _ in store.objects.walk("") if is_coordinate(key)}
    assert there == coordinate_keys(described, LENGTHS)
    assert len(there) == 12
