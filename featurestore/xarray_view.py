"""Feature sets as lazy xarray objects and polars tables.

Belongs here: lazy Datasets and DataTrees with coordinates, tables of small regions. Does not: windows
(`featurestore.reader`).
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
import xarray as xr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from catalog import Assembly, FeatureSet
from featurestore.format.array_document import check_array
from featurestore.format.build_commands import grid_command
from featurestore.format.commits import NotBuilt
from featurestore.format.layout import ContigLayout, contig_key, contig_path, set_path, values_path
from featurestore.format.metadata import GROUP, consolidated, root_documents, set_documents
from featurestore.format.root import read_assembly
from featurestore.objects.objects import Objects

_REQUESTS_AT_ONCE = 8
MAX_FRAME_BYTES = 1 << 30
"""Largest table (bytes)."""


class _AsDescribed(WrapperStore[ZarrStore]):
    """A Zarr store whose metadata and coordinates follow from a description, whatever its own documents say."""

    def __init__(self, store: ZarrStore, documents: Mapping[str, bytes]) -> None:
        super().__init__(store)
        self._documents = documents

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        if key in self._documents and byte_range is None:
            return prototype.buffer.from_bytes(self._documents[key])
        return None if key.endswith(GROUP) else await super().get(key, prototype, byte_range)


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
    NotAStore
        If the array's own document says something else of its bytes than the store's description.
    """
    phase = None if offset is None else phase_of(feature_set, offset)
    if not _present(objects, feature_set, [contig]):
        command = grid_command(objects.location, read_assembly(objects), feature_set, contigs=[contig])
        raise NotBuilt(f"{feature_set.name} has no array for {contig}; {command} makes it")
    group = contig_path(feature_set.name, contig)
    store = _described(objects, read_assembly(objects), feature_set, [contig])
    dataset = xr.open_zarr(store, group=group, consolidated=True, chunks=chunks)
    return _with_positions(dataset, feature_set, phase)


def set_datatree(
    objects: Objects, feature_set: FeatureSet, *, offset: int | None = None, chunks: Any = None
) -> xr.DataTree:
    """Open a whole feature set lazily: one node a contig, each a `contig_dataset`."""
    phase = None if offset is None else phase_of(feature_set, offset)
    group = set_path(feature_set.name)
    assembly = read_assembly(objects)
    present = _present(objects, feature_set, list(assembly.lengths))
    # xarray accepts a Zarr store here, despite its annotation.
    opened: xr.DataTree = xr.open_datatree(
        _described(objects, assembly, feature_set, present),  # type: ignore[arg-type]
        engine="zarr",
        group=group,
        consolidated=True,
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


def _present(objects: Objects, feature_set: FeatureSet, contigs: Sequence[str]) -> list[str]:
    """Return those of some contigs that have an array (one listing)."""
    there = set(objects.folders(set_path(feature_set.name)))
    return [contig for contig in contigs if contig_key(contig) in there]


def _described(objects: Objects, assembly: Assembly, feature_set: FeatureSet, contigs: Sequence[str]) -> ZarrStore:
    """Check the documents of some arrays, and return a store of these arrays alone."""

    def check(contig: str) -> None:
        array = ContigLayout(feature_set, assembly.lengths[contig])
        check_array(objects, array, values_path(feature_set.name, contig))

    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        list(pool.map(check, contigs))
    documents = root_documents(assembly) | set_documents(assembly, feature_set, contigs)
    # Consolidated at the root, where xarray begins, since web servers do not list.
    return _AsDescribed(objects.zarr(read_only=True), documents | consolidated(documents, [GROUP]))
