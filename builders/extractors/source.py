"""An extractor over a FASTA, as a source of features.

Belongs here: an extractor's input around each bin, its batches, and the pad row for sequence that is all N. Does not:
cutting sequences out of a FASTA (`builders.extractors.sequence`), any extractor.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.extractors.base import Extractor, tile_bins
from builders.extractors.sequence import UNKNOWN, Genome, GenomePlace, is_unknown, span_sequences
from builders.source import TOLERANCE, Rows, SourceChanged, Span, note_call
from catalog import Assembly, Channel, Fasta, FastaChanged, FastaIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class GenomeFile:
    """Where the sequences lie, as a worker needs to know it."""

    url: str
    storage_options: dict[str, Any]
    index: FastaIndex
    """Where the sequences lie in the file, and the version of the file that the build began with."""
    assembly_digest: str

    def open(self) -> Fasta:
        """Open the file, or a copy on this node with the same sequence.

        Raises
        ------
        SourceChanged
            If its sequences are others.
        """
        try:
            return Fasta(self.url, storage_options=self.storage_options, index=self.index)
        except FastaChanged as error:
            # A copy on a node's own disk has times of its own: its sequence decides.
            fasta = Fasta(self.url, storage_options=self.storage_options)
            if Assembly.from_fasta(fasta).digest != self.assembly_digest:
                raise SourceChanged(str(error)) from error
            return fasta


class Sequences(NamedTuple):
    """What an extractor is to see."""

    bases: NDArray[np.uint8]
    """ASCII, shape `(sequences, input_length)`."""
    wanted: NDArray[np.bool_] | None
    """Of the bins of all tiles, those that were asked for; None where each sequence is one bin."""


class ExtractorSource:
    """Reads the sequence of bins and runs an extractor on it, in batches.

    An extractor may see more bases than a bin has, around its centre. Sequences that are N throughout take the pad row:
    the extractor has seen that sequence once already.

    Tiles of several bins (`builders.extractors.base.tile_bins`) begin at multiples of their length: a bin is computed
    from the same sequence, whichever bins are asked for beside it.

    Parameters
    ----------
    genome
        Where the sequences lie, opened on first use; or an open file, which its owner closes. Not the reference, where
        the bases of a haplotype are read (`builders.overlays`).
    bin_size
        Bases a bin (bp).
    """

    def __init__(self, extractor: Extractor, genome: GenomePlace | Fasta, *, bin_size: int) -> None:
        self.extractor = extractor
        self.bin_size = bin_size
        self.name = extractor.name
        self.flops_per_bin = extractor.flops_per_bin
        self._tile = tile_bins(extractor)
        self.batch_bins = extractor.batch_size * self._tile
        self.tolerance = float(getattr(extractor, "tolerance", TOLERANCE))
        self.licence = extractor.licence
        self.citation = extractor.citation
        self._genome = genome
        self._opened: Genome | None = genome if isinstance(genome, Fasta) else None

    @property
    def fingerprint(self) -> str:
        """That of the extractor: the sequence is the assembly's, which the store knows."""
        return self.extractor.fingerprint

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """Channels of each feature set."""
        return self.extractor.channels

    @property
    def options(self) -> dict[str, JsonValue]:
        """Settings of the extractor."""
        return self.extractor.options

    def pad(self) -> dict[str, NDArray[np.number[Any]]]:
        """Compute the row of sequence that is all N."""
        unknown = np.full((1, self.extractor.input_length), UNKNOWN, dtype=np.uint8)
        return {name: rows[self._tile // 2] for name, rows in self._call(unknown).items()}

    def close(self) -> None:
        """Close the genome, if this source has opened it."""
        if not isinstance(self._genome, Fasta) and self._opened is not None:
            self._opened.close()
            self._opened = None

    def read(self, contig: str, start: int, n_bins: int) -> dict[str, NDArray[np.number[Any]]]:
        """Read and compute neighbouring bins, `(n_bins, channels)` a set."""
        pieces = list(self.compute(self.fetch([Span(contig, start, n_bins)]), self.pad()))
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in self.channels}

    def fetch(self, spans: Sequence[Span]) -> Sequences:
        """Read what the extractor sees of each bin, or of each tile of bins."""
        fasta = self._fasta()
        length = self._tile * self.bin_size
        tiles = [_tiles(span, self.bin_size, length) for span in spans]
        sequences = span_sequences(fasta, [tile for tile, _ in tiles], length, self.extractor.input_length)
        try:
            # What was read before a check that passes is of the version that the index describes.
            fasta.check_unchanged()
        except FastaChanged as error:
            raise SourceChanged(str(error)) from error
        wanted = np.concatenate([bins for _, bins in tiles]) if self._tile > 1 else None
        return Sequences(sequences, wanted)

    def compute(self, fetched: Sequences, pad: Mapping[str, NDArray[Any]]) -> Iterator[Rows]:
        """Compute bins in batches of the extractor's size."""
        sequences, wanted = fetched
        size = self.extractor.batch_size
        for first in range(0, len(sequences), size):
            batch = sequences[first : first + size]
            rows = self._batch(batch, pad)
            if wanted is None:
                yield rows
                continue
            chosen = wanted[first * self._tile : (first + size) * self._tile]
            yield {name: values[chosen] for name, values in rows.items()}

    def _batch(self, batch: NDArray[np.uint8], pad: Mapping[str, NDArray[Any]]) -> Rows:
        """Compute the bins of some sequences, `(sequences * tile_bins, channels)` a set."""
        unknown = is_unknown(batch)
        if not unknown.any():
            return self._call(np.ascontiguousarray(batch))
        if unknown.all():
            return {name: np.broadcast_to(row, (len(batch) * self._tile, len(row))) for name, row in pad.items()}
        known = self._call(np.ascontiguousarray(batch[~unknown]))
        is_known = np.repeat(~unknown, self._tile)
        return {name: _scattered(known[name], is_known, pad[name]) for name in self.channels}

    def _call(self, sequences: NDArray[np.uint8]) -> dict[str, NDArray[np.number[Any]]]:
        note_call()
        features = self.extractor(sequences)
        for name, channels in self.channels.items():
            expected = (len(sequences) * self._tile, len(channels))
            if name not in features or features[name].shape != expected:
                got = features[name].shape if name in features else "nothing"
                raise ValueError(f"extractor {self.name} gave {got} for {name!r}, expected shape {expected}")
        return features

    def _fasta(self) -> Genome:
        if self._opened is None:
            assert not isinstance(self._genome, Fasta)
            self._opened = self._genome.open()
        return self._opened


def _tiles(span: Span, bin_size: int, length: int) -> tuple[Span, NDArray[np.bool_]]:
    """Give the tiles of `length` bp that hold the bins of a span, as one span, and which of their bins those are.

    Tiles of a phase begin at multiples of `length` from where its bins begin: whole bins before the span.
    """
    first = (span.start - span.start % bin_size) % length // bin_size
    tile = length // bin_size
    n_tiles = -(-(first + span.n_bins) // tile)
    wanted = np.zeros(n_tiles * tile, dtype=np.bool_)
    wanted[first : first + span.n_bins] = True
    return Span(span.contig, span.start - first * bin_size, n_tiles), wanted


def _scattered(known: NDArray[Any], is_known: NDArray[np.bool_], pad: NDArray[Any]) -> NDArray[Any]:
    """Scatter rows to where they belong, and the pad row everywhere else."""
    rows = np.empty((len(is_known), known.shape[1]), dtype=known.dtype)
    rows[is_known] = known
    rows[~is_known] = pad
    return rows
