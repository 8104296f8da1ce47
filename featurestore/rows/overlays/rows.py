"""Rows of a feature set with those of an overlay in place of the reference's.

Belongs here: `OverlayRows`, a source of rows over another, so that windows, residences and loaders need to know no
more. Does not: what an overlay is (`featurestore.rows.overlays.layout`), windows (`featurestore.reader`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catalog import Assembly, FeatureSet
from catalog.value_type import Values
from featurestore.format.array_document import check_array
from featurestore.format.array_key import ArrayKey
from featurestore.format.commits import CommitLog, NotBuilt
from featurestore.format.layout import contig_key, values_path
from featurestore.objects.objects import Objects
from featurestore.rows.engine import rows_of
from featurestore.rows.overlays.describe import build_command, find_overlay, read_bins, read_touched
from featurestore.rows.overlays.layout import Overlay, OverlayLayout
from featurestore.rows.row_requests import RowRequest
from featurestore.rows.source import RowSource, read_rows


class _Place(NamedTuple):
    """Which rows of an output, those of which request, come from the overlay."""

    request: int
    rows: NDArray[np.int64]


class Patch:
    """The rows of an overlay. Made by `open_patch`; a contig is checked when it is first read."""

    def __init__(self, objects: Objects, assembly: Assembly, feature_set: FeatureSet, overlay: Overlay) -> None:
        self.overlay = overlay
        self._objects = objects
        self._assembly = assembly
        self._feature_set = feature_set
        self._key = ArrayKey(feature_set.name, overlay=overlay.folder)
        self._source = rows_of(objects, self._key)
        self._bins: dict[str, list[NDArray[np.int64]]] = {}

    def apply(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        """Replace the touched rows of the outputs; all are read in one batch.

        Raises
        ------
        NotBuilt
            If the overlay is not complete on a contig, or does not cover a phase.
        """
        wanted: list[RowRequest] = []
        places: list[_Place] = []
        for number, (contig, phase, first, end) in enumerate(requests):
            bins = self._bins_of(contig, phase)
            low, high = np.searchsorted(bins, (first, end)).tolist()
            if low < high:
                wanted.append(RowRequest(contig, phase, low, high))
                places.append(_Place(number, bins[low:high] - first))
        if not wanted:
            return
        described = self._feature_set
        found = read_rows(self._source, wanted, len(described.channels), described.dtype)
        for (number, rows), values in zip(places, found, strict=True):
            outputs[number][rows] = values

    def _bins_of(self, contig: str, phase: int) -> NDArray[np.int64]:
        found = self._bins.get(contig)
        if found is None:
            found = self._bins[contig] = self._read_bins(contig)
        return found[phase]

    def _read_bins(self, contig: str) -> list[NDArray[np.int64]]:
        """Read the touched bins of each phase of a contig, and check that all of them are built."""
        overlay, described = self.overlay, self._feature_set
        command = build_command(self._objects, described.name, overlay.name)
        if overlay.offsets != described.offsets:
            raise NotBuilt(
                f"the overlay {overlay.name!r} of {described.name!r} has the phases with offsets {overlay.offsets}, "
                f"and the set now has {described.offsets}; `featurestore delete-overlay`, then {command}"
            )
        touched = read_touched(self._objects, overlay, contig)
        if touched is None:
            raise NotBuilt(f"the overlay {overlay.name!r} of {described.name!r} is not built for {contig}; {command}")
        table = read_bins(self._objects, self._assembly, described, overlay, touched)
        array = OverlayLayout.of(described, overlay, touched)
        committed = CommitLog(self._objects, self._key).shards().get(contig_key(contig), set())
        missing = array.shards() - committed
        if missing:
            raise NotBuilt(
                f"the overlay {overlay.name!r} of {described.name!r} lacks {len(missing)} shards of {contig}; "
                f"{command}, which goes on with it"
            )
        if touched.n_rows:
            check_array(self._objects, array, values_path(self._key, contig))
        return [row[:n] for row, n in zip(table, touched.rows, strict=True)]


class OverlayRows:
    """Rows of the reference, and of an overlay where it has them."""

    def __init__(self, reference: RowSource, patch: Patch) -> None:
        self.reference = reference
        """Gives the rows of the reference."""
        self.patch = patch

    def over(self, reference: RowSource) -> "OverlayRows":
        """Return the same overlay over another engine of the reference's rows."""
        return OverlayRows(reference, self.patch)

    def read_into(self, requests: Sequence[RowRequest], outputs: Sequence[Values]) -> None:
        """Fill the outputs with the reference's rows, then replace those that the overlay has."""
        self.reference.read_into(requests, outputs)
        self.patch.apply(requests, outputs)


def open_patch(objects: Objects, assembly: Assembly, feature_set: FeatureSet, name: str) -> Patch:
    """Open an overlay by name; the errors of `featurestore.rows.overlays.describe.find_overlay`."""
    return Patch(objects, assembly, feature_set, find_overlay(objects, feature_set, name))
