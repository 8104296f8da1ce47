"""Where the rows of a training run live: in memory, in a bounded mirror on the local disk, or in the store itself.

Belongs here: opening a reader with one of the three residences, which all give equal rows, and what it counts. Does
not: the residences (`loaders.residence.memory`, `loaders.residence.mirror`, `loaders.residence.streamed`), windows
(`featurestore.reader`), tensors (`loaders.windows`).
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from numpy.typing import ArrayLike

from catalog.folders import cache_directory
from featurestore import FeatureReader, RowSource, StorageOptions, Windows
from featurestore import open as open_store
from loaders.residence.memory import HeldRows
from loaders.residence.mirror import MirrorRows
from loaders.residence.streamed import StreamedRows
from loaders.stats import Stats, Tally, wire_stats

Residence = Literal["memory", "cache", "stream"]
DEFAULT_MEMORY_BYTES = 8 << 30
DEFAULT_CACHE_BYTES = 20 << 30
DEFAULT_STREAM_BYTES = 64 << 20


class CountingReader(FeatureReader):
    """A reader with its rows where they are wanted, that counts what it reads. Made by `open_reader`."""

    def __init__(self, reader: FeatureReader, source: RowSource, tally: Tally) -> None:
        super().__init__(reader.objects, reader.assembly, reader.feature_set, source)
        kvstore = reader.objects.kvstore()
        self._driver = None if kvstore is None else str(kvstore["driver"])
        self._tally = tally
        self._before = Stats() if self._driver is None else wire_stats(self._driver)

    @property
    def stats(self) -> Stats:
        """What was read since this reader was opened, in this process (some 0.2 ms to ask)."""
        own = self._tally.stats()
        if self._driver is None:
            return replace(own, requests=None, bytes_read=None)
        wire = wire_stats(self._driver).since(self._before)
        if isinstance(self.source, StreamedRows):
            own = replace(own, cache_hits=wire.cache_hits, cache_misses=wire.cache_misses)
        return replace(own, requests=wire.requests, bytes_read=wire.bytes_read)

    def windows(self, contigs: Sequence[str] | str, centres: ArrayLike, n_bins: int = 251) -> Windows:
        """Read many windows in one batch; see `FeatureReader.windows`."""
        start = time.perf_counter()
        found = super().windows(contigs, centres, n_bins)
        self._tally.add(windows=len(found.phases), read_s=time.perf_counter() - start)
        return found


def open_reader(
    url: str | os.PathLike[str],
    feature_set: str,
    *,
    residence: Residence = "memory",
    storage_options: StorageOptions | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    stream_bytes: int = DEFAULT_STREAM_BYTES,
) -> CountingReader:
    """Open a feature set with its rows where they are wanted.

    Parameters
    ----------
    residence
        `memory`: each contig is read whole, once, on first use (a genome of 40 channels is 60 MB a phase).
        `cache`: what is touched is copied to the local disk, in blocks. `stream`: next to nothing is kept.
    memory_bytes
        Most that `memory` holds (bytes).
    cache_dir, cache_bytes
        Folder of `cache`, by default below the cache directory, and the most that all its blocks take together, also
        those of other sets, stores and processes (bytes).
    stream_bytes
        Memory that `stream` takes for chunks and shard indexes, kept or on their way (bytes).

    Raises
    ------
    NotBuilt
        If the store has no such feature set.
    ValueError
        If there is no such residence, or `cache_bytes` does not hold one block.
    PermissionError
        If the cache folder cannot be written.
    """
    if residence not in get_args(Residence):
        raise ValueError(f"residence is one of {', '.join(get_args(Residence))}; got {residence!r}")
    reader = open_store(url, storage_options=storage_options)[feature_set]
    tally = Tally()
    source: RowSource
    if residence == "memory":
        source = HeldRows(reader, memory_bytes, tally)
    elif residence == "cache":
        folder = Path(cache_dir) if cache_dir is not None else cache_directory() / "rows"
        source = MirrorRows(reader, folder, cache_bytes, tally)
    else:
        source = StreamedRows(reader, stream_bytes)
    return CountingReader(reader, source, tally)
