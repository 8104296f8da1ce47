"""Anchored arrays are read as they were built, or refused; and how they are laid out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from anchor_stores import ANCHORS, N_BINS, by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

import featurestore
from builders.anchored.run_anchors import build_anchors
from catalog import Channel, FeatureSet, Grid
from catalog.genes.anchors import Anchor
from featurestore import DamagedChunk, NotBuilt, status_of, verify
from featurestore.anchored.declare import read_anchored
from featurestore.anchored.layout import describe_anchored
from featurestore.anchored.reader import AnchoredReader, UnknownAnchor, open_anchored
from featurestore.format import layout
from featurestore.format.declarations import NotAStore
from featurestore.testing import feature_set_of
from featurestore.upkeep.seal import seal

# What is read


@given(st.lists(st.sampled_from([anchor.name for anchor in ANCHORS]), max_size=9), st.sampled_from([1, 3, 7, 11]))
@settings(deadline=None)
def test_a_smaller_window_is_the_middle_of_a_larger_one(
    reader: AnchoredReader, sequences: dict[str, str], names: list[str], n_bins: int
) -> None:
    found = reader.windows(names, n_bins)
    assert found.shape == (len(names), n_bins, 5)
    assert found.dtype == np.float16
    anchors = {anchor.name: anchor for anchor in ANCHORS}
    assert found.tolist() == [by_hand(sequences, anchors[name], n_bins) for name in names]


def test_windows_are_those_of_the_grid_where_a_phase_has_the_anchor_in_the_middle(
    built: Path, reader: AnchoredReader
) -> None:
    names = ["start", "near", "nearer", "nearest", "odd"]
    chosen = [anchor for anchor in reader.anchors if anchor.name in names]
    grid = featurestore.open(built)["composition"].windows("chr1", [anchor.centre for anchor in chosen], 5)
    exact = np.flatnonzero(grid.residuals == 0)
    assert len(exact) == 4
    for number in exact:
        np.testing.assert_array_equal(reader.windows(chosen[number].name, 5)[0], grid.values[number])


def test_the_table_comes_back_in_the_order_of_the_assembly(reader: AnchoredReader) -> None:
    assert reader.anchors == ANCHORS
    assert reader.names[:2] == ["start", "near"]
    assert reader.contigs[-1] == "short"
    assert reader.centres.tolist() == [anchor.centre for anchor in ANCHORS]
    assert reader.n_bins == N_BINS


def test_xarray_opens_an_anchored_array_with_its_coordinates(built: Path, reader: AnchoredReader) -> None:
    opened = xr.open_zarr(built, group="anchored/composition/some", consolidated=False)
    assert {"anchor", "contig", "centre", "strand", "bin", "channel"} == set(opened.coords)
    assert opened["values"].dims == ("anchor", "bin", "channel")
    assert opened["strand"].values.tolist() == [anchor.strand for anchor in ANCHORS]
    assert opened["bin"].values.tolist() == list(range(-8 - 5 * 16, 5 * 16, 16))
    np.testing.assert_array_equal(opened["values"].sel(anchor="odd").values, reader.windows("odd")[0])
    assert list(zarr.open_group(built, path="anchored/composition", mode="r").group_keys()) == ["some"]


def test_windows_that_cannot_be_read_are_refused(reader: AnchoredReader, built: Path) -> None:
    with pytest.raises(UnknownAnchor, match=r"no anchor TP53; it has start, near, .*"):
        reader.windows(["near", "TP53"])
    for n_bins in (4, 13, -1):
        with pytest.raises(
            ValueError, match=f"odd number of bins, at most 11; got {n_bins}; read others from the grid"
        ):
            reader.windows("near", n_bins)
    with pytest.raises(NotBuilt, match=r"no anchors 'mane' for 'length'; it has some\. `featurestore build-anchors"):
        open_anchored(featurestore.open(built), "length", "mane")
    with pytest.raises(NotBuilt, match="no feature set 'classes'"):
        open_anchored(featurestore.open(built), "classes", "some")


def test_a_sealed_store_stays_so_until_anchors_are_added(copied: Path, settings_of: dict[str, Any]) -> None:
    store = featurestore.open(copied)
    seal(store)
    assert build_anchors(str(copied), **settings_of).built == 0
    assert store.manifest() is not None
    assert build_anchors(str(copied), **settings_of | {"name": "new", "contigs": ["short"]}).built == 1
    assert store.manifest() is None
    found = verify(store, crc=True)
    assert (found.faults, found.missing, found.orphans, found.strangers) == ([], 0, [], [])
    assert open_anchored(store, "length", "new").windows("all").shape == (1, N_BINS, 1)


def test_a_copy_brings_anchored_arrays_along(copied: Path, tmp_path: Path) -> None:
    store = featurestore.open(copied)
    report = featurestore.copy(copied, tmp_path / "b")
    assert report.is_complete
    assert featurestore.copy(tmp_path / "b", tmp_path / "c").copied == report.copied
    assert featurestore.copy(copied, tmp_path / "c").copied == 0
    hashes = {seal(featurestore.open(path)).manifest.top_hash for path in (copied, tmp_path / "b", tmp_path / "c")}
    assert len(hashes) == 1
    here, there = (
        open_anchored(featurestore.open(path), "composition", "some") for path in (store.url, tmp_path / "c")
    )
    np.testing.assert_array_equal(there.windows(there.names), here.windows(here.names))


def test_status_counts_anchored_arrays(copied: Path) -> None:
    store = featurestore.open(copied)
    (copied / layout.commit_key("length@some", layout.ANCHORS, 0, 1)).unlink()
    rows = [row for row in status_of(store).phases if row.contig == layout.ANCHORS]
    shown = [(row.feature_set, row.shards, row.committed, row.bins) for row in rows]
    assert shown == [("composition@some", 3, 3, 7 * N_BINS), ("length@some", 3, 2, 4 * N_BINS)]
    assert not status_of(store).is_complete


def test_a_damaged_shard_is_never_read_as_features(copied: Path) -> None:
    shard = copied / layout.shard_key("composition@some", layout.ANCHORS, 0, 1)
    data = bytearray(shard.read_bytes())
    data[7] ^= 1
    shard.write_bytes(data)
    store = featurestore.open(copied)
    with pytest.raises(DamagedChunk, match="verify"):
        open_anchored(store, "composition", "some").windows(["nearest", "odd", "end"])
    shard.unlink()
    with pytest.raises(DamagedChunk, match="verify"):
        open_anchored(store, "composition", "some").windows(["nearest", "odd", "end"])
    assert open_anchored(store, "composition", "some").windows(["near"]).shape == (1, N_BINS, 5)


@pytest.mark.parametrize("column", ["anchor", "contig", "centre", "strand"])
def test_a_damaged_table_is_refused_and_building_again_mends_it(
    built: Path, copied: Path, settings_of: dict[str, Any], column: str
) -> None:
    folder = copied / "anchored" / "length" / "some"
    chunk = folder / column / "c" / "0"
    for damaged in (None, chunk.read_bytes()[:-3]):
        chunk.unlink()
        if damaged is not None:
            chunk.write_bytes(damaged)
        with pytest.raises(DamagedChunk, match="damaged table of anchors; `featurestore build-anchors"):
            open_anchored(featurestore.open(copied), "length", "some")
        assert build_anchors(str(copied), **settings_of).built == 0
        assert open_anchored(featurestore.open(copied), "length", "some").anchors == ANCHORS


def test_one_of_two_descriptions_is_enough_and_without_both_there_is_an_error(copied: Path) -> None:
    store = featurestore.open(copied)
    group, values = ("anchored/length/some/zarr.json", "anchored/length/some/values/zarr.json")
    whole = read_anchored(store, "length", "some")
    text = (copied / group).read_text()
    (copied / group).write_text(text.replace('"n_bins": 11', '"n_bins": 13'))
    assert read_anchored(store, "length", "some") == whole
    (copied / values).write_text("{")
    with pytest.raises(NotAStore, match=r"put zarr.json or values/zarr.json of a copy there"):
        read_anchored(store, "length", "some")


# How it is laid out


@given(st.integers(1, 30_000), st.integers(0, 300).map(lambda half: 2 * half + 1), st.integers(1, 100))
def test_chunks_and_shards_keep_to_their_sizes(n_channels: int, n_bins: int, shard_anchors: int) -> None:
    wide = feature_set_of(Grid(), n_channels=1).model_copy(
        update={"channels": (Channel(name="c"),) * n_channels, "pad": (0.0,) * n_channels}
    )
    anchors = [Anchor(str(number), "c", number) for number in range(20)]
    (array,) = describe_anchored([wide], anchors, name="some", n_bins=n_bins, assembly="", shard_anchors=shard_anchors)
    chunk, shard = array.chunk_shape, array.shard_shape
    assert chunk[0] == 1
    assert 2 * chunk[1] * chunk[2] <= 512 << 10
    assert shard[1] % chunk[1] == 0
    assert n_bins <= shard[1] < n_bins + shard[1] // chunk[1] + chunk[1]
    assert shard[0] <= shard_anchors
    assert shard[0] == 1 or 2 * shard[0] * shard[1] * shard[2] <= 256 << 20
    spans = [array.anchor_span(number) for number in range(array.n_shards)]
    assert [anchor for span in spans for anchor in range(*span)] == list(range(20))


def test_feature_sets_of_one_pass_share_their_shards() -> None:
    def of_width(n_channels: int) -> FeatureSet:
        return feature_set_of(Grid(), n_channels=n_channels, name=f"wide{n_channels}")

    anchors = [Anchor(str(number), "c", number) for number in range(100)]
    narrow, wide = describe_anchored(
        [of_width(2), of_width(21_907)], anchors, name="some", n_bins=251, assembly="", shard_anchors=65
    )
    assert narrow.shard_shape == (24, 251, 2)
    assert wide.shard_shape == (24, 253, 21_907)
    assert wide.chunk_shape == (1, 11, 21_907)
