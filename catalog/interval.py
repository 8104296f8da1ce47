"""Genomic intervals: a range of bases on a contig.

Belongs here: `Interval` and how it is written. Does not: bins (`catalog.grid`), contig lengths (`catalog.assembly`).
"""

import re
from dataclasses import dataclass

from catalog.runtime.whole_numbers import whole_number

_REGION = re.compile(r"(?P<contig>.+):(?P<start>[0-9][0-9,]*)-(?P<end>[0-9][0-9,]*)")


@dataclass(frozen=True, slots=True)
class Interval:
    """Bases `[start, end)` of a contig: 0-based, half-open, on the forward strand.

    `start` may be negative and `end` may lie past the contig: a window near a contig's end reaches over it.
    """

    contig: str
    start: int
    end: int

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, name, whole_number(getattr(self, name), name=name))
        if self.end <= self.start:
            raise ValueError(f"an interval holds at least one base: start < end, got [{self.start}, {self.end})")

    @classmethod
    def parse(cls, region: str) -> "Interval":
        """Read `chr1:1,001-2,000` as samtools and the UCSC browser write it: 1-based, both ends included."""
        match = _REGION.fullmatch(region)
        if match is None:
            raise ValueError(f"a region is written contig:start-end, as in chr1:1,001-2,000; got {region!r}")
        start, end = (int(match[name].replace(",", "")) for name in ("start", "end"))
        if start < 1:
            raise ValueError(f"positions in a region string are 1-based, so at least 1; got {region!r}")
        return cls(match["contig"], start - 1, end)

    def __len__(self) -> int:
        return self.end - self.start

    def __str__(self) -> str:
        """Write the interval as `parse` reads it."""
        return f"{self.contig}:{self.start + 1}-{self.end}"

    def overlaps(self, other: "Interval") -> bool:
        """Tell whether the two share at least one base."""
        return self.contig == other.contig and self.start < other.end and other.start < self.end
