"""Random access to a FASTA file, local or remote, plain, bgzipped or gzipped.

Belongs here: opening and checking one file, its bases, its cache. Does not: how bytes are fetched
(`catalog.fasta.source`), what an index is (`catalog.fasta.index`), what the sequences are called or digest to
(`catalog.assembly`), windows over them (`builders.extractors.sequence`).

The user's folder is never written to: a missing index, and the decompressed copy of a gzip file (gzip has no random
access), go to the cache directory.
"""

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.fasta import bgzf
from catalog.fasta.index import FastaIndex, make_index
from catalog.fasta.letters import as_dna
from catalog.fasta.packing import Packing, packing_of, unpack
from catalog.fasta.scan import FastaRecord, NotIndexable, names_of_headers
from catalog.fasta.source import STEP_BYTES, FastaChanged, FastaError, Source, open_local, open_source
from catalog.runtime.files import replacing, write_atomic
from catalog.runtime.folders import cache_directory

_INDEX, _UNPACKED = "index.json", "unpacked.fa"
_TAIL_BYTES = 1 << 16
_NEAR_BYTES = 1 << 16
"""A header that lies so near to the bases wanted is read with them."""
_IS_BREAK = np.array([byte in b"\r\n \t" for byte in range(256)])
_AFTER_A_CHANGE = (
    "what is committed was computed from the former file: put that back and start again, or build the other assembly "
    "into a store of its own"
)


class Fasta:
    """A FASTA file opened for random access: plain, bgzipped, or gzipped; on a disk or at a URL.

    Bases are read in place, one range a `fetch` (a bgzipped file: the blocks that hold it). Several threads may fetch
    at once.

    Parameters
    ----------
    path
        `.fa`, or `.fa.gz` made by bgzip (read in place) or gzip (decompressed once into the cache directory): a local
        path, `s3://bucket/key`, `https://`, `gs://`, or any other URL that fsspec reads.
    storage_options
        For a URL, as fsspec names them: `key`, `secret`, `endpoint_url`, `anon`, ...
    index
        The `index` of another `Fasta` over the same file: only the file's metadata is requested then. Without it, the
        `.fai` (and `.gzi`) next to the file are used if they are not older; else the file is read through once, and
        its index cached.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it cannot be reached.
    FastaChanged
        If the index is of another version of the file.
    FastaError
        If it is empty, truncated, compressed in another way, or not FASTA.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
        index: FastaIndex | None = None,
    ) -> None:
        self._source = open_source(path, storage_options)
        self.url = self._source.shown
        """Location for messages: an absolute path, or the URL without its query."""
        self.version = self._source.version
        """Version of the file when it was opened: its size, and its checksum or modification time."""
        if index is not None and index.version != self.version:
            self._source.close()
            raise FastaChanged(
                f"{self.url} is not the file that was indexed: that had {index.version}, this one has {self.version}; "
                "open it without the index if it holds the same sequences, or put the former file back"
            )
        identity = f"{self.url}\n{self.version}".encode(errors="surrogateescape")
        self.cache = cache_directory() / "fasta" / hashlib.sha256(identity).hexdigest()[:24]
        """Cache folder of this version of the file; created on first use."""
        was_derived = self.cache.exists()
        try:
            try:
                self._open(index)
            except FastaError as error:
                if not was_derived or isinstance(error, FastaChanged):
                    raise
                # The cache may be damaged rather than the file: rebuild it before the file is blamed.
                shutil.rmtree(self.cache, ignore_errors=True)
                self._open(index)
        except BaseException:
            self._source.close()
            raise

    def _open(self, index: FastaIndex | None) -> None:
        packing = index.packing if index is not None else packing_of(self._source)
        self._text = self._unpacked() if packing == "gzip" else self._source
        try:
            self._mend = "open it without an index"
            self.index = index if index is not None else self._find_index(packing)
            """Index of the sequences: with it, another process opens the same file without reading it."""
            self.lengths: dict[str, int] = self.index.lengths
            """Contig lengths in bp, in the order of the file."""
            self._records = {record.name: record for record in self.index.records}
            ends = [record.position(record.length - 1) + 1 for record in self.index.records]
            self._unchecked = dict(zip(self._records, [0, *ends], strict=False))
            """Where the header of each sequence begins (bytes), until it has been seen to be that."""
            self._blocks = bgzf.BlockTable(self.index.gzi) if packing == "bgzf" else None
            self._check_the_index_fits(is_given=index is not None)
            if index is None and self.index.empty:
                names, number = ", ".join(self.index.empty[:5]), len(self.index.empty)
                more = f", ... ({number:,})" if number > 5 else ""
                warnings.warn(
                    f"{self.url} has no bases for some headers, which are left out: {names}{more}", stacklevel=3
                )
        except BaseException:
            if self._text is not self._source:
                self._text.close()
            raise

    def fetch(self, contig: str, start: int, end: int) -> NDArray[np.uint8]:
        """Read bases `[start, end)` as ASCII, shape `(end - start,)`, uint8, in the case of the file; U is read as T.

        Raises
        ------
        FastaChanged
            If they cannot be read because the file changed since it was opened.
        FastaError
            If the file is truncated: it has fewer bases than its index says.
        OSError
            If the file cannot be reached.
        """
        if not 0 <= start < end <= self.lengths[contig]:
            raise ValueError(f"[{start}, {end}) does not lie in {contig}, which has {self.lengths[contig]} bases")
        return as_dna(self._bases(self._records[contig], start, end, self._read))

    def pieces(self, contigs: slice = slice(None)) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Iterate over contigs in bounded pieces: contig and bases, in the letters of the file (U where it has U).

        Reads are buffered, so their number does not grow with that of the contigs. Several threads may each iterate
        over some of the contigs.

        Parameters
        ----------
        contigs
            Which, by their place in the file; all of them by default.
        """
        buffered = _BufferedReads(self._read)
        for record in self.index.records[contigs]:
            for start in range(0, record.length, STEP_BYTES):
                end = min(start + STEP_BYTES, record.length)
                yield record.name, self._bases(record, start, end, buffered.read)

    def check_unchanged(self) -> None:
        """Check that the file is still the one that was opened.

        Everything read before a successful check came from that version, with two undetectable exceptions: a file
        rewritten with the same size whose time stamp was set back or did not move (within some milliseconds on a disk;
        within a second on a web server without ETag, and always on one without time stamps either); and, at a URL, a
        file that was replaced and put back since the last check.

        Raises
        ------
        FastaChanged
            If it is another, or gone.
        OSError
            If its server does not answer.
        """
        try:
            now = self._source.current_version()
        except FileNotFoundError as error:
            raise FastaChanged(f"{self.url} is gone; {_AFTER_A_CHANGE}") from error
        if now != self.version:
            raise FastaChanged(f"{self.url} changed: it had {self.version}, now it has {now}; {_AFTER_A_CHANGE}")

    def close(self) -> None:
        """Close the file."""
        self._text.close()
        self._source.close()

    def __enter__(self) -> "Fasta":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _find_index(self, packing: Packing) -> FastaIndex:
        """Use the index next to the file, or the cached one, or make it."""
        fai = self._source.sibling(".fai") if packing != "gzip" else None
        gzi = self._source.sibling(".gzi") if packing == "bgzf" and fai is not None else b""
        if fai is not None and gzi is not None:
            self._mend = f"remove {self.url}.fai"
            try:
                return FastaIndex.from_fai(fai.decode(), version=self.version, packing=packing, gzi=gzi)
            except ValueError as error:
                raise FastaError(
                    f"{self.url} cannot be indexed by the files next to it: {error}; the file is truncated, or the "
                    f"index is, or belongs to another file: fetch the file again, or {self._mend}, it is made again"
                ) from error
        self._mend = f"remove {self.cache}"
        try:
            return FastaIndex.from_json((self.derived(_INDEX) or b"").decode())
        except (ValueError, KeyError, TypeError, OverflowError):
            made = self._made_index(packing)  # there is none, or it is damaged
        self.keep(_INDEX, made.to_json().encode())
        return made

    def derived(self, name: str) -> bytes | None:
        """Read a file of the cache folder; None if there is none, or it is older than the file."""
        try:
            return (self.cache / name).read_bytes() if self._is_derived(name) else None
        except OSError:
            return None

    def keep(self, name: str, data: bytes) -> None:
        """Write a file of the cache folder, atomically."""
        self.cache.mkdir(parents=True, exist_ok=True)
        write_atomic(self.cache / name, data)

    def _is_derived(self, name: str) -> bool:
        """Tell whether a file of the cache was made since the file took its name or content.

        Time stamps that were set back, as by `cp -p`, hide a change from the version, not from this.
        """
        with suppress(OSError):
            return (self.cache / name).stat().st_mtime_ns >= self._source.changed_ns
        return False

    def _made_index(self, packing: Packing) -> FastaIndex:
        try:
            made = make_index(self._text, version=self.version, packing=packing)
        except ValueError as error:
            self.check_unchanged()
            mend = "" if isinstance(error, NotIndexable | FastaError) else "; fetch it again"
            raise FastaError(f"{self.url} cannot be indexed as FASTA: {error}{mend}") from error
        self.check_unchanged()
        return made

    def _unpacked(self) -> Source:
        """Decompress a gzip file once; the copy is written atomically."""
        copy = self.cache / _UNPACKED
        if not self._is_derived(_UNPACKED):
            copy.parent.mkdir(parents=True, exist_ok=True)
            with replacing(copy) as partial, partial.open("wb") as file:
                unpack(self._source, file)
                self.check_unchanged()
        return open_local(copy, shown=self.url)

    def _check_the_index_fits(self, *, is_given: bool) -> None:
        last = self.index.records[-1]
        position = last.position(last.length - 1)
        limit = self._text.size if self._blocks is None else self._blocks.text_limit(self._text.size)
        if position < limit and is_given:
            return
        # More than the last base, so that a file which continues is noticed too.
        tail = bytes(self._read(position, position + _TAIL_BYTES)) if position < limit else b""
        if not tail or names_of_headers(tail[1:]) != []:
            raise FastaError(
                f"{self.url} ({self._source.size} bytes) {'goes on after' if tail else 'ends before'} the last base in "
                "its index; the file is truncated, or the index is, or belongs to another file: fetch the file again "
                f"and {self._mend}"
            )

    def _bases(
        self, record: FastaRecord, start: int, end: int, read: Callable[[int, int], bytes | memoryview]
    ) -> NDArray[np.uint8]:
        first, last = record.position(start), record.position(end - 1) + 1
        try:
            header = self._unchecked.get(record.name)
            if header is not None and first - header > _NEAR_BYTES:
                self._check_header(record, read(max(header, record.offset - STEP_BYTES), record.offset))
                header = None
            begin = first if header is None else header
            whole = read(begin, last)
            if header is not None:
                self._check_header(record, whole[: record.offset - begin])
            data = np.frombuffer(whole, dtype=np.uint8)[first - begin :]
            bases = _without_breaks(data, record, start, end) if len(data) == last - first else data[:0]
            # Printable, and no header.
            if not bases.size or bases.min() <= ord(" ") or bases.max() > ord("~") or (bases == ord(">")).any():
                raise FastaError(
                    f"{self.url} does not have the {end - start} bases of {record.name}:{start + 1}-{end} where its "
                    "index says: it is truncated, or its lines have different widths; fetch the file again and "
                    f"{self._mend}, or rewrap it (`seqkit seq -w 60`)"
                )
        except (FastaError, OSError):
            self.check_unchanged()  # a changed file is not a damaged one
            raise
        return bases

    def _check_header(self, record: FastaRecord, text: bytes | memoryview) -> None:
        """Check that what lies between a sequence and the one before is its header, and those of empty ones."""
        names = names_of_headers(bytes(text))
        if not names or names[-1] != record.name:
            raise FastaError(
                f"{self.url} does not have the header of {record.name} right before its bases, where its index says; "
                f"the index is of another file, or one of the two is damaged: {self._mend}, or fetch the file again"
            )
        self._unchecked.pop(record.name, None)

    def _read(self, start: int, end: int) -> bytes | memoryview:
        """Read bytes `[start, end)` of the decompressed text, clipped to its end."""
        if self._blocks is None:
            return self._text.read(start, min(end, self._text.size))
        try:
            return self._blocks.read(self._text.read, self._text.size, start, end)
        except FastaError:
            raise
        except ValueError as error:
            raise FastaError(
                f"{self.url} breaks off or is damaged: {error}; fetch the file again and {self._mend}"
            ) from error


class _BufferedReads:
    """Read-ahead buffer: many neighbouring reads are served by one."""

    def __init__(self, read: Callable[[int, int], bytes | memoryview]) -> None:
        self._read = read
        self._start = 0
        self._held = memoryview(b"")

    def read(self, start: int, end: int) -> memoryview:
        if not self._start <= start <= end <= self._start + len(self._held):
            self._held = memoryview(self._read(start, max(end, start + STEP_BYTES)))
            self._start = start
        return self._held[start - self._start : end - self._start]


def _without_breaks(data: NDArray[np.uint8], record: FastaRecord, start: int, end: int) -> NDArray[np.uint8]:
    """Remove the line breaks from bases `[start, end)`; empty if they are not where the index says."""
    column = start % record.line_bases
    head = min(record.line_bases - column, end - start)
    breaks, rest = np.split(data[head:], [record.line_bytes - record.line_bases])
    lines = rest[: len(rest) // record.line_bytes * record.line_bytes].reshape(-1, record.line_bytes)
    bases = np.empty(end - start, dtype=np.uint8)
    bases[:head] = data[:head]
    body = bases[head : head + len(lines) * record.line_bases].reshape(-1, record.line_bases)
    body[:] = lines[:, : record.line_bases]
    bases[head + body.size :] = rest[lines.size :]
    return bases if _IS_BREAK[breaks].all() and _IS_BREAK[lines[:, record.line_bases :]].all() else bases[:0]
