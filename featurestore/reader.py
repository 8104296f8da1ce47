"""Windows of a feature set: any centre, any number of bins.

Belongs here: from windows to rows and back, and the refusal to read what was never built. Does not: fetching bytes
(`featurestore.rows`), tensors (`loaders`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalog import Assembly, FeatureSet, Grid
from featurestore.commits import CommitLog, NotBuilt
from featurestore.layout import ContigLayout, contig_key
from featurestore.remote import Objects
from featurestore.rows import RowRequest, RowSource

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Window:
    """Features of `n_bins` neighbouring bins."""

    contig: str
    centre: int
    """The position asked for (bp)."""
    values: NDArray[np.float16]
    """Features, shape `(n_bins, channels)`, float16; bins wholly outside the contig hold the set's `pad` row."""
    starts: NDArray[np.int64]
    """First base of every bin, shape `(n_bins,)`; also of bins outside the contig (bp)."""
    phase: int
    residual: int
    """Centre of the window as read minus the centre asked for (bp, signed)."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Features of many windows: the fields of `Window`, one row a window."""

    values: NDArray[np.float16]
    """Features, shape `(windows, n_bins, channels)`, float16."""
    starts: NDArray[np.int64]
    """First base of every bin, shape `(windows, n_bins)` (bp)."""
    phases: NDArray[np.int64]
    """Shape `(windows,)`."""
    residuals: NDArray[np.int64]
    """Shape `(windows,)` (bp, signed)."""


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Which rows some windows need: the pure part of a read.

    Window `i` takes rows `requests[i]` into its bins `[first_kept[i], last_kept[i])`; its other bins lie outside the
    contig. A window wholly outside has `first_kept == last_kept`, and its request is not to be read.
    """

    requests: list[RowRequest]
    first_kept: NDArray[np.int64]
    last_kept: NDArray[np.int64]
    starts: NDArray[np.int64]
    phases: NDArray[np.int64]
    residuals: NDArray[np.int64]


def parse_place(place: str) -> tuple[str, int]:
    """Read `chr1:1,000,000` as a contig and a position (0-based bp)."""
    contig, _, position = place.rpartition(":")
    if not contig or not position.replace(",", "").isdecimal():
        raise ValueError(f"a place is written CONTIG:POSITION, as in chr1:1000000; got {place!r}")
    return contig, int(position.replace(",", ""))


def plan_windows(
    grid: Grid, lengths: Sequence[int], contigs: Sequence[str], centres: NDArray[np.int64], n_bins: int
) -> WindowPlan:
    """Work out which rows some windows need.

    Parameters
    ----------
    lengths, contigs
        Length (bp) and name of each window's contig.
    centres
        Positions, shape `(windows,)`, int64, each inside its contig.
    """
    phases, first, residuals = grid.place(centres, n_bins)
    offsets = np.asarray(grid.offsets, dtype=np.int64)[phases]
    rows = -(-(np.asarray(lengths, dtype=np.int64) + offsets) // grid.bin_size)
    low = np.clip(first, 0, rows)
    high = np.clip(first + n_bins, 0, rows)
    requests = [
        RowRequest(contig, phase, begin, end)
        for contig, phase, begin, end in zip(contigs, phases.tolist(), low.tolist(), high.tolist(), strict=True)
    ]
    starts = (first * grid.bin_size - offsets)[:, None] + np.arange(n_bins, dtype=np.int64) * grid.bin_size
    return WindowPlan(requests, low - first, high - first, starts, phases, residuals)


class FeatureReader:
    """One feature set of a store, read by genome position.

    Made by `store[name]`. Cheap to make: nothing but the set's description is read before the first window.
    """

    def __init__(self, objects: Objects, assembly: Assembly, feature_set: FeatureSet, source: RowSource) -> None:
        self.objects = objects
        self.assembly = assembly
        self.feature_set = feature_set
        self.source = source
        self.commits = CommitLog(objects, feature_set.name)
        self._pad = np.asarray(feature_set.pad, dtype=np.float16)
        self._lengths = assembly.lengths
        self._committed: dict[str, set[tuple[int, int]]] | None = None

    @property
    def name(self) -> str:
        """Name of the feature set."""
        return self.feature_set.name

    @property
    def url(self) -> str:
        """Where the store lies; a local store is shown as its path."""
        return self.objects.location

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self.feature_set.channel_names

    def layout(self, contig: str) -> ContigLayout:
        """Give the layout of one contig's array."""
        return ContigLayout(self.feature_set, self._lengths[contig])

    def n_rows(self, contig: str, phase: int) -> int:
        """Count the rows of one phase of a contig."""
        return self.layout(contig).n_bins(phase)

    def with_source(self, source: RowSource) -> "FeatureReader":
        """Give a reader of the same set that takes its rows elsewhere (memory, a cache)."""
        return FeatureReader(self.objects, self.assembly, self.feature_set, source)

    def window(self, contig: str, centre: int, *, n_bins: int = 251) -> Window:
        """Read one window.

        Parameters
        ----------
        contig
            Name in the assembly; `1` also finds `chr1`.
        centre
            Position (0-based bp, inside the contig). For odd `n_bins` the middle of the middle bin is put as near to
            it as the phases allow; for even `n_bins` the boundary between the two middle bins.
        n_bins
            Bins of the window, >= 1.

        Raises
        ------
        UnknownContig, ValueError
            If there is no such contig, the centre lies outside it, or `n_bins` is below 1.
        NotBuilt
            If a bin inside the contig was never built; the message names the command that builds it.
        DamagedChunk
            If stored bytes fail their checksum.
        """
        many = self.windows([contig], [centre], n_bins=n_bins)
        return Window(
            contig=self.assembly.resolve(contig),
            centre=centre,
            values=many.values[0],
            starts=many.starts[0],
            phase=int(many.phases[0]),
            residual=int(many.residuals[0]),
        )

    def windows(self, contigs: Sequence[str] | str, centres: ArrayLike, n_bins: int = 251) -> Windows:
        """Read many windows in one batch.

        Parameters
        ----------
        contigs
            One name a window, or one for all.
        centres
            Positions, shape `(windows,)`, integer (0-based bp).
        n_bins
            Bins of every window, >= 1.

        Raises
        ------
        The errors of `window`; nothing is returned in part.
        """
        plan = self.plan(contigs, centres, n_bins)
        n_windows = len(plan.requests)
        values = np.empty((n_windows, n_bins, len(self._pad)), dtype=np.float16)
        inside = np.flatnonzero(plan.last_kept > plan.first_kept)
        wanted = [plan.requests[window] for window in inside]
        self._refuse_what_was_never_built(wanted)
        first_kept, last_kept = plan.first_kept.tolist(), plan.last_kept.tolist()
        for window in np.flatnonzero((plan.first_kept > 0) | (plan.last_kept < n_bins)).tolist():
            values[window, : first_kept[window]] = self._pad
            values[window, max(last_kept[window], 0) :] = self._pad
        for window, rows in zip(inside.tolist(), self.source.read(wanted), strict=True):
            values[window, first_kept[window] : last_kept[window]] = rows
        return Windows(values, plan.starts, plan.phases, plan.residuals)

    def plan(self, contigs: Sequence[str] | str, centres: ArrayLike, n_bins: int) -> WindowPlan:
        """Check some windows and work out which rows they need; nothing is read."""
        positions = np.atleast_1d(np.asarray(centres))
        if positions.size == 0 or positions.ndim != 1 or not np.issubdtype(positions.dtype, np.integer):
            raise ValueError(
                f"centres are integer positions (0-based bp), one a window; got {positions.dtype} of shape "
                f"{positions.shape}"
            )
        names = [contigs] * len(positions) if isinstance(contigs, str) else list(contigs)
        if len(names) != len(positions):
            raise ValueError(f"one contig a centre: got {len(names)} contigs and {len(positions)} centres")
        own = {name: self.assembly.resolve(name) for name in set(names)}
        resolved = [own[name] for name in names]
        lengths = [self._lengths[name] for name in resolved]
        outside = np.flatnonzero((positions < 0) | (positions >= np.asarray(lengths)))
        if outside.size:
            window = int(outside[0])
            raise ValueError(
                f"centre {positions[window]} lies outside {resolved[window]}, whose bases are 0 to "
                f"{lengths[window] - 1} on {self.assembly.name}; {outside.size} of {len(positions)} centres do: "
                "are they positions on another assembly?"
            )
        return plan_windows(self.feature_set.grid, lengths, resolved, positions.astype(np.int64), n_bins)

    def to_xarray(self, contig: str | None = None, *, chunks: Any = None) -> "xr.Dataset | xr.DataTree":
        """Open one contig as a lazy Dataset, or the whole set as a DataTree; see `featurestore.dataset`."""
        from featurestore.dataset import contig_dataset, set_datatree

        if contig is None:
            return set_datatree(self.objects, self.feature_set, chunks=chunks)
        return contig_dataset(self.objects, self.feature_set, self.assembly.resolve(contig), chunks=chunks)

    def _refuse_what_was_never_built(self, requests: Sequence[RowRequest]) -> None:
        missing = self._missing(requests)
        if missing and self._committed is not None:
            self._committed = None  # a build may have gone on since the records were listed
            missing = self._missing(requests)
        if missing:
            contig, phase, shard = missing[0]
            first, end = self.layout(contig).shard_span(phase, shard)
            raise NotBuilt(
                f"{self.name} is not built for {contig} bins {first}-{end - 1} of the phase with offset "
                f"{self.feature_set.offsets[phase]} ({len(missing)} shards missing); build it with `featurestore build "
                f"{self.url} --fasta {self.assembly.name}.fa --extractor {self.feature_set.extractor} "
                f"--contigs {contig} --offsets {','.join(map(str, self.feature_set.offsets))}`"
            )

    def _missing(self, requests: Sequence[RowRequest]) -> list[tuple[str, int, int]]:
        if self._committed is None:
            self._committed = self.commits.shards()
        missing: dict[tuple[str, int, int], None] = {}
        for contig, phase, first, end in requests:
            there = self._committed.get(contig_key(contig), set())
            size = self.layout(contig).shard_bins
            for shard in range(first // size, (end - 1) // size + 1):
                if (phase, shard) not in there:
                    missing[contig, phase, shard] = None
        return list(missing)
