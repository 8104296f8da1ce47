"""The engine that reads the rows of an array fastest.

Belongs here: that choice. Does not: the engines (`featurestore.rows.tensorstore_source`, `featurestore.rows.source`).
"""

from featurestore.format.array_key import ArrayKey
from featurestore.objects.objects import Objects
from featurestore.rows.source import RowSource, ZarrRows
from featurestore.rows.tensorstore_source import TensorStoreRows


def rows_of(objects: Objects, array: ArrayKey | str) -> RowSource:
    """Return the fastest engine for this URL: tensorstore, else zarr."""
    kvstore = objects.kvstore()
    if kvstore is None:
        return ZarrRows(objects.zarr(read_only=True), array)
    return TensorStoreRows(kvstore, array, renewed=objects.kvstore)
