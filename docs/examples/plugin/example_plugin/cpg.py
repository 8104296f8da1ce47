"""An extractor with two options of its own: CpG dinucleotides, observed over expected, and the share of C and G.

    featurestore build genome.store --fasta genome.fa --extractor cpg --set pseudocount=0.5 --set also_tpg=true

The ratio is that of Gardiner-Garden and Frommer (J Mol Biol 1987, 196:261): CpG / (C x G / bases). Methylated CpG
decays to TpG, so that TpG in excess tells of CpG that there was.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders import ExtractorOptions
from catalog import Channel
from catalog.runtime.settings import plain_settings

_VERSION = 1
"""Raised by whoever changes a value that this code gives, so that no store mixes the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpgSettings:
    """How CpG dinucleotides are counted."""

    pseudocount: float = 1.0
    """Added to each number of bases, so that a bin without C or G has a ratio (> 0)."""
    also_tpg: bool = False
    """Whether TpG is counted too, in a channel of its own."""

    def __post_init__(self) -> None:
        if not self.pseudocount > 0:
            raise ValueError(f"pseudocount is above 0, got {self.pseudocount:g}")


class CpgExtractor:
    """Counts CpG in the bases of each bin; needs no weights and no GPU."""

    name = "cpg"
    flops_per_bin = 0.0
    batch_size = 64
    licence = "Apache-2.0"
    citation = "Gardiner-Garden and Frommer, J Mol Biol 1987, 196:261-282"
    tolerance = 0.0

    def __init__(self, options: ExtractorOptions, settings: CpgSettings) -> None:
        self.input_length = options.bin_size
        self._settings = settings

    @property
    def options(self) -> dict[str, JsonValue]:
        """How it was set."""
        return plain_settings(self._settings)

    @property
    def fingerprint(self) -> str:
        """Digest of the code's version and the settings."""
        return hashlib.sha256(json.dumps([self.name, _VERSION, self.options], sort_keys=True).encode()).hexdigest()

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """One feature set, two channels or three."""
        channels = (
            Channel(name="gc", description="share of the known bases that are C or G"),
            Channel(name="cpg_ratio", description="CpG dinucleotides, observed over expected: high in CpG islands"),
            Channel(name="tpg_ratio", description="TpG dinucleotides, observed over expected: high where CpG decayed"),
        )
        return {"cpg": channels if self._settings.also_tpg else channels[:2]}

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Count in ASCII bases `(batch, input_length)`, uint8; N is no base."""
        upper = sequence & 0xDF
        is_base = {base: upper == ord(base) for base in "ACGT"}
        count = {base: found.sum(axis=1).astype(np.float64) for base, found in is_base.items()}
        bases = sum(count.values(), start=np.zeros(len(sequence)))
        columns = [(count["C"] + count["G"]) / np.maximum(bases, 1.0)]
        extra = self._settings.pseudocount
        for first in ("C", "T") if self._settings.also_tpg else ("C",):
            pairs = (is_base[first][:, :-1] & is_base["G"][:, 1:]).sum(axis=1)
            columns.append(pairs * (bases + extra) / ((count[first] + extra) * (count["G"] + extra)))
        return {"cpg": np.stack(columns, axis=1).astype(np.float32)}
