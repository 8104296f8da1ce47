"""A tiny extractor for tests here and in other distributions: base composition, computed the obvious way.

Belongs here: what tests of builds need. Does not: anything that a user builds with.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.extractors.base import ExtractorOptions
from catalog import Channel

_BASES = "ACGTN"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositionSettings:
    """What it can be set to."""

    precision: str = "fp32"
    """Enters the fingerprint, and changes no value."""


class CompositionExtractor:
    """Count each base of the bin. Refuses sequence that holds `X`, which makes a shard that cannot be built."""

    name = "composition"
    flops_per_bin = 0.0
    batch_size = 7
    licence = "none needed"
    citation = ""

    def __init__(self, bin_size: int, precision: str = "fp32") -> None:
        self.input_length = bin_size
        self.precision = precision
        self.fingerprint = hashlib.sha256(f"composition {bin_size} {precision}".encode()).hexdigest()

    @classmethod
    def from_options(cls, options: ExtractorOptions, settings: CompositionSettings) -> "CompositionExtractor":
        """Make one for bins of the requested size."""
        return cls(options.bin_size, settings.precision)

    @property
    def channels(self) -> dict[str, tuple[Channel, ...]]:
        """One set of five counts, and one of one column."""
        return {"composition": tuple(Channel(name=base) for base in _BASES), "length": (Channel(name="bases"),)}

    @property
    def options(self) -> dict[str, JsonValue]:
        """What it was set to."""
        return {"bin_size": self.input_length, "precision": self.precision}

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Count the bases of each sequence."""
        if (sequence == ord("X")).any():
            raise ValueError("this sequence holds an X")
        upper = sequence & 0xDF
        counts = np.stack([(upper == ord(base)).sum(axis=1) for base in _BASES], axis=1).astype(np.float32)
        return {"composition": counts, "length": counts[:, :4].sum(axis=1, keepdims=True)}
