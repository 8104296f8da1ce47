"""Packing as bgzip does: what comes out again is what went in."""

import gzip
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.fasta import bgzf


def pieces(size: int, seed: int) -> Iterator[bytes]:
    """Bytes that cannot be packed to fewer, in uneven pieces."""
    data = (b"%d" % seed) + bytes((seed + n * n * 2654435761 >> 7) & 255 for n in range(size))
    for first in range(0, len(data), 7001):
        yield data[first : first + 7001]


@settings(max_examples=10)
@given(st.sampled_from([0, 1, 65_270, 65_280, 140_000]), st.integers(0, 9))
def test_blocks_are_those_of_bgzip_and_hold_what_was_packed(size: int, seed: int) -> None:
    whole = b"".join(pieces(size, seed))
    packed = b"".join(bgzf.packed(pieces(size, seed)))
    assert gzip.decompress(packed) == whole
    assert packed.endswith(bgzf.END)
    blocks = [text for _, text in bgzf.inflated([packed])]
    assert b"".join(blocks) == whole
    assert all(len(text) <= bgzf.BLOCK_BYTES for text in blocks)
