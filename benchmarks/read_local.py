"""Windows from memory and from the local disk, against other tools; and another number of bins, in place."""

import statistics
import time
from typing import Any

import numpy as np
import tensorstore as ts
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray

import featurestore
from benchmarks.read_store import BIN_SIZE, CONTIG, SET, Made, hdf5_file, optional
from benchmarks.read_timing import N_BINS, Read, Row, Way, in_turns, rates
from builders.source import calls_made
from featurestore import FeatureReader
from loaders import WindowDataset
from loaders.residence.open import open_reader


def centres_of(first: NDArray[np.int64], n_bins: int = N_BINS) -> NDArray[np.int64]:
    """Give the positions whose windows begin with some rows (bp)."""
    return first * BIN_SIZE + n_bins * BIN_SIZE // 2


def ours(reader: FeatureReader) -> Read:
    return lambda first: reader.windows(CONTIG, centres_of(first), N_BINS).values


def zarr_slices(array: Any) -> Read:
    return lambda first: [array[0, row : row + N_BINS] for row in first.tolist()]


def xarray_isel(values: xr.DataArray) -> Read:
    return lambda first: [values.isel(phase=0, bin=slice(row, row + N_BINS)).values for row in first.tolist()]


def bare_tensorstore(array: Any) -> Read:
    """Read one batch with tensorstore and nothing else: no plan, no check of what was built, no common buffer."""

    def read(first: NDArray[np.int64]) -> list[Any]:
        with ts.Batch() as batch:
            reads = [array[0, row : row + N_BINS].read(batch=batch) for row in first.tolist()]
        return [one.result() for one in reads]

    return read


def open_tensorstore(kvstore: dict[str, Any]) -> Any:
    """Open the array with tensorstore, without a cache."""
    spec = {"driver": "zarr3", "kvstore": kvstore, "recheck_cached_data": False}
    return ts.open(spec, read=True, open=True, context=ts.Context({"cache_pool": {"total_bytes_limit": 0}})).result()


def numpy_gathers(held: NDArray[np.float16]) -> dict[str, Read]:
    """Give four ways in which numpy gathers windows out of an array in memory, into a new array."""
    within = np.arange(N_BINS)
    windows = np.lib.stride_tricks.sliding_window_view(held, N_BINS, axis=0).swapaxes(1, 2)

    def loop(first: NDArray[np.int64]) -> NDArray[np.float16]:
        gathered = np.empty((len(first), N_BINS, held.shape[1]), dtype=held.dtype)
        for window, row in enumerate(first.tolist()):
            gathered[window] = held[row : row + N_BINS]
        return gathered

    return {
        "numpy fancy index": lambda first: held[first[:, None] + within],
        "numpy take": lambda first: held.take(first[:, None] + within, axis=0),
        "numpy slicing loop": loop,
        "numpy sliding window view": lambda first: windows[first],
    }


def memory(made: Made, rounds: int) -> list[Row]:
    """Rows held in memory, against numpy on the same rows and against slicing of the store on the local disk."""
    reader = open_reader(made.path, SET, residence="memory")
    # One window a row, so that an index is a first row.
    every = centres_of(np.arange(made.n_bins - N_BINS + 1))
    dataset = WindowDataset(made.path, SET, contigs=CONTIG, centres=every, n_bins=N_BINS, dtype=torch.float16)
    array = zarr.open_array(made.array_path, mode="r")
    lazy = xr.open_zarr(made.array_path.parent, consolidated=False, chunks=None)["values"]
    held = np.ascontiguousarray(array[0])
    loaded = xr.DataArray(held[None], dims=("phase", "bin", "channel"))
    gathers = numpy_gathers(held)
    ways = [
        Way("ours", ours(reader), 100),
        Way("ours, WindowDataset", lambda first: dataset[first.tolist()], 100),
        *(Way(name, read, 100) for name, read in gathers.items()),
        Way("zarr slicing", zarr_slices(array), 1),
        Way("xarray isel, lazy", xarray_isel(lazy), 1),
        Way("xarray isel, loaded", xarray_isel(loaded), 10),
    ]
    times = in_turns(ways, made.n_bins, rounds)
    fastest = times.fastest(list(gathers))
    return [
        Row(f"memory / bare {fastest}, the fastest of 4 gathers", times.ratio(fastest, "ours"), "x", 0.5),
        Row("memory / zarr slicing per window", times.ratio("zarr slicing", "ours"), "x", 50),
        Row("memory / xarray isel per window", times.ratio("xarray isel, lazy", "ours"), "x", 50),
        Row("memory / xarray isel, loaded into memory", times.ratio("xarray isel, loaded", "ours"), "x"),
        Row("WindowDataset[64 indices] / the same gather", times.ratio(fastest, "ours, WindowDataset"), "x"),
        rates(times, "memory"),
    ]


def local(made: Made, rounds: int) -> list[Row]:
    """Nothing kept in the process; the files are in the page cache of the kernel, for every way alike."""
    reader = featurestore.open(made.path)[SET]
    bare = open_tensorstore({"driver": "file", "path": f"{made.array_path}/"})
    array = zarr.open_array(made.array_path, mode="r")
    ways = [
        Way("ours", ours(reader), 16),
        Way("bare tensorstore", bare_tensorstore(bare), 16),
        Way("zarr slicing", zarr_slices(array), 1),
    ]
    notes: dict[str, Any] = {}
    if h5py := optional("h5py"):
        path = made.path.with_suffix(".h5")
        notes["h5py compression"] = hdf5_file(path, np.asarray(array[0]))
        ways.append(Way("h5py", hdf5_slices(h5py.File(path, "r")["values"]), 8))
    if xbatcher := optional("xbatcher"):
        values = xr.open_zarr(made.array_path.parent, consolidated=False, chunks=None)["values"].isel(phase=0)
        # Its batches are patches of a fixed pattern; with this overlap there is one for every first row, and its
        # torch dataset looks them up by number, as here.
        patches = xbatcher.BatchGenerator(values, {"bin": N_BINS}, {"bin": N_BINS - 1})
        ways.append(Way("xbatcher", lambda first: [patches[row].values for row in first.tolist()], 1))
    times = in_turns(ways, made.n_bins, rounds)
    targets = {"bare tensorstore": 0.9, "zarr slicing": 5, "h5py": 1, "xbatcher": 20}
    names = {"bare tensorstore": "bare tensorstore batches", "zarr slicing": "zarr slicing per window"}
    return [
        *(
            Row(f"local disk / {names.get(name, name)}", times.ratio(name, "ours"), "x", target)
            for name, target in targets.items()
            if name in times.seconds
        ),
        rates(times, "local disk", notes),
    ]


def hdf5_slices(values: Any) -> Read:
    """Read into one buffer, which spares h5py a copy."""

    def read(first: NDArray[np.int64]) -> NDArray[np.float16]:
        gathered = np.empty((len(first), N_BINS, values.shape[1]), dtype=np.float16)
        for window, row in enumerate(first.tolist()):
            values.read_direct(gathered, np.s_[row : row + N_BINS], np.s_[window])
        return gathered

    return read


def swap(made: Made, rounds: int) -> list[Row]:
    """Set another number of bins on a dataset in memory, and take one window."""
    rng = np.random.default_rng(2)
    centres = centres_of(rng.integers(0, made.n_bins - N_BINS, size=20_000))
    dataset = WindowDataset(made.path, SET, contigs=CONTIG, centres=centres, n_bins=51)
    _ = dataset[[0]]
    calls = calls_made()
    assert calls > 0  # the store was built in this process, so that the counter counts
    taken = []
    for index in rng.integers(0, len(dataset), size=20 * rounds).tolist():
        dataset.n_bins = 51
        _ = dataset[index]
        started = time.perf_counter()
        dataset.n_bins = N_BINS
        _ = dataset[index]
        taken.append(1000 * (time.perf_counter() - started))
    return [
        Row(
            "swap N from 51 to 251, to the first window from memory",
            statistics.median(taken),
            "ms",
            10,
            at_most=True,
            details={"first_ms": taken[0], "slowest_ms": max(taken)},
        ),
        Row("swap N: extractor calls", calls_made() - calls, "calls", 0, at_most=True),
    ]
