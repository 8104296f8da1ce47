"""A feature set as xarray sees it.

Belongs here: lazy Datasets and DataTrees with coordinates. Does not: windows (`featurestore.reader`).
"""

from typing import Any

import numpy as np
import xarray as xr

from catalog import FeatureSet
from featurestore.commits import NotBuilt
from featurestore.layout import contig_path, set_path
from featurestore.metadata import GROUP, is_consolidated
from featurestore.remote import Objects


def contig_dataset(objects: Objects, feature_set: FeatureSet, contig: str, *, chunks: Any = None) -> xr.Dataset:
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
    store = objects.zarr(read_only=True)
    group = contig_path(feature_set.name, contig)
    try:
        dataset = xr.open_zarr(store, group=group, consolidated=_is_sealed(objects), chunks=chunks)
    except (FileNotFoundError, KeyError) as error:
        raise NotBuilt(
            f"{feature_set.name} has no array for {contig}; `featurestore build {objects.location} "
            f"--extractor {feature_set.extractor} --contigs {contig}` makes it"
        ) from error
    grid = feature_set.grid
    offsets = np.asarray(grid.offsets, dtype=np.int64)
    starts = np.arange(dataset.sizes["bin"], dtype=np.int64) * grid.bin_size - offsets[:, None]
    coordinates = {
        "channel": list(feature_set.channel_names),
        "offset": ("phase", offsets),
        "start": (("phase", "bin"), starts),
    }
    described: xr.Dataset = dataset.assign_coords(coordinates)
    return described


def set_datatree(objects: Objects, feature_set: FeatureSet, *, chunks: Any = None) -> xr.DataTree:
    """Open a whole feature set lazily: one node a contig, `channel` handed down to all of them."""
    store = objects.zarr(read_only=True)
    # xarray takes a Zarr store here, though its annotation does not say so.
    opened: xr.DataTree = xr.open_datatree(
        store,  # type: ignore[arg-type]
        engine="zarr",
        group=set_path(feature_set.name),
        consolidated=_is_sealed(objects),
        chunks=chunks,
    )
    return opened


def _is_sealed(objects: Objects) -> bool:
    """Tell whether the metadata need not be gathered, which over HTTP it cannot be: web servers do not list."""
    return is_consolidated(objects.get(GROUP))
