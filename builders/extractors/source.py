"""An extractor over a FASTA, as a source of features.

Belongs here: an extractor's input around each bin, its batches, and the pad row for sequence that is all N. Does not:
cutting sequences out of a FASTA (`builders.extractors.sequence`), any extractor.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.extractors.base import Extractor
from builders.extractors.sequence import UNKNOWN, is_unknown, span_sequences
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


class ExtractorSource:
    """Reads the sequence of bins and runs an extractor on it, in batches.

    An extractor may see more bases than a bin has, around its centre. Bins whose sequence is N throughout take the pad
    row: the extractor has seen that sequence once already.

    Parameters
    ----------
    genome
        Where the sequences lie, opened on first use; or an open file, which its owner closes.
    bin_size
        Bases a bin (bp).
    """

    def __init__(self, extractor: Extractor, genome: GenomeFile | Fasta, *, bin_size: int) -> None:
        self.extractor = extractor
        self.bin_size = bin_size
        self.name = extractor.name
        self.flops_per_bin = extractor.flops_per_bin
        self.batch_bins = extractor.batch_size
        self.tolerance = float(getattr(extractor, "tolerance", TOLERANCE))
        self.licence = extractor.licence
        self.citation = extractor.citation
        self._genome = genome
        self._opened: Fasta | None = genome if isinstance(genome, Fasta) else None

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
        return {name: rows[0] for name, rows in self._call(unknown).items()}

    def close(self) -> None:
        """Close the genome, if this source has opened it."""
        if isinstance(self._genome, GenomeFile) and self._opened is not None:
            self._opened.close()
            self._opened = None

    def read(self, contig: str, start: int, n_bins: int) -> dict[str, NDArray[np.number[Any]]]:
        """Read and compute neighbouring bins, `(n_bins, channels)` a set."""
        pieces = list(self.compute(self.fetch([Span(contig, start, n_bins)]), self.pad()))
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in self.channels}

    def fetch(self, spans: Sequence[Span]) -> NDArray[np.uint8]:
        """Read what the extractor sees of each bin: ASCII, shape `(bins, input_length)`, uint8."""
        fasta = self._fasta()
        sequences = span_sequences(fasta, spans, self.bin_size, self.extractor.input_length)
        try:
            # What was read before a check that passes is of the version that the index describes.
            fasta.check_unchanged()
        except FastaChanged as error:
            raise SourceChanged(str(error)) from error
        return sequences

    def compute(self, fetched: NDArray[np.uint8], pad: Mapping[str, NDArray[Any]]) -> Iterator[Rows]:
        """Compute bins in batches of `batch_bins`."""
        for first in range(0, len(fetched), self.batch_bins):
            batch = fetched[first : first + self.batch_bins]
            unknown = is_unknown(batch)
            if not unknown.any():
                yield self._call(np.ascontiguousarray(batch))
            elif unknown.all():
                yield {name: np.broadcast_to(row, (len(batch), len(row))) for name, row in pad.items()}
            else:
                known = self._call(np.ascontiguousarray(batch[~unknown]))
                yield {name: _scattered(known[name], ~unknown, pad[name]) for name in self.channels}

    def _call(self, sequences: NDArray[np.uint8]) -> dict[str, NDArray[np.number[Any]]]:
        note_call()
        features = self.extractor(sequences)
        for name, channels in self.channels.items():
            expected = (len(sequences), len(channels))
            if name not in features or features[name].shape != expected:
                got = features[name].shape if name in features else "nothing"
                raise ValueError(f"extractor {self.name} gave {got} for {name!r}, expected shape {expected}")
        return features

    def _fasta(self) -> Fasta:
        if self._opened is None:
            assert isinstance(self._genome, GenomeFile)
            self._opened = self._genome.open()
        return self._opened


def _scattered(known: NDArray[Any], is_known: NDArray[np.bool_], pad: NDArray[Any]) -> NDArray[Any]:
    """Scatter rows to where they belong, and the pad row everywhere else."""
    rows = np.empty((len(is_known), known.shape[1]), dtype=known.dtype)
    rows[is_known] = known
    rows[~is_known] = pad
    return rows
