"""The layout of a bigWig file, checked before a library reads it.

Belongs here: what kind of file it is, whether it is whole, whether its trees point into it. Does not: its values
(`builders.tracks.bigwig`).

The library takes sizes and places from the file as they are: one flipped bit, and it asks the machine for more memory
than there is, which ends the process. Format: Kent et al. 2010, Bioinformatics 26:2204, supplement.
"""

import struct
from collections.abc import Callable

import numpy as np

from catalog.fasta.source import FileKind

_BIGWIG, _BIGBED = 0x888FFC26, 0x8789F2EB
_CONTIG_TREE, _INDEX_TREE = 0x78CA8C91, 0x2468ACE0
_HEADER = "IHHQQQHHQQIQ"
_LEAST_BYTES = 68
_MOST_CONTIGS = 10_000_000
_LONGEST_NAME = 4096
_MOST_BLOCK_BYTES = 1 << 28
"""Of one block of values, deflated or not; programs write 32 KB."""

Read = Callable[[int, int], bytes]
"""Bytes `[start, end)` of the file; shorter, or an error, past its end."""


class NotABigWig(ValueError):
    """A file that cannot be read as bigWig."""


BIGWIG = FileKind("bigWig", "a .bw or .bigWig", NotABigWig)


def check_layout(read: Read, size: int, *, shown: str) -> None:
    """Refuse what is no bigWig, or not whole, or whose trees point elsewhere than into the file.

    Parameters
    ----------
    read
        Reads a range of the file; the index is read through, 0.1 % of the file or so.
    size
        Of the file (bytes).
    shown
        Its name in messages.

    Raises
    ------
    NotABigWig
        If it is one of these.
    """
    if size == 0:
        raise NotABigWig(f"{shown} is empty; fetch it again")
    head = read(0, min(size, 64))
    magic = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    if _BIGBED in magic:
        raise NotABigWig(
            f"{shown} is a bigBed, which holds intervals and no signal; give the bigWig of the experiment, or make one "
            "of a bedGraph (bedGraphToBigWig)"
        )
    if _BIGWIG not in magic:
        raise NotABigWig(f"{shown} is no bigWig: it begins with {head[:8]!r}; give a .bw or .bigWig file")
    cut = f"{shown} ({size:,} bytes) is cut short: "
    if size < _LEAST_BYTES:
        raise NotABigWig(f"{cut}a bigWig has at least {_LEAST_BYTES} bytes; fetch it again")
    order = "<" if int.from_bytes(head[:4], "little") == _BIGWIG else ">"
    _, _, n_zooms, contigs, data, index, _, _, _, summary, block_bytes, _ = struct.unpack(order + _HEADER, head)
    furthest = max(contigs, data, index, summary, 64 + 24 * n_zooms)
    if furthest >= size:
        raise NotABigWig(f"{cut}its header tells of byte {furthest:,}; fetch it again")
    if read(size - 4, size) != head[:4]:
        raise NotABigWig(
            f"{cut}it does not end with the mark of a bigWig; fetch it again, or, if it is whole, write it anew with a "
            "program that sets the mark (bigWigToBedGraph, then bedGraphToBigWig)"
        )
    damaged = f"{shown} ({size:,} bytes) is damaged: "
    if block_bytes > _MOST_BLOCK_BYTES:
        raise NotABigWig(f"{damaged}its header claims blocks of {block_bytes:,} bytes; fetch it again")
    tree = _Trees(read, size, order, damaged)
    tree.check_contigs(contigs)
    tree.check_index(index)


class _Trees:
    def __init__(self, read: Read, size: int, order: str, damaged: str) -> None:
        self._read = read
        self._size = size
        self._order = order
        self._damaged = damaged

    def check_contigs(self, start: int) -> None:
        """Walk the tree of contigs: names of a bounded length, and children within the file."""
        magic, _, key_bytes, value_bytes, n_contigs = struct.unpack(f"{self._order}IIIIQ", self._range(start, 24))
        if magic != _CONTIG_TREE or value_bytes != 8 or not 1 <= key_bytes <= _LONGEST_NAME:
            raise self._wrong("its list of contigs is none")
        if n_contigs > _MOST_CONTIGS:
            raise self._wrong(f"it claims {n_contigs:,} contigs")
        item = np.dtype([("key", f"V{key_bytes}"), ("child", f"{self._order}u8")])
        self._walk(start + 32, inner=item, leaf_bytes=key_bytes + 8, leaves=None)

    def check_index(self, start: int) -> None:
        """Walk the index of the data: blocks of a bounded size within the file."""
        (magic,) = struct.unpack(f"{self._order}I", self._range(start, 4))
        if magic != _INDEX_TREE:
            raise self._wrong("its index is none")
        wide = f"{self._order}u8"
        inner = np.dtype([("key", "V16"), ("child", wide)])
        self._walk(start + 48, inner=inner, leaf_bytes=32, leaves=np.dtype([("key", "V16"), ("at", wide), ("n", wide)]))

    def _walk(self, root: int, *, inner: np.dtype[np.void], leaf_bytes: int, leaves: np.dtype[np.void] | None) -> None:
        todo, seen = [root], {root}
        while todo:
            place = todo.pop()
            is_leaf, _, count = struct.unpack(f"{self._order}BBH", self._range(place, 4))
            items = self._range(place + 4, count * (leaf_bytes if is_leaf else inner.itemsize))
            if not is_leaf:
                children = np.frombuffer(items, dtype=inner)["child"].tolist()
                if seen.intersection(children) or len(set(children)) < len(children):
                    raise self._wrong("a tree in it goes round in circles")
                seen.update(children)
                todo += children
            elif leaves is not None:
                blocks = np.frombuffer(items, dtype=leaves)
                if (blocks["n"] > _MOST_BLOCK_BYTES).any() or (blocks["at"] > self._size).any():
                    raise self._wrong("its index points out of it")
                if (blocks["at"] + blocks["n"] > self._size).any():
                    raise self._wrong("its index points out of it")

    def _range(self, start: int, n_bytes: int) -> bytes:
        if start + n_bytes > self._size:
            raise self._wrong("a tree in it points out of it")
        return self._read(start, start + n_bytes)

    def _wrong(self, what: str) -> NotABigWig:
        return NotABigWig(f"{self._damaged}{what}; fetch it again")
