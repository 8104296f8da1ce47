"""Detecting how a FASTA file is compressed, from its content.

Belongs here: telling plain, bgzip and gzip from what is refused; decompressing gzip, which has no random access.
Does not: reading bgzip in place (`catalog.fasta.bgzf`).
"""

import gzip
import shutil
import zlib
from pathlib import Path
from typing import BinaryIO, Literal

from catalog.fasta import bgzf
from catalog.fasta.scan import BYTE_ORDER_MARK
from catalog.fasta.source import FastaError, Source, as_file

Packing = Literal["plain", "bgzf", "gzip"]
_UNSUPPORTED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"PK\x03\x04": "zip",
}
_TWO_BIT = (b"\x43\x27\x41\x1a", b"\x1a\x41\x27\x43")
_COMPRESSED_ENDINGS = (".gz", ".bgz", ".bz2", ".zip")


def packing_of(source: Source) -> Packing:
    """Detect how a file is compressed.

    Raises
    ------
    FastaError
        If it is empty, truncated, compressed in another way, not FASTA, or its name contradicts its content.
    """
    packing = _packing_of(source.read(0, min(bgzf.HEADER_BYTES, source.size)), source.shown)
    if packing == "plain" and Path(source.shown).name.lower().endswith(_COMPRESSED_ENDINGS):
        raise FastaError(f"{source.shown} is plain text under a compressed file's name; rename it, as in genome.fa")
    if packing == "bgzf" and source.read(max(0, source.size - len(bgzf.END)), source.size) != bgzf.END:
        raise FastaError(
            f"{source.shown} lacks the end mark of bgzip, so it is truncated; fetch it again (or run bgzip again)"
        )
    return packing


def _packing_of(head: bytes, shown: str) -> Packing:
    if not head:
        raise FastaError(f"{shown} is empty; expected FASTA records: fetch it again")
    if head.startswith(_TWO_BIT):
        raise FastaError(f"{shown} is UCSC 2bit, which is not read here; unpack it: `twoBitToFa genome.2bit genome.fa`")
    for magic, name in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise FastaError(
                f"{shown} is {name}-compressed, which has no random access here; unpack it and compress it with "
                "bgzip (`bgzip genome.fa`), or leave it plain"
            )
    if head.startswith(b"\x1f\x8b"):
        return "bgzf" if bgzf.is_header(head) else "gzip"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FastaError(f"{shown} is text in UTF-16; save it as plain text (`iconv -f UTF-16 -t UTF-8`)")
    if head.startswith(b"@"):
        raise FastaError(f"{shown} begins with '@', as FASTQ does; give the genome's .fa, not reads")
    if not head.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b">"):
        raise FastaError(
            f"{shown} is not FASTA: it begins with {head[:10]!r}, expected '>'; give a .fa, or a .fa.gz made by bgzip"
        )
    return "plain"


def unpack(source: Source, out: BinaryIO) -> None:
    """Decompress a gzip file in one pass.

    Raises
    ------
    FastaError
        If it is truncated or damaged, or its content is not FASTA.
    """
    try:
        with gzip.GzipFile(fileobj=as_file(source.stream())) as packed:
            head = packed.read(bgzf.HEADER_BYTES)
            if _packing_of(head, source.shown) != "plain":
                raise FastaError(f"{source.shown} is compressed twice; unpack it once")
            out.write(head)
            shutil.copyfileobj(packed, out, length=1 << 22)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FastaError(f"{source.shown} is a truncated or damaged gzip file ({error}); fetch it again") from error
