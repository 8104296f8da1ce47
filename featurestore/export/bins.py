"""Bins of one phase of a feature set, a piece of bounded size at a time.

Belongs here: reading what was built, in order. Does not: formats.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catalog.value_type import Values
from featurestore.export.request import Chosen
from featurestore.reader import FeatureReader
from featurestore.rows.completeness import BuiltRows
from featurestore.rows.row_requests import RowRequest

_PIECE_BYTES = 64 << 20
"""Of the rows of a piece, as float32, with all channels of the set (bytes)."""


class Span(NamedTuple):
    """Neighbouring bins of a contig that were built, `[first, end)`."""

    contig: str
    first: int
    end: int


class Edges(NamedTuple):
    """Of each bin its first base and the one after its last (0-based bp), on the contig; each shape `(bins,)`."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def built_spans(reader: FeatureReader, chosen: Chosen, contigs: Sequence[str]) -> tuple[list[Span], int]:
    """List what was built of some contigs, in pieces, and count the bins that never were."""
    built = BuiltRows(reader.commits, reader.layout)
    most = max(1, _PIECE_BYTES // (4 * len(reader.channel_names)))
    spans, n_missing = [], 0
    for contig in contigs:
        layout, n_rows = reader.layout(contig), reader.n_rows(contig, chosen.phase)
        if not n_rows:
            continue
        missing = {one.shard for one in built.missing([RowRequest(contig, chosen.phase, 0, n_rows)])}
        for shard in range(layout.n_shards(chosen.phase)):
            first, end = layout.shard_span(chosen.phase, shard)
            if shard in missing:
                n_missing += end - first
                continue
            spans += [Span(contig, low, min(low + most, end)) for low in range(first, end, most)]
    return spans, n_missing


def edges(reader: FeatureReader, chosen: Chosen, span: Span) -> Edges:
    """Give the bases of each bin; a bin that lies partly outside its contig is cut."""
    bin_size = reader.feature_set.bin_size
    starts = np.arange(span.first, span.end, dtype=np.int64) * bin_size - chosen.offset
    length = reader.assembly.lengths[span.contig]
    return Edges(np.clip(starts, 0, None), np.clip(starts + bin_size, None, length))


def read_spans(reader: FeatureReader, chosen: Chosen, spans: Sequence[Span]) -> Iterator[tuple[Span, Values]]:
    """Read the chosen channels of each piece: `(bins, channels)`, float32."""
    columns = list(chosen.columns)
    for span in spans:
        (rows,) = reader.rows([RowRequest(span.contig, chosen.phase, span.first, span.end)])
        yield span, rows[:, columns].astype(np.float32)
