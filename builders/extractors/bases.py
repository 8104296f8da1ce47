"""The sequence itself as features: one number a base, so that training needs no FASTA beside the store.

Belongs here: the codes of bases. Does not: reading them (`builders.extractors.source`), one-hot columns, which a loader
makes on the device.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.extractors.base import ExtractorOptions
from catalog import Channel

SEQUENCE = "sequence"
"""Name of the feature set, and of its channel."""
ALPHABET = b"ACGTN"
"""Bases in the order of their codes; a letter that is none of the first four is an N."""
_BATCH_BASES = 1 << 22
CODES = np.full(256, ALPHABET.index(b"N"), dtype=np.uint8)
for _code, _letter in enumerate(ALPHABET):
    CODES[[_letter, _letter | 0x20]] = _code
"""Code of each ASCII letter, by its number."""


class BasesExtractor:
    """Code each base: A 0, C 1, G 2, T 3 and everything else, also past a contig's end, 4; uint8, bins of 1 bp."""

    name = "bases"
    input_length = 1
    batch_size = _BATCH_BASES
    flops_per_bin = 0.0
    tolerance = 0.0
    licence = ""
    citation = ""

    @classmethod
    def from_options(cls, options: ExtractorOptions) -> "BasesExtractor":
        """Make one; ValueError for bins of several bases."""
        if options.bin_size != 1:
            raise ValueError(f"a base is coded alone: give `bin_size=1`, got {options.bin_size}")
        return cls()

    @property
    def fingerprint(self) -> str:
        """Digest of the code: the sequence is the assembly's, which the store knows."""
        return hashlib.sha256(b"bases 1: " + ALPHABET).hexdigest()

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """One set of one channel."""
        return {SEQUENCE: (Channel(name=SEQUENCE, description="0-3 = A, C, G, T; 4 = N"),)}

    @property
    def options(self) -> dict[str, JsonValue]:
        """Nothing can be set."""
        return {"alphabet": ALPHABET.decode()}

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
        """Code bases, `(batch, 1)`."""
        return {SEQUENCE: CODES[sequence]}
