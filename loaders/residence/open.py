"""Where the rows of a training run live: in memory, in a bounded mirror on the local disk, or in the store itself.

Belongs here: opening a reader with one of the three residences, which all give equal rows, and what it counts. Does
not: the residences (`loaders.residence.memory`, `loaders.residence.mirror`, `loaders.residence.streamed`), windows
(`featurestore.reader`, `featurestore.anchored.reader`), tensors (`loaders.windows.grid`).
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from numpy.typing import ArrayLike

from catalog.runtime.folders import cache_directory
from catalog.value_type import Values
from featurestore import FeatureReader, RowSource, StorageOptions, Windows
from featurestore import open as open_store
from featurestore.anchored.reader import AnchoredReader, open_anchored
from loaders.residence.memory import HeldRows, ReadsRows
from loaders.residence.mirror import MirrorRows
from loaders.residence.streamed import StreamedRows
from loaders.settings import (
    DEFAULT_CACHE_BYTES,
    DEFAULT_MEMORY_BYTES,
    DEFAULT_STREAM_BYTES,
    Residence,
    check_choice,
)
from loaders.stats import Stats, Tally, wire_stats


class _Counts:
    """What one reader has read: its own tally, and what tensorstore counts for the whole process."""

    def __init__(self, reader: ReadsRows, source: RowSource, tally: Tally) -> None:
        kvstore = reader.objects.kvstore()
        self._driver = None if kvstore is None else str(kvstore["driver"])
        self._is_streamed = isinstance(source, StreamedRows)
        self._before = Stats() if self._driver is None else wire_stats(self._driver)
        self.tally = tally

    @property
    def stats(self) -> Stats:
        own = self.tally.stats()
        if self._driver is None:
            return replace(own, requests=None, bytes_read=None)
        wire = wire_stats(self._driver).since(self._before)
        if self._is_streamed:
            own = replace(own, cache_hits=wire.cache_hits, cache_misses=wire.cache_misses)
        return replace(own, requests=wire.requests, bytes_read=wire.bytes_read)


class CountingReader(FeatureReader):
    """A reader with its rows where they are wanted, that counts what it reads. Made by `open_reader`."""

    def __init__(self, reader: FeatureReader, source: RowSource, tally: Tally) -> None:
        super().__init__(reader.objects, reader.assembly, reader.feature_set, source)
        self._counts = _Counts(reader, source, tally)

    @property
    def stats(self) -> Stats:
        """What was read since this reader was opened, in this process (some 0.2 ms to ask)."""
        return self._counts.stats

    def windows(self, contigs: Sequence[str] | str, centres: ArrayLike, n_bins: int = 251) -> Windows:
        """Read many windows in one batch; see `FeatureReader.windows`."""
        start = time.perf_counter()
        found = super().windows(contigs, centres, n_bins)
        self._counts.tally.add(windows=len(found.phases), read_s=time.perf_counter() - start)
        return found


class CountingAnchoredReader(AnchoredReader):
    """A reader of an anchored array with its rows where they are wanted, that counts what it reads."""

    def __init__(self, reader: AnchoredReader, source: RowSource, tally: Tally) -> None:
        super().__init__(reader.store, reader.layout, reader.anchors, source)
        self._counts = _Counts(reader, source, tally)

    @property
    def stats(self) -> Stats:
        """What was read since this reader was opened, in this process (some 0.2 ms to ask)."""
        return self._counts.stats

    def numbered(self, numbers: Sequence[int], n_bins: int) -> Values:
        """Read windows by the place of their anchors in the table; see `AnchoredReader.numbered`."""
        start = time.perf_counter()
        found = super().numbered(numbers, n_bins)
        self._counts.tally.add(windows=len(found), read_s=time.perf_counter() - start)
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
    check_choice("residence", residence, get_args(Residence))
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


def open_anchored_reader(
    url: str | os.PathLike[str],
    feature_set: str,
    anchors: str,
    *,
    residence: Residence = "memory",
    storage_options: StorageOptions | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    stream_bytes: int = DEFAULT_STREAM_BYTES,
) -> CountingAnchoredReader:
    """Open an anchored array with its rows where they are wanted.

    Parameters
    ----------
    residence
        `memory`: each window is read whole, once, on first use (20,000 of 251 bins and 40 channels are 400 MB).
        `stream`: next to nothing is kept.
    memory_bytes, stream_bytes
        As in `open_reader`.

    Raises
    ------
    NotBuilt
        If the store has no such feature set or anchors.
    ValueError
        If the residence is another one.
    """
    check_choice("residence", residence, get_args(Residence))
    if residence == "cache":
        raise ValueError(
            "`residence='cache'` mirrors the blocks of a grid, and an anchored array has none; take "
            "`residence='memory'`, which reads each window once, or `residence='stream'`"
        )
    reader = open_anchored(open_store(url, storage_options=storage_options), feature_set, anchors)
    tally = Tally()
    source: RowSource = (
        HeldRows(reader, memory_bytes, tally) if residence == "memory" else StreamedRows(reader, stream_bytes)
    )
    return CountingAnchoredReader(reader, source, tally)
