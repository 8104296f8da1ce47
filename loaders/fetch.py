"""Where the rows of a training run live: in memory, in a bounded mirror on the local disk, or in the store itself.

Belongs here: the three residences; all give equal rows. Does not: windows (`featurestore.reader`), tensors
(`loaders.torch_dataset`).
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from catalog.fasta import cache_directory
from featurestore import (
    DamagedChunk,
    FeatureReader,
    MemoryRows,
    RowRequest,
    RowSource,
    StorageOptions,
    TensorStoreRows,
    layout,
)
from featurestore import open as open_store

Residence = Literal["memory", "cache", "stream"]
DEFAULT_CACHE_BYTES = 20 << 30


def open_reader(
    url: str,
    feature_set: str,
    *,
    residence: Residence = "memory",
    storage_options: StorageOptions | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
) -> FeatureReader:
    """Open a feature set with its rows where they are wanted.

    Parameters
    ----------
    residence
        `memory`: each contig is read whole, once, on first use (a genome of 40 channels is 60 MB a phase).
        `cache`: each shard that is touched is copied to the local disk once. `stream`: nothing is kept.
    cache_dir, cache_bytes
        Folder and size of the mirror (bytes), for `cache`; by default 20 GiB below the cache directory.

    Raises
    ------
    NotBuilt
        If the store has no such feature set.
    ValueError
        If there is no such residence.
    """
    if residence not in get_args(Residence):
        raise ValueError(f"residence is one of {', '.join(get_args(Residence))}; got {residence!r}")
    reader = open_store(url, storage_options=storage_options)[feature_set]
    if residence == "memory":
        return reader.with_source(MemoryRows(reader.source, reader.n_rows))
    if residence == "cache":
        folder = Path(cache_dir) if cache_dir is not None else cache_directory() / "shards"
        return reader.with_source(MirrorRows(reader, folder, cache_bytes))
    return reader


class MirrorRows:
    """Rows from local copies of the shards that were touched; the least recently used go first.

    Safe for several processes on one folder: a copy appears whole or not at all, and one that another process has
    removed is fetched again.

    Parameters
    ----------
    reader
        Reader of the store that is mirrored.
    folder
        Where the copies go; stores and feature sets keep apart in it.
    max_bytes
        Most that this feature set's copies may take (bytes); the shards of a single read may go beyond it.
    """

    def __init__(self, reader: FeatureReader, folder: Path, max_bytes: int) -> None:
        self._reader = reader
        identity = f"{reader.url}\n{reader.assembly.digest}\n{reader.feature_set.fingerprint}"
        self.folder = folder / hashlib.sha256(identity.encode()).hexdigest()[:24]
        """Folder of this store's copies."""
        self._max_bytes = max_bytes
        self._rows: RowSource | None = None
        self._described: set[str] = set()

    def read(self, requests: Sequence[RowRequest]) -> list[NDArray[np.float16]]:
        """Copy the shards that are not here yet, then read many stretches in one batch."""
        self._fetch(requests)
        try:
            return self._local().read(requests)
        except DamagedChunk:
            # Another process may have evicted a copy between the two steps, or a disk fault has hit one: copy again.
            for request in requests:
                for shard in self._shards(request):
                    self._path(request, shard).unlink(missing_ok=True)
            self._fetch(requests)
            return self._local().read(requests)

    def _local(self) -> RowSource:
        if self._rows is None:
            self._rows = TensorStoreRows({"driver": "file", "path": f"{self.folder}/"}, self._reader.name)
        return self._rows

    def _fetch(self, requests: Sequence[RowRequest]) -> None:
        needed = {
            self._path(request, shard): (request, shard) for request in requests for shard in self._shards(request)
        }
        for contig in {request.contig for request in requests} - self._described:
            # Once in each process, also where a copy is there: the store may have got more phases since.
            metadata = f"{layout.values_path(self._reader.name, contig)}/zarr.json"
            _write_whole(self.folder / metadata, self._reader.objects.get(metadata))
            self._described.add(contig)
        absent = [path for path in needed if not _mark_used(path)]
        for path in absent:
            _write_whole(path, self._checked_shard(*needed[path]))
        if absent:
            self._evict(keep=set(needed))

    def _checked_shard(self, request: RowRequest, shard: int) -> bytes:
        key = layout.shard_key(self._reader.name, request.contig, request.phase, shard)
        commit = self._reader.commits.read(request.contig, request.phase, shard)
        data = self._reader.objects.get(key)
        if commit is None or hashlib.sha256(data).hexdigest() != commit.sha256:
            raise DamagedChunk(
                f"{key} of {self._reader.url} is not what was committed; `featurestore verify --crc` tells more"
            )
        return data

    def _shards(self, request: RowRequest) -> range:
        size = self._reader.layout(request.contig).shard_bins
        return range(request.first // size, (request.end - 1) // size + 1)

    def _path(self, request: RowRequest, shard: int) -> Path:
        return self.folder / layout.shard_key(self._reader.name, request.contig, request.phase, shard)

    def _evict(self, *, keep: set[Path]) -> None:
        copies = []
        for path in self.folder.glob("features/*/*/values/c/*/*/0"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # evicted by another process
            copies.append((stat.st_mtime_ns, stat.st_size, path))
        excess = sum(size for _, size, _ in copies) - self._max_bytes
        for _, size, path in sorted(copies, key=lambda copy: copy[0]):
            if excess <= 0:
                return
            if path not in keep:
                path.unlink(missing_ok=True)
                excess -= size


def _mark_used(path: Path) -> bool:
    """Set a copy's time to now; False if there is none."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)
