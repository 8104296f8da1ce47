"""Global importance analysis: what a motif does to an output, whatever sequence lies around it.

    from builders.attribution.importance import motif_effect
    motif_effect(ImportanceRequest(fasta="hg38.fa", region="chr2:264,891-264,990", motif="TGCGCATGCGC", ...))

The motif is put into shuffles of a sequence, and the mean difference of the output with and without it is its effect
(Koo, Majdandzic, Ploenzke, Anand, Paul, PLoS Comput Biol 2021, doi:10.1371/journal.pcbi.1008925).

Belongs here: backgrounds, differences, the table. Does not: the shuffle (`builders.attribution.shuffle`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from builders.attribution.bins import Bins
from builders.attribution.regions import LETTERS, check_region, codes_of
from builders.attribution.request import ImportanceRequest
from builders.attribution.run import column_names
from builders.attribution.shuffle import dinucleotide_shuffle
from builders.extractors.base import load_extractor
from builders.extractors.sequence import bases
from catalog import Fasta, Interval
from catalog.runtime.files import replacing
from catalog.runtime.locations import required_path

Progress = Callable[[int, int], None]
"""Called with the backgrounds that are done, and all there are."""
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportanceReport:
    """What a motif does."""

    out: str
    table: pl.DataFrame
    """A row a channel."""
    licence: str


def motif_effect(
    request: ImportanceRequest, *, progress: Progress | None = None, stage: Callable[[str], None] = lambda name: None
) -> ImportanceReport:
    """Put a motif into shuffles of a region's sequence, and write the mean change of each channel.

    All bases that the bins of the region read are shuffled, so that none of their own motifs is left.

    Raises
    ------
    FastaError, ValueError
        If the input does not fit; nothing is computed then, and nothing written.
    """
    out = required_path(request.out)
    region = Interval.parse(request.region)
    offset = _offset(request, region)
    stage(f"indexing {request.fasta}")
    with Fasta(request.fasta, storage_options=request.fasta_options) as fasta:
        check_region(region, fasta.lengths)
        stage(f"making {request.extractor}")
        extractor = load_extractor(request.extractor, request.common, request.settings)
        bins = Bins.over(region, extractor, bin_size=request.bin_size, channels=request.channels)
        sequence = bases(fasta, region.contig, bins.start, bins.start + bins.length)
        fasta.check_unchanged()
    codes = codes_of(sequence)
    if (codes == 4).any():
        raise ValueError(
            f"{extractor.name} reads {bins.length:,} bases around the region {region}, and some are not A, C, G or T "
            "or lie past the contig: they cannot be shuffled; give another region"
        )
    place = region.start - bins.start + offset
    out.parent.mkdir(parents=True, exist_ok=True)  # before long work, which a folder that cannot be made would lose
    stage(f"scoring {request.backgrounds:,} backgrounds")
    differences, without = _differences(bins, LETTERS[codes], place, request, progress=progress)
    table = _summary(differences, without, request, column_names(bins))
    stage(f"writing {out}")
    with replacing(out) as partial:
        table.write_parquet(partial)
    return ImportanceReport(out=str(out), table=table, licence=extractor.licence)


def _offset(request: ImportanceRequest, region: Interval) -> int:
    """Give the place of the motif's first base in the region: its middle on the region's, unless it is given."""
    room = len(region) - len(request.motif)
    offset = room // 2 if request.at is None else request.at
    if room < 0:
        raise ValueError(
            f"the region {region} is shorter than the motif of {len(request.motif)} bases; give a larger one"
        )
    if not 0 <= offset <= room:
        raise ValueError(f"`at=` puts the motif into the region {region} from 0 to {room}; got {offset}")
    return offset


def _differences(
    bins: Bins, sequence: NDArray[np.uint8], place: int, request: ImportanceRequest, *, progress: Progress | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the output with the motif less that without, and that without: `(backgrounds, columns)` each."""
    rng = np.random.default_rng(request.seed)
    motif = np.frombuffer(request.motif.encode(), dtype=np.uint8)
    found, without = [], []
    step = max(1, bins.network(bins.n_bins).batch_size // 2)
    for first in range(0, request.backgrounds, step):
        count = min(step, request.backgrounds - first)
        plain = np.stack([dinucleotide_shuffle(sequence, rng) for _ in range(count)])
        with_motif = plain.copy()
        with_motif[:, place : place + len(motif)] = motif
        output = bins.compute(np.concatenate([plain, with_motif]), n_bins=bins.n_bins).sum(1)
        found.append(output[count:] - output[:count])
        without.append(output[:count])
        if progress is not None:
            progress(first + count, request.backgrounds)
    return np.concatenate(found), np.concatenate(without)


def _summary(
    differences: NDArray[np.float64],
    without: NDArray[np.float64],
    request: ImportanceRequest,
    columns: tuple[str, ...],
) -> pl.DataFrame:
    """Give the mean difference of each column with its interval, by the normal distribution of a mean."""
    mean, deviation = differences.mean(0), differences.std(0, ddof=1)
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * deviation / np.sqrt(len(differences))
    return pl.DataFrame(
        {
            "channel": columns,
            "motif": [request.motif] * len(columns),
            "effect": mean,
            "low": mean - half,
            "high": mean + half,
            "deviation": deviation,
            "background": without.mean(0),
            "backgrounds": [len(differences)] * len(columns),
        }
    )
