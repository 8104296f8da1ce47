"""Feature sets as lazy xarray objects and polars tables.

Belongs here: lazy Datasets and DataTrees with coordinates, tables of small regions. Does not: windows
(`featurestore.reader`).
"""

from typing import Any

import numpy as np
import polars as pl
import xarray as xr
from numpy.typing import NDArray

from catalog import FeatureSet
from featurestore.format.commits import NotBuilt
from featurestore.format.layout import contig_path, set_path
from featurestore.format.metadata import GROUP, is_consolidated
from featurestore.objects.objects import Objects

MAX_FRAME_BYTES = 1 << 30
"""Largest table (bytes)."""


def contig_dataset(
    objects: Objects, feature_set: FeatureSet, contig: str, *, offset: int | None = None, chunks: Any = None
) -> xr.Dataset:
    """Open one contig lazily.

    Parameters
    ----------
    offset
        Of the phase to open (bp), or None for all phases.
    chunks
        As in `xarray.open_zarr`: None for plain lazy arrays, `{}` or `"auto"` for dask.

    Returns
    -------
    `values`, `(phase, bin, channel)`, of the set's dtype, with `channel`, `offset` (phase, bp) and `start` (phase, bin:
    first base of the bin, bp) as coordinates; or, for one phase, `(bin, channel)` with `start` as an index:
    `sel(start=position, method="pad")` selects the bin of a base, and `sel(start=slice(first, last))` those that begin
    in a region. Rows that one phase lacks and others have, and rows never built, are NaN; so uint8 is
    converted to float32.

    Raises
    ------
    NotBuilt
        If the contig has no array in the store.
    ValueError
        If there is no phase of that offset.
    """
    phase = None if offset is None else phase_of(feature_set, offset)
    store = objects.zarr(read_only=True)
    group = contig_path(feature_set.name, contig)
    try:
        dataset = xr.open_zarr(store, group=group, consolidated=_is_sealed(objects), chunks=chunks)
    except (FileNotFoundError, KeyError) as error:
        raise NotBuilt(
            f"{feature_set.name} has no array for {contig}; `featurestore build {objects.location} "
            f"--extractor {feature_set.extractor} --contigs {contig}` makes it"
        ) from error
    return _with_positions(dataset, feature_set, phase)


def set_datatree(
    objects: Objects, feature_set: FeatureSet, *, offset: int | None = None, chunks: Any = None
) -> xr.DataTree:
    """Open a whole feature set lazily: one node a contig, each a `contig_dataset`."""
    phase = None if offset is None else phase_of(feature_set, offset)
    store = objects.zarr(read_only=True)
    # xarray accepts a Zarr store here, despite its annotation.
    opened: xr.DataTree = xr.open_datatree(
        store,  # type: ignore[arg-type]
        engine="zarr",
        group=set_path(feature_set.name),
        consolidated=_is_sealed(objects),
        chunks=chunks,
    )
    contigs = {
        name: _with_positions(node.to_dataset(inherit=False), feature_set, phase)
        for name, node in opened.children.items()
    }
    root = opened.to_dataset()
    return xr.DataTree.from_dict({"/": root if phase is None else root.isel(phase=phase), **contigs})


def region_frame(
    feature_set: FeatureSet, contig: str, starts: NDArray[np.int64], ends: NDArray[np.int64], values: NDArray[Any]
) -> pl.DataFrame:
    """Make a table of bins: contig, start and end (bp), then every channel, Float32.

    Raises
    ------
    ValueError
        If a channel has the name of one of the first three columns.
    """
    places: dict[str, Any] = {"contig": [contig] * len(starts), "start": starts, "end": ends}
    if taken := places.keys() & set(feature_set.channel_names):
        raise ValueError(f"channels are called {sorted(taken)}, as columns of the table are; use `to_xarray`")
    features = pl.DataFrame(values.astype(np.float32), schema=list(feature_set.channel_names), orient="row")
    return pl.DataFrame(places).hstack(features)


def require_small(n_bins: int, feature_set: FeatureSet) -> None:
    """Refuse a region whose table would take more than `MAX_FRAME_BYTES`."""
    row_bytes = 4 * len(feature_set.channels) + 32
    if n_bins * row_bytes > MAX_FRAME_BYTES:
        raise ValueError(
            f"a table of {n_bins:,} bins x {len(feature_set.channels):,} channels takes {n_bins * row_bytes:,} bytes, "
            f"more than {MAX_FRAME_BYTES:,}; ask for {MAX_FRAME_BYTES // row_bytes * feature_set.bin_size:,} bp at a "
            "time, or use `to_xarray`, which reads what is needed"
        )


def phase_of(feature_set: FeatureSet, offset: int) -> int:
    """Return the number of the phase with an offset (bp); ValueError if there is none."""
    if offset not in feature_set.offsets:
        raise ValueError(
            f"{feature_set.name} has no phase with offset {offset}; it has {', '.join(map(str, feature_set.offsets))}"
        )
    return feature_set.offsets.index(offset)


def _with_positions(dataset: xr.Dataset, feature_set: FeatureSet, phase: int | None) -> xr.Dataset:
    """Add coordinates of channels and bin starts; select one phase if it is given."""
    grid = feature_set.grid
    offsets = np.asarray(grid.offsets, dtype=np.int64)
    starts = np.arange(dataset.sizes["bin"], dtype=np.int64) * grid.bin_size - offsets[:, None]
    coordinates = {
        "channel": list(feature_set.channel_names),
        "offset": ("phase", offsets),
        "start": (("phase", "bin"), starts),
    }
    described: xr.Dataset = dataset.assign_coords(coordinates)
    if phase is None:
        return described
    rows = slice(grid.n_bins(dataset.attrs["length"], phase))
    return described.isel(phase=phase, bin=rows).set_xindex("start")


def _is_sealed(objects: Objects) -> bool:
    """Tell whether the metadata is consolidated, as it must be over HTTP, since web servers do not list."""
    return is_consolidated(objects.get(GROUP))
