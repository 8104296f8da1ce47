"""Keys and shapes keep their promises: one place a thing, shards that tile, sizes that fit."""

from dataclasses import replace
from pathlib import Path

import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from catalog import Grid
from catalog.value_type import value_type
from featurestore import ContigLayout
from featurestore.format import layout
from featurestore.format.array_key import ArrayKey
from featurestore.testing import built_store, feature_set_of, grids

# Keys

CONTIGS = st.text(min_size=1, max_size=8) | st.sampled_from(
    ["chr1", ".", "..", "=2E", "a/b", "HLA-A*01:01", "ü", "%41"]
)


@given(CONTIGS, CONTIGS)
def test_contigs_of_two_names_have_two_folders(one: str, other: str) -> None:
    assert (layout.contig_key(one) == layout.contig_key(other)) == (one == other)


@given(CONTIGS)
def test_the_folder_of_a_contig_is_one_plain_name(contig: str) -> None:
    key = layout.contig_key(contig)
    assert key.isascii()
    assert Path(key).name == key
    assert Path("a", key, "b").parts == ("a", key, "b")
    assert set(key) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-=")


def test_the_usual_names_stay_as_they_are() -> None:
    for contig in ("chr1", "1", "NC_000001.11", "chr1_KI270706v1_random", "chrUn_GL000220v1"):
        assert layout.contig_key(contig) == contig
    assert layout.contig_key("HLA-A*01:01") == "HLA-A=2A01=3A01"


@given(CONTIGS, st.integers(0, 50), st.integers(0, 10**6))
def test_a_commit_key_is_read_back(contig: str, phase: int, shard: int) -> None:
    key = layout.commit_key("demo", contig, phase, shard)
    assert layout.parse_commit_key(key) == (layout.contig_key(contig), phase, shard)


@pytest.mark.parametrize(
    "key", ["commits/demo/chr1/0-1.json.partial", "commits/demo/chr1/0.json", "features/demo/chr1/0-1.json", ""]
)
def test_what_is_no_commit_key_is_none(key: str) -> None:
    assert layout.parse_commit_key(key) is None


def test_shards_lie_where_zarr_puts_them(tmp_path: Path) -> None:
    built_store(tmp_path, {"HLA-A*01:01": 200, "chr1": 100}, Grid(bin_size=16, offsets=(0, 5)))
    for contig, length in {"HLA-A*01:01": 200, "chr1": 100}.items():
        array = zarr.open_array(str(tmp_path), path=layout.values_path("demo", contig), mode="r")
        planned = ContigLayout(feature_set_of(Grid(bin_size=16, offsets=(0, 5))), length)
        assert array.shape == planned.shape
        assert array.shards == (1, planned.shard_bins, 3)
        keys = {
            layout.shard_key("demo", contig, phase, shard)
            for phase in range(2)
            for shard in range(planned.n_shards(phase))
        }
        found = (tmp_path / layout.values_path("demo", contig) / "c").rglob("0")
        assert {str(path.relative_to(tmp_path)) for path in found if path.is_file()} == keys


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
ARRAYS = st.builds(ArrayKey, NAMES, st.none() | NAMES)


@given(ARRAYS)
def test_the_key_of_an_array_is_read_back_and_stays_as_it_is(array: ArrayKey) -> None:
    assert ArrayKey.of(str(array)) == array
    assert ArrayKey.of(array) is array
    assert array.is_anchored == ("@" in str(array))


@given(ARRAYS, ARRAYS, CONTIGS)
def test_two_arrays_share_no_object(one: ArrayKey, other: ArrayKey, contig: str) -> None:
    for key in (layout.shard_key, layout.commit_key, layout.failure_key):
        assert (key(one, contig, 0, 0) == key(other, contig, 0, 0)) == (one == other)
        assert key(one, contig, 0, 0) == key(str(one), contig, 0, 0)


def test_an_anchored_array_has_its_shards_along_the_anchors() -> None:
    anchored = ArrayKey("motif", "tss")
    assert str(anchored) == "motif@tss"
    assert layout.shard_key(anchored, layout.ANCHORS, 0, 3) == "anchored/motif/tss/values/c/3/0/0"
    assert layout.commit_key(anchored, layout.ANCHORS, 0, 3) == "commits/motif@tss/anchors/0-3.json"


# Shapes


ITEM_BYTES = st.sampled_from([value_type(name).item_bytes for name in ("uint8", "float16", "float32")])


@given(st.integers(1, 40_000), ITEM_BYTES)
def test_an_inner_chunk_is_a_power_of_two_of_bins_and_at_most_512_kib_where_16_bins_allow_it(
    n_channels: int, item_bytes: int
) -> None:
    bins, row_bytes = layout.chunk_bins(n_channels, item_bytes), n_channels * item_bytes
    assert bins in (16, 32, 64, 128, 256)
    assert bins * row_bytes <= 512 * 1024 or bins == 16
    assert 2 * bins * row_bytes > 512 * 1024 or bins == 256, "a larger chunk would have fitted"


@given(st.integers(1, 40_000), ITEM_BYTES, st.integers(1, 4095), st.integers(1, 1 << 20))
def test_a_chunk_of_small_bins_grows_to_64_kib_but_not_beyond_the_shard_or_the_bases_of_large_ones(
    n_channels: int, item_bytes: int, bin_size: int, most: int
) -> None:
    usual = layout.chunk_bins(n_channels, item_bytes)
    bins = layout.chunk_bins(n_channels, item_bytes, bin_size=bin_size, most=most)
    assert bins >= usual
    assert bins & (bins - 1) == 0

    def fits(bins: int) -> bool:
        return bins * n_channels * item_bytes <= 64 * 1024 and bins <= most and bins * bin_size <= 256 * 4096

    assert bins == usual or fits(bins)
    assert not fits(2 * bins), "a larger chunk would have fitted"


@given(st.integers(1, 40_000), st.integers(1, 100_000), ITEM_BYTES)
def test_a_shard_is_whole_chunks_no_more_than_wanted_and_at_most_256_mib(
    n_channels: int, wanted: int, item_bytes: int
) -> None:
    bins, row_bytes = layout.shard_bins(n_channels, wanted, item_bytes), n_channels * item_bytes
    chunk = layout.chunk_bins(n_channels, item_bytes)
    assert bins % chunk == 0
    assert bins <= max(wanted, chunk)
    assert bins * row_bytes <= 256 << 20
    assert bins + chunk > wanted or (bins + chunk) * row_bytes > 256 << 20, "another chunk would have fitted"


@given(grids(), st.integers(1, 5_000), st.integers(1, 5), st.integers(1, 5))
def test_the_shards_of_a_phase_hold_every_row_once(grid: Grid, length: int, chunk: int, chunks: int) -> None:
    contig = ContigLayout(feature_set_of(grid, chunk_bins=chunk, shard_bins=chunk * chunks), length)
    for phase in range(len(grid.offsets)):
        spans = [contig.shard_span(phase, shard) for shard in range(contig.n_shards(phase))]
        assert [row for first, end in spans for row in range(first, end)] == list(range(grid.n_bins(length, phase)))
        assert all(0 < end - first <= contig.shard_bins for first, end in spans)
    assert contig.shard_bins % chunk == 0
    assert contig.shard_bins <= chunk * chunks
    assert contig.shape == (len(grid.offsets), grid.max_bins(length), 3)


@given(grids(), st.integers(1, 5_000), st.integers(1, 5), st.integers(1, 5), st.data())
def test_a_phase_that_is_added_leaves_the_shards_of_the_others(
    grid: Grid, length: int, chunk: int, chunks: int, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(1, len(grid.offsets)))
    more = feature_set_of(grid, chunk_bins=chunk, shard_bins=chunk * chunks)
    after = ContigLayout(more, length)
    before = ContigLayout(
        more.model_copy(update={"offsets": replace(grid, offsets=grid.offsets[:kept]).offsets}), length
    )
    assert before.shard_bins == after.shard_bins
    for phase in range(kept):
        spans = [before.shard_span(phase, shard) for shard in range(before.n_shards(phase))]
        assert spans == [after.shard_span(phase, shard) for shard in range(after.n_shards(phase))]
