"""What an extractor is, and how one is found by name.

Belongs here: the protocol, its options, the registry. Does not: any one model (a file each beside this one).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from catalog import Channel

GROUP = "featurestore.extractors"
"""Entry-point group; a distribution adds an extractor by naming a `from_options` there."""


PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorOptions:
    """How an extractor is set. Plain values, so that a worker can make the same extractor again."""

    bin_size: int = 4096
    """Bases a bin (bp). A network with a fixed input reads that many bases around the centre of the bin instead."""
    outputs: tuple[str, ...] | None = None
    """Feature sets to write; None for the extractor's default."""
    weights: Path | None = None
    """File of weights (`sei.pth`, a safetensors file), for extractors that need one."""
    projector: Path | None = None
    """File of the class projection (`projvec_targets.npy` of Sei)."""
    names: Path | None = None
    """File that names the channels (`target.names` of Sei)."""
    precision: str = "fp32"
    """Arithmetic: `fp32`, `tf32`, `bf16`."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(PRECISIONS)}; got {self.precision!r}")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device is auto, cpu, cuda or cuda:N; got {self.device!r}")

    def absolute(self) -> "ExtractorOptions":
        """Name the files so that a process with another working directory finds them."""
        weights, projector, names = (
            path and path.expanduser().absolute() for path in (self.weights, self.projector, self.names)
        )
        return replace(self, weights=weights, projector=projector, names=names)


@runtime_checkable
class Extractor(Protocol):
    """Turns sequence into features. Cheap to make: weights are loaded by the first call."""

    name: str
    input_length: int
    """Bases that one call sees around the centre of a bin (bp)."""
    batch_size: int
    """Sequences a call that suit the device."""
    flops_per_bin: float
    """Floating-point operations a bin, for `plan`; 0 where it does not matter."""
    licence: str
    citation: str

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides the values; known without loading weights into memory."""
        ...

    @property
    def channels(self) -> Mapping[str, tuple[Channel, ...]]:
        """Channels of each feature set that one call returns."""
        ...

    @property
    def options(self) -> dict[str, JsonValue]:
        """How it was set, for the record."""
        ...

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.floating[Any]]]:
        """Compute features.

        Parameters
        ----------
        sequence
            ASCII bases in either case, `N` where there is none, shape `(batch, input_length)`, uint8.

        Returns
        -------
        For each feature set `(batch, channel)`, floating, finite.
        """
        ...


def extractor_names() -> list[str]:
    """List the extractors that are installed."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def load_extractor(name: str, options: ExtractorOptions) -> Extractor:
    """Make an extractor by its registered name, or by `module:factory` for one that is not installed.

    Raises
    ------
    ValueError
        If there is none of that name, it cannot be loaded, or the options do not suit it.
    """
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    entry = EntryPoint(name, name, GROUP) if ":" in name else known.get(name)
    if entry is None:
        raise ValueError(
            f"no extractor is called {name!r}; installed are {', '.join(extractor_names())}, and module:factory names "
            "one of your own"
        )
    try:
        factory = entry.load()
    except (AttributeError, ImportError, ValueError) as error:
        raise ValueError(f"{name} cannot be loaded as module:factory ({error}); is it on the Python path?") from error
    made = factory(options)
    if not isinstance(made, Extractor):
        raise TypeError(f"{name} makes a {type(made).__name__}, which is no extractor (builders/extractors/base.py)")
    return made
