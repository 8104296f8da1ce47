"""Windows around anchors, by name.

Belongs here: reading an anchored array and its table. Does not: what such an array is (`featurestore.anchored.layout`),
windows anywhere else (`featurestore.reader`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from catalog import Assembly, FeatureSet
from catalog.genes.anchors import Anchor
from catalog.registry import UNKNOWN
from catalog.runtime.tables import listed
from catalog.runtime.whole_numbers import whole_number
from catalog.value_type import Values
from featurestore.anchored.declare import anchored_layout, build_command
from featurestore.anchored.layout import AnchorLayout, table_digest
from featurestore.display import Display, Displayed, some
from featurestore.format import layout
from featurestore.format.array_document import check_array
from featurestore.format.commits import NotBuilt
from featurestore.objects.objects import Objects
from featurestore.rows.row_requests import RowRequest
from featurestore.rows.source import DamagedChunk, RowSource
from featurestore.rows.window_plan import refuse_huge
from featurestore.store import Store

_COORDINATES = ("anchor", "contig", "centre", "strand")


class UnknownAnchor(KeyError):
    """A name that is not in the table of anchors."""

    def __str__(self) -> str:
        return str(self.args[0])


class AnchoredReader(Displayed):
    """An anchored array of a store. Made by `open_anchored`."""

    def __init__(
        self, store: Store, array: AnchorLayout, anchors: Sequence[Anchor], source: RowSource | None = None
    ) -> None:
        self.store = store
        self.layout = array
        self.anchors = list(anchors)
        """The table, in the order of the array."""
        self.source: RowSource = store.rows(array.key) if source is None else source
        """Engine that reads the rows; the window of an anchor takes the role of a phase of a contig on the grid."""
        self._commits = store.commits(array.key)
        self._numbers = {anchor.name: number for number, anchor in enumerate(anchors)}
        self._committed: set[int] = set()

    @property
    def objects(self) -> Objects:
        """The store's objects."""
        return self.store.objects

    @property
    def url(self) -> str:
        """URL of the store; the path of a local one."""
        return self.store.url

    @property
    def assembly(self) -> Assembly:
        """The store's assembly."""
        return self.store.assembly

    @property
    def name(self) -> str:
        """Name of the array's log of commits."""
        return str(self.layout.key)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self.feature_set.channel_names

    def n_rows(self, contig: str, phase: int) -> int:
        """Rows of one anchor's window: the bins of the array, for every anchor."""
        return self.n_bins

    @property
    def feature_set(self) -> FeatureSet:
        """The features, their channels and the grid that they are also on."""
        return self.layout.feature_set

    @property
    def n_bins(self) -> int:
        """Bins of a whole window."""
        return self.layout.anchored.n_bins

    def _display(self) -> Display:
        described = self.feature_set
        return Display(
            f"AnchoredReader {self.layout.key} of {self.store.url}",
            (
                ("anchors", some(self.names)),
                ("bins", f"{self.n_bins:,} of {described.bin_size:,} bp around each, residual 0"),
                ("channels", some(described.channel_names)),
                ("made by", f"{described.extractor} {described.fingerprint[:12]}"),
                ("licence", described.licence.strip() or UNKNOWN),
            ),
        )

    @property
    def names(self) -> list[str]:
        """Names of the anchors, in the order of the array."""
        return [anchor.name for anchor in self.anchors]

    @property
    def contigs(self) -> list[str]:
        """Contig of each anchor."""
        return [anchor.contig for anchor in self.anchors]

    @property
    def centres(self) -> NDArray[np.int64]:
        """Position of each anchor, shape `(anchors,)` (0-based bp)."""
        return np.array([anchor.centre for anchor in self.anchors], dtype=np.int64)

    def windows(self, names: str | Sequence[str], n_bins: int | None = None) -> Values:
        """Read windows in one batch.

        Parameters
        ----------
        names
            Of anchors, in any order; one name gives one window.
        n_bins
            Bins of every window, odd, cropped from the middle; None for all.

        Returns
        -------
        Features, shape `(windows, n_bins, channels)`, of the set's dtype, bins in the order of the forward strand;
        those wholly outside the contig hold the set's `pad` row.

        Raises
        ------
        UnknownAnchor
            If a name is not in the table.
        ValueError
            If `n_bins` is even, or more than the array has.
        NotBuilt
            If a window was never built; the message names the command that builds it.
        DamagedChunk
            If stored bytes fail their checksum.
        """
        numbers = self.numbers_of([names] if isinstance(names, str) else names)
        return self.numbered(numbers, self.n_bins if n_bins is None else n_bins)

    def numbered(self, numbers: Sequence[int], n_bins: int) -> Values:
        """Read windows by row of their anchors in the table; otherwise like `windows`."""
        n_bins = self.check_n_bins(n_bins)
        self.require_built(numbers)
        refuse_huge(len(numbers), n_bins, self.layout.shape[2] * self.feature_set.value_type.item_bytes)
        first = (self.n_bins - n_bins) // 2
        values = np.empty((len(numbers), n_bins, self.layout.shape[2]), dtype=self.feature_set.dtype)
        requests = [RowRequest(layout.ANCHORS, number, first, first + n_bins) for number in numbers]
        self.source.read_into(requests, list(values))
        return values

    def check_n_bins(self, n_bins: int) -> int:
        """Convert a number of bins; TypeError or ValueError if such windows cannot be cropped from the array's."""
        n_bins = whole_number(n_bins, name="n_bins")
        if n_bins % 2 == 0 or not 1 <= n_bins <= self.n_bins:
            raise ValueError(
                f"windows around {self.layout.anchored.anchors!r} have an odd number of bins, at most {self.n_bins}; "
                f"got {n_bins}; read others from the grid, or build anchors of more bins"
            )
        return n_bins

    def numbers_of(self, names: Sequence[str]) -> list[int]:
        """Row of each anchor in the table; UnknownAnchor if one is not in it."""
        unknown = [name for name in names if name not in self._numbers]
        if unknown:
            raise UnknownAnchor(
                f"{self.layout.anchored.anchors!r} has no anchor {listed(unknown)}; it has {listed(self.names)}"
            )
        return [self._numbers[name] for name in names]

    def require_built(self, numbers: Sequence[int]) -> None:
        """Refuse, with `NotBuilt`, anchors whose windows were never built, by row in the table."""
        shards = {number // self.layout.anchored.shard_anchors for number in numbers}
        if not self._committed:
            check_array(self.objects, self.layout, f"{self.layout.path}/values")
        if not shards <= self._committed:
            self._committed = {shard for _, shard in self._commits.shards().get(layout.ANCHORS, ())}
        missing = shards - self._committed
        if missing:
            first, end = self.layout.anchor_span(min(missing))
            command = build_command(self.store, self.feature_set, self.layout.anchored.anchors, self.n_bins)
            raise NotBuilt(
                f"{self.layout.key} is not built for the anchors {self.anchors[first].name} to "
                f"{self.anchors[end - 1].name} ({len(missing)} shards missing); build it with {command}"
            )


def open_anchored(store: Store, feature_set: str, anchors: str) -> AnchoredReader:
    """Open an anchored array of a store; its table is read.

    Raises
    ------
    NotBuilt
        If there is none of that name; the message lists the existing ones.
    DamagedChunk
        If the table is damaged.
    """
    array = anchored_layout(store, store.feature_set(feature_set), anchors)
    return AnchoredReader(store, array, read_table(store, array))


def read_table(store: Store, array: AnchorLayout) -> list[Anchor]:
    """Read the table of an anchored array; DamagedChunk if it is damaged."""
    try:
        group = zarr.open_group(store.objects.zarr(read_only=True), path=array.path, mode="r", use_consolidated=False)
        columns = [_column(group[name], array.anchored.n_anchors) for name in _COORDINATES]
        anchors = [Anchor(*row) for row in zip(*columns, strict=True)]
    except (ValueError, ArithmeticError, RuntimeError, LookupError, TypeError, FileNotFoundError):
        anchors = []
    if table_digest(anchors) != array.anchored.table:
        command = build_command(store, array.feature_set, array.anchored.anchors, array.anchored.n_bins)
        raise DamagedChunk(f"{store.url}/{array.path} has a damaged table of anchors; {command} writes it anew")
    return anchors


def _column(array: Any, n_anchors: int) -> list[Any]:
    """Read a coordinate; ValueError if its own document claims another size, which may be beyond all memory."""
    if not array.shape == array.chunks == (n_anchors,):
        raise ValueError(f"{array.path} has shape {array.shape}, and there are {n_anchors} anchors")
    return np.asarray(array[...]).tolist()  # type: ignore[no-any-return]  # as numpy types it
