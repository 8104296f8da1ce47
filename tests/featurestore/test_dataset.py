"""A feature set as users of xarray and polars see it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xarray as xr

import featurestore
from catalog import Channel, Grid
from featurestore import NotBuilt
from featurestore.format import layout
from featurestore.testing import built_store, feature_set_of, values_of
from featurestore.xarray_view import region_frame

LENGTHS = {"chr1": 1000, "chr2": 77, "tiny": 3}
GRID = Grid(bin_size=16, offsets=(0, 8))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> featurestore.Store:
    path = tmp_path_factory.mktemp("store")
    built_store(path, LENGTHS, GRID)
    return featurestore.open(path)


@pytest.mark.parametrize("offset", GRID.offsets)
def test_one_phase_is_indexed_by_base_position(store: featurestore.Store, offset: int) -> None:
    dataset = store["demo"].to_xarray("1", offset=offset)
    assert isinstance(dataset, xr.Dataset)
    assert not dataset["values"].variable._in_memory
    assert dataset["values"].dims == ("bin", "channel")
    expected = values_of(feature_set_of(GRID), 1000, GRID.offsets.index(offset))
    np.testing.assert_array_equal(dataset["values"].to_numpy(), expected)
    for position in (0, 5, 8, 503, 999):
        row = dataset.sel(start=position, method="pad")
        assert int(row["start"]) <= position < int(row["start"]) + 16
        np.testing.assert_array_equal(row["values"].to_numpy(), expected[(position + offset) // 16])
    region = dataset.sel(start=slice(100, 200), channel=["channel2"])
    assert region["start"].to_numpy().tolist() == [16 * j - offset for j in range(70) if 100 <= 16 * j - offset <= 200]
    assert region["values"].shape == (region.sizes["bin"], 1)
    assert dataset.sel(start=501, method="nearest")["start"] == (496 if offset == 0 else 504)


def test_the_tree_is_indexed_by_contig_and_base_position(store: featurestore.Store) -> None:
    tree = store["demo"].to_xarray(offset=8)
    assert set(tree.children) == set(LENGTHS)
    for contig in LENGTHS:
        one = store["demo"].to_xarray(contig, offset=8)
        xr.testing.assert_identical(tree[contig].to_dataset(), one)
    every = store["demo"].to_xarray()
    xr.testing.assert_identical(every["chr2"].to_dataset(), store["demo"].to_xarray("chr2"))
    assert every["chr2"]["start"].dims == ("phase", "bin")
    assert every.attrs == tree.attrs == store["demo"].to_xarray().attrs
    assert not every["chr1"]["values"].variable._in_memory


def test_a_phase_that_is_not_there_is_refused(store: featurestore.Store) -> None:
    for attempt in (
        lambda: store["demo"].to_xarray("chr1", offset=4),
        lambda: store["demo"].to_xarray(offset=4),
        lambda: store["demo"].to_polars("chr1", 0, 10, offset=4),
    ):
        with pytest.raises(ValueError, match="no phase with offset 4; it has 0, 8"):
            attempt()


@pytest.mark.parametrize(("start", "end"), [(0, 1), (3, 40), (16, 32), (60, 77), (0, 77)])
@pytest.mark.parametrize("offset", GRID.offsets)
def test_a_table_has_the_bins_that_touch_a_region(store: featurestore.Store, start: int, end: int, offset: int) -> None:
    frame = store["demo"].to_polars("2", start, end, offset=offset)
    values = values_of(feature_set_of(GRID), 77, GRID.offsets.index(offset))
    spans = [(max(0, 16 * j - offset), min(77, 16 * j - offset + 16)) for j in range(len(values))]
    touching = [row for row, (low, high) in enumerate(spans) if low < end and high > start]
    assert frame.columns == ["contig", "start", "end", "channel0", "channel1", "channel2"]
    assert frame.dtypes == [pl.String, pl.Int64, pl.Int64, *[pl.Float32] * 3]
    assert frame.select("start", "end").rows() == [spans[row] for row in touching]
    np.testing.assert_array_equal(frame.drop("contig", "start", "end").to_numpy(), values[touching])
    assert set(frame["contig"]) == {"chr2"}


def test_a_region_that_is_none_or_too_large_is_refused(
    store: featurestore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start, end in ((5, 5), (-1, 5), (70, 78), (9, 3)):
        with pytest.raises(ValueError, match=r"region of chr2 is 0 <= start < end <= 77 \(0-based bp"):
            store["demo"].to_polars("chr2", start, end)
    monkeypatch.setattr("featurestore.xarray_view.MAX_FRAME_BYTES", 200)
    assert store["demo"].to_polars("chr1", 0, 64).height == 4
    with pytest.raises(ValueError, match="takes 220 bytes, more than 200; ask for 64 bp at a time, or use `to_x"):
        store["demo"].to_polars("chr1", 0, 65)


def test_a_table_of_what_was_never_built_is_refused(tmp_path: Path) -> None:
    store = built_store(tmp_path, LENGTHS, GRID)
    Path(tmp_path, layout.commit_key("demo", "chr1", 0, 1)).unlink()
    with pytest.raises(NotBuilt, match=r"bins 4-7 of the phase with offset 0 .*featurestore build"):
        store["demo"].to_polars("chr1", 0, 100)
    assert store["demo"].to_polars("chr1", 0, 64).height == 4


def test_channels_with_the_name_of_a_column_are_refused() -> None:
    described = feature_set_of(GRID, n_channels=1).model_copy(update={"channels": (Channel(name="start"),)})
    starts = np.zeros(1, dtype=np.int64)

    with pytest.raises(ValueError, match=r"channels are called \['start'\].*use `to_xarray`"):
        region_frame(described, "chr1", starts, starts, np.zeros((1, 1)))
