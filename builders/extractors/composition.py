"""Controls without a model: the sequence itself, and how often each word occurs in it.

Belongs here: one-hot bases, and counts of k-mers. Does not: the sequence as a set of its own at 1 bp
(`builders.extractors.bases`).

A probe of a model's features is worth what it says beyond these.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.extractors.base import ExtractorOptions
from builders.extractors.bases import ALPHABET, CODES
from catalog import Channel

_UNKNOWN = ALPHABET.index(b"N")
_CODE_VERSION = 1  # raise it with every change that changes a value


class _Composition:
    """What the controls have in common: bins as they are, no weights, no device."""

    name: str
    batch_size: int = 64
    flops_per_bin: float = 0.0
    tolerance: float = 0.0
    licence: str = ""
    citation: str = ""

    def __init__(self, bin_size: int) -> None:
        self.input_length = bin_size

    @property
    def options(self) -> dict[str, JsonValue]:
        """Its settings."""
        return {"bin_size": self.input_length}

    @property
    def fingerprint(self) -> str:
        """Digest of the settings and the version of this code."""
        decisive = {"extractor": self.name, "version": _CODE_VERSION, **self.options}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


class OneHotExtractor(_Composition):
    """Each base of a bin in four channels; zeros for one that is not known. For small bins: 4 channels a base."""

    name = "onehot"

    @classmethod
    def from_options(cls, options: ExtractorOptions) -> "OneHotExtractor":
        """Make the extractor that the options describe."""
        return cls(options.bin_size)

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """A, C, G, T of the first base, then of the next."""
        places = product(range(self.input_length), "ACGT")
        return {"onehot": tuple(Channel(name=f"{letter}{place:04d}", group=letter) for place, letter in places)}

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Encode bins `(bins, input_length)`: `(bins, 4 * input_length)`, float32."""
        encoded = CODES[sequence][:, :, None] == np.arange(4)
        return {"onehot": encoded.reshape(len(sequence), -1).astype(np.float32)}


@dataclass(frozen=True, slots=True, kw_only=True)
class KmerSettings:
    """What the counts of k-mers can be set to."""

    k: int = 4
    """Bases of a word (bp), 1 to 7."""
    canonical: bool = True
    """Count a word and its reverse complement as one, so that both strands give the same."""

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 7:
            raise ValueError(f"`k=` is 1 to 7, for 4 to 16,384 words; got {self.k}")


class KmerExtractor(_Composition):
    """The share of each word of k bases among those of a bin that have no unknown base.

    Parameters
    ----------
    bin_size
        Bases a bin (bp), at least `settings.k`.
    """

    name = "kmer"

    def __init__(self, settings: KmerSettings, *, bin_size: int) -> None:
        super().__init__(bin_size)
        if bin_size < settings.k:
            raise ValueError(f"a bin of {bin_size} bp holds no word of {settings.k}; take larger bins or a smaller k")
        self.settings = settings
        words = ["".join(letters) for letters in product("ACGT", repeat=settings.k)]
        turned = [word.translate(str.maketrans("ACGT", "TGCA"))[::-1] for word in words]
        counted = [min(pair) for pair in zip(words, turned, strict=True)] if settings.canonical else words
        self.words = tuple(sorted(set(counted)))
        place = {word: number for number, word in enumerate(self.words)}
        self._column = np.array([place[word] for word in counted])

    @classmethod
    def from_options(cls, options: ExtractorOptions, settings: KmerSettings) -> "KmerExtractor":
        """Make the extractor that the options describe."""
        return cls(settings, bin_size=options.bin_size)

    @property
    def options(self) -> dict[str, JsonValue]:
        """Its settings."""
        return {**super().options, "k": self.settings.k, "canonical": self.settings.canonical}

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """The words, in alphabetical order."""
        return {self.name: tuple(Channel(name=word) for word in self.words)}

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Count words in bins `(bins, input_length)`: shares, `(bins, words)`, float32; zeros in a bin without any."""
        letters = np.lib.stride_tricks.sliding_window_view(CODES[sequence], self.settings.k, axis=1)
        numbers = letters @ (4 ** np.arange(self.settings.k)[::-1])
        known = (letters != _UNKNOWN).all(axis=2)
        rows = np.broadcast_to(np.arange(len(sequence))[:, None], numbers.shape)[known]
        cells = rows * len(self.words) + self._column[numbers[known]]
        counts = np.bincount(cells, minlength=len(sequence) * len(self.words)).reshape(len(sequence), -1)
        shares = counts / np.maximum(1, known.sum(axis=1))[:, None]
        return {self.name: shares.astype(np.float32)}


class DinucleotideExtractor(KmerExtractor):
    """The share of each of the 16 dinucleotides."""

    name = "dinucleotide"

    @classmethod
    def from_options(cls, options: ExtractorOptions) -> "DinucleotideExtractor":  # type: ignore[override]  # no settings
        """Make the extractor that the options describe."""
        return cls(KmerSettings(k=2, canonical=False), bin_size=options.bin_size)
