"""Conformance kit for engines that read rows: run our tests on your own `RowSource`.

    from featurestore.testing.conformance import RowSourceTests

    class TestMyRows(RowSourceTests):
        def source_of(self, reader, folder):
            return MyRows(reader.url, reader.name)

Belongs here: what every engine must do. Does not: further promises of one engine (budgets, numbers of requests). Needs
pytest.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from catalog import Grid
from catalog.value_type import Dtype
from featurestore.format import layout
from featurestore.format.commits import NotBuilt
from featurestore.reader import FeatureReader
from featurestore.rows.row_requests import Block, RowRequest
from featurestore.rows.source import DamagedChunk, RowSource, read_rows
from featurestore.store import Store
from featurestore.testing.fixtures import built_store

_NAME = "demo"
_LENGTHS = {"chr1": 1000, "chr2": 77, "tiny": 3}
_GRID = Grid(bin_size=16, offsets=(0, 8))
_SHARD = "features/demo/chr1/values/c/0/2/0"
_IN_SHARD = RowRequest("chr1", 0, 8, 12)


class RowSourceTests:
    """Subclass it under pytest as `Test...`, and return the source in `source_of`.

    Every test gets its own small store of two phases on three contigs, once for each of `dtypes`.
    """

    dtypes: ClassVar[Sequence[Dtype]] = ("float16", "float32", "uint8")
    """Types of values that the source reads."""

    def source_of(self, reader: FeatureReader, folder: Path) -> RowSource:
        """Make a new source of the rows of a reader's feature set; `folder` is an empty folder for its files."""
        raise NotImplementedError("override source_of(reader, folder): give the RowSource to be tested")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test for every type of values."""
        if "dtype" in metafunc.fixturenames:
            metafunc.parametrize("dtype", self.dtypes)

    @pytest.fixture
    def store(self, tmp_path: Path, dtype: Dtype) -> Store:
        """Build a whole store of one feature set."""
        return built_store(tmp_path / "store", _LENGTHS, _GRID, dtype=dtype)

    @pytest.fixture
    def source(self, store: Store, tmp_path: Path) -> RowSource:
        """Make the source."""
        (tmp_path / "kept").mkdir()
        return self.source_of(store[_NAME], tmp_path / "kept")

    def test_rows_are_those_of_zarrs_own_indexing_the_first_time_and_again(
        self, store: Store, source: RowSource
    ) -> None:
        """Read what plain zarr reads, also from a cache."""
        for seed in range(4):
            requests = _random_requests(store, seed)
            for _ in range(2):
                _assert_right(store, source, requests)

    def test_requests_may_be_repeated_overlap_and_come_in_any_order(self, store: Store, source: RowSource) -> None:
        """Answer every request independently."""
        overlapping = [RowRequest("chr1", 1, first, first + 6) for first in (9, 3, 5, 3)]
        for requests in (overlapping, [*overlapping, _IN_SHARD, *overlapping[::-1]], [_IN_SHARD] * 3):
            _assert_right(store, source, requests)

    def test_the_first_and_the_last_row_of_every_array_are_read(self, store: Store, source: RowSource) -> None:
        """Read whole arrays, and their ends alone."""
        reader = store[_NAME]
        for contig in _LENGTHS:
            for phase in range(len(_GRID.offsets)):
                end = reader.n_rows(contig, phase)
                places = [(0, end), (0, 1), (end - 1, end)]
                _assert_right(store, source, [RowRequest(contig, phase, *rows) for rows in places])

    def test_nothing_is_read_where_nothing_is_asked_for(self, source: RowSource) -> None:
        """Accept an empty batch."""
        source.read_into([], [])

    def test_only_the_outputs_are_written_whatever_views_they_are(self, store: Store, source: RowSource) -> None:
        """Write into strided views and leave the gaps unchanged."""
        reader = store[_NAME]
        n_channels = len(reader.channel_names)
        around = np.full((22, 2 * n_channels), 7, dtype=reader.feature_set.dtype)
        requests = [RowRequest("chr1", 1, 5, 15), RowRequest("chr1", 1, 9, 12)]
        views = [around[1:21:2, :n_channels], around[2:8:2, n_channels:]]
        expected = around.copy()
        for view, rows in zip([expected[1:21:2, :n_channels], expected[2:8:2, n_channels:]], requests, strict=True):
            view[...] = _by_zarr(store, rows)
        source.read_into(requests, views)
        np.testing.assert_array_equal(around, expected)

    def test_windows_of_one_array_are_filled_in_order(self, store: Store, source: RowSource) -> None:
        """Fill a `Block`, which an engine may fill in one operation."""
        reader = store[_NAME]
        for firsts in ([3, 20, 40], [3, 4, 5], [40, 3, 3]):
            windows = np.empty((len(firsts), 9, len(reader.channel_names)), dtype=reader.feature_set.dtype)
            requests = [RowRequest("chr1", 0, first, first + 9) for first in firsts]
            source.read_into(requests, Block(windows))
            np.testing.assert_array_equal(windows, np.stack([_by_zarr(store, rows) for rows in requests]))

    def test_threads_may_read_at_once(self, store: Store, source: RowSource) -> None:
        """Give each of several threads its own rows."""
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda seed: _assert_right(store, source, _random_requests(store, seed)), range(6)))

    @pytest.mark.parametrize("damage", ["a flipped bit", "half of it", "no object"])
    def test_what_is_damaged_is_an_error_that_names_the_shard_and_the_mend(
        self, store: Store, source: RowSource, damage: str
    ) -> None:
        """Raise for damaged and for missing committed bytes; never return them."""
        path = Path(store.url) / _SHARD
        data = path.read_bytes()
        if damage == "no object":
            path.unlink()
        else:
            path.write_bytes(data[: len(data) // 2] if damage == "half of it" else _flipped(data))
        reader = store[_NAME]
        with pytest.raises(DamagedChunk, match=rf"{_SHARD} of .*`featurestore repair "):
            read_rows(source, [_IN_SHARD], len(reader.channel_names), reader.feature_set.dtype)

    def test_windows_that_were_never_built_are_refused_and_the_others_read(self, tmp_path: Path, dtype: Dtype) -> None:
        """Read the built part of an incomplete store."""
        store = built_store(tmp_path / "part", _LENGTHS, _GRID, contigs=["chr1", "tiny"], dtype=dtype)
        Path(store.url, layout.commit_key(_NAME, "chr1", 0, 3)).unlink()
        (tmp_path / "kept").mkdir()
        reader = store[_NAME]
        reader = reader.with_source(self.source_of(reader, tmp_path / "kept"))
        centres = [16 * row + 8 for row in (2, 5, 8, 17)]
        np.testing.assert_array_equal(
            reader.windows("chr1", centres, 3).values[1], _by_zarr(store, RowRequest("chr1", 0, 4, 7))
        )
        with pytest.raises(NotBuilt, match="chr1 bins 12-15 of the phase with offset 0"):
            reader.windows("chr1", [*centres, 16 * 11 + 8], 3)
        with pytest.raises(NotBuilt, match="chr2"):
            reader.windows("chr2", [40], 3)


def _random_requests(store: Store, seed: int) -> list[RowRequest]:
    """Draw a batch of requests inside the arrays."""
    rng, reader = np.random.default_rng(seed), store[_NAME]
    found = []
    for _ in range(int(rng.integers(1, 20))):
        contig, phase = str(rng.choice(list(_LENGTHS))), int(rng.integers(len(_GRID.offsets)))
        first, end = sorted(rng.integers(0, reader.n_rows(contig, phase) + 1, size=2).tolist())
        if first < end:
            found.append(RowRequest(contig, phase, first, end))
    return found


def _by_zarr(store: Store, rows: RowRequest) -> NDArray[np.generic]:
    """Read rows with plain zarr: the obvious oracle."""
    return _whole(store.url, rows.contig)[rows.phase, rows.first : rows.end]


@lru_cache(maxsize=len(_LENGTHS))
def _whole(url: str, contig: str) -> NDArray[np.generic]:
    return np.asarray(zarr.open_array(url, path=layout.values_path(_NAME, contig), mode="r")[...])


def _assert_right(store: Store, source: RowSource, requests: Sequence[RowRequest]) -> None:
    reader = store[_NAME]
    found = read_rows(source, requests, len(reader.channel_names), reader.feature_set.dtype)
    for rows, request in zip(found, requests, strict=True):
        np.testing.assert_array_equal(rows, _by_zarr(store, request), err_msg=str(request))


def _flipped(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 1]) + data[21:]
