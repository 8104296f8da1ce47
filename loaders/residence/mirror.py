"""Rows from a bounded mirror on the local disk: a read-through LRU cache.

Belongs here: which blocks some rows need, and where they come from. Does not: the files
(`featurestore.objects.disk_cache`), the other residences (`loaders.residence.open`).

What is copied is a block: neighbouring chunks of a shard, up to 256 KiB, decoded. Whole shards would cost
256 MB for one window of a wide set; single chunks, one file and one request for every 20 KB of a narrow one.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from catalog.value_type import Values
from featurestore import FeatureReader, FingerprintMismatch, NotBuilt, RowRequest, read_rows
from featurestore.objects.disk_cache import DiskCache, entry_bytes
from loaders.stats import Tally

_BLOCK_BYTES = 256 << 10
_FETCH_BYTES = 64 << 20
"""Of blocks that are read from the store at one time: what a read needs in memory beyond its result."""
_REQUESTS_AT_ONCE = 8
_PAGE_BYTES = 16 << 10
_LEAST_PAGE_BINS = 2048


def page_bins(chunk_bins: int, row_bytes: int) -> int:
    """Choose the rows of a page, the smallest piece that is read and checked: a chunk, or a part of one of many rows.

    Chunks of bins of one base hold up to 64 KiB, of which a window of 2,000 bp needs 2: pages of them have at most
    16 KiB, or 2,048 rows.
    """
    rows = chunk_bins
    while rows % 2 == 0 and rows > _LEAST_PAGE_BINS and rows * row_bytes > _PAGE_BYTES:
        rows //= 2
    return rows


class _Block(NamedTuple):
    """Rows `[first, end)` that are cached as one file; all of one shard."""

    contig: str
    phase: int
    shard: int
    first: int
    end: int


class _Piece(NamedTuple):
    """Rows `[first, end)` of a block, and where they go."""

    first: int
    end: int
    output: Values


class MirrorRows:
    """Rows from local copies of the blocks that were touched; the least recently used are evicted first.

    Safe for several processes and threads on one folder. A block goes by the digest of the shard that it was read from,
    so that stores which share bytes share blocks, and one that was built anew never gets old rows.

    Parameters
    ----------
    reader
        Reader of the store that is mirrored.
    folder
        Where the blocks go.
    max_bytes
        Most that all blocks in the folder take, including those of other sets and stores (bytes).
    tally
        Counts hits and misses.

    Raises
    ------
    PermissionError
        If the folder cannot be written.
    ValueError
        If the budget does not hold one block.
    """

    def __init__(self, reader: FeatureReader, folder: Path, max_bytes: int, tally: Tally | None = None) -> None:
        self._source = reader.source
        self._reader = reader
        self._tally = tally or Tally()
        self._n_channels = len(reader.channel_names)
        self._dtype = reader.feature_set.value_type.dtype
        self._row_bytes = row_bytes = self._dtype.itemsize * self._n_channels
        chunk_bins = reader.feature_set.chunk_bins
        self._page_bins = page_bins(chunk_bins, row_bytes)
        self._page_bytes = self._page_bins * row_bytes
        self._block_bins = chunk_bins * max(1, _BLOCK_BYTES // (chunk_bins * row_bytes))
        least = entry_bytes(min(self._block_bins, reader.feature_set.shard_bins) * row_bytes, self._page_bytes)
        if max_bytes < least:
            raise ValueError(
                f"cache_bytes={max_bytes} does not hold one block of {reader.name}, which has {least} bytes; give some "
                "GiB, or keep nothing on disk (residence='stream')"
            )
        try:
            self._blocks = DiskCache(folder, max_bytes, setting="cache_bytes")
        except OSError as error:
            raise PermissionError(
                f"the cache folder {folder} cannot be written ({error.strerror}); name one that can (cache_dir=, or "
                "the environment's FEATURESTORE_CACHE), or keep nothing on disk (residence='stream')"
            ) from error
        self._digests: dict[tuple[str, int, int], str] = {}
        self._row_counts: dict[tuple[str, int], tuple[int, int]] = {}

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        """Fill the outputs from blocks that are here; read those that are not, and keep them."""
        wanted: dict[_Block, list[_Piece]] = {}
        for request, output in zip(requests, outputs, strict=True):
            for block, piece in self._pieces(request, output):
                wanted.setdefault(block, []).append(piece)
        self._learn_digests(wanted)
        absent = {block: missing for block, pieces in wanted.items() if (missing := self._fill(block, pieces))}
        n_pieces = sum(map(len, wanted.values()))
        n_missing = sum(map(len, absent.values()))
        self._tally.add(hits=n_pieces - n_missing, misses=n_missing)
        for group in self._groups(absent):
            whole = [RowRequest(block.contig, block.phase, block.first, block.end) for block in group]
            fetched = read_rows(self._source, whole, self._n_channels, self._dtype)
            for block, rows in zip(group, fetched, strict=True):
                for first, end, output in absent[block]:
                    output[...] = rows[first:end]
            kept = {
                self._name(block): rows.reshape(-1).view(np.uint8) for block, rows in zip(group, fetched, strict=True)
            }
            self._blocks.write_pages(kept, self._page_bytes)

    def _pieces(self, request: RowRequest, output: Values) -> Iterator[tuple[_Block, _Piece]]:
        contig, phase, row, end = request
        shard_bins, n_rows = self._rows_of(contig, phase)
        while row < end:
            shard, within = divmod(row, shard_bins)
            first = row - within % self._block_bins
            last = min(first + self._block_bins, (shard + 1) * shard_bins, n_rows)
            until = min(end, last)
            piece = _Piece(row - first, until - first, output[row - request.first : until - request.first])
            yield _Block(contig, phase, shard, first, last), piece
            row = until

    def _rows_of(self, contig: str, phase: int) -> tuple[int, int]:
        """Give the rows of a shard and of the phase."""
        found = self._row_counts.get((contig, phase))
        if found is None:
            layout = self._reader.layout(contig)
            found = self._row_counts[contig, phase] = layout.shard_bins, layout.n_bins(phase)
        return found

    def _fill(self, block: _Block, pieces: Iterable[_Piece]) -> list[_Piece]:
        """Take rows from a block; gives what it could not, since the block is not here."""
        name = self._name(block)
        missing = []
        for piece in pieces:
            page = piece.first // self._page_bins
            pages = self._blocks.read_pages(name, self._page_bytes, page, -(-piece.end // self._page_bins))
            if pages is None:
                missing.append(piece)
                continue
            start = piece.first - page * self._page_bins
            filled = 0
            for stored in pages:
                rows = stored.view(self._dtype).reshape(self._page_bins, -1)[start:]
                rows = rows[: len(piece.output) - filled]
                piece.output[filled : filled + len(rows)] = rows
                filled += len(rows)
                start = 0
        return missing

    def _groups(self, blocks: Iterable[_Block]) -> Iterator[list[_Block]]:
        at_once = max(1, _FETCH_BYTES // (self._block_bins * self._row_bytes))
        ordered = list(blocks)
        return (ordered[start : start + at_once] for start in range(0, len(ordered), at_once))

    def _name(self, block: _Block) -> str:
        return f"{self._digests[block[:3]]}-{block.first}"

    def _learn_digests(self, blocks: Iterable[_Block]) -> None:
        """Read the commit records of shards that are new to this process (one small request a shard)."""
        unknown = sorted({block[:3] for block in blocks} - self._digests.keys())
        if unknown:
            with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
                self._digests.update(zip(unknown, pool.map(self._digest, unknown), strict=True))

    def _digest(self, place: tuple[str, int, int]) -> str:
        contig, phase, shard = place
        commit = self._reader.commits.read(contig, phase, shard)
        described = self._reader.feature_set
        if commit is None:
            raise NotBuilt(
                f"shard {shard} of {described.name} {contig}, phase {phase}, is not in {self._reader.url} any more; "
                "`featurestore status` tells what is, and `featurestore build` builds the rest"
            )
        if commit.fingerprint != described.fingerprint:
            raise FingerprintMismatch(
                f"{self._reader.url} was built anew since it was opened: {described.name} {contig} has fingerprint "
                f"{commit.fingerprint}, not {described.fingerprint}; open the store again"
            )
        # How the bytes are cut into rows belongs to the name too: it says what is in the file.
        shape = f"{self._page_bins} {self._block_bins} {self._n_channels}"
        return hashlib.sha256(f"{commit.sha256} {shape}".encode()).hexdigest()[:32]
