"""BGZF, the gzip that bgzip writes: independent blocks of up to 64 KiB, which allow random access.

Belongs here: blocks, and the table of their positions (the SAM specification, section 4.1; htslib's `.gzi`).
Does not: where the bytes come from (`catalog.fasta.source`), FASTA (`catalog.fasta.file`).
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends every BGZF file."""
HEADER_BYTES = 18
BLOCK_BYTES = 1 << 16
"""The most that a block holds (bytes), packed or unpacked."""
_FULL_BYTES = 0xFF00
"""What bgzip puts into a block: packed it fits, even if it cannot be made smaller."""
_ENTRY = np.dtype([("start", "<u8"), ("text", "<u8")])


def is_header(data: bytes) -> bool:
    """Tell whether bytes begin with a block header: gzip whose first extra field is the block's size."""
    return len(data) >= HEADER_BYTES and data[:4] == END[:4] and data[12:16] == END[12:16]


def packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pack bytes as bgzip does: blocks, and the one that ends a file."""
    held = b""
    for piece in pieces:
        held += piece
        while len(held) >= _FULL_BYTES:
            yield _packed(held[:_FULL_BYTES])
            held = held[_FULL_BYTES:]
    if held:
        yield _packed(held)
    yield END


def _packed(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(data) + packer.flush()
    size = HEADER_BYTES + len(body) + 8
    return END[:16] + struct.pack("<H", size - 1) + body + struct.pack("<II", zlib.crc32(data), len(data))


def inflated(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Decompress block after block, verifying each block's CRC.

    Yields
    ------
    The offset of the block (bytes, from the start of the first chunk), and its decompressed content.

    Raises
    ------
    ValueError
        If a block is damaged, or the last one is cut short.
    """
    held, before = b"", 0
    for chunk in chunks:
        held += chunk
        at = 0
        while len(held) - at >= HEADER_BYTES:
            if not is_header(held[at : at + HEADER_BYTES]):
                raise ValueError(f"no BGZF block begins at byte {before + at}")
            end = at + 1 + int.from_bytes(held[at + 16 : at + 18], "little")
            if end > len(held):
                break
            yield before + at, _unpacked(held[at:end], before + at)
            at = end
        held, before = held[at:], before + at
    if held:
        raise ValueError(f"the BGZF block at byte {before} is cut short")


def _unpacked(block: bytes, at: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        # One more than a block may hold, so that the decompressor reaches the end of a full one.
        data = unpacker.decompress(block, BLOCK_BYTES + 1)
    except zlib.error as error:
        raise ValueError(f"the BGZF block at byte {at} is damaged ({error})") from error
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError(f"the BGZF block at byte {at} does not have the size that it claims")
    return data


class BlockTable:
    """Offsets of the blocks, in the file and in the decompressed text.

    Parameters
    ----------
    gzi
        The content of a `.gzi`: a count, then start and text position (8 bytes each) of every block but the first.

    Raises
    ------
    ValueError
        If it is not that.
    """

    def __init__(self, gzi: bytes) -> None:
        if len(gzi) < 8 or len(gzi) != 8 + int.from_bytes(gzi[:8], "little") * _ENTRY.itemsize:
            raise ValueError(f"a .gzi of {len(gzi)} bytes does not hold the number of blocks that it claims")
        entries = np.frombuffer(gzi, dtype=_ENTRY, offset=8)
        if len(entries) and max(entries["start"].max(), entries["text"].max()) >= 1 << 62:
            raise ValueError("a .gzi has blocks that begin beyond any file")
        self.starts: NDArray[np.int64] = np.concatenate([[0], entries["start"]]).astype(np.int64)
        self.texts: NDArray[np.int64] = np.concatenate([[0], entries["text"]]).astype(np.int64)
        steps = np.diff(self.texts)
        if (np.diff(self.starts) < len(END)).any() or (steps < 0).any() or (steps > BLOCK_BYTES).any():
            raise ValueError("the blocks of a .gzi do not follow one another, each with at most 65,536 bytes of text")

    def text_limit(self, size: int) -> int:
        """Upper bound of the decompressed size (bytes), from that of the file."""
        behind = max(0, size - int(self.starts[-1])) // len(END)
        return int(self.texts[-1]) + behind * BLOCK_BYTES

    def read(self, read: Callable[[int, int], bytes], size: int, start: int, end: int) -> memoryview:
        """Read `[start, end)` of the text, clipped to its end, in one read of the blocks that hold it.

        Parameters
        ----------
        read
            Reads bytes `[start, end)` of the file.
        size
            Size of the file (bytes).

        Raises
        ------
        ValueError
            If a block is damaged or not there, or the decompressed size differs from that in the table.
        """
        first = int(np.searchsorted(self.texts, start, side="right")) - 1
        behind = int(np.searchsorted(self.texts, end, side="left"))
        is_listed = behind < len(self.texts)
        low, high = int(self.starts[first]), int(self.starts[behind]) if is_listed else size
        if high > size:
            raise ValueError(f"a .gzi has a block at byte {high}, and the file ends at byte {size}")
        origin = int(self.texts[first])
        wanted = (int(self.texts[behind]) if is_listed else end) - origin
        blocks, found = [], 0
        for _, block in inflated([read(low, high)]):
            blocks.append(block)
            found += len(block)
            if found >= wanted:
                break
        if is_listed and found != wanted:
            raise ValueError(f"the blocks from byte {low} to {high} hold other text than the .gzi says")
        return memoryview(b"".join(blocks))[start - origin : end - origin]


def gzi_of(blocks: Iterable[tuple[int, int]]) -> bytes:
    """Encode the `.gzi` of blocks, given by file and text offset; like htslib, without the block at byte 0."""
    entries = [block for block in blocks if block[0]]
    return struct.pack("<Q", len(entries)) + np.array(entries, dtype=_ENTRY).tobytes()
