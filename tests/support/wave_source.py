"""A source that is not sequence: a wave along each contig."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.source import SourceOptions
from catalog import Channel


@dataclass(frozen=True, kw_only=True)
class WaveSettings:
    """What it can be set to."""

    period: float
    """Bases a wave (bp)."""

    def __post_init__(self) -> None:
        if self.period <= 0:
            raise ValueError(f"period is above 0, got {self.period}")


class WaveSource:
    """A sine of the middle of each bin; 0 outside the contig."""

    name = "wave"
    flops_per_bin = 0.0
    batch_bins = 64
    tolerance = 0.0
    licence = "none needed"
    citation = ""

    def __init__(self, options: SourceOptions, settings: WaveSettings) -> None:
        self.bin_size = options.bin_size
        self._lengths = options.assembly.lengths
        self._period = settings.period
        self.fingerprint = hashlib.sha256(f"wave {self._period} {self.bin_size}".encode()).hexdigest()
        self.channels = {"wave": (Channel(name="sine"),)}
        self.options: dict[str, JsonValue] = {"period": self._period}

    @classmethod
    def from_options(cls, options: SourceOptions, settings: WaveSettings) -> "WaveSource":
        return cls(options, settings)

    def pad(self) -> dict[str, NDArray[np.float32]]:
        return {"wave": np.zeros(1, dtype=np.float32)}

    def close(self) -> None:
        """Nothing is open."""

    def read(self, contig: str, start: int, n_bins: int) -> dict[str, NDArray[np.float32]]:
        starts = start + np.arange(n_bins) * self.bin_size
        values = np.sin(2 * np.pi * (starts + self.bin_size // 2) / self._period).astype(np.float32)
        values[(starts + self.bin_size <= 0) | (starts >= self._lengths[contig])] = 0
        return {"wave": values[:, None]}
