"""The engine that reads the rows of an array fastest.

Belongs here: that choice. Does not: the engines (`featurestore.rows.tensorstore_source`, `featurestore.rows.source`).
"""

from featurestore.format.array_key import ArrayKey
from featurestore.objects.objects import Objects
from featurestore.rows.source import RowSource, ZarrRows
from featurestore.rows.tensorstore_source import TensorStoreRows


def rows_of(objects: Objects, array: ArrayKey | str, *, cache_bytes: int = 0) -> RowSource:
    """Return the fastest engine for this URL: tensorstore, with a cache of decoded chunks, else zarr, without one."""
    kvstore = objects.kvstore()
    if kvstore is None:
        return ZarrRows(objects.zarr(read_only=True), array)
    return TensorStoreRows(kvstore, array, cache_bytes=cache_bytes, renewed=objects.kvstore)
