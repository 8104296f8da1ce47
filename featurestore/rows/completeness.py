"""Which rows of a feature set were built.

Belongs here: looking up commit records for many windows at a time. Does not: the records themselves
(`featurestore.format.commits`).
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from featurestore.format.commits import CommitLog
from featurestore.format.layout import ContigLayout, contig_key
from featurestore.rows.row_requests import RowRequest


class MissingShard(NamedTuple):
    """A shard of requested rows that has no commit record."""

    contig: str
    phase: int
    shard: int


class BuiltRows:
    """Committed shards as last listed: on first use, and after each `forget`."""

    def __init__(self, commits: CommitLog, layout: Callable[[str], ContigLayout]) -> None:
        self._commits = commits
        self._layout = layout
        self._listed: dict[str, set[tuple[int, int]]] | None = None
        self._gaps: dict[tuple[str, int], _Gaps | None] = {}

    def forget(self) -> None:
        """Invalidate the listing: a build may have progressed."""
        self._listed = None
        self._gaps = {}

    def is_whole(self, contig: str, phase: int) -> bool:
        """Tell whether every shard of one phase of a contig is committed."""
        return self._gaps_of(contig, phase) is None

    def missing(self, requests: Sequence[RowRequest]) -> list[MissingShard]:
        """Return the uncommitted shards of the requests, without repeats."""
        found: dict[MissingShard, None] = {}
        for contig, phase, first, end in requests:
            gaps = self._gaps_of(contig, phase)
            if gaps is not None:
                found |= dict.fromkeys(MissingShard(contig, phase, shard) for shard in gaps.between(first, end))
        return list(found)

    def _gaps_of(self, contig: str, phase: int) -> "_Gaps | None":
        # Through local names: another thread may `forget` meanwhile.
        known = self._gaps
        if (contig, phase) in known:
            return known[contig, phase]
        listed = self._listed
        if listed is None:
            listed = self._listed = self._commits.shards()
        there = listed.get(contig_key(contig), set())
        layout = self._layout(contig)
        is_missing = [(phase, shard) not in there for shard in range(layout.n_shards(phase))]
        gaps = _Gaps(layout.shard_bins, [0, *accumulate(is_missing)]) if any(is_missing) else None
        known[contig, phase] = gaps
        return gaps


class _Gaps(NamedTuple):
    """Missing shards of one phase of a contig."""

    shard_bins: int
    before: list[int]
    """Cumulative counts of missing shards: before each shard, and in total."""

    def between(self, first: int, end: int) -> list[int]:
        """Return the missing shards that hold rows of `[first, end)`."""
        low, high = first // self.shard_bins, (end - 1) // self.shard_bins + 1
        if self.before[low] == self.before[high]:
            return []
        return [shard for shard in range(low, high) if self.before[shard] < self.before[shard + 1]]
