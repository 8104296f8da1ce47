"""bigWig files as a source of features: several files are the channels of one feature set.

Belongs here: bins of all tracks, their fingerprint, what is said of them. Does not: one file
(`builders.tracks.bigwig`), arithmetic (`builders.tracks.bins`).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.source import Rows, SourceOptions, Span, note_call
from builders.tracks.bigwig import BigWig
from builders.tracks.bins import summarise, transformed
from builders.tracks.settings import TrackSettings
from catalog import Channel
from catalog.runtime.settings import plain_settings
from catalog.runtime.tables import listed

_VERSION = 1
"""Raised with every change of the code that changes values."""
_PIECE_BASES = 1 << 18
"""Bases at a time (2 MB): they stay in the processor's cache, and memory does not grow with the shard."""
_UNRECORDED = ("track_options", "track_licence", "track_citation")


class _Track(NamedTuple):
    name: str
    file: BigWig
    contigs: dict[str, str]
    """The assembly's name of each contig that the file has, and the file's."""


class TrackSource:
    """Gives the bins of bigWig tracks. A bin outside its contig, or a base past its end, counts as not covered.

    Raises
    ------
    NotABigWig, AssemblyMismatch, OSError, ValueError
        If a file cannot be read, is of another assembly, or has values that the options refuse.
    """

    name = "tracks"
    flops_per_bin = 0.0
    tolerance = 0.0

    def __init__(self, options: SourceOptions, settings: TrackSettings) -> None:
        if options.outputs not in (None, (settings.feature_set,)):
            raise ValueError(f"tracks are written as {settings.feature_set!r} alone, got outputs {options.outputs}")
        self.bin_size = options.bin_size
        self.batch_bins = max(1, _PIECE_BASES // self.bin_size)
        self.licence = settings.track_licence
        self.citation = settings.track_citation
        self._settings = settings
        self._assembly = options.assembly
        self._opened: tuple[_Track, ...] | None = None
        self._scratch = np.empty(self.batch_bins * self.bin_size)
        self._tracks()

    @classmethod
    def from_options(cls, options: SourceOptions, settings: TrackSettings) -> "TrackSource":
        """Make it; the files are opened and checked."""
        return cls(options, settings)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the content of each file, its name as a channel, and the options."""
        files = {track.name: track.file.digest for track in self._tracks()}
        first: dict[str, str] = {}
        for name, digest in files.items():
            if digest in first:
                raise ValueError(
                    f"the tracks {first[digest]!r} and {name!r} are the same file ({self._settings.tracks[name]}); "
                    "leave one out of `tracks=`"
                )
            first[digest] = name
        chosen = [self._settings.summary, self._settings.gaps, self._settings.clip, self._settings.transform]
        made_of = ["tracks", _VERSION, list(files.items()), self.bin_size, *chosen]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """One set; a channel a track."""
        described = f"{self._settings.summary} of {self.bin_size} bp" if self.bin_size > 1 else "value of the base"
        kind = "" if self._settings.transform == "none" else f", {self._settings.transform}"
        channels = tuple(Channel(name=name, description=described + kind) for name in self._settings.tracks)
        return {self._settings.feature_set: channels}

    @property
    def options(self) -> dict[str, JsonValue]:
        """The settings but for credentials, which are nobody's business."""
        plain = plain_settings(self._settings)
        return {name: value for name, value in plain.items() if name not in _UNRECORDED}

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what the files lack, for the report."""
        notes = []
        for name, file, contigs in self._tracks():
            absent = [contig for contig in self._assembly.lengths if contig not in contigs]
            if absent:
                notes.append(f"{name}: the file lacks {listed(absent)}; bins there count as not covered")
            renamed = [f"{theirs} for {own}" for own, theirs in contigs.items() if own != theirs]
            if renamed:
                notes.append(f"{name}: the file names contigs otherwise: {listed(renamed)}")
            left_out = len(file.lengths) - len(contigs)
            if left_out:
                notes.append(f"{name}: {left_out:,} contigs of the file are not in the assembly, and are left out")
            if n_bases := file.nan_bases(contigs):
                notes.append(f"{name}: {n_bases:,} bases are stored as NaN, and count as not covered")
        return tuple(notes)

    def pad(self) -> dict[str, NDArray[np.float32]]:
        """Give zeros: outside a contig nothing is covered, and 0 is 0 however it is summarised and transformed."""
        return {self._settings.feature_set: np.zeros(len(self._settings.tracks), dtype=np.float32)}

    def close(self) -> None:
        """Close the files."""
        for track in self._opened or ():
            track.file.close()
        self._opened = None

    def read(self, contig: str, start: int, n_bins: int) -> dict[str, NDArray[np.float32]]:
        """Read neighbouring bins, `(n_bins, tracks)`."""
        pieces = [piece[self._settings.feature_set] for piece in self.compute([Span(contig, start, n_bins)], {})]
        return {self._settings.feature_set: np.concatenate(pieces)}

    def fetch(self, spans: Sequence[Span]) -> Sequence[Span]:
        """Nothing: pybigtools reads and inflates in one step, which keeps the interpreter."""
        return spans

    def compute(self, fetched: Sequence[Span], pad: Mapping[str, NDArray[Any]]) -> Iterator[Rows]:
        """Read and summarise the bins of all spans, a piece of bounded size at a time."""
        for contig, start, n_bins in fetched:
            for first in range(0, n_bins, self.batch_bins):
                note_call()
                size = min(self.batch_bins, n_bins - first)
                yield {self._settings.feature_set: self._piece(contig, start + first * self.bin_size, size)}
        for track in self._tracks():
            # What was read before a check that passes is of the file that was digested.
            track.file.check_unchanged()

    def _piece(self, contig: str, start: int, n_bins: int) -> NDArray[np.float32]:
        chosen = self._settings
        values = np.empty((n_bins, len(chosen.tracks)), dtype=np.float32)
        for column, track in enumerate(self._tracks()):
            bases = self._bases(track, contig, start, n_bins * self.bin_size)
            bins = summarise(bases, self.bin_size, chosen.summary)
            if chosen.transform == "log1p" and bins.min() < 0:
                worst = int(bins.argmin())
                raise ValueError(
                    f"track {track.name!r} has {bins[worst]:g} at {contig}:{start + worst * self.bin_size}, and log1p "
                    'takes no negative values; take `transform="arcsinh"`, or a track without them'
                )
            values[:, column] = transformed(bins, chosen.transform, chosen.clip)
        return values

    def _bases(self, track: _Track, contig: str, start: int, n_bases: int) -> NDArray[np.float64]:
        """Read the value of each base, 0 where it has none; shape `(n_bases,)`, valid until the next call."""
        bases = self._scratch[:n_bases]
        low, high = max(start, 0), min(start + n_bases, self._assembly.lengths[contig])
        if low >= high:
            bases[:] = 0
            return bases
        bases[: low - start] = 0
        bases[high - start :] = 0
        inside = bases[low - start : high - start]
        is_strict = self._settings.gaps == "error"
        inside[:] = np.nan if is_strict else 0
        if contig in track.contigs:
            track.file.read_into(track.contigs[contig], low, inside, uncovered=np.nan if is_strict else 0.0)
        if is_strict and (gaps := np.isnan(inside)).any():
            raise ValueError(
                f"track {track.name!r} does not cover {contig}:{low + int(gaps.argmax())}, nor "
                f'{int(gaps.sum()) - 1:,} more of the {high - low:,} bases read with it; `gaps="zero"` takes them for '
                "0, or give `contigs=` that it covers"
            )
        return bases

    def _tracks(self) -> tuple[_Track, ...]:
        if self._opened is None:
            with ExitStack() as stack:
                self._opened = tuple(self._open(name, place, stack) for name, place in self._settings.tracks.items())
                stack.pop_all()  # unless one was refused, all stay open
        return self._opened

    def _open(self, name: str, place: str, stack: ExitStack) -> _Track:
        file = stack.enter_context(closing(BigWig(place, self._settings.track_options)))
        track = _Track(name, file, file.contigs_on(self._assembly))
        self._check(track)
        return track

    def _check(self, track: _Track) -> None:
        """Refuse a file whose header tells that the build would fail, or that there is nothing in it."""
        file = track.file
        if not file.covered_bases:
            raise ValueError(
                f"track {track.name!r} covers no base: {file.shown} holds no values; leave it out of `tracks=`"
            )
        if file.holds_infinity:
            raise ValueError(
                f"track {track.name!r} holds infinite values ({file.shown}); write them anew without those"
            )
        if self._settings.transform == "log1p" and file.smallest < 0:
            raise ValueError(
                f"track {track.name!r} has values down to {file.smallest:g} ({file.shown}), and log1p takes no "
                'negative ones; take `transform="arcsinh"`, or a track without them'
            )
