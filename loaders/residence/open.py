"""Where the rows of a training run are cached: in memory, in a bounded mirror on the local disk, or hardly at all.

Belongs here: the table of residences (a new one is a row of it), opening a reader with one of them, and what it counts;
all give equal rows. No torch. Does not: the residences themselves (`loaders.residence.memory`,
`loaders.residence.mirror`, `loaders.residence.streamed`), windows (`featurestore.reader`,
`featurestore.anchored.reader`), tensors (`loaders.windows.grid`).
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from catalog.runtime.folders import cache_directory
from catalog.runtime.locations import required_path
from catalog.runtime.whole_numbers import MOST_BYTES, whole_number
from catalog.value_type import Values
from featurestore import FeatureReader, RowRequest, RowSource, StorageOptions, open_store
from featurestore.anchored.reader import AnchoredReader, open_anchored
from featurestore.rows.overlays.rows import OverlayRows
from featurestore.rows.window_plan import WindowPlan
from loaders.residence.memory import HeldRows, ReadsRows
from loaders.residence.mirror import MirrorRows
from loaders.residence.streamed import StreamedRows
from loaders.stats import Stats, Tally, wire_stats

DEFAULT_MEMORY_BYTES = 8 << 30
DEFAULT_CACHE_BYTES = 20 << 30
DEFAULT_STREAM_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidenceOptions:
    """Budgets of the residences; each reads its own."""

    memory_bytes: int = DEFAULT_MEMORY_BYTES
    """Most that memory holds, and device where there is no GPU (bytes)."""
    cache_dir: Path | None = None
    """Folder of the mirror. [default: one below the cache directory]"""
    cache_bytes: int = DEFAULT_CACHE_BYTES
    """Most that the mirror's folder takes, other sets, stores and processes included (bytes)."""
    stream_bytes: int = DEFAULT_STREAM_BYTES
    """Memory for chunks and shard indexes of stream (bytes)."""

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "cache_bytes", "stream_bytes"):
            object.__setattr__(self, name, whole_number(getattr(self, name), name=name, least=0, most=MOST_BYTES))
        if self.cache_dir is not None:  # absolute: a worker may have another working directory
            object.__setattr__(self, "cache_dir", required_path(self.cache_dir))


def _held(reader: ReadsRows, options: ResidenceOptions, tally: Tally) -> RowSource:
    return HeldRows(reader, options.memory_bytes, tally)


def _mirrored(reader: ReadsRows, options: ResidenceOptions, tally: Tally) -> RowSource:
    if not isinstance(reader, FeatureReader):
        raise ValueError(
            "`residence='cache'` mirrors the blocks of a grid, and an anchored array has none; take "
            "`residence='memory'`, which reads each window once, or `residence='stream'`"
        )
    folder = options.cache_dir if options.cache_dir is not None else cache_directory() / "rows"
    # The mirror goes by the digests of the reference's shards: an overlay lies over it.
    return over(reader, lambda plain: MirrorRows(plain, folder, options.cache_bytes, tally))


def _streamed(reader: ReadsRows, options: ResidenceOptions, tally: Tally) -> RowSource:
    if not isinstance(reader, FeatureReader):
        return StreamedRows(reader, options.stream_bytes)
    return over(reader, lambda plain: StreamedRows(plain, options.stream_bytes))


def over(reader: FeatureReader, make: Callable[[FeatureReader], RowSource]) -> RowSource:
    """Make a source of the reference's rows, and lay the reader's overlay over it, where it has one."""
    source = reader.source
    if not isinstance(source, OverlayRows):
        return make(reader)
    return source.over(make(reader.with_source(source.reference)))


class ResidenceKind(NamedTuple):
    """One residence."""

    open: Callable[[ReadsRows, ResidenceOptions, Tally], RowSource]
    """Gives the rows of a reader."""
    doc: str
    """Completes the sentence "with this residence, ...", for help texts."""


RESIDENCES: Mapping[str, ResidenceKind] = MappingProxyType(
    {
        "memory": ResidenceKind(_held, "each contig is read whole, once, on first use"),
        "device": ResidenceKind(_held, "so they are, and moved to the GPU if there is one, where windows are gathered"),
        "cache": ResidenceKind(_mirrored, "blocks that are read are copied to a mirror on the local disk"),
        "stream": ResidenceKind(_streamed, "next to nothing is kept"),
    }
)
"""Every residence by its name; the choices and help texts of settings and commands come from here."""
RESIDENCE_HELP = f"Where rows are cached: {'; '.join(f'{name}: {kind.doc}' for name, kind in RESIDENCES.items())}."

if TYPE_CHECKING:
    Residence: TypeAlias = str
else:
    Residence = Literal[tuple(RESIDENCES)]


def residence_kind(residence: Residence) -> ResidenceKind:
    """Look a residence up by its name; a ValueError lists those that there are."""
    if residence not in RESIDENCES:
        raise ValueError(f"residence is one of {', '.join(RESIDENCES)}; got {residence!r}")
    return RESIDENCES[residence]


class _Counts:
    """What one reader has read: its own tally, and what tensorstore counts for the whole process."""

    def __init__(self, reader: ReadsRows, source: RowSource, tally: Tally) -> None:
        kvstore = reader.objects.kvstore()
        self._driver = None if kvstore is None else str(kvstore["driver"])
        beneath = source.reference if isinstance(source, OverlayRows) else source
        self._is_streamed = isinstance(beneath, StreamedRows)
        self._before = Stats() if self._driver is None else wire_stats(self._driver)
        self.tally = tally

    @property
    def has_read(self) -> bool:
        return self.tally.stats() != Stats()

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
    def has_read(self) -> bool:
        """Whether anything was read since this reader was opened, in this process."""
        return self._counts.has_read

    @property
    def stats(self) -> Stats:
        """What was read since this reader was opened, in this process (some 0.2 ms to ask)."""
        return self._counts.stats

    def planned(self, plan: WindowPlan) -> Values:
        """Read windows that were planned; see `FeatureReader.planned`."""
        start = time.perf_counter()
        found = super().planned(plan)
        self._counts.tally.add(windows=len(found), read_s=time.perf_counter() - start)
        return found

    def rows(self, requests: Sequence[RowRequest]) -> list[Values]:
        """Read ranges of committed rows; see `FeatureReader.rows`."""
        start = time.perf_counter()
        found = super().rows(requests)
        self._counts.tally.add(read_s=time.perf_counter() - start)
        return found


class CountingAnchoredReader(AnchoredReader):
    """A reader of an anchored array with its rows where they are wanted, that counts what it reads."""

    def __init__(self, reader: AnchoredReader, source: RowSource, tally: Tally) -> None:
        super().__init__(reader.store, reader.layout, reader.anchors, source)
        self._counts = _Counts(reader, source, tally)

    @property
    def has_read(self) -> bool:
        """Whether anything was read since this reader was opened, in this process."""
        return self._counts.has_read

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
    overlay: str | None = None,
) -> CountingReader:
    """Open a feature set whose rows are cached as the residence says.

    Parameters
    ----------
    residence
        `memory`: each contig is read whole, once, on first use (a genome of 40 channels is 60 MB a phase).
        `cache`: blocks that are read are copied to the local disk. `stream`: next to nothing is kept.
    memory_bytes
        Most that `memory` holds (bytes).
    cache_dir, cache_bytes
        Folder of `cache`, by default below the cache directory, and the most that all its blocks take, including those
        of other sets, stores and processes (bytes).
    stream_bytes
        Memory that `stream` takes for chunks and shard indexes, cached or in flight (bytes).
    overlay
        A personal genome, such as `NA12878/1`, whose bins are read where they differ; None for the reference.

    Raises
    ------
    NotBuilt
        If the store has no such feature set.
    ValueError
        If there is no such residence, or `cache_bytes` does not hold one block.
    PermissionError
        If the cache folder cannot be written.
    """
    options = ResidenceOptions(
        memory_bytes=memory_bytes,
        cache_dir=None if cache_dir is None else Path(cache_dir),
        cache_bytes=cache_bytes,
        stream_bytes=stream_bytes,
    )
    return open_grid_reader(
        url, feature_set, residence=residence, options=options, storage_options=storage_options, overlay=overlay
    )


def open_grid_reader(
    url: str | os.PathLike[str],
    feature_set: str,
    *,
    residence: Residence,
    options: ResidenceOptions,
    storage_options: StorageOptions | None,
    overlay: str | None = None,
) -> CountingReader:
    """Do what `open_reader` does, with the budgets as one value."""
    kind = residence_kind(residence)
    reader = open_store(url, storage_options=storage_options)[feature_set]
    if overlay is not None:
        reader = reader.with_overlay(overlay)
    tally = Tally()
    return CountingReader(reader, kind.open(reader, options, tally), tally)


def open_anchored_reader(
    url: str | os.PathLike[str],
    feature_set: str,
    anchors: str,
    *,
    residence: Residence,
    options: ResidenceOptions,
    storage_options: StorageOptions | None,
) -> CountingAnchoredReader:
    """Open an anchored array; in `memory`, 20,000 windows of 251 bins and 40 channels take 400 MB.

    Raises
    ------
    NotBuilt
        If the store has no such feature set or anchors.
    ValueError
        If there is no such residence, or it is `cache`, which needs a grid.
    """
    kind = residence_kind(residence)
    reader = open_anchored(open_store(url, storage_options=storage_options), feature_set, anchors)
    tally = Tally()
    return CountingAnchoredReader(reader, kind.open(reader, options, tally), tally)
