"""bigWig and bedGraph: a file a channel.

Belongs here: from columns of bins to intervals, and both formats. Does not: reading bins (`featurestore.export.bins`),
a hub's own files (`featurestore.export.hub`).

The store keeps all channels of a bin together, and a track holds one channel of all bins. So the bins are read once,
into a scratch file with a row a channel, and each track is written from its row.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.runtime.plugins import how_to_install
from featurestore.export.bins import Edges, Span, edges, read_spans
from featurestore.export.request import Chosen
from featurestore.reader import FeatureReader

Interval = tuple[str, int, int, float]
"""Contig, first base, the base after the last (0-based bp), value."""
Progress = Callable[[int, int], None]
WriteTrack = Callable[[Path, Mapping[str, int], Iterator[Interval]], None]


def write_tracks(
    reader: FeatureReader,
    chosen: Chosen,
    spans: Sequence[Span],
    files: Sequence[Path],
    write: WriteTrack,
    progress: Progress,
) -> None:
    """Write a track of each chosen channel; files that are there already are left alone."""
    left = [place for place, path in enumerate(files) if not path.exists()]
    if not left:
        return
    n_bins = sum(span.end - span.first for span in spans)
    lengths = {contig: reader.assembly.lengths[contig] for contig in sorted({span.contig for span in spans})}
    total = n_bins * 2
    with tempfile.TemporaryDirectory(dir=files[0].parent, prefix=".export-") as folder:
        scratch = np.memmap(Path(folder) / "columns", dtype=np.float32, mode="w+", shape=(len(left), n_bins))
        at = 0
        for _, values in read_spans(reader, chosen, spans):
            scratch[:, at : at + len(values)] = values[:, left].T
            at += len(values)
            progress(at, total)
        for done, place in enumerate(left):
            partial = Path(folder) / files[place].name  # pybigtools goes by the ending
            write(partial, lengths, _intervals(reader, chosen, spans, scratch[done]))
            partial.replace(files[place])
            progress(n_bins + n_bins * (done + 1) // len(left), total)


def _intervals(
    reader: FeatureReader, chosen: Chosen, spans: Sequence[Span], column: NDArray[np.float32]
) -> Iterator[Interval]:
    """Give the intervals of one channel in order; neighbouring bins of one value are one."""
    at = 0
    for span in spans:
        size = span.end - span.first
        values, (starts, ends) = column[at : at + size], edges(reader, chosen, span)
        at += size
        yield from _runs(span.contig, Edges(starts, ends), values)


def _runs(contig: str, place: Edges, values: NDArray[np.float32]) -> Iterator[Interval]:
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    last = np.append(first[1:], len(values)) - 1
    for start, end, value in zip(
        place.starts[first].tolist(), place.ends[last].tolist(), values[first].tolist(), strict=True
    ):
        yield contig, start, end, value


def write_bigwig(path: Path, lengths: Mapping[str, int], intervals: Iterator[Interval]) -> None:
    """Write one bigWig."""
    _pybigtools().open(str(path), "w").write(dict(lengths), intervals)


def write_bedgraph(path: Path, lengths: Mapping[str, int], intervals: Iterator[Interval]) -> None:
    """Write one bedGraph; nine digits give every float32 back."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{contig}\t{start}\t{end}\t{value:.9g}\n" for contig, start, end, value in intervals)


def require_bigwig() -> None:
    """Check that bigWig files can be written here."""
    _pybigtools()


def _pybigtools() -> Any:
    try:
        import pybigtools
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"writing bigWig files needs pybigtools: {how_to_install('tracks')}", name="pybigtools"
        ) from error
    return pybigtools
