"""Regions to explain: reading them, and the bases around them.

Belongs here: from the user's words to checked intervals. Does not: which bins lie there (`builders.attribution.bins`).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builders.attribution.request import LONGEST_BP
from builders.extractors.bases import ALPHABET, CODES
from catalog import Fasta, Interval
from catalog.runtime.lines import TableError, read_lines
from catalog.runtime.locations import required_path

_MOST_REGIONS = 100_000
_SKIPPED = ("#", "track", "browser")


def read_bed(path: Path) -> list[Interval]:
    """Read the intervals of a BED file: contig, start and end of each line, 0-based and half-open.

    Raises
    ------
    TableError
        If a line is no interval, or there are none, or more than 100,000.
    """
    found: list[Interval] = []
    for line in read_lines(required_path(path)):
        text = line.decoded(path)
        if text.startswith(_SKIPPED):
            continue
        words = text.split("\t") if "\t" in text else text.split()
        try:
            contig, start, end = words[0], int(words[1]), int(words[2])
            found.append(Interval(contig, start, end))
        except (IndexError, ValueError) as error:
            raise TableError(
                f"line {line.number} of {path} is no interval of BED ({line.shown()}); expected contig, start and a "
                "larger end"
            ) from error
        if len(found) > _MOST_REGIONS:
            raise TableError(f"{path} has more than {_MOST_REGIONS:,} regions; split it")
    if not found:
        raise TableError(f"{path} has no regions; expected lines of contig, start and end")
    return found


def check_region(region: Interval, lengths: Mapping[str, int]) -> None:
    """Refuse, with a ValueError, a region that is not all on its contig, or too large."""
    if region.contig not in lengths:
        shown = ", ".join(list(lengths)[:8]) + (", ..." if len(lengths) > 8 else "")
        raise ValueError(f"the genome has no contig {region.contig!r}, of the region {region}; it has {shown}")
    length = lengths[region.contig]
    if region.start < 0 or region.end > length:
        raise ValueError(f"the region {region} reaches past {region.contig}, which has {length:,} bases")
    if len(region) > LONGEST_BP:
        raise ValueError(f"the region {region} has {len(region):,} bases, and at most {LONGEST_BP:,}; split it")


def check_known(fasta: Fasta, region: Interval) -> None:
    """Refuse, with a ValueError, a region with a base that is not known: it has no other three to compare with."""
    unknown = np.flatnonzero(codes_of(fasta.fetch(region.contig, region.start, region.end)) == 4)
    if len(unknown):
        first = region.start + int(unknown[0])
        raise ValueError(
            f"the region {region} has {len(unknown):,} bases that are not A, C, G or T, the first at "
            f"{region.contig}:{first + 1}; leave them out"
        )


def codes_of(sequence: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give the place of each ASCII base among A, C, G, T; 4 for every other letter."""
    return CODES[sequence]


LETTERS = np.frombuffer(ALPHABET[:4], dtype=np.uint8)
"""A, C, G, T."""
