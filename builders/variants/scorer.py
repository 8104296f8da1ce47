"""Scores of a chunk of variants: windows, each distinct one computed once, and a table.

Belongs here: from records to a table of rows. Does not: which records (`builders.variants.run`), the numbers
themselves (`builders.variants.scores`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from builders.extractors.base import Extractor, ExtractorOfVariants, ExtractorOptions, load_extractor
from builders.extractors.source import GenomeFile
from builders.source import note_call
from builders.variants.read import Record
from builders.variants.request import OWN_SCORES, Indels
from builders.variants.scores import SCORES, Features, on_ref
from builders.variants.windows import (
    Allele,
    Anchor,
    Frame,
    Status,
    check,
    kind_of,
    left_aligned,
    placed,
    repeats_neighbour,
)
from catalog import Assembly, Fasta
from catalog.assembly import UnknownContig

CODE_VERSION = 1
"""Raise it with every change that changes a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerSpec:
    """All that a worker needs to make a scorer: plain values, and paths of files."""

    run: str
    genome: GenomeFile
    assembly: Assembly
    extractors: tuple[tuple[str, Mapping[str, Any]], ...]
    """Name and settings of each."""
    options: ExtractorOptions
    bin_size: int | None
    scores: tuple[str, ...]
    anchor: Anchor | None
    indels: Indels | None
    distance: int
    normalise: bool

    def make(self, *, device: str | None = None) -> "Scorer":
        """Make the scorer; the errors are those of the extractors."""
        options = self.options if device is None else replace(self.options, device=device)
        models = [self._model(name, settings, options) for name, settings in self.extractors]
        names = Counter(feature_set for model in models for feature_set in model.extractor.channels)
        if repeated := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"two extractors write the feature set {repeated[0]!r}; score them one at a time")
        made = {score for model in models for score in (*model.general, *model.own)}
        if lacking := [score for score in self.scores if score not in made]:
            raise ValueError(f"`scores={lacking[0]}` is of the extractor {OWN_SCORES[lacking[0]]}, which is not named")
        return Scorer(self, models)

    def _model(self, name: str, settings: Mapping[str, Any], options: ExtractorOptions) -> "Model":
        extractor = load_extractor(name, options, settings)
        tiled: Callable[..., Extractor] | None = getattr(extractor, "tiled", None)
        per_base = tiled is not None and (self.bin_size or 1) == 1
        indels = self.indels or ("spliceai" if per_base else "sei")
        if indels == "spliceai" and (not per_base or self.anchor not in (None, "left")):
            raise ValueError(
                f"`indels='spliceai'` gives predictions of each base their place in the reference: it is for networks "
                f"that predict bases, with `bin_size=1` and `anchor='left'`; {name} is none, or another was given"
            )
        if "log2fc" in self.scores and extractor.options.get("transform") == "log1p":
            raise ValueError(f"`scores=log2fc` compares sums of a signal: set {name}'s transform to none")
        anchor = self.anchor or ("left" if tiled is not None else "sei")
        general = tuple(score for score in self.scores if score in SCORES)
        own = tuple(score for score in self.scores if OWN_SCORES.get(score) == extractor.name)
        for score in own:
            assert isinstance(extractor, ExtractorOfVariants)
            extractor.variant_channels(score)  # checks what it needs
        return Model(extractor, tiled, self.bin_size or 1, indels, anchor, self.distance, general, own)


@dataclass(frozen=True, slots=True)
class Model:
    """An extractor, and how alleles lie in its windows."""

    extractor: Extractor
    tiled: Callable[..., Extractor] | None
    """Makes the extractor on tiles of any number of bins; None if it reads a window as a whole."""
    bin_size: int
    indels: Indels
    anchor: Anchor
    distance: int
    general: tuple[str, ...]
    """Scores of its features."""
    own: tuple[str, ...]
    """Scores that it alone has."""

    def columns(self) -> list[str]:
        """Name the columns of its scores."""
        found = []
        for feature_set, channels in self.extractor.channels.items():
            names = [channel.name for channel in channels]
            found += [f"{feature_set}:{column}" for one in self.general for column in SCORES[one].columns(one, names)]
        for score in self.own:
            assert isinstance(self.extractor, ExtractorOfVariants)
            channels_of = self.extractor.variant_channels(score)
            one_number = channels_of == (score,)
            found += [f"{self.extractor.name}:{score}" + ("" if one_number else f":{name}") for name in channels_of]
        return found

    @property
    def n_bins(self) -> int:
        """Bins that are compared."""
        return 1 if self.tiled is None else 2 * (self.distance // self.bin_size) + 1

    def fitted(self, more: int) -> tuple[Extractor, Frame]:
        """Give the extractor and the frame of its windows, with room for `more` inserted bases on the right."""
        if self.tiled is None:
            length = self.extractor.input_length
            return self.extractor, self._frame(length, length // 2, length // 2)
        extra = more if self.indels == "spliceai" else 0
        extractor = self.tiled(bin_size=self.bin_size, n_bins=self.n_bins + extra)
        whole = self.n_bins * self.bin_size
        flank = (extractor.input_length - whole - extra * self.bin_size) // 2
        return extractor, self._frame(extractor.input_length, flank + whole // 2, 2 * self.distance)

    def _frame(self, length: int, centre: int, longest: int) -> Frame:
        return Frame(input_length=length, centre=centre, anchor=self.anchor, longest=longest)

    def begins(self, frame: Frame, allele: Allele) -> list[int]:
        """Give the base of each window of ALT at which it begins."""
        if self.indels != "compensate" or not allele.size:
            return [frame.of_alt(allele)]
        # Left flanks aligned with those of REF, and right flanks: shifts of 0 and of the indel's size.
        begin = frame.of_ref(allele)
        return [begin, begin - allele.size]


class _Row(NamedTuple):
    """An allele on its way to a score."""

    contig: str
    allele: Allele
    status: Status | None
    is_repeat: bool | None


class Scorer:
    """Scores chunks of records; opens the genome and loads weights on first use."""

    def __init__(self, spec: ScorerSpec, models: Sequence[Model]) -> None:
        self.spec = spec
        self.models = models

    def columns(self) -> list[str]:
        """Name the columns of scores."""
        return [column for model in self.models for column in model.columns()]

    def score(self, records: Sequence[Record]) -> pl.DataFrame:
        """Score every ALT allele of some records, in their order: a row each."""
        with closing(self.spec.genome.open()) as fasta:
            rows = [self._row(fasta, record, alt) for record in records for alt in record.alts]
            statuses: list[Status | None] = [row.status for row in rows]
            plans = [self._windows(fasta, model, rows, statuses) for model in self.models]
        found = [
            column
            for model, (extractor, windows) in zip(self.models, plans, strict=True)
            for column in self._columns(model, extractor, windows, rows, statuses)
        ]
        alts = [(record, alt) for record in records for alt in record.alts]
        table = {
            "contig": pl.Series([record.contig for record, _ in alts], dtype=pl.String),
            "position": pl.Series([record.position + 1 for record, _ in alts], dtype=pl.Int64),
            "id": pl.Series([record.id for record, _ in alts], dtype=pl.String),
            "ref": pl.Series([record.ref for record, _ in alts], dtype=pl.String),
            "alt": pl.Series([alt for _, alt in alts], dtype=pl.String),
            "status": pl.Series([status or "scored" for status in statuses], dtype=pl.String),
            "repeats_neighbour": pl.Series([row.is_repeat for row in rows], dtype=pl.Boolean),
        }
        if self.spec.normalise:
            shown = [f"{row.allele.position + 1}:{row.allele.ref}>{row.allele.alt}" for row in rows]
            table["normalised"] = pl.Series(shown, dtype=pl.String)
        return pl.DataFrame(table | dict(zip(self.columns(), found, strict=True)))

    def mismatches(self, records: Iterable[Record]) -> Iterator[Record]:
        """Give the records whose REF differs from the genome; reads no more than those bases."""
        with closing(self.spec.genome.open()) as fasta:
            for record in records:
                if any(self._row(fasta, record, alt).status == "ref_mismatch" for alt in record.alts):
                    yield record

    def _row(self, fasta: Fasta, record: Record, alt: str) -> _Row:
        allele = Allele(record.position, record.ref.upper(), alt.upper())
        status = kind_of(allele.alt, allele.ref)
        if status is not None:
            return _Row(record.contig, allele, status, None)
        try:
            contig = self.spec.assembly.resolve(record.contig)
        except UnknownContig:
            return _Row(record.contig, allele, "missing_contig", None)
        bases, length = _bases_of(fasta, contig), fasta.lengths[contig]
        status = check(allele, bases, length)
        if status is None and self.spec.normalise:
            allele = left_aligned(allele, bases)
        return _Row(contig, allele, status, repeats_neighbour(allele, bases, length) if status is None else None)

    def _windows(
        self, fasta: Fasta, model: Model, rows: Sequence[_Row], statuses: list[Status | None]
    ) -> tuple[Extractor, dict[int, list[NDArray[np.uint8]]]]:
        """Cut the windows of REF and ALT of each row; a row that has none gets a status."""
        most = [row.allele.size for row in rows if row.status is None and len(row.allele.alt) <= 2 * model.distance]
        extractor, frame = model.fitted(max([0, *most]))
        windows = {}
        for number, row in enumerate(rows):
            if statuses[number] is not None:
                continue
            bases, length = _bases_of(fasta, row.contig), fasta.lengths[row.contig]
            made = [placed(row.allele, frame, frame.of_ref(row.allele), bases, length, is_alt=False)]
            made += [
                placed(row.allele, frame, begin, bases, length, is_alt=True)
                for begin in model.begins(frame, row.allele)
            ]
            cut = [one for one in made if not isinstance(one, str)]
            if len(cut) < len(made):
                statuses[number] = next(one for one in made if isinstance(one, str))
            else:
                windows[number] = cut
        return extractor, windows

    def _columns(
        self,
        model: Model,
        extractor: Extractor,
        windows: Mapping[int, list[NDArray[np.uint8]]],
        rows: Sequence[_Row],
        statuses: Sequence[Status | None],
    ) -> list[pl.Series]:
        """Compute the columns of one extractor; rows without a score are null."""
        # A row is scored by all extractors or by none, so that columns compare the same alleles.
        scored = {number: cut for number, cut in windows.items() if statuses[number] is None}
        places: dict[bytes, int] = {}
        keys = {
            number: [places.setdefault(window.tobytes(), len(places)) for window in cut]
            for number, cut in scored.items()
        }
        distinct = np.frombuffer(b"".join(places), dtype=np.uint8).reshape(len(places), extractor.input_length)
        allele_of = {number: rows[number].allele for number in keys}
        columns = _of_features(model, extractor, distinct, keys, allele_of) if model.general else []
        columns += [_of_own(extractor, score, distinct, keys) for score in model.own]
        values = np.full((len(rows), len(model.columns())), np.nan, dtype=np.float32)
        if keys:
            values[list(keys)] = np.concatenate(columns, axis=1)
        empty = [number for number in range(len(rows)) if number not in keys]
        return [pl.Series(column, dtype=pl.Float32).scatter(empty, None) for column in values.T]


def _of_features(
    model: Model,
    extractor: Extractor,
    windows: NDArray[np.uint8],
    keys: Mapping[int, list[int]],
    alleles: Mapping[int, Allele],
) -> list[NDArray[np.floating[Any]]]:
    """Compute the features of distinct windows, and the scores of pairs of them: `(alleles, columns)` each."""
    features = _computed(extractor, windows)
    found = []
    for feature_set in extractor.channels:
        for name in model.general:
            of_alleles = []
            for number, (ref, *alts) in keys.items():
                of_ref = features[feature_set][ref][: model.n_bins]
                compared = [_on_ref(model, features[feature_set][alt], alleles[number]) for alt in alts]
                of_alleles.append(np.mean([SCORES[name].compute(of_ref, one) for one in compared], axis=0))
            if of_alleles:
                found.append(np.stack(of_alleles))
    return found


def _of_own(
    extractor: Extractor, score: str, windows: NDArray[np.uint8], keys: Mapping[int, list[int]]
) -> NDArray[np.floating[Any]]:
    """Compute a score that the extractor alone has, `(alleles, columns)`; of several windows of ALT the mean."""
    assert isinstance(extractor, ExtractorOfVariants)
    pairs = [(ref, alt) for ref, *alts in keys.values() for alt in alts]
    if not pairs:
        return np.empty((0, len(extractor.variant_channels(score))))
    note_call()
    values = extractor.variant_scores(score, windows, pairs)
    ends = np.cumsum([len(alts) for _, *alts in keys.values()])[:-1]
    return np.stack([part.mean(0) for part in np.split(values, ends)])


def _on_ref(model: Model, alt: Features, allele: Allele) -> Features:
    if model.indels != "spliceai":
        return alt[: model.n_bins]
    return on_ref(alt, at=model.distance, ref_length=len(allele.ref), alt_length=len(allele.alt), n_bins=model.n_bins)


def _computed(extractor: Extractor, windows: NDArray[np.uint8]) -> dict[str, Features]:
    """Run an extractor on windows in its batches: `(windows, bins, channels)` a feature set."""
    if not len(windows):
        return {name: np.empty((0, 1, len(channels)), np.float32) for name, channels in extractor.channels.items()}
    size = extractor.batch_size
    batches = []
    for first in range(0, len(windows), size):
        note_call()
        batches.append(extractor(np.ascontiguousarray(windows[first : first + size])))
    return {
        name: np.concatenate([batch[name] for batch in batches])
        .astype(np.float32)
        .reshape(len(windows), -1, len(channels))
        for name, channels in extractor.channels.items()
    }


def _bases_of(fasta: Fasta, contig: str) -> Callable[[int, int], bytes]:
    def bases(start: int, end: int) -> bytes:
        return fasta.fetch(contig, start, end).tobytes().upper() if start < end else b""

    return bases


_OF_PROCESS: dict[tuple[str, str | None], Scorer] = {}
"""The scorer of the last run and device, so that a worker loads weights once and not for each chunk."""


def scorer_of(spec: ScorerSpec, *, device: str | None = None) -> Scorer:
    """Make the scorer of a run, once a process; that of the run before is freed."""
    key = (spec.run, device)
    if key not in _OF_PROCESS:
        _OF_PROCESS.clear()
        _OF_PROCESS[key] = spec.make(device=device)
    return _OF_PROCESS[key]
