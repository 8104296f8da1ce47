"""Reading a FASTA file by position, whatever it is compressed with.

Belongs here: opening, indexing and checking one file. Does not: what the sequences are called or digest to
(`catalog.assembly`), windows over them (`builders.sequence`).

The user's folder is never written to: an index that is missing there, and the plain copy of a gzip file (gzip has no
random access), go to the cache directory.
"""

import bisect
import gzip
import hashlib
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends every BGZF file (SAM specification, section 4.1.2)."""
_UNSUPPORTED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"PK\x03\x04": "zip",
    b"\x43\x27\x41\x1a": "UCSC 2bit",
    b"\x1a\x41\x27\x43": "UCSC 2bit",
}
_COMPRESSED_ENDINGS = (".gz", ".bgz", ".bz2", ".zip")
"""Endings from which pyfaidx infers compression, whatever the content."""
_TAIL_BYTES = 1 << 16
_IS_BASE = np.array([33 <= byte < 127 and byte != ord(">") for byte in range(256)])
_IS_BREAK = np.array([byte in b"\r\n" for byte in range(256)])
_DAMAGE = (zlib.error, EOFError, ValueError, RuntimeError, struct.error)
"""What zlib, Bio.bgzf and pyfaidx raise on bytes that are not as they should be."""


class FastaError(ValueError):
    """A file that cannot be read as FASTA."""


def cache_directory() -> Path:
    """Give the folder for things that can be made again: `$FEATURESTORE_CACHE`, else below `~/.cache`."""
    chosen = os.environ.get("FEATURESTORE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genomic-featurestore"


class Fasta:
    """A FASTA file opened for random access: plain, bgzipped, or gzipped.

    Parameters
    ----------
    path
        `.fa`, or `.fa.gz` made by bgzip (read in place) or gzip (unpacked once into the cache directory).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FastaError
        If it is empty, truncated, compressed in another way, or not FASTA.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()
        if not self.path.is_file():
            raise FileNotFoundError(f"no FASTA file at {self.path}; give the path of a .fa or a bgzipped .fa.gz")
        kind = _kind(self.path)
        stat = self.path.stat()
        identity = f"{self.path}\n{stat.st_size}\n{stat.st_mtime_ns}"
        self.cache = cache_directory() / "fasta" / hashlib.sha256(identity.encode()).hexdigest()[:24]
        """Folder for what is derived from this version of the file; made on first need."""
        was_derived = self.cache.exists()
        try:
            self._open(kind)
        except FastaError:
            if not was_derived:
                raise
            # What lies in the cache may be what is damaged: derive it anew before the file is blamed.
            shutil.rmtree(self.cache, ignore_errors=True)
            self._open(kind)

    def _open(self, kind: str) -> None:
        readable = _unpacked(self.path, self.cache) if kind == "gzip" else self.path
        self._faidx = _open_indexed(readable, self.cache, is_bgzf=kind == "bgzf")
        self._derived = self.cache if kind == "gzip" else Path(self._faidx.indexname)
        self.lengths: dict[str, int] = {name: record.rlen for name, record in self._faidx.index.items()}
        """Contig lengths in bp, in the order of the file."""
        try:
            empty = [name for name, length in self.lengths.items() if length == 0]
            if empty or not self.lengths:
                raise FastaError(
                    f"{self.path} holds no sequence{' for ' + ', '.join(empty[:5]) if empty else ''}; "
                    f"it may be truncated: fetch it again and remove {self._derived}"
                )
            self._check_the_index_fits()
        except FastaError:
            self.close()
            raise

    def fetch(self, contig: str, start: int, end: int) -> NDArray[np.uint8]:
        """Read bases `[start, end)` as ASCII, shape `(end - start,)`, uint8, in the case of the file.

        Raises
        ------
        FastaError
            If the file gives fewer bases than its index promises: it is truncated, or has changed.
        """
        if not 0 <= start < end <= self.lengths[contig]:
            raise ValueError(f"[{start}, {end}) does not lie in {contig}, which has {self.lengths[contig]} bases")
        record = self._faidx.index[contig]
        first = _position(record, start)
        data = np.frombuffer(self._read(first, _position(record, end - 1) + 1 - first), dtype=np.uint8)
        bases = _without_breaks(data, start % record.lenc, record.lenc, record.lenb)
        if len(bases) != end - start or not _IS_BASE[bases].all():
            raise FastaError(
                f"{self.path} does not have the {end - start} bases of {contig}:{start + 1}-{end} where its index "
                "says: it is truncated, was changed after it was indexed, or its lines have different widths; fetch it "
                f"again and remove {self._derived}, or rewrap it (`seqkit seq -w 60`)"
            )
        return bases

    def close(self) -> None:
        """Close the file."""
        self._faidx.close()

    def __enter__(self) -> "Fasta":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_the_index_fits(self) -> None:
        records = self._faidx.index.values()
        is_sane = all(record.offset > 0 and 1 <= record.lenc <= record.lenb <= record.lenc + 2 for record in records)
        # One more byte than the last base, so that a file which goes on is noticed too.
        last = max(records, key=lambda record: record.offset)
        tail = self._read(_position(last, last.rlen - 1), _TAIL_BYTES) if is_sane else b""
        if not tail or tail[1:].strip():
            size = self.path.stat().st_size
            raise FastaError(
                f"{self.path} ({size} bytes) {'goes on after' if tail else 'ends before'} the last base in its index "
                f"({self._faidx.indexname}); the file is truncated, or the index is, or belongs to another file: "
                f"fetch the file again and remove {self._derived}"
            )

    def _read(self, position: int, size: int) -> bytes:
        """Read up to `size` bytes from a position of the unpacked file."""
        file = self._faidx.file
        try:
            with self._faidx.lock:
                if not self._faidx._bgzf:
                    file.seek(position)
                else:
                    # Not by pyfaidx, which takes a position on the edge of two blocks for one in the former: where
                    # that is full (65,536 bytes, as Bio.bgzf writes them), it cannot be addressed.
                    from Bio.bgzf import make_virtual_offset

                    blocks = self._faidx.gzi_index
                    block = blocks[bisect.bisect_right(blocks, position, key=lambda block: block.ustart) - 1]
                    place = make_virtual_offset(block.cstart, position - block.ustart)  # type: ignore[no-untyped-call]  # Biopython has no annotations here
                    file.seek(place)
                return bytes(file.read(size))
        except _DAMAGE as error:
            raise FastaError(
                f"{self.path} breaks off or is damaged near byte {position} of the unpacked file: {error}; "
                f"fetch it again and remove {self._derived}"
            ) from error


def _position(record: Any, base: int) -> int:
    """Where a base lies in the unpacked file (bytes), by the index record of its contig."""
    line, column = divmod(base, record.lenc)
    return int(record.offset + line * record.lenb + column)


def _without_breaks(data: NDArray[np.uint8], column: int, line_bases: int, line_bytes: int) -> NDArray[np.uint8]:
    """Take the line breaks out of sequence that begins at a column; nothing is left where they are not in place."""
    rest = data[line_bytes - column :]
    lines = rest[: len(rest) // line_bytes * line_bytes].reshape(-1, line_bytes)
    bases = np.concatenate([data[: line_bases - column], lines[:, :line_bases].ravel(), rest[lines.size :]])
    breaks = np.concatenate([data[line_bases - column : line_bytes - column], lines[:, line_bases:].ravel()])
    return bases if _IS_BREAK[breaks].all() else bases[:0]


def _kind(path: Path, *, shown: Path | None = None) -> str:
    """Tell `plain`, `gzip` and `bgzf` apart by content; refuse the rest, under the name to be shown."""
    shown = shown or path
    with path.open("rb") as file:
        head = file.read(18)
        if not head:
            raise FastaError(f"{shown} is empty; expected FASTA records: fetch it again")
        for magic, name in _UNSUPPORTED.items():
            if head.startswith(magic):
                raise FastaError(
                    f"{shown} is {name}-compressed, which has no random access here; unpack it and compress it with "
                    "bgzip (`bgzip genome.fa`), or leave it plain"
                )
        if not head.startswith(b"\x1f\x8b"):
            if not head.lstrip().startswith(b">"):
                raise FastaError(
                    f"{shown} is not FASTA: it begins with {head[:10]!r}, expected '>'; give a .fa, or a .fa.gz made "
                    "by bgzip"
                )
            if path.name.lower().endswith(_COMPRESSED_ENDINGS):
                raise FastaError(f"{shown} is plain text under a compressed file's name; rename it, as in genome.fa")
            return "plain"
        if head[3] & 4 and head[12:14] == b"BC":
            file.seek(-min(len(_BGZF_END), path.stat().st_size), os.SEEK_END)
            if file.read() != _BGZF_END:
                raise FastaError(
                    f"{shown} lacks the end mark of bgzip, so it is truncated; fetch it again (or run bgzip again)"
                )
            # Under another name pyfaidx would read it as plain text.
            return "bgzf" if path.name.lower().endswith((".gz", ".bgz")) else "gzip"
    return "gzip"


def _unpacked(path: Path, cache: Path) -> Path:
    """Unpack a gzip file once; the copy appears whole or not at all."""
    target = cache / "unpacked.fa"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=cache, prefix="unpacked.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as out, gzip.open(path, "rb") as packed:
            shutil.copyfileobj(packed, out, length=1 << 22)
        if _kind(Path(partial), shown=path) != "plain":
            raise FastaError(f"{path} is compressed twice; unpack it once")
        os.replace(partial, target)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FastaError(f"{path} is a truncated or damaged gzip file ({error}); fetch it again") from error
    finally:
        Path(partial).unlink(missing_ok=True)
    return target


def _open_indexed(path: Path, cache: Path, *, is_bgzf: bool) -> Any:
    """Open with the indexes beside the file if they are there and not older than it, else with our own."""
    beside = [Path(f"{path}.fai"), *([Path(f"{path}.gzi")] if is_bgzf else [])]
    stat = path.stat()
    if all(index.is_file() and index.stat().st_mtime_ns >= stat.st_mtime_ns for index in beside):
        return _faidx(path, beside, mend=f"remove {beside[0]}, it is made again")
    own = [cache / index.name for index in beside]
    if not all(index.is_file() for index in own):
        cache.mkdir(parents=True, exist_ok=True)
        # Made elsewhere and moved: another process may be opening the same file.
        with tempfile.TemporaryDirectory(dir=cache, prefix="index.") as folder:
            made = [Path(folder) / index.name for index in own]
            mend = (
                "fetch it again if it is damaged; else give each sequence a name of its own, and lines of one width "
                "(`seqkit seq -w 60` rewraps them)"
            )
            _faidx(path, made, mend=mend).close()
            for new, index in zip(made, own, strict=True):
                # pyfaidx would rebuild, in place, an index that is older than a file from a clock that runs ahead.
                os.utime(new, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
                os.replace(new, index)
    return _faidx(path, own, mend=f"remove {cache}, it is made again")


def _faidx(path: Path, indexes: Sequence[Path], *, mend: str) -> Any:
    """Open with indexes at the given places; those that are not there are made."""
    try:
        import pyfaidx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("reading FASTA needs pyfaidx: pip install 'genomic-featurestore[build]'") from error
    options = {"gzi_indexname": str(indexes[1])} if len(indexes) > 1 else {}
    try:
        return pyfaidx.Faidx(str(path), indexname=str(indexes[0]), **options)
    except (
        pyfaidx.FastaIndexingError,
        pyfaidx.IndexNotFoundError,
        pyfaidx.UnsupportedCompressionFormat,
        *_DAMAGE,
    ) as error:
        raise FastaError(f"{path} cannot be indexed as FASTA: {error}; {mend}") from error
