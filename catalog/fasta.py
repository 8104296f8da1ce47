"""Reading a FASTA file by position, whatever it is compressed with.

Belongs here: opening, indexing and checking one file. Does not: what the sequences are called or digest to
(`catalog.assembly`), windows over them (`builders.sequence`).

The user's folder is never written to: an index that is missing there, and the plain copy of a gzip file (gzip has no
random access), go to the cache directory.
"""

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
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
        readable = _unpacked(self.path, self.cache) if kind == "gzip" else self.path
        self._faidx = _open_indexed(readable, self.cache, is_bgzf=kind == "bgzf")
        self.lengths: dict[str, int] = {name: record.rlen for name, record in self._faidx.index.items()}
        """Contig lengths in bp, in the order of the file."""
        empty = [name for name, length in self.lengths.items() if length == 0]
        if empty or not self.lengths:
            raise FastaError(
                f"{self.path} holds no sequence{' for ' + ', '.join(empty[:5]) if empty else ''}; "
                "it may be truncated: fetch it again"
            )
        if kind != "bgzf":
            self._check_the_index_fits(readable)

    def fetch(self, contig: str, start: int, end: int) -> NDArray[np.uint8]:
        """Read bases `[start, end)` as ASCII, shape `(end - start,)`, uint8, in the case of the file.

        Raises
        ------
        FastaError
            If the file gives fewer bases than its index promises: it is truncated, or has changed.
        """
        if not 0 <= start < end <= self.lengths[contig]:
            raise ValueError(f"[{start}, {end}) does not lie in {contig}, which has {self.lengths[contig]} bases")
        try:
            bases = self._faidx.fetch(contig, start + 1, end).seq.encode("ascii")
        except (zlib.error, EOFError, ValueError, UnicodeError) as error:
            raise FastaError(
                f"{self.path} breaks off or is damaged inside {contig}:{start + 1}-{end}: {error}; fetch it again"
            ) from error
        if len(bases) != end - start:
            raise FastaError(
                f"{self.path} gave {len(bases)} of the {end - start} bases of {contig}:{start + 1}-{end}; "
                "it is truncated, or was changed after it was indexed: fetch it again and remove its .fai"
            )
        return np.frombuffer(bases, dtype=np.uint8)

    def close(self) -> None:
        """Close the file."""
        self._faidx.close()

    def __enter__(self) -> "Fasta":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_the_index_fits(self, readable: Path) -> None:
        last = max(self._faidx.index.values(), key=lambda record: record.offset)
        lines, rest = divmod(last.rlen, last.lenc)
        expected = last.offset + lines * last.lenb + rest - (0 if rest else last.lenb - last.lenc)
        size = readable.stat().st_size
        if size < expected:
            raise FastaError(
                f"{self.path} has {size} bytes, but its index ({self._faidx.indexname}) expects {expected}; "
                "the file is truncated, or the index belongs to another one: fetch the file again and remove the index"
            )


def _kind(path: Path) -> str:
    """Tell `plain`, `gzip` and `bgzf` apart by content; refuse the rest."""
    with path.open("rb") as file:
        head = file.read(18)
        if not head:
            raise FastaError(f"{path} is empty; expected FASTA records")
        for magic, name in _UNSUPPORTED.items():
            if head.startswith(magic):
                raise FastaError(
                    f"{path} is {name}-compressed, which has no random access here; unpack it and compress it with "
                    "bgzip (`bgzip genome.fa`), or leave it plain"
                )
        if not head.startswith(b"\x1f\x8b"):
            if not head.lstrip().startswith(b">"):
                raise FastaError(f"{path} is not FASTA: it begins with {head[:10]!r}, expected '>'")
            return "plain"
        if head[3] & 4 and head[12:14] == b"BC":
            file.seek(-min(len(_BGZF_END), path.stat().st_size), os.SEEK_END)
            if file.read() != _BGZF_END:
                raise FastaError(
                    f"{path} lacks the end mark of bgzip, so it is truncated; fetch it again (or run bgzip again)"
                )
            return "bgzf"
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
        if _kind(Path(partial)) != "plain":
            raise FastaError(f"{path} is compressed twice; unpack it once")
        os.replace(partial, target)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FastaError(f"{path} is a truncated or damaged gzip file ({error}); fetch it again") from error
    finally:
        Path(partial).unlink(missing_ok=True)
    return target


def _open_indexed(path: Path, cache: Path, *, is_bgzf: bool) -> Any:
    """Open with the indexes beside the file if they are there and not older than it, else with our own."""
    try:
        import pyfaidx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("reading FASTA needs pyfaidx: pip install 'genomic-featurestore[build]'") from error
    beside = [Path(f"{path}.fai"), *([Path(f"{path}.gzi")] if is_bgzf else [])]
    newest = path.stat().st_mtime
    if all(index.is_file() and index.stat().st_mtime >= newest for index in beside):
        indexes = beside
    else:
        cache.mkdir(parents=True, exist_ok=True)
        indexes = [cache / index.name for index in beside]
    options = {"gzi_indexname": str(indexes[1])} if is_bgzf else {}
    try:
        return pyfaidx.Faidx(str(path), indexname=str(indexes[0]), as_raw=False, **options)
    except (pyfaidx.FastaIndexingError, pyfaidx.IndexNotFoundError, ValueError, zlib.error, EOFError) as error:
        raise FastaError(f"{path} cannot be indexed as FASTA: {error}") from error
