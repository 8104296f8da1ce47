"""The protocol of extractors, which turn sequence into features, and loading one by name.

Belongs here: the protocol, and the options that all have. Does not: any one model (a file or folder each next to this
one), how a factory is found (`builders.factories`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from builders.factories import find_factory
from builders.source import CommonOptions
from catalog import Channel
from catalog.runtime.plugins import require_members

if TYPE_CHECKING:
    from torch import Tensor

GROUP = "featurestore.extractors"
"""Entry-point group; a distribution adds an extractor by naming its factory there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorOptions(CommonOptions):
    """What every extractor is made with. What one alone can be set to is a dataclass of its own."""


@runtime_checkable
class ExtractorOfVariants(Protocol):
    """An extractor with scores of variants that are its own, besides those of any features."""

    def variant_channels(self, score: str) -> tuple[str, ...]:
        """Name what a score gives; a ValueError if it is not among its scores, or lacks a setting."""
        ...

    def variant_scores(
        self, score: str, windows: NDArray[np.uint8], pairs: Sequence[tuple[int, int]]
    ) -> NDArray[np.floating[Any]]:
        """Score variants.

        Parameters
        ----------
        windows
            Distinct sequences, ASCII, shape `(windows, input_length)`, uint8.
        pairs
            Of each variant, which windows are REF and ALT.

        Returns
        -------
        Shape `(pairs, channels of the score)`.
        """
        ...


@runtime_checkable
class DifferentiableExtractor(Protocol):
    """An extractor whose torch network reads one-hot sequence, so that its output has a gradient by each base."""

    def encoded(self, sequence: NDArray[np.uint8]) -> "Tensor":
        """Encode ASCII `(batch, input_length)` one-hot, `(batch, 4, input_length)`, on the device of the network."""
        ...

    def predicted(self, onehot: "Tensor") -> "Mapping[str, Tensor]":
        """Compute from encoded sequences what a call gives, as tensors that have a gradient."""
        ...


class Mutants(Protocol):
    """Single-base mutants of one sequence, which share with it what has not changed."""

    batch_size: int
    """Mutants at a time that suit the device."""

    def changes(self, places: NDArray[np.int64], bases: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the change of the output, summed over all bins, by base 0 to 3 (A, C, G, T) in some places.

        Returns
        -------
        Shape `(mutants, channels)`.
        """
        ...


@runtime_checkable
class ExtractorOfMutants(Protocol):
    """A network that predicts bases and computes of a mutant, layer by layer, only what its base reaches."""

    def mutants(self, sequence: NDArray[np.uint8]) -> Mutants:
        """Make the mutants of a tile `(input_length,)`, ASCII, uint8, of bins of 1 bp."""
        ...


@runtime_checkable
class MaskedExtractor(Protocol):
    """An extractor whose model predicts tokens that it does not see, of a sequence of any length."""

    @property
    def context_bp(self) -> int:
        """Bases that it reads on either side of what it is asked for (bp)."""
        ...

    def masked_entropy(self, sequence: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Give the entropy of each base's token, hidden from the model, in bits.

        ASCII `(length,)` to `(length,)`; NaN for a base that no token covers. A causal model reads the tokens before
        it alone; NaN for those of the first. A ValueError if the model predicts none.
        """
        ...


@runtime_checkable
class Extractor(Protocol):
    """Turns sequence into features. Cheap to make: weights are loaded by the first call.

    It may also have a `tolerance`: the largest difference that computing on another device may make, as a share of the
    largest value of a channel; without it `builders.source.TOLERANCE` is taken.

    It may also have `tile_bins`: neighbouring bins that one sequence holds, for a network that predicts each base and
    would else read the bases around every bin again. `input_length` is then that of a tile, around its centre. With
    `tiled(bin_size=, n_bins=)`, which gives the same network on tiles of another size, variants are scored
    base by base.
    """

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
        """Its settings, for the record."""
        ...

    def __call__(self, sequence: NDArray[np.uint8]) -> dict[str, NDArray[np.number[Any]]]:
        """Compute features.

        Parameters
        ----------
        sequence
            ASCII bases in either case, `N` where there is none, shape `(batch, input_length)`, uint8.

        Returns
        -------
        For each feature set `(batch, channel)`, floating and finite; or unsigned integers, which the store has to hold
        exactly. With `tile_bins`, the bins of each tile in turn, `(batch * tile_bins, channel)`.
        """
        ...


def tile_bins(extractor: Extractor) -> int:
    """Give the neighbouring bins that one sequence holds: `tile_bins`, or 1."""
    return int(getattr(extractor, "tile_bins", 1))


def check_output(options: CommonOptions, name: str) -> None:
    """Refuse, with a ValueError, options that ask for another feature set than the only one of an extractor."""
    if options.outputs not in (None, (name,)):
        asked = ", ".join(options.outputs or ()) or "none"
        raise ValueError(f"the extractor writes the feature set {name!r}, not {asked}; leave outputs out")


def load_extractor(
    name: str, options: ExtractorOptions, settings: Mapping[str, object] = MappingProxyType({})
) -> Extractor:
    """Make an extractor by its registered name, or by `module:factory` for one that is not installed.

    Parameters
    ----------
    settings
        Of the extractor's own, by name: values, or texts as `--set` takes them.

    Raises
    ------
    ValueError
        If there is none of that name, it cannot be loaded, or the options or settings do not suit it.
    UnfitPlugin
        If what is made is no extractor; the message lists what it lacks.
    """
    made = find_factory(GROUP, name)(options, settings)
    require_members(made, Extractor, name=name)
    return cast("Extractor", made)
