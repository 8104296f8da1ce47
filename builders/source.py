"""The protocol of sources: whatever gives the features of each bin of an assembly.

Belongs here: the protocol, reading through it, and checks of its output. Does not: any one source
(`builders.extractors.source` is that of a network or motifs over a FASTA), writing what it gives
(`builders.execution.shard`).

Planning, resuming, commits, failures, verification, anchored arrays and Dask know sources only, neither FASTA files
nor extractors.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from catalog import Assembly, Channel
from catalog.value_type import all_finite

GROUP = "featurestore.sources"
"""Entry-point group; a distribution adds a source by naming its factory there."""
TOLERANCE = 2e-3
"""For a source that states no other: float32 on another device; float16 has 5e-4 in itself."""

Rows = Mapping[str, NDArray[Any]]
"""Features of neighbouring bins: for each feature set `(bins, channels)`, finite numbers. Those of an integer type are
counts, which the store has to hold exactly."""


class SourceChanged(RuntimeError):
    """The input of a build has changed since it began; going on would mix two versions in one feature set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonOptions:
    """Options of extractors and sources of every kind."""

    bin_size: int = 4096
    """Bases a bin (bp). A network with a fixed input reads that many bases around the centre of the bin instead."""
    outputs: tuple[str, ...] | None = None
    """Feature sets to write; None for its own choice."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device is auto, cpu, cuda or cuda:N; got {self.device!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions(CommonOptions):
    """What every source is made with: the common options, and the assembly of the store."""

    assembly: Assembly
    """Whose contigs and lengths the bins lie on."""


class Span(NamedTuple):
    """Neighbouring bins, wherever they begin: those of an anchored window lie on no grid."""

    contig: str
    start: int
    """First base of the first bin (bp); it and the end may lie outside the contig."""
    n_bins: int


@runtime_checkable
class Source(Protocol):
    """Gives the features of bins of an assembly. Cheap to make: files and weights are loaded lazily.

    A factory makes it: `factory(options: SourceOptions)`, or `factory(options, settings)` where the annotation of the
    second parameter is a frozen dataclass of options of the source's own (`builders.factories`).

    It may also have `notes`: a tuple of sentences on what it lacks, for plan and report.
    """

    name: str
    bin_size: int
    """Bases a bin (bp), that of `SourceOptions`."""
    flops_per_bin: float
    """Floating-point operations a bin, for `plan`; 0 for a source that keeps to one core and wants no GPU."""
    batch_bins: int
    """Bins that suit one step, for `plan --measure`."""
    tolerance: float
    """Largest difference that computing on another device may make, as a share of the largest value of a channel."""
    licence: str
    citation: str

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides the values: files, code version, settings."""
        ...

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """Channels of each feature set that one read returns."""
        ...

    @property
    def options(self) -> dict[str, JsonValue]:
        """Its settings, for the record; `verify --recompute` reuses them."""
        ...

    def pad(self) -> Mapping[str, NDArray[Any]]:
        """Give the row `(channels,)` of each set that stands for a bin wholly outside its contig; finite."""
        ...

    def close(self) -> None:
        """Close open files; the next read reopens them."""
        ...

    def read(self, contig: str, start: int, n_bins: int) -> Rows:
        """Give the features of the bins `[start + k * bin_size, start + (k + 1) * bin_size)`, k below `n_bins`.

        Bins may reach past the contig on either side; one wholly outside has the pad row. Called by one thread at a
        time.
        """
        ...


@runtime_checkable
class StagedSource(Protocol):
    """A source that reads and computes in two steps, so that a build overlaps them.

    A worker runs a three-stage pipeline: while the device computes one shard, another thread fetches the next and a
    third writes the last. With `read` alone a GPU would wait for the disk or the object store. Several spans come at
    once, since the bins of an anchored shard are scattered and a network wants full batches.
    """

    def fetch(self, spans: Sequence[Span]) -> Any:
        """Read what computing needs: input and output only, while another thread may be computing.

        Raises
        ------
        SourceChanged
            If the files are no longer those that the build began with.
        """
        ...

    def compute(self, fetched: Any, pad: Mapping[str, NDArray[Any]]) -> Iterator[Rows]:
        """Give the features of the bins of all spans, in their order, in pieces that suit the device.

        Parameters
        ----------
        fetched
            What `fetch` gave.
        pad
            The row of each set for bins that hold nothing, as the store keeps it.
        """
        ...


def fetch(source: Source, spans: Sequence[Span]) -> Any:
    """Do the first step of reading spans: the input and output of a staged source, nothing for others."""
    return source.fetch(spans) if isinstance(source, StagedSource) else spans


def compute(source: Source, fetched: Any, pad: Mapping[str, NDArray[Any]]) -> Iterator[Rows]:
    """Do the second step, after `fetch`: give pieces of neighbouring bins, each checked.

    Raises
    ------
    ValueError
        If a set is missing, has another shape than its channels say, or holds NaN or infinity.
    """
    if isinstance(source, StagedSource):
        pieces: Iterable[Rows] = source.compute(fetched, pad)
        for piece in pieces:
            yield checked(source, piece, None)
        return
    for span in fetched:
        note_call()
        yield checked(source, source.read(*span), span.n_bins)


def read(source: Source, spans: Sequence[Span], pad: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Read the bins of some spans in one go, `(bins, channels)` a set, in the source's own type."""
    pieces = list(compute(source, fetch(source, spans), pad))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in source.channels}


def checked(source: Source, rows: Rows, n_bins: int | None) -> Rows:
    """Check the output of a source: each set present, of the right shape, finite.

    Parameters
    ----------
    n_bins
        Expected bins; None for as many as the first set has.
    """
    for name, channels in source.channels.items():
        if name not in rows:
            raise ValueError(f"source {source.name} gave nothing for {name!r}, one of its feature sets")
        values = rows[name]
        n_bins = len(values) if n_bins is None else n_bins
        if values.shape != (n_bins, len(channels)):
            raise ValueError(
                f"source {source.name} gave {values.shape} for {name!r}, expected shape {(n_bins, len(channels))}"
            )
        if not all_finite(values):
            raise ValueError(
                f"source {source.name} gave NaN or infinity in {name!r}; NaN means never built, so it is no value: "
                "check its weights and its input"
            )
    return rows


def pad_rows(source: Source) -> dict[str, NDArray[Any]]:
    """Give the pad row of each feature set, shape `(channels,)`, checked."""
    rows = {name: np.asarray(row)[None] for name, row in source.pad().items()}
    return {name: row[0] for name, row in checked(source, rows, 1).items()}


def notes_of(source: Source) -> tuple[str, ...]:
    """Give the sentences of a source on what it lacks, which few have, and its licence."""
    licence = source.licence.strip()
    return (*getattr(source, "notes", ()), *([f"licence: {licence}"] if licence else []))


_calls = 0


def note_call() -> None:
    """Count one call of a model, or one read of a source that has none."""
    global _calls
    _calls += 1


def calls_made() -> int:
    """Count the calls that sources have made in this process, for reports."""
    return _calls
