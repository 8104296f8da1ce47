"""A task: sequences with what was measured of them, in three parts.

Belongs here: reading and checking the table; a task that is made is sound. Does not: features
(`model.probes.features`), which rows are in which part (`model.probes.splits`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from builders.extractors.bases import CODES
from catalog import Fasta, Interval
from catalog.runtime.locations import required_path
from catalog.runtime.tables import TableError, find_column, listed, read_text_or_parquet, strands, whole_numbers
from model.probes.request import Metric, ProbeRequest
from model.probes.splits import Parts, at_random, by_groups, by_words, require_apart, reverse_complement

BINARY = ("auroc", "aupr")
_LONGEST_BP = 1_000_000
_MOST_BASES = 1 << 31
_LETTERS = b"ACGTNacgtn"
_PLACE = {"contig": ("contig", "chrom", "chr", "chromosome"), "start": ("start",), "end": ("end",)}
_KNOWN = (
    "sequence",
    "seq",
    "strand",
    "split",
    "fold",
    "name",
    "id",
    *(word for words in _PLACE.values() for word in words),
)
_MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "None", ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Rows of a task. Made by `read_task`."""

    sequences: tuple[bytes, ...]
    """Of each row, upper case, 5' to 3' of its strand."""
    places: tuple[Interval, ...] | None
    """Of each row in the genome; None for rows that are sequences alone."""
    strands: tuple[str, ...] | None
    fasta: str | None
    fasta_options: dict[str, object] | None
    target_names: tuple[str, ...]
    targets: NDArray[np.float64]
    """Shape `(rows, targets)`; NaN where it is not known."""
    parts: Parts
    metric: Metric

    @property
    def length(self) -> int:
        """Bases of the longest sequence (bp)."""
        return max(map(len, self.sequences))

    @property
    def is_binary(self) -> bool:
        """Whether targets are 0 and 1."""
        return self.metric in BINARY

    @property
    def has_one_length(self) -> bool:
        """Whether all sequences are equally long, as heads along the sequence need."""
        return len(set(map(len, self.sequences))) == 1

    def rows(self, part: int) -> NDArray[np.int64]:
        """Give the rows of a part, by its place in `PARTS`."""
        return np.flatnonzero(self.parts == part)

    def with_context(self, context_bp: int) -> Iterator[bytes]:
        """Give each sequence with the bases on either side: the genome's, or N where a row is a sequence alone."""
        flank = b"N" * context_bp
        if self.places is None or self.strands is None or self.fasta is None:
            yield from (flank + sequence + flank for sequence in self.sequences)
            return
        with Fasta(self.fasta, storage_options=self.fasta_options) as fasta:
            yield from _bases(fasta, self.places, self.strands, context_bp)


def read_task(request: ProbeRequest) -> Task:
    """Read a task, whole: whatever a head or a score would stumble over is refused here.

    Raises
    ------
    TableError, FastaError, ValueError
        If it cannot be read, or does not fit.
    """
    path = required_path(request.task)
    frame = read_text_or_parquet(path)
    if frame.height < 10:
        raise TableError(f"{path} has {frame.height} rows; a task has at least 10, of training, validation and test")
    column = find_column(frame.columns, ("sequence", "seq"))
    places, on = (None, None) if column is not None else _places(frame, path, request)
    if column is not None:
        sequences = _sequences(frame[column], path)
    else:
        assert places is not None
        assert on is not None
        assert request.fasta is not None
        with Fasta(request.fasta, storage_options=request.fasta_options) as fasta:
            _require_on(fasta, places)
            sequences = tuple(_bases(fasta, places, on, 0))
    names, targets = _targets(frame, path, request.targets)
    parts = _parts(frame, request, sequences, places)
    require_apart(parts, sequences, places)
    metric = _metric(request.metric, names, targets)
    _require_learnable(names, targets, parts, is_binary=metric in BINARY)
    return Task(
        sequences=sequences,
        places=places,
        strands=on,
        fasta=request.fasta,
        fasta_options=None if request.fasta_options is None else dict(request.fasta_options),
        target_names=names,
        targets=targets,
        parts=parts,
        metric=metric,
    )


def _sequences(column: pl.Series, path: Path) -> tuple[bytes, ...]:
    found = []
    for number, text in enumerate(column.to_list(), start=1):
        sequence = (text or "").strip().encode()
        if not sequence or sequence.translate(None, _LETTERS):
            wrong = sequence.translate(None, _LETTERS)[:8].decode(errors="replace")
            raise TableError(
                f"row {number} of {path} has {f'letters that are no bases, {wrong!r}' if wrong else 'no sequence'}; "
                "write A, C, G and T, and N for one that is not known"
            )
        if len(sequence) > _LONGEST_BP:
            raise TableError(f"row {number} of {path} has {len(sequence):,} bases, and at most {_LONGEST_BP:,}")
        found.append(sequence.upper())
    return tuple(found)


def _places(frame: pl.DataFrame, path: Path, request: ProbeRequest) -> tuple[tuple[Interval, ...], tuple[str, ...]]:
    columns = {role: find_column(frame.columns, names) for role, names in _PLACE.items()}
    if lacking := [role for role, name in columns.items() if name is None]:
        raise TableError(
            f"{path} has no column sequence, and no {', '.join(lacking)}: a task has sequence, or contig, start and "
            f"end; it has {listed(frame.columns)}"
        )
    if request.fasta is None:
        raise ValueError(f"rows of {path} are places in a genome: give it, `fasta=FILE`")
    starts, ends = (whole_numbers(frame, str(columns[role]), path=path).to_list() for role in ("start", "end"))
    contigs = frame[str(columns["contig"])].to_list()
    found = []
    for number, (contig, start, end) in enumerate(zip(contigs, starts, ends, strict=True), start=1):
        if contig is None or start is None or end is None or not 0 <= start < end <= start + _LONGEST_BP:
            raise TableError(
                f"row {number} of {path} is no place ({contig}:{start}-{end}): start is at least 0, end above it, by "
                f"at most {_LONGEST_BP:,} bp"
            )
        found.append(Interval(contig, start, end))
    if sum(map(len, found)) > _MOST_BASES:
        raise TableError(f"the places of {path} have more than {_MOST_BASES:,} bases; give fewer or shorter rows")
    name = find_column(frame.columns, ("strand",))
    on = strands(frame[name]).to_list() if name is not None else ["+"] * frame.height
    return tuple(found), tuple("-" if one == "-" else "+" for one in on)


def _require_on(fasta: Fasta, places: Sequence[Interval]) -> None:
    """Refuse, with a ValueError, places that are not on the genome."""
    if missing := sorted({place.contig for place in places} - set(fasta.lengths)):
        raise ValueError(
            f"{len(missing)} contigs of the task are not in {fasta.url}: {listed(missing)}; it has "
            f"{listed(list(fasta.lengths))}; give the genome of these places, or name its contigs"
        )
    for place in places:
        if place.end > fasta.lengths[place.contig]:
            raise ValueError(f"{place} reaches past {place.contig}, which has {fasta.lengths[place.contig]:,} bases")


def _bases(fasta: Fasta, places: Sequence[Interval], on: Sequence[str], context_bp: int) -> Iterator[bytes]:
    """Read places with their context, N past a contig's ends, along their strands."""
    for place, strand in zip(places, on, strict=True):
        first, last = place.start - context_bp, place.end + context_bp
        length = fasta.lengths[place.contig]
        read = fasta.fetch(place.contig, max(0, first), min(last, length)).tobytes().upper()
        whole = b"N" * max(0, -first) + read + b"N" * max(0, last - length)
        plain = np.frombuffer(b"ACGTN", dtype=np.uint8)[CODES[np.frombuffer(whole, dtype=np.uint8)]].tobytes()
        yield reverse_complement(plain) if strand == "-" else plain


def _targets(
    frame: pl.DataFrame, path: Path, wanted: tuple[str, ...] | None
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    if wanted is not None and (missing := [name for name in wanted if name not in frame.columns]):
        raise ValueError(f"`targets={missing[0]}` is no column of {path}; it has {listed(frame.columns)}")
    known = {find_column(frame.columns, (word,)) for word in _KNOWN}
    found: dict[str, NDArray[np.float64]] = {}
    for name in wanted or [name for name in frame.columns if name not in known]:
        text = frame[name].str.strip_chars()
        text = text.set(text.is_in(_MISSING), None)
        numbers = text.cast(pl.Float64, strict=False)
        if (numbers.is_null() & text.is_not_null()).any():
            if wanted is None:
                continue
            raise TableError(f"column {name!r} of {path} is a target, and holds other things than numbers")
        found[name] = numbers.cast(pl.Float64).to_numpy().astype(np.float64)
    if not found:
        raise ValueError(f"{path} has no column of numbers to predict; it has {listed(frame.columns)}")
    values = np.stack(list(found.values()), axis=1)
    if np.isinf(values).any():
        raise TableError(f"{path} has infinite targets; leave what was not measured empty")
    return tuple(found), values


def _parts(
    frame: pl.DataFrame, request: ProbeRequest, sequences: Sequence[bytes], places: Sequence[Interval] | None
) -> Parts:
    column, fold = find_column(frame.columns, ("split",)), find_column(frame.columns, ("fold",))
    kind = request.split or ("column" if column is not None else "random")
    if kind in ("random", "column") and (request.test or request.validation):
        raise ValueError("`test=` and `validation=` name contigs or folds: give `split='contig'` or `split='folds'`")
    if kind == "random":
        return at_random(sequences)
    if kind == "column":
        if column is None:
            raise ValueError(f"`split='column'` reads a column split, and the table has {listed(frame.columns)}")
        return by_words(frame[column].to_list())
    if kind == "contig":
        contig = find_column(frame.columns, _PLACE["contig"])
        if contig is None:
            raise ValueError(f"`split='contig'` reads a column contig, and the table has {listed(frame.columns)}")
        return by_groups(_texts(frame[contig]), test=request.test, validation=request.validation, what="contig")
    if fold is None:
        raise ValueError(f"`split='folds'` reads a column fold, and the table has {listed(frame.columns)}")
    return by_groups(_texts(frame[fold]), test=request.test, validation=request.validation, what="fold")


def _texts(column: pl.Series) -> list[str]:
    return [str(text).strip() for text in column.fill_null("").to_list()]


def _metric(wanted: Metric | None, names: Sequence[str], targets: NDArray[np.float64]) -> Metric:
    """Choose the metric, and refuse, with a ValueError, one that does not fit."""
    for name, column in zip(names, targets.T, strict=True):
        if np.isnan(column).all():
            raise ValueError(f"the target {name} is not known of any row; leave it out with `targets=`")
    binary = [bool(np.isin(column[~np.isnan(column)], (0, 1)).all()) for column in targets.T]
    if wanted is None:
        if any(binary) and not all(binary):
            raise ValueError(
                f"{names[binary.index(True)]} holds 0 and 1 and {names[binary.index(False)]} other numbers, which have "
                "no metric in common: name targets of one kind with `targets=`"
            )
        return "auroc" if all(binary) else "pearson"
    if wanted in BINARY and not all(binary):
        raise ValueError(
            f"`metric={wanted}` is for targets of 0 and 1, and {names[binary.index(False)]} has other numbers; take "
            "pearson, spearman or mse"
        )
    if wanted not in BINARY and all(binary):
        raise ValueError(f"`metric={wanted}` is for numbers, and all targets are 0 and 1; take auroc or aupr")
    return wanted


def _require_learnable(names: Sequence[str], targets: NDArray[np.float64], parts: Parts, *, is_binary: bool) -> None:
    """Refuse, with a ValueError, targets that are constant, or of one class, in a part."""
    for number, part in enumerate(("training", "validation", "test")):
        for name, column in zip(names, targets[parts == number].T, strict=True):
            known = column[~np.isnan(column)]
            if len(known) < 2:
                raise ValueError(
                    f"the target {name} is known of {len(known)} {part} rows, which say nothing; leave it out"
                )
            if np.ptp(known) == 0:
                what = f"of one class, {known[0]:g}," if is_binary else f"constant, {known[0]:g},"
                raise ValueError(
                    f"the target {name} is {what} in the {part} rows, so that nothing can be told apart; take another "
                    "split, or leave it out with `targets=`"
                )
