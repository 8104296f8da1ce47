"""Windows of a feature set: any centre, any number of bins.

Belongs here: from windows to rows and back, and the error for rows that were never built. Does not: fetching bytes
(`featurestore.rows.source`), tensors (`loaders`).
"""

from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalog import Assembly, FeatureSet
from catalog.registry import UNKNOWN
from catalog.runtime.whole_numbers import whole_number
from catalog.value_type import Values
from featurestore.display import Display, Displayed, some
from featurestore.format.array_document import check_array
from featurestore.format.build_commands import grid_command
from featurestore.format.commits import CommitLog, NotBuilt
from featurestore.format.layout import ContigLayout, values_path
from featurestore.objects.objects import Objects
from featurestore.rows.completeness import BuiltRows
from featurestore.rows.overlays.rows import OverlayRows, open_patch
from featurestore.rows.row_requests import Block, RowRequest
from featurestore.rows.source import HeldRowSource, RowSource, gather, read_rows
from featurestore.rows.window_plan import WindowPlan, checked_plan, plan_from_edges, refuse_huge
from featurestore.rows.windows import Window, Windows

if TYPE_CHECKING:
    import polars as pl
    import xarray as xr


_REQUESTS_AT_ONCE = 8


def parse_place(place: str) -> tuple[str, int]:
    """Read `chr1:1,000,000` as a contig and a position (0-based bp)."""
    contig, _, position = place.rpartition(":")
    if not contig or not position.replace(",", "").isdecimal():
        raise ValueError(f"a place is written CONTIG:POSITION, as in chr1:1000000; got {place!r}")
    return contig, int(position.replace(",", ""))


class FeatureReader(Displayed):
    """One feature set of a store, read by genome position.

    Made by `store[name]`; only the set's description is read before the first window.
    """

    def __init__(self, objects: Objects, assembly: Assembly, feature_set: FeatureSet, source: RowSource) -> None:
        self.objects = objects
        self.assembly = assembly
        self.feature_set = feature_set
        self.source = source
        self.commits = CommitLog(objects, feature_set.name)
        self._pad = np.asarray(feature_set.pad, dtype=feature_set.dtype)
        self._grid = feature_set.grid
        self._lengths = assembly.lengths
        self._built = BuiltRows(self.commits, self.layout)
        self._checked: set[tuple[str, int]] = set()
        self._held = source.held if isinstance(source, HeldRowSource) else None

    @property
    def name(self) -> str:
        """Name of the feature set."""
        return self.feature_set.name

    @property
    def url(self) -> str:
        """URL of the store; the path of a local one."""
        return self.objects.location

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self.feature_set.channel_names

    def _display(self) -> Display:
        described = self.feature_set
        return Display(
            f"{type(self).__name__} {described.name} of {self.url}",
            (
                ("assembly", f"{self.assembly.name}, {len(self.assembly.contigs):,} contigs"),
                ("channels", some(described.channel_names)),
                ("values", described.dtype),
                ("bins", f"{described.bin_size:,} bp, at offsets {some([f'{o:,}' for o in described.offsets])} bp"),
                ("made by", f"{described.extractor} {described.fingerprint[:12]}"),
                ("licence", described.licence.strip() or UNKNOWN),
            ),
        )

    def layout(self, contig: str) -> ContigLayout:
        """Return the layout of one contig's array."""
        return ContigLayout(self.feature_set, self._lengths[contig])

    def n_rows(self, contig: str, phase: int) -> int:
        """Count the rows of one phase of a contig."""
        return self.layout(contig).n_bins(phase)

    def with_source(self, source: RowSource) -> "FeatureReader":
        """Return a reader of the same set with another engine for its rows (memory, a cache)."""
        return FeatureReader(self.objects, self.assembly, self.feature_set, source)

    @property
    def overlay(self) -> str | None:
        """Name of the overlay that it reads through, such as `NA12878/1`; None for the reference."""
        return self.source.patch.overlay.name if isinstance(self.source, OverlayRows) else None

    def with_overlay(self, name: str) -> "FeatureReader":
        """Return a reader of the same set that has the bins of a personal genome where they differ.

        Parameters
        ----------
        name
            Sample and haplotype, such as `NA12878/1`; `store.overlays(feature_set)` lists them.

        Raises
        ------
        NotBuilt
            If there is no such overlay; when windows are read, if it is not complete on their contigs.
        """
        patch = open_patch(self.objects, self.assembly, self.feature_set, name)
        reference = self.source.reference if isinstance(self.source, OverlayRows) else self.source
        return self.with_source(OverlayRows(reference, patch))

    def window(self, contig: str, centre: int, *, n_bins: int = 251) -> Window:
        """Read one window.

        Parameters
        ----------
        contig
            Name in the assembly; `1` also finds `chr1`.
        centre
            Position (0-based bp, inside the contig). For odd `n_bins` the middle of the middle bin is placed as near
            to it as the phases allow; for even `n_bins` the boundary between the two middle bins.
        n_bins
            Bins of the window, >= 1.

        Raises
        ------
        UnknownContig, ValueError
            If there is no such contig, the centre lies outside it, `n_bins` is below 1, or the windows would take more
            than 4 GiB.
        NotBuilt
            If a bin inside the contig was never built; the message names the command that builds it.
        DamagedChunk
            If stored bytes fail their checksum.
        NotAStore
            If the array's own document says something else of its bytes than the store's description.
        """
        many = self.windows([contig], [centre], n_bins=n_bins)
        return Window(
            contig=self.assembly.resolve(contig),
            centre=int(centre),
            values=many.values[0],
            starts=many.starts[0],
            phase=int(many.phases[0]),
            residual=int(many.residuals[0]),
        )

    def window_in_part(self, contig: str, centre: int, *, n_bins: int = 251) -> Window:
        """Read one window as far as it was built: for looking at a store while it is being built.

        Returns
        -------
        The window of `window`, its values float32; a bin that was never built is a row of NaN.

        Raises
        ------
        The errors of `window`; `NotBuilt` if no bin inside the contig was built.
        """
        plan = self.plan([contig], [centre], n_bins)
        refuse_huge(1, plan.n_bins, self._pad.nbytes * 4)
        name, phase, first_bin = plan.contigs[0], int(plan.phases[0]), int(plan.first_bins[0])
        first, end = int(plan.first_rows[0]), int(plan.end_rows[0])
        shard_bins = self.layout(name).shard_bins
        edges = [first, *range((first // shard_bins + 1) * shard_bins, end, shard_bins), end]
        parts = [RowRequest(name, phase, *rows) for rows in pairwise(edges) if rows[0] < rows[1]]
        built = [part for part in parts if self.is_built(part)]
        if parts and not built:
            self.require_rows(plan)
        values = np.tile(self._pad.astype(np.float32), (plan.n_bins, 1))
        values[first - first_bin : end - first_bin] = np.nan
        for part, rows in zip(built, self.rows(built), strict=True):
            values[part.first - first_bin : part.end - first_bin] = rows
        return Window(name, int(centre), values, plan.starts[0], phase, int(plan.residuals[0]))

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
        return Windows(self.planned(plan), plan.first_starts, plan.phases, plan.residuals, plan.bin_size)

    def planned(self, plan: WindowPlan) -> Values:
        """Read windows that were planned, shape `(windows, n_bins, channels)`; otherwise like `windows`."""
        refuse_huge(len(plan.phases), plan.n_bins, self._pad.nbytes)
        self.require_rows(plan)
        return self._read(plan)

    def require_rows(self, plan: WindowPlan) -> None:
        """Refuse, with `NotBuilt`, windows that were never built; documents of arrays are checked on first use."""
        # Most contigs are complete, so most batches take one lookup for each contig and phase.
        if not all(self._built.is_whole(*place) for place in plan.places):
            self._refuse_what_was_never_built(plan.requests)
        if not plan.places <= self._checked:
            self._check(plan.places)

    def _read(self, plan: WindowPlan) -> Values:
        """Read the features of every window; bins outside the contig are padded with the pad row."""
        if self._held is not None and len(plan.places) == 1 and not plan.is_cut.any():
            ((contig, phase),) = plan.places
            return gather(self._held(contig, phase), plan.first_rows, plan.n_bins)
        values = np.empty((len(plan.phases), plan.n_bins, len(self._pad)), dtype=self._pad.dtype)
        outputs: list[Values] = Block(values)
        is_cut = plan.is_cut
        if is_cut.any():
            for window in np.flatnonzero(is_cut).tolist():
                first = int(plan.first_rows[window] - plan.first_bins[window])
                last = int(plan.end_rows[window] - plan.first_bins[window])
                values[window, :first] = self._pad
                values[window, last:] = self._pad
                outputs[window] = values[window, first:last]
            outputs = [outputs[window] for window in plan.windows]
        self.source.read_into(plan.requests, outputs)
        return values

    def plan(self, contigs: Sequence[str] | str, centres: ArrayLike, n_bins: int) -> WindowPlan:
        """Check a batch of windows and plan its rows; nothing is read."""
        return checked_plan(self.assembly, self._grid, contigs, centres, n_bins)

    def plan_from(self, contigs: Sequence[str], starts: NDArray[np.int64], n_bins: int) -> WindowPlan:
        """Plan windows whose first bins begin at exactly these bases, where a phase has an edge; nothing is read."""
        return plan_from_edges(self._grid, self._lengths, contigs, starts, n_bins)

    def to_xarray(
        self, contig: str | None = None, *, offset: int | None = None, chunks: Any = None
    ) -> "xr.Dataset | xr.DataTree":
        """Open one contig as a lazy Dataset, or the whole set as a DataTree; see `featurestore.xarray_view`."""
        from featurestore.xarray_view import contig_dataset, set_datatree

        if self.overlay is not None:
            raise ValueError(
                f"the overlay {self.overlay!r} is a patch, and no array of its own: read windows, or `to_polars`, or "
                "open the reference without it"
            )
        if contig is None:
            return set_datatree(self.objects, self.feature_set, offset=offset, chunks=chunks)
        own = self.assembly.resolve(contig)
        return contig_dataset(self.objects, self.feature_set, own, offset=offset, chunks=chunks)

    def to_polars(self, contig: str, start: int, end: int, *, offset: int = 0) -> "pl.DataFrame":
        """Read the bins that touch a small region as a table.

        Parameters
        ----------
        start, end
            The region `[start, end)` (0-based bp), inside the contig.
        offset
            Of the phase to read (bp).

        Returns
        -------
        One row a bin: `contig`, `start`, `end` (bp; of the part of the bin that lies on the contig), then every channel
        by name, Float32.

        Raises
        ------
        UnknownContig, ValueError
            If there is no such contig, phase or region, or the table would take more than 1 GiB.
        NotBuilt, DamagedChunk
            As for `window`.
        """
        from featurestore.xarray_view import phase_of, region_frame, require_small

        start, end = whole_number(start, name="start"), whole_number(end, name="end")
        offset = whole_number(offset, name="offset")
        contig, phase = self.assembly.resolve(contig), phase_of(self.feature_set, offset)
        length, bin_size = self._lengths[contig], self._grid.bin_size
        if not 0 <= start < end <= length:
            raise ValueError(
                f"a region of {contig} is 0 <= start < end <= {length} (0-based bp, end excluded); got {start}-{end}"
            )
        first, last = (start + offset) // bin_size, -(-(end + offset) // bin_size)
        require_small(last - first, self.feature_set)
        request = RowRequest(contig, phase, first, last)
        self._refuse_what_was_never_built([request])
        (values,) = self.rows([request])
        starts = np.arange(first, last, dtype=np.int64) * bin_size - offset
        inside = np.clip(starts, 0, None), np.clip(starts + bin_size, None, length)
        return region_frame(self.feature_set, contig, *inside, values)

    def rows(self, requests: Sequence[RowRequest]) -> list[Values]:
        """Read ranges of committed rows in one batch, each `(end - first, channels)`; the records are not asked."""
        self._check({(request.contig, request.phase) for request in requests})
        return read_rows(self.source, requests, len(self._pad), self._pad.dtype)

    def is_built(self, request: RowRequest) -> bool:
        """Tell whether every row of a range is in a committed shard, by the records as they were last listed."""
        return not self._built.missing([request])

    def _check(self, places: Set[tuple[str, int]]) -> None:
        """Check the documents of arrays that are read for the first time."""
        new = sorted({contig for contig, _ in places - self._checked})
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            list(pool.map(self._check_contig, new))
        self._checked |= places

    def _check_contig(self, contig: str) -> None:
        check_array(self.objects, self.layout(contig), values_path(self.name, contig))

    def _refuse_what_was_never_built(self, requests: Sequence[RowRequest]) -> None:
        missing = self._built.missing(requests)
        if missing:
            self._built.forget()  # a build may have progressed since the records were listed
            missing = self._built.missing(requests)
        if missing:
            contig, phase, shard = missing[0]
            first, end = self.layout(contig).shard_span(phase, shard)
            offsets = self.feature_set.offsets
            command = grid_command(self.url, self.assembly, self.feature_set, contigs=[contig], offsets=offsets)
            raise NotBuilt(
                f"{self.name} is not built for {contig} bins {first}-{end - 1} of the phase with offset "
                f"{offsets[phase]} ({len(missing)} shards missing); build it with {command}"
            )
