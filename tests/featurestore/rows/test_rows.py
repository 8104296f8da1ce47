"""Engines below the window reader: equal rows from all, each read once, and no damage passed on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import featurestore
from catalog import Grid, UnknownContig
from featurestore import HeldRowSource, NotBuilt, RowRequest, RowSource, ZarrRows
from featurestore.format import layout
from featurestore.rows.row_requests import merged
from featurestore.rows.tensorstore_source import TensorStoreRows, requests_at_once
from featurestore.rows.window_plan import plan_windows
from featurestore.testing import built_store, feature_set_of, grids, values_of
from loaders.residence.memory import HeldRows

LENGTHS = {"chr1": 1000, "chr2": 77, "tiny": 3}
GRID = Grid(bin_size=16, offsets=(0, 8))
SHARD = "features/demo/chr1/values/c/0/2/0"
IN_SHARD = RowRequest("chr1", 0, 8, 12)

requests = st.builds(
    lambda contig, phase, first, size: RowRequest(contig, phase, first, first + size),
    st.sampled_from(["chr1", "chr2"]),
    st.integers(0, 1),
    st.integers(0, 30),
    st.integers(1, 9),
)


# --- what is read -----------------------------------------------------------------------------------------------------


@given(st.lists(requests, max_size=30))
def test_every_request_lies_in_one_merged_range_and_no_row_is_read_twice(requested: list[RowRequest]) -> None:
    ranges = merged(requested)
    assert sorted(number for _, numbers in ranges for number in numbers) == list(range(len(requested)))
    for rows, numbers in ranges:
        for request in (requested[number] for number in numbers):
            assert (request.contig, request.phase) == (rows.contig, rows.phase)
            assert rows.first <= request.first < request.end <= rows.end
    read = [(rows.contig, rows.phase, row) for rows, _ in ranges for row in range(rows.first, rows.end)]
    wanted = {
        (request.contig, request.phase, row) for request in requested for row in range(request.first, request.end)
    }
    assert sorted(read) == sorted(wanted)


@given(grids(), st.integers(1, 2000), st.integers(1, 60), st.data())
def test_a_plan_takes_the_rows_that_its_windows_have_on_the_contig(
    grid: Grid, length: int, n_bins: int, data: st.DataObject
) -> None:
    centres = np.array(data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=8)))
    plan = plan_windows(grid, np.array(length), ["c"] * len(centres), centres, n_bins)
    wanted = {}
    for window, centre in enumerate(centres.tolist()):
        phase, first, residual = grid.nearest(centre, n_bins)
        assert (plan.phases[window], plan.residuals[window]) == (phase, residual)
        assert plan.starts[window].tolist() == [grid.span(phase, row)[0] for row in range(first, first + n_bins)]
        inside = [row for row in range(first, first + n_bins) if 0 <= row < grid.n_bins(length, phase)]
        assert plan.is_cut[window] == (len(inside) < n_bins)
        if inside:
            wanted[window] = RowRequest("c", phase, inside[0], inside[-1] + 1)
    assert dict(zip(plan.windows, plan.requests, strict=True)) == wanted
    assert plan.places == {("c", phase) for phase in plan.phases.tolist()}


# --- by which engine --------------------------------------------------------------------------------------------------


def engines(store: featurestore.Store) -> dict[str, RowSource]:
    reader = store["demo"]
    return {
        "tensorstore": reader.source,
        "zarr": ZarrRows(store.objects.zarr(read_only=True), "demo"),
        "memory": HeldRows(reader, 1 << 20),
    }


@given(grids(max_bin_size=20), st.integers(1, 300), st.integers(1, 70), st.data())
@settings(max_examples=25, deadline=None)
def test_every_engine_gives_the_windows_that_plain_zarr_gives(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, length: int, n_bins: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any")
    store = built_store(path, {"c": length, "d": 40}, grid)
    places = data.draw(st.lists(st.tuples(st.sampled_from("cd"), st.floats(0, 0.999)), min_size=1, max_size=12))
    places += places[: data.draw(st.integers(0, 3))]  # the same window twice in a batch
    contigs = [contig for contig, _ in places]
    centres = [int(store.assembly.lengths[contig] * share) for contig, share in places]
    pad = np.array(feature_set_of(grid).pad, dtype=np.float16)
    expected = []
    for contig, centre in zip(contigs, centres, strict=True):
        array = zarr.open_array(str(path), path=f"features/demo/{contig}/values", mode="r")
        phase, first, _ = grid.nearest(centre, n_bins)
        n_rows = grid.n_bins(store.assembly.lengths[contig], phase)
        rows = [array[phase, row] if 0 <= row < n_rows else pad for row in range(first, first + n_bins)]
        expected.append(np.stack(rows))
    for name, source in engines(store).items():
        found = store["demo"].with_source(source).windows(contigs, centres, n_bins)
        np.testing.assert_array_equal(found.values, np.stack(expected), err_msg=name)
        assert found.values.flags.c_contiguous


@pytest.fixture
def store(tmp_path: Path) -> featurestore.Store:
    return built_store(tmp_path, LENGTHS, GRID)


@pytest.mark.parametrize("large", [0, 1 << 40], ids=["wide windows", "narrow windows"])
def test_windows_that_overlap_are_equal_however_they_are_read(
    store: featurestore.Store, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr("featurestore.rows.tensorstore_source._LARGE_WINDOW_BYTES", large)
    reader = store["demo"]
    centres = [504, 520, 504, 800, 488]
    batch = reader.windows("chr1", centres, 5)
    for number, centre in enumerate(centres):
        np.testing.assert_array_equal(batch.values[number], reader.window("chr1", centre, n_bins=5).values)


@pytest.mark.parametrize("engine", ["tensorstore", "zarr", "memory"])
def test_a_batch_of_whole_windows_is_each_of_them(store: featurestore.Store, engine: str) -> None:
    reader = store["demo"].with_source(engines(store)[engine])
    contigs, centres = ["chr1", "chr2", "chr1", "chr1"], [504, 40, 128, 904]
    assert not reader.plan(contigs, centres, 3).is_cut.any()
    batch = reader.windows(contigs, centres, 3)
    assert set(batch.phases) == {0, 1}
    for number, (contig, centre) in enumerate(zip(contigs, centres, strict=True)):
        np.testing.assert_array_equal(batch.values[number], reader.window(contig, centre, n_bins=3).values)


def test_only_rows_in_memory_are_gathered(store: featurestore.Store) -> None:
    held = {name: isinstance(source, HeldRowSource) for name, source in engines(store).items()}
    assert held == {"tensorstore": False, "zarr": False, "memory": True}


def test_windows_of_an_unsealed_store_that_is_built_in_part_are_read(tmp_path: Path) -> None:
    store = built_store(tmp_path, LENGTHS, GRID)
    assert store.manifest() is None
    Path(tmp_path, layout.commit_key("demo", "chr1", 0, 3)).unlink()
    reader = store["demo"]
    centres = [16 * row + 8 for row in (2, 5, 8, 17)]
    np.testing.assert_array_equal(
        reader.windows("chr1", centres, 3).values[1], values_of(feature_set_of(GRID), 1000, 0)[4:7]
    )
    with pytest.raises(NotBuilt, match=r"chr1 bins 12-15 of the phase with offset 0 \(1 shards missing\)"):
        reader.windows("chr1", [*centres, 16 * 11 + 8], 3)


def test_a_window_in_part_has_nan_exactly_where_a_bin_was_never_built(tmp_path: Path) -> None:
    store = built_store(tmp_path, LENGTHS, GRID)
    whole = store["demo"]
    expected = {centre: whole.window("chr1", centre, n_bins=9) for centre in range(0, 1000, 37)}
    Path(tmp_path, layout.commit_key("demo", "chr1", 0, 3)).unlink()  # rows 12 to 15 of phase 0
    reader = featurestore.open(str(tmp_path))["demo"]
    seen = 0
    for centre, window in expected.items():
        rows = window.starts // 16
        is_gone = (rows >= 12) & (rows < 16) & (window.phase == 0)
        values = np.where(is_gone[:, None], np.nan, window.values.astype(np.float32))
        found = reader.window_in_part("chr1", centre, n_bins=9)
        np.testing.assert_array_equal(found.values, values)
        assert (found.phase, found.residual) == (window.phase, window.residual)
        seen += int(is_gone.any())
    assert seen > 2


def test_a_window_of_which_no_bin_was_built_is_refused_with_the_command(tmp_path: Path) -> None:
    reader = built_store(tmp_path, LENGTHS, GRID)["demo"]
    for record in Path(tmp_path, layout.COMMITS, "demo", "chr1").iterdir():
        record.unlink()
    with pytest.raises(NotBuilt, match="build it with `featurestore build"):
        reader.window_in_part("chr1", 500, n_bins=9)


# --- damage -----------------------------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 1]) + data[21:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": flipped,
    "half of it": lambda data: data[: len(data) // 2],
}


def damaged(folder: Path, damage: str) -> Path:
    path = folder / SHARD
    if damage == "no object":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    return path


@pytest.mark.parametrize("damage", [*DAMAGES, "no object"])
@pytest.mark.parametrize(("engine", "step"), [(TensorStoreRows, "_read_batch"), (ZarrRows, "_read_once")])
def test_what_was_damaged_on_the_way_is_read_once_more(
    store: featurestore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, step: str, damage: str
) -> None:
    whole = (tmp_path / SHARD).read_bytes()
    path = damaged(tmp_path, damage)
    read = getattr(engine, step)
    calls = []

    def mended_after(*arguments: Any) -> Any:
        calls.append(arguments)
        try:
            return read(*arguments)
        finally:
            path.write_bytes(whole)

    monkeypatch.setattr(engine, step, mended_after)
    source = engines(store)["tensorstore" if engine is TensorStoreRows else "zarr"]
    (rows,) = featurestore.read_rows(source, [IN_SHARD], 3)
    np.testing.assert_array_equal(rows, values_of(feature_set_of(GRID), 1000, 0)[8:12])
    assert len(calls) == 2


# --- the budget, and bad input ----------------------------------------------------------------------------------------


def test_the_budget_of_requests_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEATURESTORE_REQUESTS_AT_ONCE", raising=False)
    assert requests_at_once() == 32
    monkeypatch.setenv("FEATURESTORE_REQUESTS_AT_ONCE", "100")
    assert requests_at_once() == 100
    for bad in ("0", "many", "-3"):
        monkeypatch.setenv("FEATURESTORE_REQUESTS_AT_ONCE", bad)
        with pytest.raises(ValueError, match=r"set it to a number of requests, at least 1, such as 32, or unset it"):
            requests_at_once()


@pytest.mark.parametrize(
    ("contigs", "centres", "error", "message"),
    [
        pytest.param("chr9", [5], UnknownContig, "no contig 'chr9'", id="unknown contig"),
        pytest.param(["chr1", "chr9"], [5, 5], UnknownContig, "no contig 'chr9'", id="unknown contig in a list"),
        pytest.param([], [], ValueError, "integer positions", id="no windows"),
        pytest.param(
            "chr2",
            [5, 77, 80],
            ValueError,
            "2 of 3 centres do: are they positions on another assembly",
            id="past the end",
        ),
        pytest.param(
            ["chr1", "chr2"],
            [999, 77],
            ValueError,
            "centre 77 lies outside chr2, whose bases are 0 to 76",
            id="past the end of one",
        ),
    ],
)
def test_bad_windows_are_refused_before_anything_is_read(
    store: featurestore.Store, contigs: Any, centres: list[int], error: type[Exception], message: str
) -> None:
    class Unread:
        def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[NDArray[np.float16]]) -> None:
            raise AssertionError("something was read")

    with pytest.raises(error, match=message):
        store["demo"].with_source(Unread()).windows(contigs, centres, 3)
