"""Score the bases of regions and write them: a table or arrays, and a sequence logo.

    from builders.attribution.run import attribute
    attribute(AttributionRequest(fasta="hg38.fa", region="chr2:46,001-46,500", extractor="puffin", ...))

Belongs here: regions, methods, files. Does not: any one method, drawing (`builders.attribution.logo`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from builders.attribution.bins import Bins
from builders.attribution.mutagenesis import mutagenesis
from builders.attribution.regions import LETTERS, check_known, check_region, codes_of, read_bed
from builders.attribution.request import AttributionRequest
from builders.extractors.base import load_extractor
from builders.extractors.sequence import bases
from catalog import Fasta, Interval
from catalog.runtime.files import replacing
from catalog.runtime.locations import required_path

Progress = Callable[[int, int], None]
"""Called with the bases that are done, and all there are."""
_MOST_NUMBERS = 1 << 28
"""Scores that are held at a time: 1 GiB."""


class Scores(NamedTuple):
    """Scores of the bases of a region."""

    region: Interval
    reference: NDArray[np.uint8]
    """The bases that stand there, upper case ASCII, shape `(length,)`."""
    values: NDArray[np.float32]
    """Shape `(length, 4, columns)` for A, C, G, T."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionReport:
    """What was scored."""

    out: str
    regions: int
    bases: int
    columns: tuple[str, ...]
    """Feature set and channel of each."""
    licence: str


def attribute(
    request: AttributionRequest, *, progress: Progress | None = None, stage: Callable[[str], None] = lambda name: None
) -> AttributionReport:
    """Score the bases of the regions of a request, and write them.

    Raises
    ------
    FastaError, TableError, ValueError
        If the input does not fit; nothing is computed then, and nothing written.
    """
    out = required_path(request.out)
    figure = None if request.figure is None else required_path(request.figure)
    regions = read_bed(request.bed) if request.bed is not None else [Interval.parse(request.region or "")]
    stage(f"indexing {request.fasta}")
    with Fasta(request.fasta, storage_options=request.fasta_options) as fasta:
        for region in regions:
            check_region(region, fasta.lengths)
            check_known(fasta, region)
        stage(f"making {request.extractor}")
        extractor = load_extractor(request.extractor, request.common, request.settings)
        laid = [
            Bins.over(region, extractor, bin_size=request.bin_size, channels=request.channels) for region in regions
        ]
        columns = column_names(laid[0])
        _require_room(sum(map(len, regions)), len(columns))
        if figure is not None:
            from builders.attribution.logo import check_drawable

            check_drawable(regions[0], columns)
        found = _scored(fasta, regions, laid, progress=progress, stage=stage)
    stage(f"writing {out}")
    _write(out, found, columns)
    if figure is not None:
        from builders.attribution.logo import draw_logos, save_figure

        stage(f"drawing {figure}")
        save_figure(draw_logos(regions[0], logo_heights(found[0]), columns, title=extractor.name), figure)
    return AttributionReport(
        out=str(out),
        regions=len(regions),
        bases=sum(map(len, regions)),
        columns=columns,
        licence=extractor.licence,
    )


def column_names(bins: Bins) -> tuple[str, ...]:
    """Name the explained channels, as `feature set:channel`."""
    known = bins.extractor.channels[bins.feature_set]
    return tuple(f"{bins.feature_set}:{known[column].name}" for column in bins.columns)


def logo_heights(scores: Scores) -> NDArray[np.float32]:
    """Give the heights of letters, shape `(length, 4, columns)`: 0 but for the base that stands there.

    Its height is how far the output with it lies above the mean over the four bases.
    """
    standing = (scores.reference[:, None] == LETTERS)[:, :, None]
    heights: NDArray[np.float32] = (scores.values - scores.values.mean(axis=1, keepdims=True)) * standing
    return heights


def _scored(
    fasta: Fasta,
    regions: Sequence[Interval],
    laid: Sequence[Bins],
    *,
    progress: Progress | None,
    stage: Callable[[str], None],
) -> list[Scores]:
    found, done, total = [], 0, sum(map(len, regions))
    stage(f"scoring {total:,} bases")
    for region, bins in zip(regions, laid, strict=True):
        sequence = bases(fasta, region.contig, bins.start, bins.start + bins.length)
        places = np.arange(region.start, region.end) - bins.start
        before = done

        def told(here: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + here, total)

        values = mutagenesis(bins, sequence, places, progress=told)
        fasta.check_unchanged()
        found.append(Scores(region, LETTERS[codes_of(sequence[places])], values))
        done += len(region)
    return found


def _require_room(n_bases: int, n_columns: int) -> None:
    if n_bases * 4 * n_columns > _MOST_NUMBERS:
        raise ValueError(
            f"{n_bases:,} bases times 4 times {n_columns:,} channels are more than the {_MOST_NUMBERS:,} scores that "
            "are held at a time; name some channels as `channels=`, or give fewer regions"
        )


def _write(out: Path, found: Sequence[Scores], columns: Sequence[str]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:
        if out.suffix == ".npz":
            with partial.open("wb") as file:
                _write_arrays(file, found, columns)
        else:
            pl.concat(_table(scores, columns) for scores in found).write_parquet(partial)


def _table(scores: Scores, columns: Sequence[str]) -> pl.DataFrame:
    """Give a row for each place and base."""
    length, n_bases, _ = scores.values.shape
    letters = [chr(letter) for letter in LETTERS]
    position = np.arange(scores.region.start, scores.region.end)
    table = {
        "region": pl.Series([str(scores.region)] * (length * n_bases), dtype=pl.String),
        "contig": pl.Series([scores.region.contig] * (length * n_bases), dtype=pl.String),
        "position": pl.Series(np.repeat(position, n_bases), dtype=pl.Int64),
        "ref": pl.Series([chr(letter) for letter in scores.reference.repeat(n_bases)], dtype=pl.String),
        "base": pl.Series(letters * length, dtype=pl.String),
    }
    flat = scores.values.reshape(length * n_bases, -1)
    return pl.DataFrame(table | {name: flat[:, place] for place, name in enumerate(columns)})


def _write_arrays(file: BinaryIO, found: Sequence[Scores], columns: Sequence[str]) -> None:
    """Write the bases of all regions in turn, for tools that read arrays."""
    reference = np.concatenate([scores.reference for scores in found])
    regions = [scores.region for scores in found]
    np.savez_compressed(
        file,
        region=np.concatenate([[str(region)] * len(region) for region in regions]),
        contig=np.concatenate([[region.contig] * len(region) for region in regions]),
        position=np.concatenate([np.arange(region.start, region.end) for region in regions]),
        onehot=(reference[:, None] == LETTERS).astype(np.float32),
        values=np.concatenate([scores.values for scores in found]),
        columns=np.array(columns),
    )
