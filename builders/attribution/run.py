"""Score the bases of regions and write them: a table or arrays, and a sequence logo.

    from builders.attribution.run import attribute
    attribute(AttributionRequest(fasta="hg38.fa", region="chr2:46,001-46,500", extractor="puffin", ...))

Belongs here: regions, methods, files. Does not: any one method, drawing (`builders.attribution.logo`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from builders.attribution.bins import Bins
from builders.attribution.mutagenesis import mutagenesis
from builders.attribution.regions import LETTERS, check_known, check_region, codes_of, read_bed
from builders.attribution.request import AttributionRequest
from builders.extractors.base import Extractor, MaskedExtractor, load_extractor
from builders.extractors.sequence import bases
from catalog import Fasta, Interval
from catalog.runtime.files import replacing
from catalog.runtime.locations import required_path

Progress = Callable[[int, int], None]
"""Called with the bases that are done, and all there are."""
_MOST_NUMBERS = 1 << 26
"""Scores that are held at a time: 256 MiB; 21,907 profiles of Sei over 700 bases."""


class Scores(NamedTuple):
    """Scores of the bases of a region."""

    region: Interval
    reference: NDArray[np.uint8]
    """The bases that stand there, upper case ASCII, shape `(length,)`."""
    values: NDArray[np.float32]
    """Shape `(length, 4, columns)` for A, C, G, T; of entropy `(length, 1, 1)`."""


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
        columns, ways = _ways(request, extractor, regions)
        _require_room(sum(map(len, regions)), len(columns))
        if figure is not None:
            from builders.attribution.logo import check_drawable

            check_drawable(regions[0], columns)
        out.parent.mkdir(parents=True, exist_ok=True)  # before long work, which a folder that cannot be made would lose
        stage(f"scoring {sum(map(len, regions)):,} bases")
        found = _scored(fasta, regions, ways, progress=progress)
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

    Its height is how far the output with it lies above the mean over the four bases; of entropy, how far it lies below
    the largest of the region.
    """
    standing = (scores.reference[:, None] == LETTERS)[:, :, None]
    values = scores.values
    over_bases = values.shape[1] == 4
    above = values - values.mean(axis=1, keepdims=True) if over_bases else np.nanmax(values) - values
    heights: NDArray[np.float32] = np.nan_to_num(above * standing)
    return heights


_Way = Callable[[Fasta, Interval, Progress], NDArray[np.float32]]
"""Scores a region."""


def _ways(
    request: AttributionRequest, extractor: Extractor, regions: Sequence[Interval]
) -> tuple[tuple[str, ...], list[_Way]]:
    """Give the names of the columns, and how each region is scored; a ValueError if the extractor cannot."""
    if request.method == "entropy":
        if not isinstance(extractor, MaskedExtractor):
            raise ValueError(
                f"{extractor.name} predicts no tokens, which `method=entropy` needs: that is for language "
                "models, hf; use `method=mutagenesis`"
            )
        return (f"{extractor.name}:entropy",), [partial(_by_entropy, extractor)] * len(regions)
    laid = [Bins.over(region, extractor, bin_size=request.bin_size, channels=request.channels) for region in regions]
    if request.method == "gradient":
        from builders.attribution.gradient import require_differentiable

        require_differentiable(laid[0])
        return column_names(laid[0]), [partial(_by_gradient, bins) for bins in laid]
    return column_names(laid[0]), [partial(_by_mutagenesis, bins) for bins in laid]


def _by_mutagenesis(bins: Bins, fasta: Fasta, region: Interval, progress: Progress) -> NDArray[np.float32]:
    sequence = bases(fasta, region.contig, bins.start, bins.start + bins.length)
    return mutagenesis(bins, sequence, np.arange(region.start, region.end) - bins.start, progress=progress)


def _by_gradient(bins: Bins, fasta: Fasta, region: Interval, progress: Progress) -> NDArray[np.float32]:
    from builders.attribution.gradient import gradient

    sequence = bases(fasta, region.contig, bins.start, bins.start + bins.length)
    return gradient(bins, sequence, progress=progress)[region.start - bins.start : region.end - bins.start]


def _by_entropy(extractor: MaskedExtractor, fasta: Fasta, region: Interval, progress: Progress) -> NDArray[np.float32]:
    context = extractor.context_bp
    sequence = bases(fasta, region.contig, region.start - context, region.end + context)
    found = extractor.masked_entropy(sequence)[context : context + len(region)]
    progress(1, 1)
    return found.astype(np.float32)[:, None, None]


def _scored(
    fasta: Fasta, regions: Sequence[Interval], ways: Sequence[_Way], *, progress: Progress | None
) -> list[Scores]:
    found, total = [], sum(map(len, regions))
    before = 0
    for region, way in zip(regions, ways, strict=True):

        def told(done: int, of: int, *, before: int = before, length: int = len(region)) -> None:
            if progress is not None:
                progress(before + length * done // of, total)

        values = way(fasta, region, told)
        reference = LETTERS[codes_of(fasta.fetch(region.contig, region.start, region.end))]
        fasta.check_unchanged()
        found.append(Scores(region, reference, values))
        before += len(region)
    return found


def _require_room(n_bases: int, n_columns: int) -> None:
    if n_bases * 4 * n_columns > _MOST_NUMBERS:
        raise ValueError(
            f"{n_bases:,} bases times 4 times {n_columns:,} channels are more than the {_MOST_NUMBERS:,} scores that "
            "are held at a time; name some channels as `channels=`, or give fewer regions"
        )


def _write(out: Path, found: Sequence[Scores], columns: Sequence[str]) -> None:
    with replacing(out) as partial:
        if out.suffix == ".npz":
            with partial.open("wb") as file:
                _write_arrays(file, found, columns)
        else:
            pl.concat(_table(scores, columns) for scores in found).write_parquet(partial)


def _table(scores: Scores, columns: Sequence[str]) -> pl.DataFrame:
    """Give a row for each place and base; of entropy, for each place."""
    length, n_bases, _ = scores.values.shape
    letters = np.array(list("ACGT"))
    standing = letters[codes_of(scores.reference)].repeat(n_bases)
    rows = length * n_bases
    table = {
        "region": pl.repeat(str(scores.region), rows, eager=True),
        "contig": pl.repeat(scores.region.contig, rows, eager=True),
        "position": np.arange(scores.region.start, scores.region.end, dtype=np.int64).repeat(n_bases),
        "ref": standing,
        "base": np.tile(letters, length) if n_bases == 4 else standing,
    }
    flat = scores.values.reshape(rows, -1)
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
