"""Small bigWig files for tests, written by pyBigWig, and the value of each of their bases by hand.

Belongs here: files and their oracle. Does not: tests.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyBigWig
from numpy.typing import NDArray

from catalog import Assembly, Contig

Intervals = Mapping[str, Sequence[tuple[int, int, float]]]
"""By contig: first base, end, value; ascending, apart."""


def write_bigwig(path: Path, lengths: Mapping[str, int], intervals: Intervals) -> Path:
    """Write a file; contigs in the order of `lengths`."""
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(lengths.items()))
        for contig in lengths:
            some = intervals.get(contig, ())
            if some:
                starts, ends, values = zip(*some, strict=True)
                file.addEntries([contig] * len(some), list(starts), ends=list(ends), values=[float(v) for v in values])
    return path


def per_base(intervals: Sequence[tuple[int, int, float]], length: int) -> NDArray[np.float64]:
    """Value of each base of a contig, NaN where there is none; float32 as a bigWig stores it."""
    bases = np.full(length, np.nan)
    for start, end, value in intervals:
        bases[start:end] = np.float32(value)
    return bases


def assembly_of(lengths: Mapping[str, int], name: str = "tiny") -> Assembly:
    """Make an assembly of contigs of some lengths."""
    contigs = (
        Contig(name=contig, length=length, digest=f"SQ.{number:032d}")
        for number, (contig, length) in enumerate(lengths.items())
    )
    return Assembly.of(name, tuple(contigs))
