"""A feature set as xarray sees it.

Belongs here: lazy Datasets and DataTrees with coordinates. Does not: windows (`featurestore.reader`).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from featurestore.layout import contig_path, set_path

if TYPE_CHECKING:
    from featurestore.reader import FeatureReader


def contig_dataset(reader: "FeatureReader", contig: str, *, chunks: Any = None) -> xr.Dataset:
    """Open one contig lazily.

    Parameters
    ----------
    chunks
        As in `xarray.open_zarr`: None for plain lazy arrays, `{}` or `"auto"` for dask.

    Returns
    -------
    `values` `(phase, bin, channel)` float16, with `channel`, `offset` (phase, bp) and `start` (phase, bin: first base
    of the bin, bp) as coordinates. A row that one phase lacks, and any row never built, is NaN.

    Raises
    ------
    NotBuilt
        If the contig has no array in the store.
    """
    from featurestore.reader import NotBuilt

    store = reader.store.objects.zarr(read_only=True)
    try:
        dataset = xr.open_zarr(store, group=contig_path(reader.name, contig), consolidated=False, chunks=chunks)
    except FileNotFoundError as error:
        raise NotBuilt(
            f"{reader.name} has no array for {contig}; `featurestore build {reader.store.url} --extractor "
            f"{reader.feature_set.extractor} --contigs {contig}` makes it"
        ) from error
    grid = reader.feature_set.grid
    offsets = np.asarray(grid.offsets, dtype=np.int64)
    starts = np.arange(dataset.sizes["bin"], dtype=np.int64) * grid.bin_size - offsets[:, None]
    coordinates = {
        "channel": list(reader.channel_names),
        "offset": ("phase", offsets),
        "start": (("phase", "bin"), starts),
    }
    described: xr.Dataset = dataset.assign_coords(coordinates)
    return described


def set_datatree(reader: "FeatureReader", *, chunks: Any = None) -> xr.DataTree:
    """Open a whole feature set lazily: one node a contig, `channel` handed down to all of them."""
    store = reader.store.objects.zarr(read_only=True)
    # xarray takes a Zarr store here, though its annotation does not say so.
    opened: xr.DataTree = xr.open_datatree(
        store,  # type: ignore[arg-type]
        engine="zarr",
        group=set_path(reader.name),
        consolidated=False,
        chunks=chunks,
    )
    return opened
